"""Convolution as a matrix product whose column matrix is never written.

im2col writes all columns to memory and reads them back for the product. But the row of that matrix that belongs to one tap
is the padded image itself, read from the tap's offset on (kernels.conv2d.columns), so the micro-kernel of kernels.gemm can
fetch its columns from the image. Three products, all in float32 or float64, any stride, padding, dilation and groups:

    forward           y[k, q]    = Σ_t W[k, t] · X[t, q]            t = (c, r, s), q = (n, i, j)
    data gradient     gx[c, q]   = Σ_t Wᵀ[c, t] · GY[t, q]          t = (k, r, s), one product for each phase of the stride
    weight gradient   gW[t, k]   = Σ_q X[t, q] · GYᵀ[q, k]

X[t, q] is the pixel that tap t shows to output pixel q. The data gradient is a forward pass over gy: image pixel h was seen
by output i through tap r if h + pad = i·stride + r·dilation. Pixels with the same h mod stride (a phase) are seen through
the same taps, at steps of one in i, so that each phase is a dense product with its share of the filter.

Each task owns a block of pixels and filters (forward, data gradient) or of taps (weight gradient) and sums in a fixed order:
results do not depend on the number of threads. Sources: the blocking of Goto and van de Geijn 2008; gathering columns
block by block, Chetlur et al. 2014, "cuDNN", section 3.
"""

from typing import NamedTuple

import numpy as np
from numba import get_num_threads, njit, prange

from kernels.conv2d.bias import sum_pixels
from kernels.conv2d.columns import columns, runs_of, targets_of
from kernels.gemm.micro import copy_plus, correlation_tile, lanes, product_tile, registers, vector_copy

WIDE = registers()[1] == 32     # 32 vector registers hold a tile twice as high
ROWS = 8 if WIDE else 4         # filters to a tile of the forward product; it is 3 vectors of pixels wide
TAPS = 12 if WIDE else 6        # taps to a tile of the weight gradient; it is 2 vectors of filters wide
DEPTH = 144                     # taps to a block: 24 pixels of 144 taps are 14 KB, half of the first cache
PANELS = 8                      # panels of pixels to a task
FILTERS = 512                   # filters to a task: their sums over 8 panels stay in the second cache
PIXELS = 384                    # pixels to a block of the weight gradient
VECTOR = registers()[0]         # bytes
_product, _correlation = product_tile(ROWS, 3, VECTOR), correlation_tile(TAPS, 2, VECTOR)
_copy, _copy_plus = vector_copy(VECTOR), copy_plus(VECTOR)


class Place(NamedTuple):
    """Where results go: pixel (i, j) of the grid to (first_h + i·step_h, first_w + j·step_w)."""

    first_h: int
    first_w: int
    step_h: int
    step_w: int
    row_pitch: int      # row length of the source


def forward(x, weight, bias, window, groups=1):
    """y = W · X + bias; see the module. Shapes as in the room."""
    K = weight.shape[0]
    y = np.empty((x.shape[0], K, *window.output_size(*x.shape[2:])), x.dtype)
    steps = window.stride_h, window.stride_w
    source, offsets, space, row = columns(x, steps, _taps(window), y.shape[2:], groups, K // groups, 3 * lanes(x.dtype))
    bias = np.zeros(K, x.dtype) if bias is None else bias
    _multiply(source, offsets, _pack_filters(weight.reshape(groups, K // groups, -1)), bias, space,
                               Place(0, 0, 1, 1, row), get_num_threads(), _flat_if(y, space))
    return y


def backward(gy, x, weight, window, groups=1, needs=(True, True, True)):
    """(gx, gW, gbias); see the module. Shapes as in the room."""
    return (_input_gradient(gy, x.shape, weight, window, groups) if needs[0] else None,
            _weight_gradient(gy, x, weight.shape, window, groups) if needs[1] else None,
            sum_pixels(gy) if needs[2] else None)


def _input_gradient(gy, shape, weight, window, groups):
    """One product for each phase (a, b) of the stride: pixels h = a, a + stride, … see the same taps."""
    K, Cg, R, S = weight.shape
    gx, zeros = np.empty(shape, gy.dtype), np.zeros(shape[1], gy.dtype)
    w = weight.reshape(groups, K // groups, Cg, R, S).transpose(0, 2, 1, 3, 4)      # (G, C/G, K/G, R, S)
    for a in range(min(window.stride_h, shape[2])):
        rows = _phase(a, window.stride_h, window.top, window.dilation_h, R)
        for b in range(min(window.stride_w, shape[3])):
            cols = _phase(b, window.stride_w, window.left, window.dilation_w, S)
            grid = -(-(shape[2] - a) // window.stride_h), -(-(shape[3] - b) // window.stride_w)
            taps = [(down, across) for _, down in rows for _, across in cols]
            if not taps:                # a stride longer than the window: nobody saw these pixels
                gx[:, :, a::window.stride_h, b::window.stride_w] = 0
                continue
            dense = (window.stride_h, window.stride_w) == (1, 1)
            source, offsets, space, row = columns(gy, (1, 1), taps, grid, groups, Cg, 3 * lanes(gy.dtype), dense)
            part = w[..., [r for r, _ in rows], :][..., [s for s, _ in cols]]
            place = Place(a, b, window.stride_h, window.stride_w, row)
            _multiply(source, offsets, _pack_filters(part.reshape(groups, Cg, -1)), zeros, space, place,
                                        get_num_threads(), _flat_if(gx, space))
    return gx


def _weight_gradient(gy, x, shape, window, groups):
    K = shape[0]
    if not len(gy):
        return np.zeros(shape, gy.dtype)
    steps, width = (window.stride_h, window.stride_w), 2 * lanes(gy.dtype)
    source, offsets, space, row = columns(x, steps, _taps(window), gy.shape[2:], groups, K // groups, width)
    panels = -(-K // groups // width)
    runs = np.empty((groups, panels, space.images, space.span, width), gy.dtype)
    _transpose(gy, space, runs.reshape(groups, panels, len(gy), -1, width))
    gw = np.empty((groups, K // groups, len(offsets)), gy.dtype)
    _correlate(source, offsets, runs, space, Place(0, 0, 1, 1, row), gw)
    return gw.reshape(shape)


def _taps(window):
    return [(r * window.dilation_h - window.top, s * window.dilation_w - window.left)
            for r in range(window.kernel_h) for s in range(window.kernel_w)]


def _phase(first, stride, pad, dilation, kernel):
    """[(tap, offset)] of the taps through which pixels first, first + stride, … are seen, and by which output."""
    return [(tap, (first + pad - tap * dilation) // stride) for tap in range(kernel)
            if (first + pad - tap * dilation) % stride == 0]


def _flat_if(y, space):
    """y with each image as one row where the product sees images so (1x1 windows)."""
    return y.reshape(*y.shape[:2], 1, -1) if space.height == 1 and space.width == y.shape[2] * y.shape[3] else y


def _pack_filters(w):
    """(G, K, T) -> (G, ⌈K/ROWS⌉, T, ROWS), zeros where K ends: what the micro-kernel reads one after the other."""
    G, K, T = w.shape
    packed = np.zeros((G, -(-K // ROWS), T, ROWS), w.dtype)
    _interleave(np.ascontiguousarray(w), packed)
    return packed


@njit(cache=True, parallel=True)
def _interleave(w, packed):
    G, K, T = w.shape
    panels = packed.shape[1]
    for task in prange(G * panels):
        g, panel = task // panels, task % panels
        for i in range(min(ROWS, K - panel * ROWS)):
            for t in range(T):
                packed[g, panel, t, i] = w[g, panel * ROWS + i, t]


@njit(cache=True, parallel=True)
def _transpose(gy, space, out):
    """gy (N, K, OH, OW) -> out (G, panels, N, pixels, width): each pixel's filters side by side, zeros at junk pixels and
    where a group's filters end."""
    N, K, OH, OW = gy.shape
    groups, panels, width = out.shape[0], out.shape[1], out.shape[4]
    Kg, pitch = K // groups, space.pitch if space.height == OH else OW
    for task in prange(groups * panels * N):
        g, panel, n = task // (panels * N), task // N % panels, task % N
        target, filters = out[g, panel, n], min(width, Kg - panel * width)
        if filters < width or pitch > OW:
            target[:] = 0
        for i in range(OH):
            for k in range(filters):
                row = gy[n, g * Kg + panel * width + k, i]
                for j in range(OW):
                    target[i * pitch + j, k] = row[j]


@njit(cache=True)
def _gather(source, offsets, base, runs, rows):
    """rows[t, q] = what tap t shows to the block's pixel q; whole vectors, so that later runs overwrite overshoots."""
    size = rows.itemsize
    for t in range(offsets.size):
        for r in range(runs.shape[0]):
            target = rows.ctypes.data + (t * rows.shape[1] + runs[r, 1]) * size
            _copy(target, source.ctypes.data + (base + runs[r, 0] + offsets[t]) * size, runs[r, 2], rows)


@njit(cache=True)
def _copy_tail(source, offsets, base, rows):
    """The last pixels of an image that has nothing behind it, for a tile that would read on; zeros where it ends."""
    panel = 3 * VECTOR // rows.itemsize
    for t in range(offsets.size):
        left = min(panel, source.size - base - offsets[t])
        for q in range(panel):
            rows[t, q] = source[base + offsets[t] + q] if q < left else 0


@njit(cache=True)
def _store(sums, bias, k0, runs, place, y):
    """y[n, k, pixel] = sums[k, q] + bias[k], a run of pixels in a row at a time"""
    wide, size = y.shape[2] * y.shape[3], y.itemsize
    for k in range(bias.size):
        for r in range(runs.shape[0]):
            n, i, j, q, run = runs[r]
            i, j = place.first_h + i * place.step_h, place.first_w + j * place.step_w
            if place.step_w == 1:
                to = ((n * y.shape[1] + k0 + k) * wide + i * y.shape[3] + j) * size
                _copy_plus(y.ctypes.data + to, sums.ctypes.data + (k * sums.shape[1] + q) * size, run, bias[k])
            else:
                for m in range(run):
                    y[n, k0 + k, i, j + m * place.step_w] = sums[k, q + m] + bias[k]


@njit(cache=True)
def _multiply_block(source, offsets, packed, base, p0, panels, space, scratch):
    """sums[k, q] = Σ_t packed[k, t] · X[t, p0 + q] for one block of pixels, DEPTH taps at a time."""
    sums, rows, runs = scratch
    T, block, size = offsets.size, sums.shape[1], sums.itemsize
    panel = 3 * VECTOR // size
    local = np.arange(DEPTH) * rows.shape[1]
    for t in range(0, T, DEPTH):
        depth = min(DEPTH, T - t)
        if space.gathered:
            _gather(source, offsets[t:t + depth], base, runs, rows)
        for i in range(panels):
            b, table = source.ctypes.data + (base + p0 + i * panel) * size, offsets.ctypes.data + t * 8
            if space.gathered:
                b, table = rows.ctypes.data + i * panel * size, local.ctypes.data
            elif space.direct and base + p0 + (i + 1) * panel + offsets[T - 1] > source.size:
                _copy_tail(source, offsets[t:t + depth], base + p0 + i * panel, rows)
                b, table = rows.ctypes.data, local.ctypes.data
            for k in range(packed.shape[0]):
                a = packed.ctypes.data + (k * T + t) * ROWS * size
                _product(a, b, table, depth, sums.ctypes.data + (k * ROWS * block + i * panel) * size, block, t, sums)


@njit(cache=True, parallel=True)
def _multiply(source, offsets, packed, bias, space, place, workers, y):
    """A worker has some of the tasks, each a block of pixels and of filters; see the module."""
    panel, width = 3 * VECTOR // y.itemsize, VECTOR // y.itemsize
    groups, Kg, block = packed.shape[0], bias.size // packed.shape[0], PANELS * panel
    blocks, parts = -(-space.span // block), -(-packed.shape[1] * ROWS // FILTERS)
    tasks = groups * parts * space.images * blocks
    for worker in prange(workers):
        sums = np.empty((min(packed.shape[1] * ROWS, FILTERS), block), y.dtype)
        rows = np.empty((min(offsets.size, DEPTH), block + width), y.dtype)
        pieces, stores = np.empty((block, 3), np.int64), np.empty((block, 5), np.int64)
        for task in range(tasks * worker // workers, tasks * (worker + 1) // workers):
            g, part = task // (parts * space.images * blocks), task // (space.images * blocks) % parts
            n, p0 = task // blocks % space.images, task % blocks * block
            count = min(block, space.span - p0)
            base, first = n * space.image_stride + g * space.group_stride, g * Kg + part * FILTERS
            found = runs_of(space, place.row_pitch, p0, count, width, pieces) if space.gathered else 0
            some = packed[g, part * FILTERS // ROWS:(part + 1) * FILTERS // ROWS]
            _multiply_block(source, offsets, some, base, p0, -(-count // panel), space, (sums, rows, pieces[:found]))
            found = targets_of(space, n, p0, count, stores)
            _store(sums, bias[first:min(g * Kg + Kg, first + FILTERS)], first, stores[:found], place, y)


@njit(cache=True, parallel=True)
def _correlate(source, offsets, gt, space, place, gw):
    """gW: one task some taps, over all pixels and filters in a fixed order."""
    groups, panels, T, size = gt.shape[0], gt.shape[1], offsets.size, gw.itemsize
    filters, width = 2 * VECTOR // size, VECTOR // size
    share = -(-min(96, max(TAPS, T // 8)) // TAPS) * TAPS
    parts = -(-T // share)
    blocks = -(-space.span // PIXELS)
    length = -(-space.span // blocks)
    for task in prange(groups * parts):
        g, t0 = task // parts, task % parts * share
        count = min(share, T - t0)
        table = np.zeros(share, np.int64)
        table[:count] = offsets[t0:t0 + count]
        local = np.arange(share) * (length + width)
        rows = np.zeros((share if space.gathered else 0, length + width), gw.dtype)
        runs = np.empty((length if space.gathered else 0, 3), np.int64)
        sums = np.zeros((panels, share, filters), gw.dtype)
        for block in range(space.images * blocks):
            n, p0 = block // blocks, block % blocks * length
            depth = min(length, space.span - p0)
            a, streams = source.ctypes.data, table.ctypes.data
            a += (n * space.image_stride + g * space.group_stride + p0) * size
            if space.gathered:
                found = runs_of(space, place.row_pitch, p0, depth, width, runs)
                _gather(source, table[:count], g * space.group_stride, runs[:found], rows)
                a, streams = rows.ctypes.data, local.ctypes.data
            for i in range(panels):
                b = gt.ctypes.data + (((g * panels + i) * space.images + n) * space.span + p0) * filters * size
                for t in range(0, count, TAPS):
                    c = sums.ctypes.data + (i * share + t) * filters * size
                    _correlation(a, streams + t * 8, b, depth, c, filters, 1, gw)
        for k in range(gw.shape[1]):
            for t in range(count):
                gw[g, k, t0 + t] = sums[k // filters, t, k % filters]
