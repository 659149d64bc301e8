"""Pooling on a GPU: one thread an output value forward, one thread an input pixel backward (max pooling: of ITEMS images, which
have the same windows).

On the CPU a thread owns a whole plane, so that overlapping windows may add to a pixel one after the other. Here every pixel has
its own thread, which gathers from the windows that cover it: nothing is added by two threads, nothing is set to 0 first, and
the order of each sum is fixed.
"""

import numpy as np

from kernels.device.array import DeviceArray
from kernels.device.launching import at, first_item, load_images, over, plane_and_pixel, split, store, store_images
from kernels.device.shim import (
    ITEMS,
    SIMULATED,
    THREADS,
    cuda,
    device_function,
    kernel,
    launch_flat,
    launch_items,
    launch_planes,
)

SMALL = 12 if SIMULATED else 256        # pixels of a plane that one thread adds up, from lines that stay in the cache


def max_forward(x, window):
    """See the room."""
    shape = (*x.shape[:2], *window.output_size(*x.shape[2:]))
    y, argmax = DeviceArray(shape, x.dtype), DeviceArray(shape, np.int32)
    N, C, H, W = x.shape
    launch_planes(_max_forward, C, shape[2] * shape[3], x, window, y, argmax, (N, C, H, W, *shape[2:]), images=N)
    return y, argmax


def max_backward(gy, argmax, window, height, width):
    """See the room."""
    gx = DeviceArray((*gy.shape[:2], height, width), gy.dtype)
    N, C, OH, OW = gy.shape
    launch_planes(_max_backward, C, height * width, gy, argmax, window, gx, (N, C, height, width, OH, OW), images=N)
    return gx


def avg_forward(x, window, count_include_pad=True):
    """See the room."""
    y = DeviceArray((*x.shape[:2], *window.output_size(*x.shape[2:])), x.dtype)
    launch_planes(_avg_forward, *_planes(y), x, window, count_include_pad, y, _sizes(x.shape, y.shape))
    return y


def avg_backward(gy, window, height, width, count_include_pad=True):
    """See the room."""
    gx = DeviceArray((*gy.shape[:2], height, width), gy.dtype)
    launch_planes(_avg_backward, *_planes(gx), gy, window, count_include_pad, gx, _sizes(gx.shape, gy.shape))
    return gx


def adaptive_avg_forward(x, out_h, out_w):
    """See the room."""
    if (out_h, out_w) == (1, 1):
        return global_avg_forward(x).reshape(*x.shape[:2], 1, 1)
    y = DeviceArray((*x.shape[:2], out_h, out_w), x.dtype)
    launch_planes(_adaptive_avg_forward, *_planes(y), x, y, _sizes(x.shape, y.shape))
    return y


def adaptive_avg_backward(gy, height, width):
    """See the room."""
    if gy.shape[2:] == (1, 1):
        return global_avg_backward(gy.reshape(*gy.shape[:2]), height, width)
    gx = DeviceArray((*gy.shape[:2], height, width), gy.dtype)
    launch_planes(_adaptive_avg_backward, *_planes(gx), gy, gx, _sizes(gx.shape, gy.shape))
    return gx


def global_avg_forward(x):
    """See the room: small planes, as networks end with, by one thread each, large ones by a block (kernels/device/sums.py)."""
    N, C, H, W = x.shape
    if H * W > SMALL:
        return x.mean((2, 3))
    y = DeviceArray((N, C), x.dtype)
    launch_flat(_mean_of_planes, y.size, x, H * W, y, y.size)
    return y


def global_avg_backward(gy, height, width):
    """See the room."""
    gx = DeviceArray((*gy.shape, height, width), gy.dtype)
    launch_items(_spread, gx.size, gy, height * width, gx, gx.size)
    return gx


def _planes(a):
    return a.shape[0] * a.shape[1], a.shape[2] * a.shape[3]


def _sizes(image, out):
    """(planes, H, W, OH, OW)"""
    return image[0] * image[1], *image[2:], *out[2:]


@device_function
def _position(planes, width, height):
    """(inside, plane, row, column) of this thread"""
    plane, pixel = plane_and_pixel(width * height)
    row, column = split(pixel, width)
    return plane < planes and row < height, plane, row, column


@device_function
def _clip(position, stride, pad, dilation, taps, size):
    """(first pixel, one past the last) along one side that a window covers, in steps of dilation."""
    start = position * stride - pad
    stop = min(start + (taps - 1) * dilation + 1, size)
    if start < 0:
        start += over(-start + dilation - 1, dilation) * dilation
    return start, stop


@device_function
def _seen_by(pixel, stride, pad, extent, positions):
    """(first, one past the last) window position along one side whose window, holes included, covers a pixel."""
    last = over(pixel + pad, stride)
    first = over(max(0, pixel + pad - extent + stride), stride)
    return first, min(last + 1, positions)


@device_function
def _count(i, j, window, H, W, pixels, include_pad):
    if not include_pad:
        return pixels
    top, left = i * window.stride_h - window.top, j * window.stride_w - window.left
    return ((min(top + window.kernel_h, H + window.bottom) - top)
            * (min(left + window.kernel_w, W + window.right) - left))


@kernel
def _max_forward(x, window, y, argmax, sizes):
    N, C, H, W, OH, OW = sizes
    inside, c, i, j = _position(C, OW, OH)
    if inside:
        h0, h1 = _clip(i, window.stride_h, window.top, window.dilation_h, window.kernel_h, H)
        w0, w1 = _clip(j, window.stride_w, window.left, window.dilation_w, window.kernel_w, W)
        own, best, where = (cuda.local.array(ITEMS, x.dtype), cuda.local.array(ITEMS, x.dtype),
                            cuda.local.array(ITEMS, np.int32))
        n, h = cuda.blockIdx.y * ITEMS, h0
        load_images(x, (c * H + h0) * W + w0, n, N, C * H * W, best)
        for k in range(ITEMS):
            where[k] = h0 * W + w0
        while h < h1:                   # range() with a step would divide to count them
            w = w0
            while w < w1:
                load_images(x, (c * H + h) * W + w, n, N, C * H * W, own)
                for k in range(ITEMS):
                    if own[k] > best[k] or (own[k] != own[k] and best[k] == best[k]):       # the first NaN wins and stays
                        best[k], where[k] = own[k], h * W + w
                w += window.dilation_w
            h += window.dilation_h
        place = (c * OH + i) * OW + j
        store_images(best, place, n, N, C * OH * OW, y)
        store_images(where, place, n, N, C * OH * OW, argmax)


@kernel
def _max_backward(gy, argmax, window, gx, sizes):
    N, C, H, W, OH, OW = sizes
    inside, c, h, w = _position(C, W, H)
    if inside:
        i0, i1 = _seen_by(h, window.stride_h, window.top, window.dilation_h * (window.kernel_h - 1) + 1, OH)
        j0, j1 = _seen_by(w, window.stride_w, window.left, window.dilation_w * (window.kernel_w - 1) + 1, OW)
        total, own, where = (cuda.local.array(ITEMS, gy.dtype), cuda.local.array(ITEMS, gy.dtype),
                             cuda.local.array(ITEMS, np.int32))
        n = cuda.blockIdx.y * ITEMS
        for k in range(ITEMS):
            total[k] = 0
        for i in range(i0, i1):
            for j in range(j0, j1):
                load_images(argmax, (c * OH + i) * OW + j, n, N, C * OH * OW, where)
                load_images(gy, (c * OH + i) * OW + j, n, N, C * OH * OW, own)
                for k in range(ITEMS):
                    if where[k] == h * W + w:
                        total[k] += own[k]
        store_images(total, (c * H + h) * W + w, n, N, C * H * W, gx)


@kernel
def _avg_forward(x, window, include_pad, y, sizes):
    planes, H, W, OH, OW = sizes
    inside, plane, i, j = _position(planes, OW, OH)
    if inside:
        h0, h1 = _clip(i, window.stride_h, window.top, 1, window.kernel_h, H)
        w0, w1 = _clip(j, window.stride_w, window.left, 1, window.kernel_w, W)
        total = x.dtype.type(0)
        for h in range(h0, h1):
            for w in range(w0, w1):
                total += x[at(plane * H * W + h * W + w)]
        count = _count(i, j, window, H, W, (h1 - h0) * (w1 - w0), include_pad)
        y[at(plane * OH * OW + i * OW + j)] = total / x.dtype.type(count)


@kernel
def _avg_backward(gy, window, include_pad, gx, sizes):
    planes, H, W, OH, OW = sizes
    inside, plane, h, w = _position(planes, W, H)
    if inside:
        i0, i1 = _seen_by(h, window.stride_h, window.top, window.kernel_h, OH)
        j0, j1 = _seen_by(w, window.stride_w, window.left, window.kernel_w, OW)
        total = gy.dtype.type(0)
        for i in range(i0, i1):
            h0, h1 = _clip(i, window.stride_h, window.top, 1, window.kernel_h, H)
            for j in range(j0, j1):
                w0, w1 = _clip(j, window.stride_w, window.left, 1, window.kernel_w, W)
                count = _count(i, j, window, H, W, (h1 - h0) * (w1 - w0), include_pad)
                total += gy[at(plane * OH * OW + i * OW + j)] / gy.dtype.type(count)
        gx[at(plane * H * W + h * W + w)] = total


@device_function
def _cell(i, out, size):
    return over(i * size, out), over((i + 1) * size + out - 1, out)


@kernel
def _adaptive_avg_forward(x, y, sizes):
    planes, H, W, OH, OW = sizes
    inside, plane, i, j = _position(planes, OW, OH)
    if inside:
        h0, h1 = _cell(i, OH, H)
        w0, w1 = _cell(j, OW, W)
        total = x.dtype.type(0)
        for h in range(h0, h1):
            for w in range(w0, w1):
                total += x[at(plane * H * W + h * W + w)]
        y[at(plane * OH * OW + i * OW + j)] = total / x.dtype.type((h1 - h0) * (w1 - w0))


@kernel
def _adaptive_avg_backward(gy, gx, sizes):
    """Cells overlap where the sizes do not divide: pixel h is in those from h·OH // H to ((h + 1)·OH - 1) // H."""
    planes, H, W, OH, OW = sizes
    inside, plane, h, w = _position(planes, W, H)
    if inside:
        total = gy.dtype.type(0)
        for i in range(over(h * OH, H), over((h + 1) * OH - 1, H) + 1):
            h0, h1 = _cell(i, OH, H)
            for j in range(over(w * OW, W), over((w + 1) * OW - 1, W) + 1):
                w0, w1 = _cell(j, OW, W)
                total += gy[at(plane * OH * OW + i * OW + j)] / gy.dtype.type((h1 - h0) * (w1 - w0))
        gx[at(plane * H * W + h * W + w)] = total


@kernel
def _mean_of_planes(x, pixels, y, planes):
    plane = cuda.grid(1)
    if plane < planes:
        total = x.dtype.type(0)
        for p in range(pixels):
            total += x[at(plane * pixels + p)]
        y[plane] = total / x.dtype.type(pixels)


@kernel
def _spread(gy, pixels, gx, count):
    """Each pixel gets its share of what its plane gets."""
    own, first = cuda.local.array(ITEMS, gy.dtype), first_item()
    for k in range(ITEMS):
        own[k] = gy[at(over(min(first + k * THREADS, count - 1), pixels))] / gy.dtype.type(pixels)
    store(own, first, count, gx)
