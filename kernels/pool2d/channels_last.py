"""Pooling of channels-last images: a window's pixels are rows, and each step works on all channels of one of them.

Where the rung below tests and picks value by value, here the innermost loop runs over channels, which LLVM makes vectors of, or
which are vectors (kernels.pool2d.windows).
Backward gathers: each image pixel asks the windows that cover it, so that threads own rows of the image and nothing is
zeroed first.
"""

import functools

import numpy as np
from numba import prange

from kernels import layout, streaming
from kernels.compiling import njit
from kernels.pool2d.windows import VECTOR, gathered, largest
from kernels.streaming import distance, fetch, finish, put

ANY_ORDER = True        # arrays are put in channels-last order here


def max_forward(x, window):
    """See the room."""
    x = layout.channels_last(x)
    shape = (*x.shape[:2], *window.output_size(*x.shape[2:]))
    y, places = layout.empty(shape, x.dtype), layout.empty(shape, window.tap_dtype)
    _max_forward(layout.rows(x), x.shape[2:], window, _past(y), layout.images(y), layout.images(places))
    return y, places


def max_backward(gy, places, window, height, width):
    """See the room."""
    gy, places = layout.same_order(gy, layout.channels_last(places))
    gx = layout.empty((*gy.shape[:2], height, width), gy.dtype)
    rows = _seeing(height, window.stride_h, window.top, window.dilation_h, window.kernel_h, gy.shape[2])
    columns = _seeing(width, window.stride_w, window.left, window.dilation_w, window.kernel_w, gy.shape[3])
    _max_backward(layout.images(gy), layout.images(places), rows, columns, window.kernel_w, _past(gx), layout.images(gx))
    return gx


def avg_forward(x, window, count_include_pad=True):
    """See the room."""
    x = layout.channels_last(x)
    y = layout.empty((*x.shape[:2], *window.output_size(*x.shape[2:])), x.dtype)
    counts = _counts(window, x.shape[2:], y.shape[2:], count_include_pad)
    starts = _starts(window, y.shape[2:])
    _average(layout.rows(x), x.shape[2:], *starts, counts.astype(x.dtype), layout.images(y))
    return y


def avg_backward(gy, window, height, width, count_include_pad=True):
    """See the room."""
    gy = layout.channels_last(gy)
    counts = _counts(window, (height, width), gy.shape[2:], count_include_pad).astype(gy.dtype)
    gx = layout.empty((*gy.shape[:2], height, width), gy.dtype)
    _spread(layout.rows(gy), *_starts(window, gy.shape[2:]), counts, layout.images(gx))
    return gx


def adaptive_avg_forward(x, out_h, out_w):
    """See the room."""
    x = layout.channels_last(x)
    y = layout.empty((*x.shape[:2], out_h, out_w), x.dtype)
    rows, columns = _cells(x.shape[2], out_h), _cells(x.shape[3], out_w)
    _average(layout.rows(x), x.shape[2:], rows, columns, _sizes(rows, columns).astype(x.dtype), layout.images(y))
    return y


def adaptive_avg_backward(gy, height, width):
    """See the room."""
    gy = layout.channels_last(gy)
    gx = layout.empty((*gy.shape[:2], height, width), gy.dtype)
    rows, columns = _cells(height, gy.shape[2]), _cells(width, gy.shape[3])
    _spread(layout.rows(gy), rows, columns, _sizes(rows, columns).astype(gy.dtype), layout.images(gx))
    return gx


def global_avg_forward(x):
    """See the room."""
    return adaptive_avg_forward(x, 1, 1).reshape(x.shape[:2])


def global_avg_backward(gy, height, width):
    """See the room."""
    gx = layout.empty((*gy.shape, height, width), gy.dtype)
    shares = gy / gy.dtype.type(height * width)
    _repeat(np.ascontiguousarray(shares), layout.images(gx).reshape(len(gy), height * width, gy.shape[1]))
    return gx


def _past(y):
    """1 where vectors may be stored past the caches."""
    return int(streaming.fits(layout.rows(y), VECTOR))


def _starts(window, out):
    """(first, one past the last) pixel of each window along both sides, padding included."""
    sides = ((out[0], window.stride_h, window.top, window.kernel_h), (out[1], window.stride_w, window.left, window.kernel_w))
    first = [np.arange(count) * stride - pad for count, stride, pad, _ in sides]
    return [np.stack([start, start + side[3]], 1) for start, side in zip(first, sides)]


def _cells(size, out):
    """As _starts for adaptive pooling: row floor(i·size/out) to ceil((i+1)·size/out) - 1"""
    i = np.arange(out)
    return np.stack([i * size // out, -(-(i + 1) * size // out)], 1)


def _sizes(rows, columns):
    return (rows[:, 1] - rows[:, 0])[:, None] * (columns[:, 1] - columns[:, 0])


def _counts(window, size, out, include_pad):
    """(OH, OW): by how much each window's sum is divided."""
    rows, columns = _starts(window, out)
    low, high = (-window.top, -window.left), (size[0] + window.bottom, size[1] + window.right)
    if not include_pad:
        low, high = (0, 0), size
    return _sizes(*(side.clip(l, h) for side, l, h in zip((rows, columns), low, high)))


@njit(cache=True)
def _clip(position, stride, pad, dilation, kernel, size):
    """(first pixel, one past the last) along one side that a window position covers, in steps of dilation."""
    start = position * stride - pad
    stop = min(start + (kernel - 1) * dilation + 1, size)
    if start < 0:
        start += -(start // dilation) * dilation
    return start, stop


@njit(cache=True, parallel=True)
def _max_forward(x, size, window, past, y, places):
    """A window's pixels by their addresses and taps, see kernels.pool2d.windows."""
    (H, W), (N, OH, OW, C), pitch = size, y.shape, x.strides[0]
    down, across = window.dilation_h, window.dilation_w
    for row in prange(N * OH):
        n, i = row // OH, row % OH
        h0, h1 = _clip(i, window.stride_h, window.top, down, window.kernel_h, H)
        r0 = (h0 + window.top - i * window.stride_h) // down
        pixels = np.empty((window.kernel_h * window.kernel_w, 2), np.int64)
        for j in range(OW):
            w0, w1 = _clip(j, window.stride_w, window.left, across, window.kernel_w, W)
            s0 = (w0 + window.left - j * window.stride_w) // across
            count, first = 0, np.int64(x.ctypes.data) + (n * H * W + w0) * pitch
            for r in range((h1 - h0 + down - 1) // down):
                for s in range((w1 - w0 + across - 1) // across):
                    pixels[count, 0] = first + ((h0 + r * down) * W + s * across) * pitch
                    pixels[count, 1] = (r0 + r) * window.kernel_w + s0 + s
                    count += 1
            at, place = np.int64(y.ctypes.data), np.int64(places.ctypes.data)
            shift = (row * OW + j) * C
            largest(np.int64(pixels.ctypes.data), count, (at + shift * y.itemsize, place + shift * places.itemsize), C, past, x,
                    places)
        finish()


@functools.lru_cache(512)
def _seeing(size, stride, pad, dilation, kernel, positions):
    """(size, ·, 2): of the windows whose span covers a pixel of one side the position, and the pixel's tap, -1 if none.
    Not to be written to."""
    pixels, most = np.arange(size)[:, None], dilation * (kernel - 1) // stride + 1
    position = (pixels + pad) // stride - np.arange(most)[::-1]
    distance = pixels + pad - position * stride
    seen = (position >= 0) & (position < positions) & (distance % dilation == 0) & (distance < dilation * kernel)
    return np.stack([position, np.where(seen, distance // dilation, -1)], 2)


@njit(cache=True, parallel=True)
def _max_backward(gy, places, rows, columns, wide, past, gx):
    """The windows that see a pixel by the addresses of their gradients and places, and the tap that it is of each."""
    (N, OH, OW, C), (H, W), size = gy.shape, gx.shape[1:3], gx.itemsize
    for row in prange(N * H):
        n, h = row // H, row % H
        windows = np.empty((rows.shape[1] * columns.shape[1], 3), np.int64)
        for w in range(W):
            count = 0
            for k in range(rows.shape[1]):
                first, r = (n * OH + rows[h, k, 0]) * OW, rows[h, k, 1]
                for m in range(columns.shape[1] if r >= 0 else 0):
                    at, s = (first + columns[w, m, 0]) * C, columns[w, m, 1]
                    if s >= 0:
                        windows[count, 0] = np.int64(gy.ctypes.data) + at * size
                        windows[count, 1] = np.int64(places.ctypes.data) + at * places.itemsize
                        windows[count, 2] = r * wide + s
                        count += 1
            gathered(np.int64(windows.ctypes.data), count, np.int64(gx.ctypes.data) + (row * W + w) * C * size, C, past, gx,
                     places)
        finish()


@njit(cache=True, parallel=True)
def _repeat(rows, gx):
    """gx[n, q] = rows[n] for every pixel q"""
    (N, P, C), size = gx.shape, gx.itemsize
    for task in prange(N * P):
        put(gx.ctypes.data + task * C * size, rows.ctypes.data + task // P * C * size, C, False, gx)


@njit(cache=True, parallel=True)
def _average(x, size, rows, columns, counts, y):
    (H, W), (N, OH, OW, C), ahead = size, y.shape, distance(x, y.shape[3])
    for row in prange(N * OH):
        n, i = row // OH, row % OH
        for j in range(OW):
            total, count = y[n, i, j], counts[i, j]
            for c in range(C):
                total[c] = 0
            for h in range(max(0, rows[i, 0]), min(H, rows[i, 1])):
                for w in range(max(0, columns[j, 0]), min(W, columns[j, 1])):
                    values = x[(n * H + h) * W + w]
                    fetch(values.ctypes.data + ahead, C, x)
                    for c in range(C):
                        total[c] += values[c]
            for c in range(C):
                total[c] /= count


@njit(cache=True, parallel=True)
def _spread(gy, rows, columns, counts, gx):
    """Each image pixel gathers gy / count from the windows that cover it; both ends of windows grow with their number."""
    (N, H, W, C), (OH, OW) = gx.shape, counts.shape
    for row in prange(N * H):
        n, h = row // H, row % H
        i0 = np.searchsorted(rows[:, 1], h, "right")
        i1 = np.searchsorted(rows[:, 0], h, "right")
        for w in range(W):
            out = gx[n, h, w]
            for c in range(C):
                out[c] = 0
            for i in range(i0, i1):
                for j in range(np.searchsorted(columns[:, 1], w, "right"), np.searchsorted(columns[:, 0], w, "right")):
                    g, count = gy[(n * OH + i) * OW + j], counts[i, j]
                    for c in range(C):
                        out[c] += g[c] / count
