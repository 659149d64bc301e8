"""The rectifier as one parallel pass."""

import numpy as np
from numba import njit, prange


def relu_forward(x):
    """See the room."""
    y = np.empty_like(x)
    _relu(x.reshape(-1), y.reshape(-1))
    return y


def relu_backward(gy, y):
    """See the room."""
    gx = np.empty_like(gy)
    _relu_backward(gy.reshape(-1), y.reshape(-1), gx.reshape(-1))
    return gx


@njit(cache=True, parallel=True)
def _relu(x, y):
    for i in prange(x.size):
        y[i] = x.dtype.type(0) if x[i] < 0 else x[i]


@njit(cache=True, parallel=True)
def _relu_backward(gy, y, gx):
    for i in prange(y.size):
        gx[i] = gy.dtype.type(0) if y[i] <= 0 else gy[i]
