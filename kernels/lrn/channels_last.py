"""Local response normalisation of channels-last images: a pixel's channels lie side by side, so that the sums over all their
windows are `size` additions of one row, each time shifted by a channel.

Every array is read and written once; what lies between is a few rows in the first cache. Divisions follow NumPy's error model:
Python's, which raises where it divides by zero, keeps LLVM from making vectors of the loop.
"""

import math

import numpy as np
from numba import prange

from kernels import layout, streaming
from kernels.compiling import njit
from kernels.streaming import distance, fetch, finish, near, put

ANY_ORDER = True        # arrays are put in channels-last order here
PARTS = 64              # shares of the pixels
FAST = {"reassoc", "contract"}


def forward(x, size, alpha, beta, k):
    """See the room."""
    x = layout.channels_last(x)
    y, s = layout.empty(x.shape, x.dtype), layout.empty(x.shape, x.dtype)
    constants = (x.dtype.type(value) for value in (alpha / size, beta, k))
    _forward(layout.rows(x), size, *constants, streaming.pays(y), layout.rows(y), layout.rows(s))
    return y, s


def backward(gy, x, s, size, alpha, beta):
    """See the room."""
    gy, x, s = layout.channels_last(gy), layout.channels_last(x), layout.channels_last(s)
    gx, constants = layout.empty(x.shape, x.dtype), (x.dtype.type(value) for value in (2 * alpha * beta / size, beta))
    _backward(layout.rows(gy), layout.rows(x), layout.rows(s), size, *constants, layout.rows(gx))
    return gx


@njit(cache=True, fastmath=FAST, error_model="numpy")
def _powers(s, beta, powers):
    """powers[c] = s[c]^-beta; two square roots for 0.75, which every paper uses"""
    one = s.dtype.type(1)
    if beta == 0.75:
        for c in range(powers.size):
            root = math.sqrt(s[c])
            powers[c] = one / (root * math.sqrt(root))
    else:
        for c in range(powers.size):
            powers[c] = s[c] ** -beta


@njit(cache=True)
def _window_sums(values, size, sums):
    """sums[c] = values[c] + … + values[c + size - 1]"""
    for c in range(sums.size):
        sums[c] = values[c]
    for d in range(1, size):
        some = values[d:]
        for c in range(sums.size):
            sums[c] += some[c]


@njit(cache=True, parallel=True, fastmath=FAST)
def _forward(x, size, share, beta, k, far, y, s):
    Q, C = y.shape
    ahead = distance(x, C)
    for part in prange(PARTS):
        squares, sums, powers = np.zeros(C + size, x.dtype), near(C, x), near(C, x)
        own = squares[size // 2:]                   # zeros on either side: windows are cut there
        for q in range(Q * part // PARTS, Q * (part + 1) // PARTS):
            row = x[q]
            fetch(row.ctypes.data + ahead, C, x)
            for c in range(C):
                own[c] = row[c] * row[c]
            _window_sums(squares, size, sums)
            for c in range(C):
                sums[c] = k + share * sums[c]
            _powers(sums, beta, powers)
            for c in range(C):
                powers[c] *= row[c]
            put(s[q].ctypes.data, sums.ctypes.data, C, far, x)
            put(y[q].ctypes.data, powers.ctypes.data, C, far, x)
        finish()


@njit(cache=True, parallel=True, fastmath=FAST, error_model="numpy")
def _backward(gy, x, s, size, factor, beta, gx):
    Q, C = gx.shape
    ahead, ahead_gy, ahead_s = distance(x, C), distance(gy, C), distance(s, C)
    for part in prange(PARTS):
        shares, sums, powers = np.zeros(C + size, x.dtype), near(C, x), near(C, x)
        own = shares[(size - 1) // 2:]
        for q in range(Q * part // PARTS, Q * (part + 1) // PARTS):
            g, row, scale = gy[q], x[q], s[q]
            fetch(g.ctypes.data + ahead_gy, C, x)
            fetch(row.ctypes.data + ahead, C, x)
            fetch(scale.ctypes.data + ahead_s, C, x)
            _powers(scale, beta, powers)
            for c in range(C):
                powers[c] *= g[c]
            for c in range(C):
                own[c] = row[c] * powers[c] / scale[c]
            _window_sums(shares, size, sums)
            for c in range(C):
                sums[c] = powers[c] - factor * row[c] * sums[c]
            put(gx[q].ctypes.data, sums.ctypes.data, C, False, x)
