"""Convolution as a matrix product whose columns are gathered while it runs.

im2col writes all columns to memory and reads them back for the product. Here only a block of them ever exists: some
taps (rows of the column matrix) by some pixels, packed where the second cache holds it, multiplied at once by all
filters with the micro-kernel of kernels.gemm, and overwritten by the next block. Three products, one packing routine:

    forward           y[k, q]    = Σ_t W[k, t] · X[t, q]            t = (c, r, s), q = (n, i, j)
    data gradient     gx[c, q]   = Σ_t Wᵀ[c, t] · GY[t, q]          t = (k, r, s), one product for each phase of the stride
    weight gradient   gW[t, k]   = Σ_q X[t, q] · GYᵀ[q, k]

X[t, q] is the pixel that tap t shows output pixel q. The data gradient is a forward pass over gy: an image pixel h was
seen by output i through tap r if h + pad = i·stride + r·dilation. Pixels with the same h mod stride (a phase) are seen
through the same taps, at steps of one in i, so that each phase is a dense product with its share of the filter.

Sources: the blocking of Goto and van de Geijn 2008; the gathering of Chetlur et al. 2014, "cuDNN", section 3.
"""

from typing import NamedTuple

import numpy as np
from numba import njit, prange

from kernels.gemm.micro import lanes, micro_kernel, registers

ROWS = 4 if registers()[1] == 16 else 8         # filters to a forward tile; 3 vectors of pixels
TAPS = 6 if registers()[1] == 16 else 12        # taps to a weight-gradient tile; 2 vectors of filters
DEPTH = 256                                     # taps to a forward block: 24 pixels x 256 taps are 24 KB, the first cache
PANELS = 8                                      # pixel panels packed at a time: longer runs to copy
FILTERS = 512                                   # filters to a task: tile sums of 512 x 192 pixels stay in the second cache
PIXELS = 256                                    # pixels to a weight-gradient block


class Grid(NamedTuple):
    """Which source pixel a tap shows to a pixel (i, j) of the grid, and where that pixel's result goes.

    source row = i·step_h + the tap's offset; result row = i·out_step_h + out_h; columns alike.
    """

    height: int
    width: int
    step_h: int
    step_w: int
    out_h: int
    out_w: int
    out_step_h: int
    out_step_w: int


def forward(x, weight, bias, window, groups=1):
    """y = W · X + bias; see the module. Shapes as in the room."""
    K, Cg, R, S = weight.shape
    y = np.empty((x.shape[0], K, *window.output_size(*x.shape[2:])), x.dtype)
    taps = _taps(Cg, [(r * window.dilation_h - window.top, s * window.dilation_w - window.left)
                      for r in range(R) for s in range(S)])
    grid = Grid(*y.shape[2:], window.stride_h, window.stride_w, 0, 0, 1, 1)
    filters = _pack_filters(weight.reshape(groups, K // groups, -1))
    bias = np.zeros(K, x.dtype) if bias is None else bias
    _PRODUCTS[x.dtype.name][0](x, filters, taps, bias, grid, y)
    return y


def backward(gy, x, weight, window, groups=1, needs=(True, True, True)):
    """(gx, gW, gbias); see the module. Shapes as in the room."""
    return (_input_gradient(gy, x.shape, weight, window, groups) if needs[0] else None,
            _weight_gradient(gy, x, weight.shape, window, groups) if needs[1] else None,
            _sum_pixels(gy) if needs[2] else None)


def _input_gradient(gy, shape, weight, window, groups):
    """One product for each phase (a, b) of the stride: pixels h = a, a + stride, … see the same taps."""
    K, Cg, _, _ = weight.shape
    gx = np.empty(shape, gy.dtype)
    H, W = shape[2:]
    zeros = np.zeros(shape[1], gy.dtype)
    w = weight.reshape(groups, K // groups, Cg, *weight.shape[2:]).transpose(0, 2, 1, 3, 4)     # (G, C/G, K/G, R, S)
    for a in range(min(window.stride_h, H)):
        rows = _phase(a, window.stride_h, window.top, window.dilation_h, window.kernel_h)
        for b in range(min(window.stride_w, W)):
            columns = _phase(b, window.stride_w, window.left, window.dilation_w, window.kernel_w)
            taps = _taps(K // groups, [(down, across) for _, down in rows for _, across in columns])
            part = w[..., [r for r, _ in rows], :][..., [s for s, _ in columns]]
            grid = Grid(-(-(H - a) // window.stride_h), -(-(W - b) // window.stride_w), 1, 1, a, b,
                        window.stride_h, window.stride_w)
            filters = _pack_filters(np.ascontiguousarray(part).reshape(groups, Cg, -1))
            _PRODUCTS[gy.dtype.name][0](gy, filters, taps, zeros, grid, gx)
    return gx


def _weight_gradient(gy, x, shape, window, groups):
    K, Cg, R, S = shape
    taps = _taps(Cg, [(r * window.dilation_h - window.top, s * window.dilation_w - window.left)
                      for r in range(R) for s in range(S)])
    grid = Grid(*gy.shape[2:], window.stride_h, window.stride_w, 0, 0, 1, 1)
    columns = 2 * lanes(gy.dtype)
    panels = _transpose(gy, groups, -(-(K // groups) // columns), columns)
    gw = np.empty((groups, K // groups, len(taps)), gy.dtype)
    _PRODUCTS[gy.dtype.name][1](x, panels, taps, grid, gw)
    return gw.reshape(shape)


def _phase(first, stride, pad, dilation, kernel):
    """[(tap, offset)] of the taps through which pixels first, first + stride, … are seen, and by which output."""
    return [(tap, (first + pad - tap * dilation) // stride) for tap in range(kernel)
            if (first + pad - tap * dilation) % stride == 0]


def _taps(channels, offsets):
    """(T, 3) int64: channel within the group, row offset and column offset of every tap, channels slowest."""
    table = np.empty((channels, len(offsets), 3), np.int64)
    table[:, :, 0] = np.arange(channels)[:, None]
    table[:, :, 1:] = np.array(offsets, np.int64).reshape(-1, 2)
    return table.reshape(-1, 3)


def _pack_filters(w):
    """(G, K, T) -> (G, ⌈K/ROWS⌉, T, ROWS), zeros where K ends: what the micro-kernel reads one after the other."""
    G, K, T = w.shape
    packed = np.zeros((G, -(-K // ROWS), T, ROWS), w.dtype)
    _interleave(w, packed)
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
def _transpose(gy, groups, panels, columns):
    """gy (N, K, OH, OW) -> (G, panels, N·P, columns): each pixel's filters side by side, zeros where the group ends."""
    N, K, OH, OW = gy.shape
    P, Kg = OH * OW, K // groups
    flat = gy.reshape(N, K, P)
    out = np.empty((groups, panels, N * P, columns), gy.dtype)
    for task in prange(groups * panels * N):
        g, panel, n = task // (panels * N), task // N % panels, task % N
        first = panel * columns
        for p0 in range(0, P, 16):              # 16 pixels by 16 filters: whole cache lines both ways
            for k in range(columns):
                for p in range(p0, min(P, p0 + 16)):
                    out[g, panel, n * P + p, k] = flat[n, g * Kg + first + k, p] if first + k < Kg else 0
    return out


@njit(cache=True, parallel=True)
def _sum_pixels(gy):
    """(N, K, OH, OW) -> (K,), images in order"""
    N, K, OH, OW = gy.shape
    total = np.empty(K, gy.dtype)
    for k in prange(K):
        channel = 0.0
        for n in range(N):
            plane = 0.0
            for i in range(OH):
                for j in range(OW):
                    plane += gy[n, k, i, j]
            channel += plane
        total[k] = channel
    return total


@njit(cache=True)
def _gather(plane, taps, grid, q0, count, out):
    """out[t, q] = the pixel of `plane` (C, H, W) that tap t shows to pixel q0 + q of the grid; zeros in the padding.

    Runs along a row of the grid are copied as one piece, with its ends clipped to the image.
    """
    H, W = plane.shape[1:]
    for t in range(len(taps)):
        c, down, across = taps[t]
        # columns j of the grid with 0 <= j·step + across < W
        inside0 = min(grid.width, max(0, -(across // grid.step_w)))
        inside1 = max(inside0, min(grid.width, (W - 1 - across) // grid.step_w + 1))
        q = 0
        i, j = q0 // grid.width, q0 % grid.width
        while q < count:
            run = min(grid.width - j, count - q)
            h = i * grid.step_h + down
            if h < 0 or h >= H:
                out[t, q:q + run] = 0
            else:
                j0, j1 = max(j, inside0), min(j + run, inside1)
                if j1 < j0:
                    j0 = j1 = j
                if j0 == j and j1 == j + run and grid.step_w == 1:
                    for m in range(run):
                        out[t, q + m] = plane[c, h, j + m + across]
                else:
                    for m in range(j, j0):
                        out[t, q + m - j] = 0
                    for m in range(j0, j1):
                        out[t, q + m - j] = plane[c, h, m * grid.step_w + across]
                    for m in range(j1, j + run):
                        out[t, q + m - j] = 0
            q += run
            i, j = i + 1, 0


@njit(cache=True)
def _gather_block(x, channel0, taps, grid, q0, count, out):
    """_gather over images: pixel q = n·(height·width) + p. Columns from count on become zeros."""
    P = grid.height * grid.width
    q = 0
    while q < count:
        n, p = (q0 + q) // P, (q0 + q) % P
        run = min(P - p, count - q)
        _gather(x[n, channel0:], taps, grid, p, run, out[:, q:])
        q += run
    out[:, count:] = 0


def _products(dtype):
    """The two compiled products for one dtype: their micro-kernels are fixed when they compile."""
    width = lanes(dtype)
    columns, filters = 3 * width, 2 * width
    tile = micro_kernel(ROWS, 3, width, dtype, False)
    weight_tile = micro_kernel(TAPS, 2, width, dtype, True)
    size = np.dtype(dtype).itemsize

    @njit(cache=True)
    def multiply_block(packed, filters, first_tap, panels, sums):
        """sums[k, q] (+)= Σ_t filters[k, t] · packed[t, q]: all filters over one block of taps and pixels."""
        depth, T = packed.shape[1], filters.shape[1]
        for panel in range(panels):
            b = packed[panel].ctypes.data
            for k in range(filters.shape[0]):
                a = filters.ctypes.data + (k * T + first_tap) * ROWS * size
                c = sums.ctypes.data + (k * ROWS * sums.shape[1] + panel * columns) * size
                tile(a, b, depth, c, sums.shape[1], 0, first_tap)

    @njit(cache=True)
    def split(rows, packed):
        """rows (T, panels·columns) -> packed (panels, T, columns)"""
        for panel in range(packed.shape[0]):
            for t in range(packed.shape[1]):
                for q in range(columns):
                    packed[panel, t, q] = rows[t, panel * columns + q]

    @njit(cache=True)
    def store(sums, bias, k0, grid, q0, count, y):
        """y[n, k, pixel] = sums[k, q] + bias[k] for the block's pixels"""
        P = grid.height * grid.width
        K = min(sums.shape[0], bias.size)
        for k in range(K):
            q = 0
            while q < count:
                n, i, j = (q0 + q) // P, (q0 + q) % P // grid.width, (q0 + q) % grid.width
                run = min(grid.width - j, count - q)
                row = y[n, k0 + k, i * grid.out_step_h + grid.out_h]
                for m in range(run):
                    row[(j + m) * grid.out_step_w + grid.out_w] = sums[k, q + m] + bias[k]
                q += run

    @njit(cache=True, parallel=True)
    def multiply(x, filters, taps, bias, grid, y):
        """One task a block of pixels and of filters; see the module."""
        groups, all_panels, T = filters.shape[:3]
        Cg, Kg = x.shape[1] // groups, y.shape[1] // groups
        pixels = x.shape[0] * grid.height * grid.width
        block = PANELS * columns
        blocks, parts = -(-pixels // block), -(-all_panels * ROWS // FILTERS)
        for task in prange(groups * parts * blocks):
            g, part, q0 = task // (parts * blocks), task // blocks % parts, task % blocks * block
            count = min(block, pixels - q0)
            panels = -(-count // columns)
            k0 = part * FILTERS
            some = filters[g, k0 // ROWS:(k0 + FILTERS) // ROWS]
            sums = np.empty((some.shape[0] * ROWS, block), x.dtype)
            rows = np.empty((min(T, DEPTH), block), x.dtype)
            packed = np.empty((PANELS, min(T, DEPTH), columns), x.dtype)
            for t in range(0, T, DEPTH):
                depth = min(DEPTH, T - t)
                _gather_block(x, g * Cg, taps[t:t + depth], grid, q0, count, rows[:, :panels * columns])
                part_packed = packed if depth == packed.shape[1] else np.empty((PANELS, depth, columns), x.dtype)
                split(rows, part_packed[:panels])
                multiply_block(part_packed, some, t, panels, sums)
            if T == 0:
                sums[:] = 0
            first = g * Kg + k0
            store(sums, bias[first:min(g * Kg + Kg, first + FILTERS)], first, grid, q0, count, y)

    @njit(cache=True, parallel=True)
    def multiply_transposed(x, gt, taps, grid, gw):
        """gW: one task some taps, over all pixels and filters in a fixed order."""
        groups, panels, pixels = gt.shape[:3]
        T, Cg = len(taps), x.shape[1] // groups
        share = -(-min(96, max(TAPS, T // 8)) // TAPS) * TAPS
        parts = -(-T // share)
        for task in prange(groups * parts):
            g, t0 = task // parts, task % parts * share
            count = min(share, T - t0)
            rows = np.zeros((share, PIXELS), x.dtype)
            sums = np.zeros((panels, share, filters), x.dtype)
            for q0 in range(0, pixels, PIXELS):
                depth = min(PIXELS, pixels - q0)
                _gather_block(x, g * Cg, taps[t0:t0 + count], grid, q0, depth, rows)
                for panel in range(panels):
                    b = gt.ctypes.data + ((g * panels + panel) * pixels + q0) * filters * size
                    for t in range(0, count, TAPS):
                        c = sums.ctypes.data + (panel * share + t) * filters * size
                        weight_tile(rows.ctypes.data + t * PIXELS * size, b, depth, c, filters, PIXELS, 1)
            for k in range(gw.shape[1]):
                for t in range(count):
                    gw[g, k, t0 + t] = sums[k // filters, t, k % filters]

    return multiply, multiply_transposed


_PRODUCTS = {dtype: _products(dtype) for dtype in ("float32", "float64")}
