"""Local response normalisation as compiled loops over runs of pixels.

A run of pixels through all channels stays in the first cache, so that each value is read from memory once although
`size` windows use it; the innermost loop runs along memory. beta 0.75, which every paper uses, needs two square roots
in the place of a power.
"""

import math

import numpy as np
from numba import prange

from kernels.compiling import njit

RUN = 128       # pixels: 128 float32 of 5 channels are 2.5 KB
FAST = {"reassoc", "contract"}


def forward(x, size, alpha, beta, k):
    """See the room."""
    y = np.empty_like(x)
    _forward(_flat(x), size, alpha, beta, k, _flat(y))
    return y


def backward(gy, x, size, alpha, beta, k):
    """See the room."""
    gx = np.empty_like(x)
    _backward(_flat(gy), _flat(x), size, alpha, beta, k, _flat(gx))
    return gx


def _flat(x):
    return x.reshape(*x.shape[:2], x.shape[2] * x.shape[3])


@njit(cache=True)
def _power(s, beta):
    """s^-beta"""
    if beta == 0.75:
        root = math.sqrt(s)
        return 1 / (root * math.sqrt(root))
    return s ** -beta


@njit(cache=True, fastmath=FAST)
def _scales(x, n, c, size, alpha, k, p0, p1, scale):
    """scale[p - p0] = s[n, c, p] = k + alpha/size · Σ x² over the window of channel c"""
    scale[:] = 0
    for other in range(max(0, c - size // 2), min(x.shape[1], c + (size - 1) // 2 + 1)):
        for p in range(p0, p1):
            scale[p - p0] += x[n, other, p] * x[n, other, p]
    for p in range(p1 - p0):
        scale[p] = k + alpha / size * scale[p]


@njit(cache=True, parallel=True, fastmath=FAST)
def _forward(x, size, alpha, beta, k, y):
    N, C, P = x.shape
    runs = (P + RUN - 1) // RUN
    for task in prange(N * runs):
        n, p0 = task // runs, task % runs * RUN
        p1 = min(P, p0 + RUN)
        scale = np.empty(RUN, x.dtype)
        for c in range(C):
            _scales(x, n, c, size, alpha, k, p0, p1, scale)
            for p in range(p0, p1):
                y[n, c, p] = x[n, c, p] * _power(scale[p - p0], beta)


@njit(cache=True, parallel=True, fastmath=FAST)
def _backward(gy, x, size, alpha, beta, k, gx):
    N, C, P = x.shape
    runs = (P + RUN - 1) // RUN
    for task in prange(N * runs):
        n, p0 = task // runs, task % runs * RUN
        p1 = min(P, p0 + RUN)
        share = np.empty((C, RUN), x.dtype)
        scale, total = np.empty(RUN, x.dtype), np.empty(RUN, x.dtype)
        for c in range(C):
            _scales(x, n, c, size, alpha, k, p0, p1, scale)
            for p in range(p0, p1):
                power = _power(scale[p - p0], beta)
                gx[n, c, p] = gy[n, c, p] * power
                share[c, p - p0] = gy[n, c, p] * x[n, c, p] * power / scale[p - p0]
        for c in range(C):
            total[:] = 0
            for other in range(max(0, c - (size - 1) // 2), min(C, c + size // 2 + 1)):
                for p in range(p1 - p0):
                    total[p] += share[other, p]
            for p in range(p0, p1):
                gx[n, c, p] -= x.dtype.type(2 * alpha * beta / size) * x[n, c, p] * total[p - p0]
