"""The memory of one DenseNet training step: the ordinary form against the memory-efficient one, each in a fresh process.

    python -m benchmarks.densenet_memory --out benchmarks/results/densenet_memory.json

Two training steps (forward pass, loss, backward pass, SGD update, float32, random images). The peak is the process's largest
resident set; what it had with the model, its momentum and the compiled kernels, before the first image, is given beside it.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

FORMS = {"ordinary": False, "memory-efficient": True}
MIB = 1024          # ru_maxrss counts KiB on Linux


def peak():
    """The largest resident set of this process so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MIB


def one_form(name, batch, memory_efficient):
    """Train two steps in this process -> {"before", "peak", "loss", "seconds"}."""
    from benchmarks.step import step
    from minicnn import Tensor, models, ops, optim
    rng = np.random.default_rng(0)
    images = rng.standard_normal((batch, *models.info(name).input_shape), np.float32)
    labels = rng.integers(0, 10, batch)
    model = models.create(name, memory_efficient=memory_efficient)
    optimizer = optim.SGD(model.parameters(), 0.01, 0.9, 1e-4)
    step(model, optimizer, images[:1], labels[:1])          # compiles, and makes the momentum
    before, start = peak(), time.perf_counter()
    for _ in range(2):
        step(model, optimizer, images, labels)
    seconds = (time.perf_counter() - start) / 2
    found = {"before": before, "peak": peak(), "seconds": seconds}
    return {**found, "loss": ops.cross_entropy(model(Tensor(images[:8])), labels[:8]).item()}


def fresh(name, batch, form):
    """one_form in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.densenet_memory", name, "--batch", str(batch), "--form", form]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", default="densenet_bc_100_12")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--form", choices=FORMS, help="measure this form in this process and print JSON")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    if args.form:
        print(json.dumps(one_form(args.model, args.batch, FORMS[args.form])))
        return
    result = {form: fresh(args.model, args.batch, form) for form in FORMS}
    for form, row in result.items():
        print(f"{args.model}, batch {args.batch}, {form:16s} peak {row['peak']:5.0f} MiB ({row['before']:.0f} before images), "
              f"{row['seconds']:.2f} s a step, loss after {row['loss']:.6f}")
    if args.out:
        from benchmarks import results
        from kernels import threads
        command = " ".join(["python -m benchmarks.densenet_memory", *sys.argv[1:]])
        results.write(args.out, command, threads.get_num_threads(), {"model": args.model, "batch": args.batch, "forms": result})


if __name__ == "__main__":
    main()
