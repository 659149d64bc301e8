"""Winograd's tiles: the transforms of F(4x4, 3x3), and where a tile's pixels lie. See kernels.conv2d.winograd.

Each transform is a matrix that its function applies to a column of values; `tile_transform` makes of it F·d·Fᵀ, on vectors of
channels. Source: Lavin and Gray 2016, "Fast algorithms for convolutional neural networks", section 4.
"""

import numpy as np
from numba import prange

from kernels import layout
from kernels.compiling import njit
from kernels.conv2d.packing import ROWS
from kernels.gemm.micro import registers, tile_transform
from kernels.streaming import fetch, near

VECTOR = registers()[0]         # bytes
OUT, IN = 4, 6          # pixels along a side of a tile: results, and what they see
POINTS = IN * IN
HIGHEST = max(ROWS.values())     # rows of the highest tile of the micro-kernel
FEW = 128               # bytes of a pixel so small that transforming it takes less time than waiting for it
FAR = 16 << 20          # bytes of transformed tiles that stay in the third cache, where the second is too small
LEAST = 256             # tiles to such a block, at the least
TASKS = 64              # shares of a block of tiles that may be transformed side by side
APART = 16              # values between the matrices of two points: at powers of two they would share the cache's sets


def input_transform(d):
    """Bᵀ·d: six values to six."""
    even, odd, side, middle = d[4] - 4 * d[2], d[3] - 4 * d[1], d[4] - d[2], 2 * (d[3] - d[1])
    return [4 * d[0] - 5 * d[2] + d[4], even + odd, even - odd, side + middle, side - middle, 4 * d[1] - 5 * d[3] + d[5]]


def filter_transform(g):
    """G·g: three taps to six values."""
    ends, far = (g[0] + g[2]) * (-1 / 6), g[0] * (1 / 24) + g[2] * (1 / 6)
    middle, half = g[1] * (1 / 6), g[1] * (1 / 12)
    return [g[0] * (1 / 4), ends - middle, ends + middle, far + half, far - half, g[2]]


def output_transform(m):
    """Aᵀ·m: six values to four results."""
    a, b, c, d = m[1] + m[2], m[1] - m[2], m[3] + m[4], m[3] - m[4]
    return [m[0] + a + c, b + 2 * d, a + 4 * c, b + 8 * d + m[5]]


def result_gradient(g):
    """A·g: four gradients of results to six values."""
    a, b, c, d = g[0] + g[2], g[1] + g[3], g[0] + 4 * g[2], 2 * g[1] + 8 * g[3]
    return [g[0], a + b, a - b, c + d, c - d, g[3]]


def filter_gradient(u):
    """Gᵀ·u: six values to the gradients of three taps."""
    near, far = u[1] + u[2], u[3] + u[4]
    return [u[0] * (1 / 4) - near * (1 / 6) + far * (1 / 24), (u[2] - u[1]) * (1 / 6) + (u[3] - u[4]) * (1 / 12),
            far * (1 / 6) - near * (1 / 6) + u[5]]


to_input = tile_transform(IN, input_transform, VECTOR)
to_filter = tile_transform(3, filter_transform, VECTOR)
to_output = tile_transform(IN, output_transform, VECTOR)
to_result_gradient = tile_transform(OUT, result_gradient, VECTOR)
to_filter_gradient = tile_transform(IN, filter_gradient, VECTOR)


@njit(inline="always")
def patch(matrix, grid, tile, side, before, size, outside, addresses):
    """The addresses of the side x side pixels that belong to a tile; `outside` for those that are not in the image.

    grid: rows and columns of tiles, H and W of x, OH and OW of the results, the padding at the top and the left, …
    """
    rows, columns = grid[0], grid[1]
    n, i, j = tile // (rows * columns), tile // columns % rows, tile % columns
    pitch, H, W = matrix.shape[1] * matrix.itemsize, size[0], size[1]
    top, left = i * OUT - before[0], j * OUT - before[1]
    start = matrix.ctypes.data + ((n * H + top) * W + left) * pitch
    if top >= 0 and left >= 0 and top + side <= H and left + side <= W:
        for h in range(side):
            for w in range(side):
                addresses[h * side + w] = start + (h * W + w) * pitch
    else:
        for h in range(side):
            for w in range(side):
                inside = 0 <= top + h < H and 0 <= left + w < W
                addresses[h * side + w] = start + (h * W + w) * pitch if inside else outside


@njit(inline="always")
def fetch_tile(addresses, side, channels, like):
    """Ask for the pixels of the tile that comes four tiles later, in a row of tiles."""
    for k in range(side // 2 - 1, side * side, side):
        fetch(addresses[k] + 4 * OUT * channels * like.itemsize, OUT * channels, like)


@njit(inline="always")
def spread(base, step, addresses):
    """addresses[point] = base + point · step"""
    for point in range(addresses.size):
        addresses[point] = base + point * step


@njit(cache=True)
def row_places(first, last, steps, places):
    """places (2, ·): where each of some rows is read and where it goes, behind the last row that one again."""
    for i in range(last - first + HIGHEST):
        row = min(first + i, last - 1)
        places[0, i], places[1, i] = row * steps[0], row * steps[1]


@njit(cache=True)
def transform_panel(packed, sizes, step, U):
    """U[point][channel, filter] = G·g·Gᵀ for some channels of one panel of packed filters, `step` values from point to point.

    sizes = (channels of the panel, the first to transform, how many, vectors of the panel, 1 to turn the filters round).
    """
    C, c0, few, vectors, turned = sizes
    size, wide = U.itemsize, vectors * VECTOR // U.itemsize
    source, to = np.empty(9, np.int64), np.empty(POINTS, np.int64)
    for c in range(few):
        for t in range(9):
            tap = 8 - t if turned else t
            source[t] = packed.ctypes.data + (tap * C + c0 + c) * wide * size
        spread(U.ctypes.data + c * wide * size, step * size, to)
        to_filter(source.ctypes.data, to.ctypes.data, vectors, (0, 0, 0, 0), packed)


@njit(cache=True)
def transform_tiles(x, gy, channels, grid, block, V, D):
    """V[point, t] = Bᵀ·d·B of the input tiles, D[point, t] = A·gY·Aᵀ of the gradient's; rows of C and K values, APART apart."""
    C, K = channels
    t0, count, to = block               # first tile, how many, and the row of V and D where the first goes
    size, width, v_step, d_step = x.itemsize, VECTOR // x.itemsize, V.strides[0], D.strides[0]
    seen, points, results = np.empty(POINTS, np.int64), np.empty(POINTS, np.int64), np.empty(OUT * OUT, np.int64)
    nothing = near(max(C, K), x)
    nothing[:] = 0
    for t in range(count):
        patch(x, grid, t0 + t, IN, grid[6:8], grid[2:4], nothing.ctypes.data, seen)
        if C * size <= FEW:
            fetch_tile(seen, IN, C, x)
        spread(V.ctypes.data + (to + t) * (C + APART) * size, v_step, points)
        to_input(seen.ctypes.data, points.ctypes.data, C // width, (0, 0, 0, 0), x)
        patch(gy, grid, t0 + t, OUT, (0, 0), grid[4:6], nothing.ctypes.data, results)
        if K * size <= FEW:
            fetch_tile(results, OUT, K, x)
        spread(D.ctypes.data + (to + t) * (K + APART) * size, d_step, points)
        to_result_gradient(results.ctypes.data, points.ctypes.data, K // width, (0, 0, 0, 0), x)


def transformed_blocks(x, gy, grid):
    """(V, D, first tile, number of tiles) of one block of tiles after the other, see transform_tiles; the next block has the
    same V and D. x (N, C, H, W), gy (N, K, OH, OW)."""
    channels, tiles = (x.shape[1], gy.shape[1]), len(x) * int(grid[0] * grid[1])
    most = max(LEAST, min(tiles, FAR // (POINTS * sum(channels) * x.itemsize)))
    most = -(-tiles // -(-tiles // most))
    V, D = (layout.aligned((POINTS, most * (size + APART) + APART), x.dtype) for size in channels)
    for t0 in range(0, tiles, most):
        count = min(most, tiles - t0)
        _transform_block(layout.rows(x), layout.rows(gy), channels, grid, (t0, count), V, D)
        yield V, D, t0, count


@njit(cache=True, parallel=True)
def _transform_block(x, gy, channels, grid, block, V, D):
    """transform_tiles on all threads."""
    t0, count = block
    for part in prange(TASKS):
        first, last = count * part // TASKS, count * (part + 1) // TASKS
        transform_tiles(x, gy, channels, grid, (t0 + first, last - first, first), V, D)
