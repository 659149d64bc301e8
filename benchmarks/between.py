"""Where a training step passes: in which compiled kernels, and how much of it between them.

    python -m benchmarks.between densenet121 --out benchmarks/results/between_densenet121.json

Between two kernels Python's own work is done: layers, the recorded graph, checks, arrays made and given back. It takes longer
there than it does alone, because each kernel takes Python's code and objects out of the core's caches. Every compiled function
that Python calls is timed from outside, with its threads; steps (forward pass, loss, backward pass, SGD update, float32, random
images) in which anything was compiled are refused, and the fastest counts.
"""

import argparse
import contextlib
import sys
import time
from collections import defaultdict
from pathlib import Path

import numpy as np

from benchmarks import results
from benchmarks.step import step
from kernels import threads
from minicnn import models, optim
from minicnn.cli.output import print_table
from minicnn.errors import BackendError
from minicnn.study.compilation import watching

WARM_UP = 2


class Watched:
    """Stands in for a compiled function in its module, and keeps its name and the seconds of each call from Python."""

    def __init__(self, function, calls):
        self.function, self.calls = function, calls
        self.name = f"{function.py_func.__module__.removeprefix('kernels.')}.{function.py_func.__name__}"

    def __call__(self, *args):
        start = time.perf_counter()
        result = self.function(*args)
        self.calls.append((self.name, time.perf_counter() - start))
        return result


@contextlib.contextmanager
def watched():
    """A Watched in the place of every compiled function of the kernels, under each of its names, inside this with-block -> the
    list of calls. What compiled functions call they have compiled in: something must have run before."""
    from numba.core.dispatcher import Dispatcher
    calls, made, places = [], {}, []
    for name, module in list(sys.modules.items()):
        if name.startswith("kernels."):
            places += [(module, key, value) for key, value in vars(module).items() if isinstance(value, Dispatcher)]
    for module, key, function in places:
        setattr(module, key, made.setdefault(id(function), Watched(function, calls)))
    try:
        yield calls
    finally:
        for module, key, function in places:
            setattr(module, key, function)


def measure(name, batch, side, steps):
    """{"step", "kernels": seconds of the fastest step and of its kernels, "calls", "by_kernel": {name: [seconds, calls]}}"""
    rng = np.random.default_rng(0)
    model = models.create(name)
    optimizer = optim.SGD(model.parameters(), 1e-6, 0.9, 1e-4)
    images, labels = rng.standard_normal((batch, 3, side, side), np.float32), rng.integers(0, 10, batch)
    for _ in range(WARM_UP):
        step(model, optimizer, images, labels)
    best = np.inf, []
    for _ in range(steps):
        with watched() as calls, watching() as seen:
            took = step(model, optimizer, images, labels)
        if seen.compiled:
            raise BackendError(f"{seen.compiled} functions were compiled inside a timed step; run again")
        best = min(best, (took, calls), key=lambda pair: pair[0])
    by_kernel = defaultdict(lambda: [0.0, 0])
    for kernel, seconds in best[1]:
        by_kernel[kernel][0] += seconds
        by_kernel[kernel][1] += 1
    return {"step": best[0], "kernels": sum(seconds for seconds, _ in by_kernel.values()), "calls": len(best[1]),
            "by_kernel": dict(sorted(by_kernel.items(), key=lambda item: -item[1][0]))}


def main(argv=None):
    """Measure, print the kernels that take most, write the file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.between", description=__doc__.split("\n")[0])
    parser.add_argument("model", metavar="MODEL", help="a network that takes images of one size, for example densenet121")
    parser.add_argument("--batch", type=int, default=16, metavar="N", help="images (16)")
    parser.add_argument("--side", type=int, default=224, metavar="PIXELS", help="of the images (224)")
    parser.add_argument("--steps", type=int, default=9, help="timed steps (9)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write JSON there")
    args = parser.parse_args(argv)
    found = {"model": args.model, "batch": args.batch, "side": args.side,
             **measure(args.model, args.batch, args.side, args.steps)}
    rows = [(kernel, str(count), f"{1e3 * seconds:.1f} ms", f"{seconds / found['step']:.1%}")
            for kernel, (seconds, count) in list(found["by_kernel"].items())[:12]]
    between = found["step"] - found["kernels"]
    rows.append(("between kernels", str(found["calls"]), f"{1e3 * between:.1f} ms", f"{between / found['step']:.1%}"))
    print_table(("kernel", ">calls", ">time", ">of the step"), rows)
    print(f"{args.model}, batch {args.batch}, {args.side}x{args.side}: {1e3 * found['step']:.0f} ms a step, "
          f"{1e6 * between / max(1, found['calls']):.0f} us between two kernels")
    if args.out:
        command = f"python -m benchmarks.between {args.model} --batch {args.batch} --side {args.side} --steps {args.steps}"
        results.write(args.out, command, threads.get_num_threads(), found)


if __name__ == "__main__":
    main()
