"""Convolution in many groups of few channels, as ResNeXt has them: shuffles within a vector, and no products with zeros.

The rung below multiplies groups of four channels four at a time, as one of sixteen with zeros outside the diagonal: three
quarters of its multiplications are by zero. Here a vector holds the channels of several groups, and a group's channels reach
each other by shuffling the vector: with d from 0 to the group's size, lane j xor d runs over all of j's group, so that

    y[q, j] = Σ_{d, taps} x[q + tap, j xor d] · weight[j, (j xor d) mod size, tap]

takes one multiplication a lane for each weight. A shuffle for each of them would take longer than the multiplications. But
(j xor d) xor d = j: what lane i of x gives to the product of d belongs to lane i xor d of y. So the taps are summed up first,

    S_d[q, i] = Σ_taps x[q + tap, i] · weight[i xor d, i mod size, tap],        y[q, j] = Σ_d S_d[q, j xor d],

and S_d is shuffled once. The data gradient is the same over gy with filters and channels changed places, and in the weight
gradient a vector of gy is shuffled once for all taps of a tile:

    gW[i xor d, i mod size, tap] = Σ_q x[q + tap, i] · gy[q, i xor d]

Where a vector is one group (16 channels in float32 with AVX-512) the rung below has no zeros to multiply, but to load for each
multiplication one channel into all lanes. Here three pixels share a vector of weights, and three taps a channel of gy:

    gW[d, j, tap] = Σ_q x[q + tap, j] · gy[q, d]

There are few products for what is read, so that memory is waited for: what the next pixels need is asked for, and some images
are gone through class by class before the next ones, while they are in the third cache. For groups of 2, 4, 8 or 16 (a power of
two that a vector holds one or more of), as many filters as channels in each; everything else is left to the rung below. Source:
Xie et al. 2017, figure 3c.
"""

import math

import numpy as np
from numba import get_num_threads, prange

from kernels import layout, memory, streaming
from kernels.activation import accumulate
from kernels.compiling import njit
from kernels.conv2d import implicit_gemm
from kernels.conv2d.classes import forward_classes, gradient_classes
from kernels.conv2d.implicit_gemm import _place, sum_rows
from kernels.conv2d.implicit_gemm_weights import _segments
from kernels.conv2d.packing import kept
from kernels.gemm.micro import group_correlation, group_tile, lanes, registers
from kernels.streaming import finish

ANY_ORDER = True        # arrays are put in channels-last order here
VECTOR = registers()[0]
SUMS = 24 if registers()[1] == 32 else 12       # vectors of them to a tile
NEAR = 108              # pixels to a block, a multiple of every tile's rows
TAPS = 3                # taps to a tile of the weight gradient
BLOCK = 480             # pixels to a block of it, at the most
LEAST = 64              # and at the least
CLOSE = 1 << 18         # bytes of a block of x and gy: two of them are in the second cache
TOGETHER = 4 << 20      # bytes of images that are gone through class by class
SPLITS = 4              # shares of the pixels that have sums of their own
SPAN = 6                # pixels that a block spans for each of its own, from which on they lie far apart
MOST = SUMS // 3        # of all d, whose sums of three pixels, or taps, fill these
PARTS = {size: min(size, MOST) for size in (2, 4, 8, 16)}
_two, _four, _eight, _sixteen = (group_tile(SUMS // part, size, part, VECTOR) for size, part in PARTS.items())
_correlate_two, _correlate_four, _correlate_eight, _correlate_sixteen = (
    group_correlation(TAPS, size, part, VECTOR) for size, part in PARTS.items())


def fits(weight_shape, dtype, groups):
    """Whether this rung computes such a convolution itself."""
    (K, size), wide = weight_shape[:2], lanes(dtype)
    return groups > 1 and size in PARTS and size <= wide and size * groups == K and K % wide == 0


def forward(x, weight, bias, window, groups=1, relu=False, out=None):
    """See the room, and the module for the formula."""
    if not fits(weight.shape, weight.dtype, groups):
        return implicit_gemm.forward(x, weight, bias, window, groups, relu, out)
    x, size = layout.channels_last(x), window.output_size(*x.shape[2:])
    y = layout.empty((len(x), len(weight), *size), x.dtype) if out is None else out
    bias = np.zeros(len(weight), x.dtype) if bias is None else np.ascontiguousarray(bias)
    classes = forward_classes(window, x.shape[2:], 1, layout.pitch(x), size, layout.pitch(y))
    past = int(streaming.fits(layout.rows(y), VECTOR))
    _multiply(layout.rows(x), kept(_pack, weight, True), bias, classes, (len(x), _together(x, y), get_num_threads()),
              (int(relu), past), layout.rows(y))
    return y


def backward(gy, x, weight, window, groups=1, needs=(True, True, True), onto=None):
    """See the room, and the module for the formulas."""
    if not fits(weight.shape, weight.dtype, groups):
        return implicit_gemm.backward(gy, x, weight, window, groups, needs, onto)
    x, gy, gx, gw = layout.channels_last(x), layout.channels_last(gy), None, None
    if needs[0] and _sees_few_taps(weight, window):
        gx, _, _ = implicit_gemm.backward(gy, x, weight, window, groups, (True, False, False), onto)
    elif needs[0] and x.size:
        gx = layout.empty(x.shape, x.dtype)
        classes = gradient_classes(window, gy.shape[2:], 1, layout.pitch(gy), x.shape[2:], layout.pitch(gx))
        _multiply(layout.rows(gy), _pack(weight, False), np.zeros(x.shape[1], x.dtype), classes,
                  (len(gy), _together(x, gy), get_num_threads()), (0, 0), layout.rows(gx))
        if onto is not None:
            accumulate(onto, gx)
            gx = onto
    if needs[1]:
        gw = _weight_gradient(gy, x, weight, window)
    return gx if gx is not None or not needs[0] else np.zeros(x.shape, x.dtype), gw, sum_rows(gy) if needs[2] else None


def _sees_few_taps(weight, window):
    """Whether more sums than fit the registers would be shuffled for the few taps that a stride leaves a data gradient."""
    return weight.shape[1] > MOST and window.stride_h * window.stride_w > 1


def _together(x, y):
    """How many images are gone through class by class before the next ones."""
    return max(1, TOGETHER * len(x) // (x.nbytes + y.nbytes))


def _pack(weight, transposed):
    """weight (K, size, R, S) -> (blocks, taps, size, lanes): weight[j, (j xor d) mod size, tap], or with channels and filters
    changed places: weight[group of j's (j xor d), j mod size, tap]. S_d of the forward pass takes the latter, of the data
    gradient the former."""
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
    """gw[j xor d, j mod size, tap], or gw[d, j, tap] of groups that are a vector, = the sums (splits, blocks, taps + 1, size,
    lanes) of the splits, added up in order"""
    splits, blocks, _, size, wide = sums.shape
    for b in range(blocks):
        for d in range(size):
            for j in range(wide):
                for t in range(gw.shape[2]):
                    total = sums[0, b, t, d, j]
                    for split in range(1, splits):
                        total += sums[split, b, t, d, j]
                    gw[b * wide + (d if size == wide else j ^ d), j % size, t] = total


@njit(cache=True)
def _height(size):
    """Pixels to a tile."""
    return SUMS // min(size, MOST)


@njit(cache=True)
def _tile(size, a, runs, b, c, like):
    if size == 2:
        _two(a, runs, b, c, like)
    elif size == 4:
        _four(a, runs, b, c, like)
    elif size == 8:
        _eight(a, runs, b, c, like)
    else:
        _sixteen(a, runs, b, c, like)


@njit(cache=True)
def _behind(x, ends, count, shift, asks):
    """(address, bytes from one to the next) of so many requests for what lies behind `count` pixels, the first and the last of
    which begin at `ends`, and `shift` values farther: as much as they span; nothing new where they lie far apart."""
    span, size = ends[1] - ends[0] + x.shape[1], x.itemsize
    close = asks > 0 and span <= SPAN * count * x.shape[1]
    return np.int64(x.ctypes.data) + (ends[1] + shift) * size, (span * size + asks - 1) // asks if close else np.int64(0)


@njit(cache=True)
def _part(classes, k, image, images, together, share, shares):
    """(first, one past the last) of class k's pixels that belong to a share of all and lie in the next images, `together`."""
    each = classes.table[k, 1] * classes.table[k, 3]
    return (max(image * each, images * each * share // shares),
            min(min(images, image + together) * each, images * each * (share + 1) // shares))


@njit(cache=True, parallel=True)
def _multiply(x, packed, bias, classes, sizes, last, y):
    """Each worker has a share of the pixels of every class, and all channels of them; a block of pixels stays near. packed is
    _pack's; last = (relu, past)."""
    images, together, workers = sizes
    for worker in prange(workers):
        places = np.empty((2, NEAR), np.int64)
        for image in range(0, images, together):
            for k in range(classes.table.shape[0]):
                begin, end = _part(classes, k, image, images, together, worker, workers)
                runs = classes.runs[classes.table[k, 4]:classes.table[k, 4] + classes.table[k, 5]]
                for first in range(begin, end, NEAR):
                    count = min(NEAR, end - first)
                    _place(classes, k, first, count, places)
                    _multiply_block(x, packed, bias, places, count, runs, last, y)
        finish()


@njit(cache=True)
def _multiply_block(x, packed, bias, places, count, runs, last, y):
    """One block of `count` pixels against all channels."""
    (relu, past), taps, rows = last, runs.shape[0], _height(packed.shape[2])
    tiles = (count + rows - 1) // rows
    asks = tiles * taps
    reads, pace = _behind(x, (places[0, 0], places[0, count - 1]), count, runs[taps - 1, 0] if taps else 0,
                          asks * packed.shape[0])
    writes, y_pace = _behind(y, (places[1, 0], places[1, count - 1]), count, 0, 0 if past else asks * packed.shape[0])
    for b in range(packed.shape[0]):
        shift = b * VECTOR
        _tile(packed.shape[2], (x.ctypes.data + shift, places.ctypes.data, tiles, reads + b * asks * pace, pace),
              (runs.ctypes.data, taps), packed[b].ctypes.data,
              (y.ctypes.data + shift, places[1].ctypes.data, bias.ctypes.data + shift, relu, past, writes + b * asks * y_pace,
               y_pace), y)


def _weight_gradient(gy, x, weight, window):
    (K, size), wide, T = weight.shape[:2], lanes(gy.dtype), window.kernel_h * window.kernel_w
    classes = forward_classes(window, x.shape[2:], 1, layout.pitch(x), gy.shape[2:], layout.pitch(gy))
    pixels = gy.size // K
    sums = np.zeros((max(1, min(SPLITS, pixels // BLOCK)), K // wide, T + 1, size, wide), gy.dtype)
    ranges = max(1, min(-(-get_num_threads() // len(sums)), K // wide))
    if gy.size:
        _correlate(layout.rows(x), layout.rows(gy), classes, (len(x), _together(x, gy), ranges), sums)
    gw = memory.gradient_of(weight)
    _unpack_groups(sums, gw.reshape(K, size, T))
    return gw


@njit(cache=True, parallel=True)
def _correlate(x, gy, classes, sizes, sums):
    """sums[split, block, t, d, j] over every split's pixels, in order; a task has a range of the channels. Tap T takes what
    fills up a tile of taps."""
    images, together, ranges = sizes
    splits, blocks = sums.shape[:2]
    most = max(LEAST, min(BLOCK, CLOSE // (2 * gy.shape[1] * gy.itemsize)))
    for task in prange(splits * ranges):
        split, part = task // ranges, task % ranges
        channels = blocks * part // ranges, blocks * (part + 1) // ranges
        segments = np.empty((BLOCK, 3), np.int64)
        for image in range(0, images, together):
            for k in range(classes.table.shape[0]):
                begin, end = _part(classes, k, image, images, together, split, splits)
                runs = classes.runs[classes.table[k, 4]:classes.table[k, 4] + classes.table[k, 5]]
                for first in range(begin, end if runs.shape[0] else begin, most):
                    count = min(most, end - first)
                    found, step, gy_step = _segments(classes, k, first, count, segments)
                    _correlate_block(x, gy, segments[:found], (count, step, gy_step), channels, runs, sums[split])


@njit(cache=True)
def _correlate_block(x, gy, segments, steps, channels, runs, sums):
    """Adds one block of pixels to the sums (blocks, taps + 1, size, lanes) of some channels."""
    (count, step, gy_step), (from_, to), (_, T1, size, width) = steps, channels, sums.shape
    x_at, gy_at = np.int64(x.ctypes.data), np.int64(gy.ctypes.data)
    shifts, places = np.empty(TAPS, np.int64), np.empty(TAPS, np.int64)
    passes, taps = (runs.shape[0] + TAPS - 1) // TAPS, runs.shape[0]
    asks = count * passes * (to - from_)
    first, last, length = segments[0], segments[-1], segments[-1, 2] - 1
    reads, pace = _behind(x, (first[0], last[0] + length * step), count, runs[taps - 1, 0], asks)
    gy_reads, gy_pace = _behind(gy, (first[1], last[1] + length * gy_step), count, 0, asks)
    for b in range(from_, to):
        shift = b * width * x.itemsize
        for run in range(0, taps, TAPS):
            for t in range(TAPS):
                shifts[t] = runs[min(run + t, taps - 1), 0]
                places[t] = (runs[run + t, 2] if run + t < taps else T1 - 1) * size * width
            _correlate_tile(size, (x_at + shift, step, reads, pace), (gy_at + shift, gy_step, gy_reads, gy_pace),
                            (segments.ctypes.data, segments.shape[0]), shifts.ctypes.data,
                            (sums[b].ctypes.data, places.ctypes.data), x)
            reads, gy_reads = reads + count * pace, gy_reads + count * gy_pace


@njit(cache=True)
def _correlate_tile(size, x, gy, segments, shifts, out, like):
    if size == 2:
        _correlate_two(x, gy, segments, shifts, out, like)
    elif size == 4:
        _correlate_four(x, gy, segments, shifts, out, like)
    elif size == 8:
        _correlate_eight(x, gy, segments, shifts, out, like)
    else:
        _correlate_sixteen(x, gy, segments, shifts, out, like)
