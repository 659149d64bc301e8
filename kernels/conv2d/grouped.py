"""Convolution in many groups of few channels, as ResNeXt has them: shuffles within a vector, and no products with zeros.

The rung below multiplies groups of four channels four at a time, as one of sixteen with zeros outside the diagonal: three
quarters of its multiplications are by zero. Here a vector holds the channels of several groups, and a group's channels reach
each other by shuffling the vector: with d from 0 to the group's size, lane j xor d runs over all of j's group, so that

    y[q, j] = Σ_{taps, d} x[q + tap, j xor d] · weight[j, (j xor d) mod size, tap]

takes one multiplication a lane for each weight. The data gradient is the same over gy with the weights of column j, and the
weight gradient the same products summed over pixels. For groups of 2, 4 or 8 (a power of two that a vector holds several of),
as many filters as channels in each; everything else is left to the rung below. Source: Xie et al. 2017, figure 3c.
"""

import math

import numpy as np
from numba import get_num_threads, prange

from kernels import layout, streaming
from kernels.activation import accumulate
from kernels.compiling import njit
from kernels.conv2d import implicit_gemm
from kernels.conv2d.classes import forward_classes, gradient_classes
from kernels.conv2d.implicit_gemm import _place, _segments, _share, sum_rows
from kernels.conv2d.packing import kept
from kernels.gemm.micro import group_correlation, group_tile, lanes, registers
from kernels.streaming import finish

ANY_ORDER = True        # arrays are put in channels-last order here
VECTOR = registers()[0]
ROWS = 12 if registers()[1] == 32 else 6
NEAR = 108              # pixels to a block, a multiple of ROWS
TAPS = 3                # taps to a tile of the weight gradient
BLOCK = 480             # pixels to a block of it
SPLITS = 4             # shares of the pixels that have sums of their own
_two, _four, _eight = (group_tile(ROWS, size, VECTOR) for size in (2, 4, 8))
_correlate_two, _correlate_four, _correlate_eight = (group_correlation(TAPS, size, VECTOR) for size in (2, 4, 8))


def fits(weight, groups):
    """Whether this rung computes such a convolution itself."""
    size, wide = weight.shape[1], lanes(weight.dtype)
    return (groups > 1 and size in (2, 4, 8) and weight.shape[0] == size * groups and wide > size
            and weight.shape[0] % wide == 0)


def forward(x, weight, bias, window, groups=1, relu=False, out=None):
    """See the room, and the module for the formula."""
    if not fits(weight, groups):
        return implicit_gemm.forward(x, weight, bias, window, groups, relu, out)
    x, size = layout.channels_last(x), window.output_size(*x.shape[2:])
    y = layout.empty((len(x), len(weight), *size), x.dtype) if out is None else out
    bias = np.zeros(len(weight), x.dtype) if bias is None else np.ascontiguousarray(bias)
    classes = forward_classes(window, x.shape[2:], 1, layout.pitch(x), size, layout.pitch(y))
    sizes = weight.shape[1], int(relu), get_num_threads(), int(streaming.fits(layout.rows(y), VECTOR))
    _multiply(layout.rows(x), kept(_pack, weight, False), bias, classes, len(x), sizes, layout.rows(y))
    return y


def backward(gy, x, weight, window, groups=1, needs=(True, True, True), onto=None):
    """See the room, and the module for the formulas."""
    if not fits(weight, groups):
        return implicit_gemm.backward(gy, x, weight, window, groups, needs, onto)
    x, gy, gx, gw = layout.channels_last(x), layout.channels_last(gy), None, None
    if needs[0] and x.size:
        gx = layout.empty(x.shape, x.dtype)
        classes = gradient_classes(window, gy.shape[2:], 1, layout.pitch(gy), x.shape[2:], layout.pitch(gx))
        _multiply(layout.rows(gy), _pack(weight, True), np.zeros(x.shape[1], x.dtype), classes, len(gy),
                  (weight.shape[1], 0, get_num_threads(), 0), layout.rows(gx))
        if onto is not None:
            accumulate(onto, gx)
            gx = onto
    if needs[1]:
        gw = _weight_gradient(gy, x, weight, window)
    return gx if gx is not None or not needs[0] else np.zeros(x.shape, x.dtype), gw, sum_rows(gy) if needs[2] else None


def _pack(weight, transposed):
    """weight (K, size, R, S) -> (blocks, taps, size, lanes): weight[j, (j xor d) mod size, tap], or with channels and filters
    changed places: weight[group of j's (j xor d), j mod size, tap]."""
    (K, size), wide = weight.shape[:2], lanes(weight.dtype)
    packed = layout.aligned((K // wide, math.prod(weight.shape[2:]), size, wide), weight.dtype)
    _pack_groups(np.ascontiguousarray(weight).reshape(K, size, -1), transposed, packed)
    return packed


@njit(cache=True)
def _pack_groups(weight, transposed, packed):
    """See _pack."""
    blocks, taps, size, wide = packed.shape
    for b in range(blocks):
        for d in range(size):
            for j in range(wide):
                own, met = j % size, (j ^ d) % size
                filter_, channel = (b * wide + j - own + met, own) if transposed else (b * wide + j, met)
                for t in range(taps):
                    packed[b, t, d, j] = weight[filter_, channel, t]


@njit(cache=True)
def _unpack_groups(sums, gw):
    """gw[j, (j xor d) mod size, tap] = the sums (splits, blocks, taps + 1, size, lanes) of the splits, added up in order"""
    splits, blocks, _, size, wide = sums.shape
    for b in range(blocks):
        for d in range(size):
            for j in range(wide):
                for t in range(gw.shape[2]):
                    total = sums[0, b, t, d, j]
                    for split in range(1, splits):
                        total += sums[split, b, t, d, j]
                    gw[b * wide + j, (j ^ d) % size, t] = total


@njit(cache=True)
def _tile(size, a, runs, b, c, like):
    if size == 2:
        _two(a, runs, b, c, like)
    elif size == 4:
        _four(a, runs, b, c, like)
    else:
        _eight(a, runs, b, c, like)


@njit(cache=True, parallel=True)
def _multiply(x, packed, bias, classes, images, sizes, y):
    """Each worker has a share of the pixels of every class, and all channels of them; a block of pixels stays near."""
    size, relu, workers, past = sizes
    item, width = y.itemsize, VECTOR // y.itemsize
    for worker in prange(workers):
        places = np.empty((2, NEAR), np.int64)
        for k in range(classes.table.shape[0]):
            begin, end = _share(classes, k, images, worker, workers, ROWS)
            runs = classes.runs[classes.table[k, 4]:classes.table[k, 4] + classes.table[k, 5]]
            for first in range(begin, end, NEAR):
                count = min(NEAR, end - first)
                _place(classes, k, first, count, places)
                for b in range(packed.shape[0]):
                    shift = b * width * item
                    start = bias.ctypes.data + shift
                    for q in range(0, count, ROWS):
                        _tile(size, (x.ctypes.data + shift, places[0, q:].ctypes.data), (runs.ctypes.data, runs.shape[0]),
                              packed[b].ctypes.data,
                              (y.ctypes.data + shift, places[1, q:].ctypes.data, start, relu, past), y)
        finish()


def _weight_gradient(gy, x, weight, window):
    (K, size), wide, T = weight.shape[:2], lanes(gy.dtype), window.kernel_h * window.kernel_w
    classes = forward_classes(window, x.shape[2:], 1, layout.pitch(x), gy.shape[2:], layout.pitch(gy))
    pixels = gy.size // K
    sums = np.zeros((max(1, min(SPLITS, pixels // BLOCK)), K // wide, T + 1, size, wide), gy.dtype)
    if gy.size:
        _correlate(layout.rows(x), layout.rows(gy), classes, len(x), sums)
    gw = np.empty((K, size, T), gy.dtype)
    _unpack_groups(sums, gw)
    return gw.reshape(weight.shape)


@njit(cache=True, parallel=True)
def _correlate(x, gy, classes, images, sums):
    """sums[split, block, t, d, j] over every splits-th block of pixels, in order; tap T takes what fills up a tile of taps."""
    splits, blocks, T1, size, width = sums.shape
    item = x.itemsize
    for task in prange(splits * blocks):
        split, b = task // blocks, task % blocks
        own, shift = sums[split, b], b * width * item
        segments, shifts, places = np.empty((BLOCK, 3), np.int64), np.empty(TAPS, np.int64), np.empty(TAPS, np.int64)
        block = 0
        for k in range(classes.table.shape[0]):
            pixels = images * classes.table[k, 1] * classes.table[k, 3]
            runs = classes.runs[classes.table[k, 4]:classes.table[k, 4] + classes.table[k, 5]]
            for first in range(0, pixels, BLOCK):
                block += 1
                if block % splits != split or runs.shape[0] == 0:
                    continue
                found, step, gy_step = _segments(classes, k, first, min(BLOCK, pixels - first), segments)
                for run in range(0, runs.shape[0], TAPS):
                    for t in range(TAPS):
                        real = run + t < runs.shape[0]
                        shifts[t] = runs[min(run + t, runs.shape[0] - 1), 0]
                        places[t] = (runs[run + t, 2] if real else T1 - 1) * size * width
                    _correlate_tile(size, (x.ctypes.data + shift, step), (gy.ctypes.data + shift, gy_step),
                                    (segments.ctypes.data, found), shifts.ctypes.data,
                                    (own.ctypes.data, places.ctypes.data), x)


@njit(cache=True)
def _correlate_tile(size, x, gy, segments, shifts, out, like):
    if size == 2:
        _correlate_two(x, gy, segments, shifts, out, like)
    elif size == 4:
        _correlate_four(x, gy, segments, shifts, out, like)
    else:
        _correlate_eight(x, gy, segments, shifts, out, like)
