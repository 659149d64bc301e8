"""The fully connected layer as compiled loops: one thread owns some rows of the result.

Every inner loop runs along memory: a dot product of two rows (forward), or a row added to a row with a factor (both
gradients). `reassoc` lets LLVM cut a dot product into vector lanes; the cut is fixed, so that results repeat.
"""

import numpy as np
from numba import prange

from kernels.compiling import njit

FAST = {"reassoc", "contract"}      # not nnan, not ninf: NaN and infinity stay what they are


def forward(x, weight, bias):
    """y[n, k] = bias[k] + the dot product of row n of x and row k of weight"""
    y = np.empty((x.shape[0], weight.shape[0]), x.dtype)
    _rows_dot_rows(x, weight, y)
    return y if bias is None else y + bias


def backward(gy, x, weight, needs=(True, True, True)):
    """Rows of weight and of x added up with the factors in gy; gbias is the sum of gy over the batch."""
    gx, gw = np.zeros_like(x), np.zeros_like(weight)
    if needs[0]:
        _add_rows(gy, weight, gx)                       # (N, K) @ (K, C) -> (N, C)
    if needs[1]:
        _add_rows(np.ascontiguousarray(gy.T), x, gw)    # (K, N) @ (N, C) -> (K, C)
    return gx if needs[0] else None, gw if needs[1] else None, gy.sum(0) if needs[2] else None


@njit(cache=True, parallel=True, fastmath=FAST)
def _rows_dot_rows(a, b, out):
    """out[i, j] = sum over c of a[i, c] · b[j, c]"""
    for j in prange(b.shape[0]):
        for i in range(a.shape[0]):
            total = a.dtype.type(0)
            for c in range(a.shape[1]):
                total += a[i, c] * b[j, c]
            out[i, j] = total


@njit(cache=True, parallel=True, fastmath=FAST)
def _add_rows(a, b, out):
    """out[i, :] += sum over j of a[i, j] · b[j, :]"""
    for i in prange(a.shape[0]):
        for j in range(a.shape[1]):
            for c in range(b.shape[1]):
                out[i, c] += a[i, j] * b[j, c]
