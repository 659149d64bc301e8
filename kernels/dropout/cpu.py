"""Dropout as one parallel pass: each element hashes its own number, nothing is stored."""

import numpy as np
from numba import prange

from kernels import layout
from kernels.compiling import njit

ANY_ORDER = True
GAMMA, MIX1, MIX2 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def forward(x, p, key):
    """See the room."""
    if layout.prefers_channels_last(x):
        x = layout.channels_last(x)
        y = layout.empty(x.shape, x.dtype)
        _dropout_rows(layout.rows(x), x.shape[1], x.shape[2] * x.shape[3], p, np.uint64(key), _scale(x, p), layout.rows(y))
        return y
    x = np.ascontiguousarray(x)
    y = np.empty_like(x)
    _dropout(x.reshape(-1, 1), p, np.uint64(key), _scale(x, p), y.reshape(-1, 1))
    return y


def path_forward(x, p, key):
    """See the room."""
    (x,) = layout.same_order(x)
    y = layout.empty_like(x)
    if x.size:
        images = layout.flat(x).reshape(len(x), -1), layout.flat(y).reshape(len(x), -1)
        _dropout(images[0], p, np.uint64(key), _scale(x, p), images[1])
    return y


def _scale(x, p):
    return x.dtype.type(1 / (1 - p) if p < 1 else 0)


@njit(cache=True)
def uniform(key, i):
    """Number i of SplitMix64 from the seed `key`, as a float in [0, 1) with 24 bits."""
    z = key + GAMMA * np.uint64(i + 1)
    z = (z ^ (z >> np.uint64(30))) * MIX1
    z = (z ^ (z >> np.uint64(27))) * MIX2
    z ^= z >> np.uint64(31)
    return np.float64(z >> np.uint64(40)) * 2.0 ** -24


@njit(cache=True, parallel=True)
def _dropout(x, p, key, scale, y):
    """Row i of x is kept or dropped whole."""
    for i in prange(x.shape[0]):
        factor = scale if uniform(key, i) >= p else x.dtype.type(0)
        for j in range(x.shape[1]):
            y[i, j] = x[i, j] * factor


@njit(cache=True, parallel=True)
def _dropout_rows(x, C, P, p, key, scale, y):
    """Each value of the pixels' first C channels by itself; its number is that of C order, P pixels to an image."""
    for q in prange(x.shape[0]):
        first = q // P * C * P + q % P
        for c in range(C):
            y[q, c] = x[q, c] * (scale if uniform(key, first + c * P) >= p else x.dtype.type(0))
