"""Pooling as compiled loops: one thread owns whole planes (n, c), so that overlapping windows may add up in place.

The window's rows and columns are clipped to the image once per position; the inner loops then test nothing.
"""

import numpy as np
from numba import prange

from kernels.compiling import njit


def max_forward(x, window):
    """See the room."""
    shape = (*x.shape[:2], *window.output_size(*x.shape[2:]))
    y, places = np.empty(shape, x.dtype), np.empty(shape, window.tap_dtype)
    _max_forward(x, window, y, places)
    return y, places


def max_backward(gy, places, window, height, width):
    """See the room."""
    gx = np.empty((*gy.shape[:2], height, width), gy.dtype)
    _max_backward(gy, places, window, gx)
    return gx


def avg_forward(x, window, count_include_pad=True):
    """See the room."""
    y = np.empty((*x.shape[:2], *window.output_size(*x.shape[2:])), x.dtype)
    _avg_forward(x, window, count_include_pad, y)
    return y


def avg_backward(gy, window, height, width, count_include_pad=True):
    """See the room."""
    gx = np.empty((*gy.shape[:2], height, width), gy.dtype)
    _avg_backward(gy, window, count_include_pad, gx)
    return gx


def adaptive_avg_forward(x, out_h, out_w):
    """See the room."""
    y = np.empty((*x.shape[:2], out_h, out_w), x.dtype)
    _adaptive_avg_forward(x, y)
    return y


def adaptive_avg_backward(gy, height, width):
    """See the room."""
    gx = np.empty((*gy.shape[:2], height, width), gy.dtype)
    _adaptive_avg_backward(gy, gx)
    return gx


def global_avg_forward(x):
    """See the room."""
    y = np.empty((*x.shape[:2], 1, 1), x.dtype)
    _adaptive_avg_forward(x, y)
    return y.reshape(x.shape[:2])


def global_avg_backward(gy, height, width):
    """See the room."""
    gx = np.empty((*gy.shape, height, width), gy.dtype)
    _adaptive_avg_backward(gy.reshape(*gy.shape, 1, 1), gx)
    return gx


@njit(cache=True, parallel=True)
def outside(places, count):
    """How many of these places are not in 0, …, count - 1."""
    found = 0
    for i in prange(places.size):
        found += 0 if 0 <= places[i] < count else 1
    return found


@njit(cache=True)
def _clip(position, stride, pad, dilation, kernel, size):
    """(first pixel, one past the last) along one side that a window position covers, in steps of dilation."""
    start = position * stride - pad
    stop = min(start + (kernel - 1) * dilation + 1, size)
    if start < 0:
        start += -(start // dilation) * dilation
    return start, stop


@njit(cache=True, parallel=True)
def _max_forward(x, window, y, places):
    N, C, H, W = x.shape
    OH, OW = y.shape[2:]
    for plane in prange(N * C):
        n, c = plane // C, plane % C
        for i in range(OH):
            h0, h1 = _clip(i, window.stride_h, window.top, window.dilation_h, window.kernel_h, H)
            for j in range(OW):
                w0, w1 = _clip(j, window.stride_w, window.left, window.dilation_w, window.kernel_w, W)
                best, row, column = x[n, c, h0, w0], h0, w0
                for h in range(h0, h1, window.dilation_h):
                    for w in range(w0, w1, window.dilation_w):
                        value = x[n, c, h, w]
                        if value > best or (value != value and best == best):   # the first NaN wins and stays
                            best, row, column = value, h, w
                y[n, c, i, j] = best
                r = (row + window.top - i * window.stride_h) // window.dilation_h
                s = (column + window.left - j * window.stride_w) // window.dilation_w
                places[n, c, i, j] = r * window.kernel_w + s


@njit(cache=True, parallel=True)
def _max_backward(gy, places, window, gx):
    (N, C, OH, OW), (H, W) = gy.shape, gx.shape[2:]
    for plane in prange(N * C):
        n, c = plane // C, plane % C
        gx[n, c] = 0
        for i in range(OH):
            for j in range(OW):
                tap = np.int64(places[n, c, i, j])
                r, s = tap // window.kernel_w, tap % window.kernel_w
                h = i * window.stride_h - window.top + r * window.dilation_h
                w = j * window.stride_w - window.left + s * window.dilation_w
                if 0 <= h < H and 0 <= w < W:           # padding has no gradient
                    gx[n, c, h, w] += gy[n, c, i, j]


@njit(cache=True)
def _count(i, j, window, H, W, pixels, include_pad):
    if not include_pad:
        return pixels
    top, left = i * window.stride_h - window.top, j * window.stride_w - window.left
    return ((min(top + window.kernel_h, H + window.bottom) - top)
            * (min(left + window.kernel_w, W + window.right) - left))


@njit(cache=True, parallel=True)
def _avg_forward(x, window, include_pad, y):
    N, C, H, W = x.shape
    OH, OW = y.shape[2:]
    for plane in prange(N * C):
        n, c = plane // C, plane % C
        for i in range(OH):
            h0, h1 = _clip(i, window.stride_h, window.top, 1, window.kernel_h, H)
            for j in range(OW):
                w0, w1 = _clip(j, window.stride_w, window.left, 1, window.kernel_w, W)
                total = x.dtype.type(0)
                for h in range(h0, h1):
                    for w in range(w0, w1):
                        total += x[n, c, h, w]
                y[n, c, i, j] = total / _count(i, j, window, H, W, (h1 - h0) * (w1 - w0), include_pad)


@njit(cache=True, parallel=True)
def _avg_backward(gy, window, include_pad, gx):
    N, C, OH, OW = gy.shape
    H, W = gx.shape[2:]
    for plane in prange(N * C):
        n, c = plane // C, plane % C
        gx[n, c] = 0
        for i in range(OH):
            h0, h1 = _clip(i, window.stride_h, window.top, 1, window.kernel_h, H)
            for j in range(OW):
                w0, w1 = _clip(j, window.stride_w, window.left, 1, window.kernel_w, W)
                share = gy[n, c, i, j] / _count(i, j, window, H, W, (h1 - h0) * (w1 - w0), include_pad)
                for h in range(h0, h1):
                    for w in range(w0, w1):
                        gx[n, c, h, w] += share


@njit(cache=True)
def _cell(i, out, size):
    return i * size // out, ((i + 1) * size + out - 1) // out


@njit(cache=True, parallel=True, fastmath={"reassoc"})
def _adaptive_avg_forward(x, y):
    N, C, H, W = x.shape
    OH, OW = y.shape[2:]
    for plane in prange(N * C):
        n, c = plane // C, plane % C
        for i in range(OH):
            h0, h1 = _cell(i, OH, H)
            for j in range(OW):
                w0, w1 = _cell(j, OW, W)
                total = x.dtype.type(0)
                for h in range(h0, h1):
                    for w in range(w0, w1):
                        total += x[n, c, h, w]
                y[n, c, i, j] = total / ((h1 - h0) * (w1 - w0))


@njit(cache=True, parallel=True)
def _adaptive_avg_backward(gy, gx):
    N, C, OH, OW = gy.shape
    H, W = gx.shape[2:]
    for plane in prange(N * C):
        n, c = plane // C, plane % C
        gx[n, c] = 0
        for i in range(OH):
            h0, h1 = _cell(i, OH, H)
            for j in range(OW):
                w0, w1 = _cell(j, OW, W)
                share = gy[n, c, i, j] / ((h1 - h0) * (w1 - w0))
                for h in range(h0, h1):
                    for w in range(w0, w1):
                        gx[n, c, h, w] += share
