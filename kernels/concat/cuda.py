"""Concatenation and split on a GPU: everything from `axis` on is one run of memory per outer index; one thread a value."""

import math

import numpy as np

from kernels.device.array import DeviceArray
from kernels.device.launching import at, first_item, split
from kernels.device.shim import ITEMS, THREADS, cuda, kernel, launch_items


def forward(axis, *arrays):
    """See the room."""
    shape = list(arrays[0].shape)
    shape[axis] = sum(array.shape[axis] for array in arrays)
    y = DeviceArray(shape, arrays[0].dtype)
    start, inner = 0, math.prod(shape[axis + 1:])
    for array in arrays:
        run = array.shape[axis] * inner
        launch_items(_copy_runs, array.size, array, (0, run), y, (start, shape[axis] * inner), run, array.size)
        start += run
    return y


def copy_into(part, x):
    """See the room."""
    part[...] = x


def backward(gy, sizes, axis):
    """See the room."""
    start, inner, pieces = 0, math.prod(gy.shape[axis + 1:]), []
    for size in sizes:
        piece, run = DeviceArray((*gy.shape[:axis], size, *gy.shape[axis + 1:]), gy.dtype), size * inner
        launch_items(_copy_runs, piece.size, gy, (start, gy.shape[axis] * inner), piece, (0, run), run, piece.size)
        start += run
        pieces.append(piece)
    return pieces


@kernel
def _copy_runs(source, source_at, target, target_at, run, count):
    """Runs of values from (start, distance between runs) of source to that of target."""
    own, places, first = cuda.local.array(ITEMS, source.dtype), cuda.local.array(ITEMS, np.int64), first_item()
    for k in range(ITEMS):
        outer, j = split(min(first + k * THREADS, count - 1), run)
        own[k] = source[at(source_at[0] + outer * source_at[1] + j)]
        places[k] = target_at[0] + outer * target_at[1] + j
    for k in range(ITEMS):
        if first + k * THREADS < count:
            target[at(places[k])] = own[k]
