"""Images a second of a whole training step, for each rung of the convolution.

    python -m benchmarks.training_step resnet20 --batch 128 --out benchmarks/results/resnet20_training_step.json

A step is forward pass, loss, backward pass and SGD update, in float32 on random images. The rungs take turns, five timed steps
each after two warm-up steps; a step in which anything was compiled is refused.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np

import kernels
from minicnn import Tensor, models, ops, optim
from minicnn.errors import BackendError
from minicnn.study import machine
from minicnn.study.compilation import watching

RUNGS = ("im2col", "implicit_gemm")
WARM_UP, TIMED = 2, 5


def step(model, optimizer, images, labels):
    """One training step; returns its seconds."""
    start = time.perf_counter()
    loss = ops.cross_entropy(model(Tensor(images)), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return time.perf_counter() - start


def measure(name, batch):
    """{rung: {"median", "seconds", "images_per_second"}} for a registered model at its paper's input size."""
    rng = np.random.default_rng(0)
    images = rng.standard_normal((batch, *models.info(name).input_shape), np.float32)
    labels = rng.integers(0, 10, batch)
    model = models.create(name)
    optimizer = optim.SGD(model.parameters(), 0.01, 0.9, 1e-4)
    seconds = {rung: [] for rung in RUNGS}
    for turn in range(WARM_UP + TIMED):
        for rung in RUNGS:
            with kernels.using(conv2d=rung), watching() as seen:
                took = step(model, optimizer, images, labels)
            if turn >= WARM_UP:
                if seen.compiled:
                    raise BackendError(f"{seen.compiled} functions were compiled inside a timed step; run again")
                seconds[rung].append(took)
    return {rung: {"median": statistics.median(times), "seconds": times,
                   "images_per_second": batch / statistics.median(times)} for rung, times in seconds.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    result = measure(args.model, args.batch)
    for rung, row in result.items():
        print(f"{args.model}, batch {args.batch}, {rung:14s} {row['images_per_second']:7.1f} images/s")
    if args.out:
        facts = {key: machine.facts()[key] for key in ("versions", "cpu", "threads")}
        args.out.write_text(json.dumps({"model": args.model, "batch": args.batch, "rungs": result, "machine": facts}, indent=1))


if __name__ == "__main__":
    main()
