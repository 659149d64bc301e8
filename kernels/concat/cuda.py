"""Concatenation and split on a GPU: everything from `axis` on is one run of memory per outer index; one thread a value."""

import math

from kernels.device.array import DeviceArray
from kernels.device.launching import split
from kernels.device.shim import cuda, kernel, launch_flat


def forward(axis, *arrays):
    """See the room."""
    shape = list(arrays[0].shape)
    shape[axis] = sum(array.shape[axis] for array in arrays)
    y = DeviceArray(shape, arrays[0].dtype)
    start, inner = 0, math.prod(shape[axis + 1:])
    for array in arrays:
        run = array.shape[axis] * inner
        launch_flat(_copy_runs, array.size, array, (0, run), y, (start, shape[axis] * inner), run, array.size)
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
        launch_flat(_copy_runs, piece.size, gy, (start, gy.shape[axis] * inner), piece, (0, run), run, piece.size)
        start += run
        pieces.append(piece)
    return pieces


@kernel
def _copy_runs(source, source_at, target, target_at, run, count):
    """Runs of values from (start, distance between runs) of source to that of target."""
    i = cuda.grid(1)
    if i < count:
        outer, j = split(i, run)
        target[target_at[0] + outer * target_at[1] + j] = source[source_at[0] + outer * source_at[1] + j]
