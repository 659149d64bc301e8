"""Concatenation of channels: each pixel's row is the rows of the inputs one after the other; the split takes no copy at all,
since a slice of the channels of a channels-last array is one that every kernel reads as it is, and no more does the
concatenation of such slices."""

import numpy as np
from numba import prange

from kernels import layout, streaming
from kernels.compiling import njit
from kernels.concat import cpu
from kernels.streaming import distance, fetch, finish, put

ANY_ORDER = True
PARTS = 64              # shares of the pixels


def forward(axis, *arrays):
    """See the room."""
    if axis != 1 or arrays[0].ndim != 4:
        return cpu.forward(axis, *[a.copy() if not a.flags.c_contiguous else a for a in arrays])
    whole = _neighbours(arrays)
    if whole is not None:
        return whole
    N, _, H, W = arrays[0].shape
    y = layout.empty((N, sum(a.shape[1] for a in arrays), H, W), arrays[0].dtype)
    matrix, start = layout.rows(y), 0
    for array in arrays:
        _copy(array, start, matrix)
        start += array.shape[1]
    return y


def _neighbours(arrays):
    """The array of which `arrays` are all channels, one part after the other, or None."""
    first, channels = arrays[0], sum(a.shape[1] for a in arrays)
    at = first.ctypes.data
    for array in arrays:
        if array.ctypes.data != at or array.strides != first.strides or layout.pitch(array) != channels:
            return None
        at += array.shape[1] * array.itemsize
    return np.lib.stride_tricks.as_strided(first, (len(first), channels, *first.shape[2:]), first.strides)


def copy_into(part, x):
    """See the room."""
    _copy(x, 0, layout.rows(part))


def backward(gy, sizes, axis):
    """See the room."""
    if axis != 1 or gy.ndim != 4:
        return cpu.backward(gy if gy.flags.c_contiguous else gy.copy(), sizes, axis)
    gy, start, pieces = layout.channels_last(gy), 0, []
    for size in sizes:
        pieces.append(gy[:, start:start + size])
        start += size
    return pieces


def _copy(x, start, target):
    """x's channels to those from `start` on of each row of `target`."""
    source, size = layout.rows(layout.channels_last(x)), target.itemsize
    _copy_columns(source, x.shape[1], start * size, streaming.pays(target), target)


@njit(cache=True, parallel=True)
def _copy_columns(source, count, start, far, target):
    Q, size, ahead = source.shape[0], source.itemsize, distance(source, count)
    pitch, target_pitch = source.shape[1] * size, target.shape[1] * size
    for part in prange(PARTS):
        for q in range(Q * part // PARTS, Q * (part + 1) // PARTS):
            at = source.ctypes.data + q * pitch
            fetch(at + ahead, count, source)
            put(target.ctypes.data + q * target_pitch + start, at, count, far, source)
        finish()
