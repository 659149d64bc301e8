"""3x3 convolution of stride 1 with fewer multiplications: Winograd's minimal filtering.

Two outputs of a filter of three taps, y0 = d0·g0 + d1·g1 + d2·g2 and y1 = d1·g0 + d2·g1 + d3·g2, take six multiplications.
Read the taps and the outputs as polynomials: the product g(t)·y(t) has degree 3, so its values at four points say it all, one
multiplication each. With the points 0, 1, -1 and infinity

    m0 = (d0 - d2)·g0                           m1 = (d1 + d2)·(g0 + g1 + g2)/2
    m3 = (d1 - d3)·g2                           m2 = (d2 - d1)·(g0 - g1 + g2)/2
    y0 = m0 + m1 + m2                           y1 = m1 - m2 - m3

(put the m's in, and the taps come back): F(2, 3), four multiplications in the place of six. In matrices y = Aᵀ[(G·g) ⊙ (Bᵀ·d)],
and in two dimensions, rows and then columns, Y = Aᵀ[(G·g·Gᵀ) ⊙ (Bᵀ·d·B)]A: F(2x2, 3x3) takes 16 multiplications for four
outputs, where the definition takes 36. Here it is F(4x4, 3x3) with the points 0, ±1, ±2 and infinity: 36 for 16 outputs, where
the definition takes 144. The products for one point, of all channels, filters and tiles of the image, are a matrix product
on the micro-kernel; the transforms (kernels.conv2d.winograd_tiles) work on vectors of channels.

    forward           Y  = Aᵀ[(G·g·Gᵀ) ⊙ (Bᵀ·d·B)]A
    data gradient     the same over gy with the filter turned round, channels and filters changed places
    weight gradient   gg = Gᵀ[Σ over tiles (Bᵀ·d·B) ⊙ (A·gY·Aᵀ)]G

The price is rounding: the transforms' factors reach 8, and errors grow to some 1e-5 of the largest value in float32. So this
rung is for float32 alone, and what it does not fit (other windows, float64, channels that do not fill vectors) it hands over to
the rung below. A NaN or an infinity shows in its whole tile. Source: Lavin and Gray 2016, "Fast algorithms for convolutional
neural networks", sections 3 and 4; the transforms are theirs.
"""

import functools

import numpy as np
from numba import get_num_threads, prange

from kernels import layout, memory, streaming
from kernels.compiling import njit
from kernels.conv2d import implicit_gemm, winograd_many
from kernels.conv2d.implicit_gemm import _height, _tiles, _tiles_alone, _tiles_for, sum_rows
from kernels.conv2d.implicit_gemm_weights import _clear
from kernels.conv2d.packing import kept, pack, panels, planned, unpack
from kernels.conv2d.winograd_tiles import (
    APART,
    FEW,
    HIGHEST,
    IN,
    OUT,
    POINTS,
    VECTOR,
    fetch_tile,
    patch,
    row_places,
    spread,
    to_filter_gradient,
    to_input,
    to_output,
    transform_panel,
    transform_tiles,
    transformed_blocks,
)
from kernels.gemm.micro import lanes
from kernels.sharing import equal_queues, next_task
from kernels.streaming import finish, near

ANY_ORDER = True        # arrays are put in channels-last order here
NEAR = 3 << 19          # bytes of transformed tiles or sums that stay in the second cache
SPLITS = 4              # shares of all tiles that have sums of their own, at the most
CHUNK = 64              # channels to a task of the weight gradient
PER_TILE = 60_000       # bytes of transformed filters for each tile from which on they are many
TRANSFORM = 1000        # multiplications, for each pair of channel and filter, that must be saved for it to pay


@functools.lru_cache(512)
def fits(x_shape, weight_shape, dtype, window, groups):
    """Whether this rung computes such a convolution itself."""
    (K, C), wide = weight_shape[:2], lanes(np.float32)
    return (window[:4] == (3, 3, 1, 1) and groups == 1 and dtype == np.float32
            and (window.dilation_h, window.dilation_w) == (1, 1) and C % wide == 0 and K % wide == 0
            and 0 not in x_shape and max(window.top, window.bottom, window.left, window.right) <= 2)


def pays(x_shape, weight_shape, dtype, window, groups, changing=True):
    """Whether it is also faster: the multiplications saved are worth more than the transformed filters' way through memory,
    which those of a fused model, that do not change, went once."""
    if not fits(x_shape, weight_shape, dtype, window, groups):
        return False
    N, OH, OW, filters = x_shape[0], *window.output_size(*x_shape[2:]), weight_shape[:2]
    tiles = N * -(-OH // OUT) * -(-OW // OUT)
    saved = 9 * OH * OW * N - 1.15 * POINTS * tiles             # for each pair of channel and filter
    least = TRANSFORM if _many(*filters, tiles) else 6 * TRANSFORM if changing else 2 * TRANSFORM
    return tiles >= 32 and saved > least


def _many(K, C, tiles):
    """Whether the transformed filters take longer to come and go than so few tiles take to multiply (winograd_many)."""
    return max(2 * NEAR, PER_TILE * tiles) < POINTS * C * K * 4


def forward(x, weight, bias, window, groups=1, relu=False, out=None):
    """See the room, and the module for the formula."""
    if not fits(x.shape, weight.shape, x.dtype, window, groups):
        return implicit_gemm.forward(x, weight, bias, window, groups, relu, out)
    x = layout.channels_last(x)
    y = layout.empty((len(x), len(weight), *window.output_size(*x.shape[2:])), x.dtype) if out is None else out
    bias = np.zeros(len(weight), x.dtype) if bias is None else bias
    last = relu, streaming.fits(layout.rows(y), VECTOR), False
    _convolve(x, weight, False, bias, (window.top, window.left), last, y)
    return y


def backward(gy, x, weight, window, groups=1, needs=(True, True, True), onto=None):
    """See the room, and the module for the formulas."""
    if not fits(x.shape, weight.shape, x.dtype, window, groups):
        return implicit_gemm.backward(gy, x, weight, window, groups, needs, onto)
    x, gy, gx = layout.channels_last(x), layout.channels_last(gy), None
    if needs[0]:
        gx = layout.empty(x.shape, x.dtype) if onto is None else onto
        before, nothing = (2 - window.top, 2 - window.left), np.zeros(x.shape[1], x.dtype)
        _convolve(gy, weight, True, nothing, before, (False, False, onto is not None), gx)
    return gx, _weight_gradient(gy, x, weight, window) if needs[1] else None, sum_rows(gy) if needs[2] else None


def _filters(weight, transposed):
    """G·g·Gᵀ of every filter, flat: for each panel of filters [point][channel][filter]; transposed: turned round."""
    rows = weight.shape[0 if transposed else 1]
    plan = planned(weight.shape, weight.dtype, 1, transposed, rows)
    filters = layout.aligned((POINTS * (plan.wide * plan.depth + APART * len(plan.table)),), weight.dtype)
    _transform_filters(pack(weight, 1, transposed, rows)[0], plan.table, plan.depth, int(transposed), filters)
    return filters, plan.table


def _convolve(x, weight, transposed, bias, before, last, y):
    """All tiles of y: x (N, C, H, W) -> y (N, K, OH, OW), `before` the padding at the top and the left.

    last = (relu, past, adds), as in tile_transform.
    """
    (N, C, H, W), (_, K, OH, OW) = x.shape, y.shape
    rows, columns = -(-OH // OUT), -(-OW // OUT)
    grid = np.array([rows, columns, H, W, OH, OW, *before, *last], np.int64)
    if _many(K, C, N * rows * columns):
        winograd_many.convolve(x, weight, transposed, bias, grid, y)
        return
    small = POINTS * C * K * x.itemsize <= 2 * NEAR     # filters that may be fetched again for every few tiles
    most = max(24, NEAR // (POINTS * (C + K) * x.itemsize)) if small else 128
    filters, table = kept(_filters, weight, transposed)
    sizes = C, most, N * rows * columns, get_num_threads()
    _convolve_tiles(layout.rows(x), filters, table, bias, sizes, grid, layout.rows(y))


@njit(cache=True, parallel=True)
def _transform_filters(packed, table, depth, turned, filters):
    """All panels of `_filters`; a task is one channel of one panel."""
    width = VECTOR // packed.itemsize
    for task in prange(table.shape[0] * depth):
        p, d = task // depth, task % depth
        start, step = _panel(table, p, width, depth)
        sizes = depth, d, np.int64(1), table[p, 1], turned
        transform_panel(packed[table[p, 0] * width * 9 * depth:], sizes, step, filters[start + d * table[p, 1] * width:])


@njit(cache=True)
def _panel(table, p, width, depth):
    """(start of the panel's transformed filters, distance from point to point), in values"""
    return POINTS * (table[p, 0] * width * depth + p * APART), table[p, 1] * width * depth + APART


@njit(cache=True, parallel=True)
def _convolve_tiles(x, filters, table, bias, sizes, grid, y):
    """A task is a block of tiles: they are transformed, multiplied point by point, and transformed back. While they are
    multiplied, the pixels of the next block are asked for."""
    C, most, tiles, workers = sizes
    share, height = -(-tiles // workers), _height(table[0, 1])
    most = -(-share // (-(-share // most) * height)) * height           # of as many each, whole tiles of the micro-kernel
    blocks = (tiles + most - 1) // most
    queues = equal_queues(blocks, workers)
    size, width, K = x.itemsize, VECTOR // x.itemsize, bias.size
    for worker in prange(workers):
        seen, points, results = np.empty(POINTS, np.int64), np.empty(POINTS, np.int64), np.empty(OUT * OUT, np.int64)
        nothing, nowhere, run = near(C, x), near(K, x), np.array([[0, C, 0]])
        nothing[:] = 0
        nowhere[:] = 0
        last = bias.ctypes.data, grid[8], grid[9], grid[10]
        V, M = near(POINTS * (most * C + APART), x), near(POINTS * (most * K + APART), x)
        places = np.empty((2, most + HIGHEST), np.int64)
        block = next_task(queues, worker)
        while block >= 0:
            t0 = block * most
            count = min(most, tiles - t0)
            row_places(np.int64(0), count, (C, K), places)
            for t in range(count):
                patch(x, grid, t0 + t, IN, grid[6:8], grid[2:4], nothing.ctypes.data, seen)
                if C * size <= FEW:
                    fetch_tile(seen, IN, C, x)
                spread(V.ctypes.data + t * C * size, (most * C + APART) * size, points)
                to_input(seen.ctypes.data, points.ctypes.data, C // width, (0, 0, 0, 0), x)
            ahead, bytes_ = _next_rows(x, grid, t0 + count, min(most, tiles - t0 - count))
            asks = (count + HIGHEST - 1) // HIGHEST * C         # of a panel of one point, at the least
            pace = -(-bytes_ // (POINTS * table.shape[0] * asks))
            for point in range(POINTS):
                for p in range(table.shape[0]):
                    start, step = _panel(table, p, width, C)
                    _multiply_point(V[point * (most * C + APART):], filters[start + point * step:], table[p, 1], count, run,
                                    places, (ahead, pace), M[point * (most * K + APART) + table[p, 0] * width:])
                    ahead += asks * pace
            for t in range(count):
                spread(M.ctypes.data + t * K * size, (most * K + APART) * size, points)
                patch(y, grid, t0 + t, OUT, (0, 0), grid[4:6], nowhere.ctypes.data, results)
                to_output(points.ctypes.data, results.ctypes.data, K // width, last, x)
            block = next_task(queues, worker)
        finish()


@njit(cache=True)
def _next_rows(x, grid, tile, count):
    """(address, bytes) of the rows of pixels that so many tiles from `tile` on see and the ones before them do not."""
    rows, columns, H, W = grid[0], grid[1], grid[2], grid[3]
    n, i, j = tile // (rows * columns), tile // columns % rows, tile % columns
    pitch = x.shape[1] * x.itemsize
    pixels = (n * H + i * OUT + IN - OUT - grid[6]) * W + j * OUT * W // columns
    return np.int64(x.ctypes.data) + pixels * pitch, count * OUT * W // columns * pitch


@njit(cache=True)
def _multiply_point(V, filters, vectors, count, run, places, coming, M):
    """M[t, k] = Σ_c V[t, c] · filters[c, k] for one panel of filters"""
    ahead, pace = coming
    _tiles(vectors, _tiles_for(count, vectors), (V.ctypes.data, places[0].ctypes.data, np.int64(1)),
           (ahead, pace, run[0, 1] * pace), run,
           (np.int64(filters.ctypes.data), vectors * VECTOR // V.itemsize),
           (np.int64(M.ctypes.data), places[1].ctypes.data, np.int64(0)), V)


def _weight_gradient(gy, x, weight, window):
    (N, K, OH, OW), C = gy.shape, x.shape[1]
    grid = np.array([-(-OH // OUT), -(-OW // OUT), *x.shape[2:], OH, OW, window.top, window.left], np.int64)
    gw, table, tiles = memory.gradient_of(weight), panels(K, x.dtype), N * int(grid[0] * grid[1])
    if _many(K, C, tiles):
        winograd_many.correlate(x, gy, grid, gw.reshape(K, C * 9))
        return gw
    small = POINTS * C * K * x.itemsize <= NEAR
    sums = np.empty((min(SPLITS, -(-tiles // 48)) if small else 1, POINTS, C * K + APART), x.dtype)
    if small:
        _correlate_shares(layout.rows(x), layout.rows(gy), (C, K, tiles), grid, table, sums)
    else:
        for V, D, t0, count in transformed_blocks(x, gy, grid):
            _correlate_block(V, D, table, (C, K, count), t0 > 0, sums[0])
    taps = np.empty((1, 1, 9 * C, K), x.dtype)
    _transform_gradient(sums, C, taps[0, 0])
    unpack(taps, 1, gw.reshape(1, K, C, 9))
    return gw


@njit(cache=True, parallel=True)
def _correlate_shares(x, gy, sizes, grid, table, sums):
    """Few channels: each share of the tiles has sums of its own, which stay in the second cache with some transformed tiles."""
    C, K, tiles = sizes
    shares, most = sums.shape[0], max(24, NEAR // (2 * POINTS * (C + K) * x.itemsize))
    for share in prange(shares):
        V, D = near(POINTS * (most * (C + APART) + APART), x), near(POINTS * (most * (K + APART) + APART), x)
        V, D = V.reshape(POINTS, V.size // POINTS), D.reshape(POINTS, D.size // POINTS)
        places = np.empty((2, C + HIGHEST), np.int64)
        row_places(np.int64(0), C, (np.int64(1), K), places)
        _clear(sums[share])
        first, last = tiles * share // shares, tiles * (share + 1) // shares
        for t0 in range(first, last, most):
            count = min(most, last - t0)
            transform_tiles(x, gy, (C, K), grid, (t0, count, np.int64(0)), V, D)
            for point in range(POINTS):
                _correlate_point(V[point], D[point], table, (C, K, count, np.int64(0), C), places, True, sums[share, point])


@njit(cache=True, parallel=True)
def _correlate_block(V, D, table, sizes, adds, sums):
    """sums[point, c, k] (+)= Σ_t V[point, t, c] · D[point, t, k] over a block of tiles; a task is a point and some channels."""
    C, K, count = sizes
    parts = (C + CHUNK - 1) // CHUNK
    for task in prange(POINTS * parts):
        point, c0 = task // parts, task % parts * CHUNK
        places = np.empty((2, CHUNK + HIGHEST), np.int64)
        row_places(c0, min(C, c0 + CHUNK), (np.int64(1), K), places)
        _correlate_point(V[point], D[point], table, (C, K, count, c0, min(C, c0 + CHUNK)), places, adds, sums[point])


@njit(cache=True)
def _correlate_point(V, D, table, sizes, places, adds, sums):
    """sums[c, k] (+)= Σ_t V[t, c] · D[t, k] for the channels c0 <= c < c1"""
    C, K, count, c0, c1 = sizes
    run = np.array([[0, count, 0]])
    for p in range(table.shape[0]):
        first, vectors = table[p]
        to = np.int64(sums.ctypes.data) + first * VECTOR
        _tiles_alone(
            vectors, _tiles_for(c1 - c0, vectors), (V.ctypes.data, places[0].ctypes.data, C + APART), run,
            (np.int64(D.ctypes.data) + first * VECTOR, K + APART), (to, places[1].ctypes.data, to if adds else np.int64(0)), V)


@njit(cache=True, parallel=True)
def _transform_gradient(sums, C, taps):
    """taps[t·C + c, k] = (Gᵀ·u·G)[t], u the shares' sums of channel c, added up in order"""
    K, width, size = taps.shape[1], VECTOR // sums.itemsize, sums.itemsize
    shares, step = sums.shape[0], sums.strides[1]
    for c in prange(C):
        source, to = np.empty(POINTS, np.int64), np.empty(9, np.int64)
        for point in range(POINTS):
            for share in range(1, shares):
                total, part = sums[0, point, c * K:], sums[share, point, c * K:]
                for k in range(K):
                    total[k] += part[k]
        spread(sums.ctypes.data + c * K * size, step, source)
        spread(taps.ctypes.data + c * K * size, C * K * size, to)
        to_filter_gradient(source.ctypes.data, to.ctypes.data, K // width, (0, 0, 0, 0), sums)
