"""How much less time ResNet-110 takes to train with stochastic depth, against what its expected depth predicts.

    python -m benchmarks.stochastic_depth --out benchmarks/results/stochastic_depth.json

Whole training steps (forward pass, loss, backward pass, SGD update, float32, random images) of the full network and of the one
with stochastic depth take turns, on the same images. A step with stochastic depth leaves out the blocks that it draws, so the
mean over many steps counts; how many blocks each computed is kept beside its time. Steps in which anything was compiled are
refused. Huang et al. 2016, section 3: (3L - 1)/4 of L blocks are expected to be computed, 40.25 of 54, "about 25 % less time".
"""

import argparse
import statistics
import sys
from pathlib import Path

import numpy as np

from benchmarks import results
from benchmarks.step import step
from kernels import threads
from minicnn import models, optim, random
from minicnn.errors import BackendError
from minicnn.models.residual import residual_blocks
from minicnn.models.stochastic_depth import expected_blocks
from minicnn.study.compilation import watching

FULL, DROPPED = "resnet110", "stochastic_depth_resnet110"
WARM_UP = 3


def computed_blocks(model):
    """How many blocks the next training step of `model` will compute: the same draws, of which no trace is left."""
    state = random.get_state()
    count = sum(random.next_key() < block.survival * 2 ** 64 for block in residual_blocks(model))
    random.set_state(state)
    return count


def measure(steps, batch, side):
    """{"seconds": {name: [...]}, "blocks": [...], "reduction": …, "predicted": …} of interleaved steps."""
    rng = np.random.default_rng(0)
    images = rng.standard_normal((batch, 3, side, side), np.float32)
    labels = rng.integers(0, 10, batch)
    built = {name: models.create(name) for name in (FULL, DROPPED)}
    optimizers = {name: optim.SGD(model.parameters(), 1e-3, 0.9, 1e-4) for name, model in built.items()}
    seconds, blocks = {FULL: [], DROPPED: []}, []
    for turn in range(WARM_UP + steps):
        count = computed_blocks(built[DROPPED])
        for name in seconds:
            with watching() as seen:
                took = step(built[name], optimizers[name], images, labels)
            if turn < WARM_UP:
                continue
            if seen.compiled:
                raise BackendError(f"{seen.compiled} functions were compiled inside a timed step; run again")
            seconds[name].append(took)
        if turn >= WARM_UP:
            blocks.append(count)
    mean = {name: statistics.fmean(times) for name, times in seconds.items()}
    total = len(residual_blocks(built[DROPPED]))
    return {"seconds": seconds, "blocks": blocks, "mean": mean, "reduction": 1 - mean[DROPPED] / mean[FULL],
            "predicted": 1 - expected_blocks(built[DROPPED]) / total, "drawn": 1 - statistics.fmean(blocks) / total}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=60, help="timed steps of each network (60)")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--side", type=int, default=32, help="pixels (32)")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    result = measure(args.steps, args.batch, args.side)
    for name, mean in result["mean"].items():
        print(f"{name:26s} {1000 * mean:7.1f} ms a step of {args.batch} images")
    print(f"{result['reduction']:.1%} less time; expected depth predicts {result['predicted']:.1%}; the draws of these "
          f"{args.steps} steps left {result['drawn']:.1%} of the blocks out")
    if args.out:
        command = " ".join(["python -m benchmarks.stochastic_depth", *sys.argv[1:]])
        results.write(args.out, command, threads.get_num_threads(), {"batch": args.batch, "side": args.side, **result})


if __name__ == "__main__":
    main()
