"""What computes: arrays in, arrays out. One room for each operation, a ladder of rungs in each room.

    kernels.conv2d.forward(x, weight, bias, window)      the best rung for the shape
    kernels.rungs("conv2d")                              the rungs there are, lowest first
    with kernels.using(conv2d="reference"): ...          one of them, whatever the shape

Imports NumPy and, at the first call of a compiled rung, Numba; nothing of minicnn.
"""

from kernels import (
    activation,
    batch_norm,
    concat,
    conv2d,
    device,
    dropout,
    layout,
    linear,
    loss,
    lrn,
    memory,
    pool2d,
    sgd,
    threads,
)
from kernels.dispatch import ROOMS, rungs, using
from kernels.geometry import Window2d

__all__ = ["ROOMS", "Window2d", "activation", "batch_norm", "concat", "conv2d", "device", "dropout", "layout", "linear", "loss",
           "lrn", "memory", "pool2d", "rungs", "sgd", "threads", "using"]

__minicnn__ = True      # minicnn looks for this: other distributions also install a package named `kernels`
