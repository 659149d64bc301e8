"""Local response normalisation of channels-last images: a pixel's channels lie side by side, so that the sums over all their
windows are `size` additions of one row, each time shifted by a channel. Windows of five and the power 0.75, which every paper
uses, take one loop.

Every array is read and written once; what lies between is a few rows in the first cache. Divisions follow NumPy's error model:
Python's, which raises where it divides by zero, keeps LLVM from making vectors of the loop.
"""

import math

import numpy as np
from numba import prange

from kernels import layout, streaming
from kernels.compiling import njit
from kernels.streaming import between, distance, fetch, finish, near, put

ANY_ORDER = True        # arrays are put in channels-last order here
PARTS = 64              # shares of the pixels
FAST = {"reassoc", "contract"}
QUICK = FAST | {"arcp", "afn", "nsz"}           # roots and their reciprocals by estimates and a step of Newton's, 4 ulp
LEAST, MOST = 1e-30, 1e30                       # s for which these hold
UINT = np.uint64


def forward(x, size, alpha, beta, k):
    """See the room."""
    x = layout.channels_last(x)
    y, constants = layout.empty(x.shape, x.dtype), (x.dtype.type(value) for value in (alpha / size, beta, k))
    _forward(layout.rows(x), size, *constants, streaming.pays(y), layout.rows(y))
    return y


def backward(gy, x, size, alpha, beta, k):
    """See the room."""
    gy, x = layout.channels_last(gy), layout.channels_last(x)
    gx, constants = layout.empty(x.shape, x.dtype), (x.dtype.type(value) for value in (alpha / size, beta, k))
    _backward(layout.rows(gy), layout.rows(x), size, *constants, layout.rows(gx))
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


@njit(inline="always")
def _squares(row, own):
    """own[c] = row[c]²"""
    for c in range(own.size):
        own[c] = row[c] * row[c]


@njit(cache=True, fastmath=FAST)
def _scales(squares, size, share, k, sums):
    """sums[c] = s[c] from the squares of a pixel's channels, with zeros on either side: windows are cut there."""
    _window_sums(squares, size, sums)
    for c in range(sums.size):
        sums[c] = k + share * sums[c]


@njit(inline="always")
def _five(values, c):
    """values[c] + … + values[c + 4]"""
    return values[c] + values[c + UINT(1)] + values[c + UINT(2)] + values[c + UINT(3)] + values[c + UINT(4)]


@njit(cache=True, fastmath=QUICK, error_model="numpy")
def _forward_five(squares, row, share, k, y):
    """y = x · s^-0.75 for windows of five; whether all s were such that it holds."""
    one, zero, least, most = row.dtype.type(1), row.dtype.type(0), row.dtype.type(LEAST), row.dtype.type(MOST)
    outside = zero
    for c in between(0, y.size):
        s = k + share * _five(squares, c)
        root = one / math.sqrt(s)
        y[c] = row[c] * (root * math.sqrt(root))
        outside += zero if least < s < most else one
    return outside == zero


@njit(cache=True, fastmath=QUICK, error_model="numpy")
def _backward_five(squares, g, row, share, k, powers, shares):
    """powers = gy · s^-0.75, shares = gy · x · s^-1.75 for windows of five; whether all s were such that they hold."""
    one, zero, least, most = row.dtype.type(1), row.dtype.type(0), row.dtype.type(LEAST), row.dtype.type(MOST)
    outside = zero
    for c in between(0, powers.size):
        s = k + share * _five(squares, c)
        root = one / math.sqrt(s)
        power = g[c] * (root * math.sqrt(root))
        powers[c] = power
        shares[c] = row[c] * power * (root * root)
        outside += zero if least < s < most else one
    return outside == zero


@njit(cache=True, parallel=True, fastmath=FAST)
def _forward(x, size, share, beta, k, far, y):
    Q, C = y.shape
    ahead, common = distance(x, C), size == 5 and beta == 0.75
    for part in prange(PARTS):
        squares, sums, powers = np.zeros(C + size, x.dtype), near(C, x), near(C, x)
        own = squares[size // 2:size // 2 + C]
        for q in range(Q * part // PARTS, Q * (part + 1) // PARTS):
            row = x[q]
            fetch(row.ctypes.data + ahead, C, x)
            _squares(row, own)
            if not (common and _forward_five(squares, row, share, k, powers)):
                _scales(squares, size, share, k, sums)
                _powers(sums, beta, powers)
                for c in range(C):
                    powers[c] *= row[c]
            put(y[q].ctypes.data, powers.ctypes.data, C, far, x)
        finish()


@njit(cache=True, parallel=True, fastmath=FAST, error_model="numpy")
def _backward(gy, x, size, share, beta, k, gx):
    Q, C = gx.shape
    ahead, ahead_gy, factor, common = distance(x, C), distance(gy, C), 2 * share * beta, size == 5 and beta == 0.75
    for part in prange(PARTS):
        shares, squares = np.zeros(C + size, x.dtype), np.zeros(C + size, x.dtype)
        scale, sums, powers = near(C, x), near(C, x), near(C, x)
        own, own_squares = shares[(size - 1) // 2:(size - 1) // 2 + C], squares[size // 2:size // 2 + C]
        for q in range(Q * part // PARTS, Q * (part + 1) // PARTS):
            g, row = gy[q], x[q]
            fetch(g.ctypes.data + ahead_gy, C, x)
            fetch(row.ctypes.data + ahead, C, x)
            _squares(row, own_squares)
            if common and _backward_five(squares, g, row, share, k, powers, own):
                for c in between(0, C):
                    sums[c] = powers[c] - factor * row[c] * _five(shares, c)
            else:
                _scales(squares, size, share, k, scale)
                _powers(scale, beta, powers)
                for c in range(C):
                    powers[c] *= g[c]
                for c in range(C):
                    own[c] = row[c] * powers[c] / scale[c]
                _window_sums(shares, size, sums)
                for c in range(C):
                    sums[c] = powers[c] - factor * row[c] * sums[c]
            put(gx[q].ctypes.data, sums.ctypes.data, C, False, x)
