"""Batch normalisation of channels-last images: every row of the matrix (pixels, C) is a vector operation over all channels.

The rung below reads a channel's plane in one thread; here each thread reads whole rows, all channels side by side, so that
the inner loop runs along memory whatever the image's size, and few channels are made a longer row of several pixels. The
shortcut's addition and the ReLU are done in the same pass: each activation is read and written once. Where a ReLU was closed
is computed again from x in the backward pass, by the very operations of the forward pass, so that y need not be read.
Sums are taken of x minus the channel's first value, in runs of 64 rows, and the runs in float64.
"""

import numpy as np
from numba import prange

from kernels import layout, streaming
from kernels.batch_norm.cpu import move_running
from kernels.compiling import njit
from kernels.streaming import PIECE, between, claim, distance, fetch, finish, near, put

__all__ = ["add_relu_backward", "backward", "move_running", "normalize", "statistics"]
ANY_ORDER = True        # arrays are put in channels-last order here
PARTS = 16              # shares of the pixels: the sums of each are added up in order
RUN = 64                # rows summed in the array's own dtype


def statistics(x):
    """See the room."""
    C, count = x.shape[1], x.size // x.shape[1]
    (x,), times = layout.long_rows(x)
    shift, parts = _first_pixel(x, C, times), np.zeros((PARTS, 2, C * times))
    _sums(x, shift, parts)
    return _moments(parts, shift, C, count)


def normalize(x, mean, var, weight, bias, eps, add=None, relu=False):
    """See the room."""
    y = layout.empty(x.shape, x.dtype)
    if add is None:
        (a, b), times = layout.long_rows(x, y)
        _normalize(a, _terms(mean, var, weight, bias, eps, times), relu, streaming.pays(y), b)
    else:
        (a, s, b), times = layout.long_rows(x, add, y)
        _normalize_add(a, s, _terms(mean, var, weight, bias, eps, times), relu, streaming.pays(y), b)
    return y


def backward(gy, x, mean, var, weight, eps, batch_statistics, relu_bias=None, reuse=False, onto=None):
    """See the room, and the reference for the formula. Written over gy, gx costs no lines of its own."""
    gy = layout.channels_last(gy)
    gx = onto if onto is not None else gy if reuse else layout.empty(x.shape, x.dtype)
    relu, bias = relu_bias is not None, mean if relu_bias is None else relu_bias
    (g, a, out), times = layout.long_rows(gy, x, gx)
    terms, parts = _terms(mean, var, weight, bias, eps, times), np.zeros((PARTS, 2, mean.size * times))
    _gradient_sums(g, a, terms, relu, parts)
    gweight, gbias, slopes = _channel_gradients(parts, mean, var, eps, _count(x, batch_statistics))
    _input_gradient(g, a, terms, relu, slopes, (onto is not None, gx is not gy and onto is None), out)
    return gx, gweight, gbias


def add_relu_backward(gy, y, x, mean, var, weight, eps, batch_statistics, reuse=False):
    """See the room."""
    gy = layout.channels_last(gy)
    gx, gadd = layout.empty(x.shape, x.dtype), gy if reuse else layout.empty(x.shape, x.dtype)
    (g, b, a, masked, out), times = layout.long_rows(gy, y, x, gadd, gx)
    terms, parts = _terms(mean, var, weight, mean, eps, times), np.zeros((PARTS, 2, mean.size * times))
    _masked_sums(g, b, a, terms[0], masked, parts)
    gweight, gbias, slopes = _channel_gradients(parts, mean, var, eps, _count(x, batch_statistics))
    _input_gradient(masked, a, terms, False, slopes, (False, True), out)
    return gx, gweight, gbias, gadd


def _count(x, batch_statistics):
    """Values that each mean and variance is of; 0 where they are constants."""
    return x.size // max(1, x.shape[1]) if batch_statistics else 0


@njit(cache=True)
def _first_pixel(x, C, times):
    """The channels of the first pixel, for each pixel of a long row."""
    shift = np.empty(C * times, x.dtype)
    for k in range(shift.size):
        shift[k] = x[0, k % C]
    return shift


@njit(cache=True)
def _fold(parts, C):
    """The sums (PARTS, 2, C·times) of all parts, then of the pixels of a long row, added up in order, in place -> (2, ·), of
    which the first C count."""
    sums = parts[0]
    for p in range(1, PARTS):
        for i in range(2):
            for k in range(parts.shape[2]):
                sums[i, k] += parts[p, i, k]
    for first in range(C, parts.shape[2], C):
        for i in range(2):
            for c in range(C):
                sums[i, c] += sums[i, first + c]
    return sums


@njit(cache=True, error_model="numpy")
def _moments(parts, shift, C, count):
    """(mean, biased variance) of each channel from the sums of x - shift and of its square; NaN stays NaN."""
    mean, var, sums = np.empty(C, shift.dtype), np.empty(C, shift.dtype), _fold(parts, C)
    for c in range(C):
        average = sums[0, c] / count
        spread = sums[1, c] / count - average * average
        mean[c] = shift[c] + average
        var[c] = 0 if spread < 0 else spread
    return mean, var


@njit(cache=True, error_model="numpy")
def _terms(mean, var, weight, bias, eps, times):
    """(3, C·times): mean, weight / √(var + eps) and bias of each channel, for each pixel of a long row."""
    C = mean.size
    terms = np.empty((3, C * times), mean.dtype)
    for k in range(C * times):
        c = k % C
        terms[0, k], terms[1, k], terms[2, k] = mean[c], weight[c] / np.sqrt(var[c] + eps), bias[c]
    return terms


@njit(cache=True, error_model="numpy")
def _channel_gradients(parts, mean, var, eps, count):
    """(gweight, gbias, slopes) from the sums of gy and of gy·(x - mean) over `count` values, 0 where mean and variance are
    constants; slopes (2, C·times): the means of gy and of gy·xhat/√(var + eps), for each pixel of a long row."""
    C, wide, sums = mean.size, parts.shape[2], _fold(parts, mean.size)
    gweight, gbias = np.empty(C, mean.dtype), np.empty(C, mean.dtype)
    slopes = np.empty((2, wide), mean.dtype)
    for c in range(C):
        total, product = sums[0, c], sums[1, c]
        invstd = 1 / np.sqrt(np.float64(var[c]) + eps)
        gbias[c], gweight[c] = total, product * invstd
        for k in range(c, wide, C):
            slopes[0, k] = total / count if count else 0.0
            slopes[1, k] = product * invstd * invstd / count if count else 0.0
    return gweight, gbias, slopes


@njit(cache=True)
def _add_up(run, total):
    """The sums of a run into the part's, in float64; the run begins anew."""
    for i in range(2):
        for c in range(run.shape[1]):
            total[i, c] += run[i, c]
            run[i, c] = 0


@njit(cache=True, parallel=True)
def _sums(x, shift, parts):
    """parts[p] += (Σ d, Σ d²), d = x - shift, over the rows of part p"""
    Q, C, ahead = x.shape[0], shift.size, distance(x, shift.size)
    for p in prange(PARTS):
        run = np.zeros((2, C), x.dtype)
        start, stop = Q * p // PARTS, Q * (p + 1) // PARTS
        for q0 in range(start, stop, RUN):
            total, square = run[0], run[1]
            for q in range(q0, min(stop, q0 + RUN)):
                a = x[q]
                for c0 in range(0, C, PIECE):
                    few = min(PIECE, C - c0)
                    fetch(a.ctypes.data + c0 * x.itemsize + ahead, few, x)
                    for c in between(c0, c0 + few):
                        d = a[c] - shift[c]
                        total[c] += d
                        square[c] += d * d
            _add_up(run, parts[p])


@njit(cache=True, parallel=True)
def _normalize(x, terms, relu, far, y):
    """y = (x - mean) · scale + bias of rows (Q, C), terms (3, C); with relu what is below 0 becomes 0; far: past the caches"""
    Q, C, zero, ahead = x.shape[0], terms.shape[1], x.dtype.type(0), distance(x, terms.shape[1])
    mean, scale, bias = terms[0], terms[1], terms[2]
    closed = zero if relu else x.dtype.type(np.nan)         # no value is below a NaN
    for p in prange(PARTS):
        b = near(C, y)
        for q in range(Q * p // PARTS, Q * (p + 1) // PARTS):
            a, out = x[q], y[q]
            for c0 in range(0, C, PIECE):
                few, at = min(PIECE, C - c0), c0 * y.itemsize
                fetch(a.ctypes.data + at + ahead, few, x)
                for c in between(c0, c0 + few):
                    value = (a[c] - mean[c]) * scale[c] + bias[c]
                    b[c] = zero if value < closed else value
                put(out.ctypes.data + at, b.ctypes.data + at, few, far, y)
        finish()


@njit(cache=True, parallel=True)
def _normalize_add(x, add, terms, relu, far, y):
    """As _normalize, with the rows of `add` added before the ReLU."""
    Q, C, zero, mean, scale, bias = x.shape[0], terms.shape[1], x.dtype.type(0), terms[0], terms[1], terms[2]
    ahead, ahead_add = distance(x, C), distance(add, C)
    closed = zero if relu else x.dtype.type(np.nan)
    for p in prange(PARTS):
        b = near(C, y)
        for q in range(Q * p // PARTS, Q * (p + 1) // PARTS):
            a, s, out = x[q], add[q], y[q]
            for c0 in range(0, C, PIECE):
                few, at = min(PIECE, C - c0), c0 * y.itemsize
                fetch(a.ctypes.data + at + ahead, few, x)
                fetch(s.ctypes.data + at + ahead_add, few, x)
                for c in between(c0, c0 + few):
                    value = (a[c] - mean[c]) * scale[c] + bias[c] + s[c]
                    b[c] = zero if value < closed else value
                put(out.ctypes.data + at, b.ctypes.data + at, few, far, y)
        finish()


@njit(cache=True, parallel=True)
def _gradient_sums(gy, x, terms, relu, parts):
    """parts[p] += (Σ g, Σ g·(x - mean)), g = gy where the ReLU was open"""
    Q, C, zero, mean, scale, bias = x.shape[0], terms.shape[1], x.dtype.type(0), terms[0], terms[1], terms[2]
    ahead, ahead_gy = distance(x, C), distance(gy, C)
    closed = zero if relu else x.dtype.type(np.nan)
    for p in prange(PARTS):
        run = np.zeros((2, C), x.dtype)
        start, stop = Q * p // PARTS, Q * (p + 1) // PARTS
        for q0 in range(start, stop, RUN):
            total, product = run[0], run[1]
            for q in range(q0, min(stop, q0 + RUN)):
                a, g = x[q], gy[q]
                for c0 in range(0, C, PIECE):
                    few, at = min(PIECE, C - c0), c0 * x.itemsize
                    fetch(a.ctypes.data + at + ahead, few, x)
                    fetch(g.ctypes.data + at + ahead_gy, few, x)
                    for c in between(c0, c0 + few):
                        d = a[c] - mean[c]
                        open_ = zero if d * scale[c] + bias[c] <= closed else g[c]
                        total[c] += open_
                        product[c] += open_ * d
            _add_up(run, parts[p])


@njit(cache=True, parallel=True)
def _masked_sums(gy, y, x, mean, masked, parts):
    """As _gradient_sums, with the ReLU's output given; masked = g, which may lie where gy does"""
    Q, C, zero = x.shape[0], mean.size, x.dtype.type(0)
    ahead, ahead_y, ahead_gy = distance(x, C), distance(y, C), distance(gy, C)
    for p in prange(PARTS):
        run, m = np.zeros((2, C), x.dtype), near(C, x)
        start, stop = Q * p // PARTS, Q * (p + 1) // PARTS
        for q0 in range(start, stop, RUN):
            total, product = run[0], run[1]
            for q in range(q0, min(stop, q0 + RUN)):
                a, b, g, out = x[q], y[q], gy[q], masked[q]
                for c0 in range(0, C, PIECE):
                    few, at = min(PIECE, C - c0), c0 * x.itemsize
                    fetch(a.ctypes.data + at + ahead, few, x)
                    fetch(b.ctypes.data + at + ahead_y, few, x)
                    fetch(g.ctypes.data + at + ahead_gy, few, x)
                    for c in between(c0, c0 + few):
                        m[c] = zero if b[c] <= 0 else g[c]
                    for c in between(c0, c0 + few):
                        total[c] += m[c]
                        product[c] += m[c] * (a[c] - mean[c])
                    put(out.ctypes.data + at, m.ctypes.data + at, few, False, x)
            _add_up(run, parts[p])


@njit(cache=True, parallel=True)
def _input_gradient(gy, x, terms, relu, slopes, onto, gx):
    """gx (+)= scale · (g - average - (x - mean) · slope); onto = (whether to add, whether gx is neither read nor gy). Rows are
    computed nearby, because LLVM makes vectors only of loops whose arrays lie apart."""
    Q, C, zero, mean, scale, bias = x.shape[0], terms.shape[1], x.dtype.type(0), terms[0], terms[1], terms[2]
    average, slope, ahead, ahead_gy, ahead_gx = slopes[0], slopes[1], distance(x, C), distance(gy, C), distance(gx, C)
    closed, (adds, new) = zero if relu else x.dtype.type(np.nan), onto
    for p in prange(PARTS):
        out = near(C, x)
        for q in range(Q * p // PARTS, Q * (p + 1) // PARTS):
            a, g, there = x[q], gy[q], gx[q]
            for c0 in range(0, C, PIECE):
                few, at = min(PIECE, C - c0), c0 * x.itemsize
                fetch(a.ctypes.data + at + ahead, few, x)
                fetch(g.ctypes.data + at + ahead_gy, few, x)
                if new:
                    claim(there.ctypes.data + at + ahead_gx, few, x)
                for c in between(c0, c0 + few):
                    d = a[c] - mean[c]
                    open_ = zero if d * scale[c] + bias[c] <= closed else g[c]
                    out[c] = scale[c] * (open_ - average[c] - d * slope[c])
                if adds:
                    fetch(there.ctypes.data + at + ahead_gx, few, x)
                    for c in between(c0, c0 + few):
                        out[c] += there[c]
                put(there.ctypes.data + at, out.ctypes.data + at, few, False, x)
