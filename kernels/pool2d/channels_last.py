"""Pooling of channels-last images: a window's pixels are rows, and each step works on all channels of one of them.

Where the rung below tests and picks value by value, here the innermost loop runs over channels, which LLVM makes vectors of.
Backward gathers: each image pixel asks the windows that cover it, so that threads own rows of the image and nothing is
zeroed first.
"""

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
    y, argmax = layout.empty(shape, x.dtype), layout.empty(shape, np.int32)
    _max_forward(layout.rows(x), x.shape[2:], window, _past(y), layout.images(y), layout.images(argmax))
    return y, argmax


def max_backward(gy, argmax, window, height, width):
    """See the room."""
    gy, argmax = layout.same_order(gy, layout.channels_last(argmax))
    gx = layout.empty((*gy.shape[:2], height, width), gy.dtype)
    rows = _seen_by(height, window.stride_h, window.top, window.dilation_h * (window.kernel_h - 1), gy.shape[2])
    columns = _seen_by(width, window.stride_w, window.left, window.dilation_w * (window.kernel_w - 1), gy.shape[3])
    _max_backward(layout.images(gy), layout.images(argmax), rows, columns, _past(gx), layout.images(gx))
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
def _max_forward(x, size, window, past, y, argmax):
    """A window's pixels by their addresses, see kernels.pool2d.windows."""
    (H, W), (N, OH, OW, C), pitch = size, y.shape, x.strides[0]
    for row in prange(N * OH):
        n, i = row // OH, row % OH
        h0, h1 = _clip(i, window.stride_h, window.top, window.dilation_h, window.kernel_h, H)
        pixels = np.empty((window.kernel_h * window.kernel_w, 2), np.int64)
        for j in range(OW):
            w0, w1 = _clip(j, window.stride_w, window.left, window.dilation_w, window.kernel_w, W)
            count, first = 0, np.int64(x.ctypes.data) + n * H * W * pitch
            for h in range(h0, h1, window.dilation_h):
                for w in range(w0, w1, window.dilation_w):
                    pixels[count, 0], pixels[count, 1] = first + (h * W + w) * pitch, h * W + w
                    count += 1
            at = (row * OW + j) * C
            largest(np.int64(pixels.ctypes.data), count, (np.int64(y.ctypes.data) + at * y.itemsize,
                                                np.int64(argmax.ctypes.data) + at * argmax.itemsize), C, past, x)
        finish()


def _seen_by(size, stride, pad, reach, positions):
    """(size, 2): first, one past the last window position whose span of `reach` + 1 pixels covers a pixel of one side"""
    pixels = np.arange(size)
    first, end = -((reach - pixels - pad) // stride), (pixels + pad) // stride + 1
    return np.stack([first.clip(0), end.clip(max=positions)], 1)


@njit(cache=True, parallel=True)
def _max_backward(gy, argmax, rows, columns, past, gx):
    (N, OH, OW, C), (H, W), size = gy.shape, gx.shape[1:3], gx.itemsize
    most = (rows[:, 1] - rows[:, 0]).max() * (columns[:, 1] - columns[:, 0]).max()
    for row in prange(N * H):
        n, h = row // H, row % H
        windows = np.empty((most, 2), np.int64)
        for w in range(W):
            count = 0
            for i in range(rows[h, 0], rows[h, 1]):
                first = (n * OH + i) * OW
                for j in range(columns[w, 0], columns[w, 1]):
                    windows[count, 0] = np.int64(gy.ctypes.data) + (first + j) * C * size
                    windows[count, 1] = np.int64(argmax.ctypes.data) + (first + j) * C * argmax.itemsize
                    count += 1
            gathered(np.int64(windows.ctypes.data), count, h * W + w,
                     np.int64(gx.ctypes.data) + (row * W + w) * C * size, C, past, gx)
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
