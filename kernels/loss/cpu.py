"""Log-softmax and cross-entropy as compiled loops, one thread to a row."""

import math

import numpy as np
from numba import prange

from kernels.compiling import njit


def log_softmax_forward(x):
    """See the room."""
    logp = np.empty_like(x)
    _log_softmax(x, logp)
    return logp


def log_softmax_backward(gy, logp):
    """See the room."""
    gx = np.empty_like(gy)
    _log_softmax_backward(gy, logp, gx)
    return gx


def cross_entropy_forward(logp, labels, smoothing):
    """See the room."""
    rows = np.empty(len(logp), np.float64)
    _losses(logp, labels, smoothing, rows)
    return np.asarray(rows.sum() / len(rows), logp.dtype)


def cross_entropy_backward(gloss, logp, labels, smoothing):
    """See the room."""
    gx = np.empty_like(logp)
    _cross_entropy_backward(gloss, logp, labels, smoothing, gx)
    return gx


@njit(cache=True, parallel=True)
def _log_softmax(x, logp):
    N, K = x.shape
    for n in prange(N):
        top = x[n, 0]
        for k in range(1, K):
            top = max(top, x[n, k])
        total = 0.0
        for k in range(K):
            total += math.exp(np.float64(x[n, k]) - top)
        rest = x.dtype.type(math.log(total))
        for k in range(K):
            logp[n, k] = (x[n, k] - top) - rest


@njit(cache=True, parallel=True)
def _log_softmax_backward(gy, logp, gx):
    N, K = gy.shape
    for n in prange(N):
        total = 0.0
        for k in range(K):
            total += gy[n, k]
        for k in range(K):
            gx[n, k] = gy[n, k] - math.exp(logp[n, k]) * total


@njit(cache=True, parallel=True)
def _losses(logp, labels, smoothing, rows):
    N, K = logp.shape
    for n in prange(N):
        total = 0.0
        for k in range(K):
            total += logp[n, k]
        rows[n] = -(1 - smoothing) * logp[n, labels[n]] - smoothing / K * total


@njit(cache=True, parallel=True)
def _cross_entropy_backward(gloss, logp, labels, smoothing, gx):
    N, K = logp.shape
    for n in prange(N):
        for k in range(K):
            target = smoothing / K + ((1 - smoothing) if k == labels[n] else 0.0)
            gx[n, k] = gloss * (math.exp(logp[n, k]) - target) / N
