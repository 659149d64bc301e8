"""Winograd's convolution where filters are many: transformed, they are four times as large as they were and fit no cache.

Written to memory and read back they take longer than the multiplications that they save: 1,024 filters of 1,024 channels are
38 MB, transformed 151 MB. So a task is a panel of filters, for all tiles of a block of the image. It transforms the filters of
some channels at a time into the second cache, multiplies all points with them there, and goes on to the next channels; what
goes back and forth are the tiles, which are fewer. For the weight gradient a task is a panel of filters and some channels: the
sums of all points lie in the second cache, and only the gradients of taps leave it.
"""

import numpy as np
from numba import get_num_threads, prange

from kernels import layout
from kernels.compiling import njit
from kernels.conv2d.implicit_gemm import _height, _tiles, _tiles_for
from kernels.conv2d.packing import _pack_filters, _unpack_filters, kept, pack, panels, planned
from kernels.conv2d.winograd_tiles import (
    APART,
    HIGHEST,
    IN,
    OUT,
    POINTS,
    TASKS,
    VECTOR,
    patch,
    row_places,
    spread,
    to_filter_gradient,
    to_input,
    to_output,
    transform_panel,
    transformed_blocks,
)
from kernels.gemm.micro import lanes
from kernels.sharing import equal_queues, next_task
from kernels.streaming import LINE, finish, near

CHUNK = 96              # channels to a task of the weight gradient
DEEP = 128              # channels, at the most, whose transformed filters lie in the second cache
MOST = 96               # tiles to a block, at the most


def convolve(x, weight, transposed, bias, grid, y):
    """All tiles of y; see winograd._convolve."""
    C, wide, workers = x.shape[1], lanes(x.dtype), get_num_threads()
    tiles = len(x) * int(grid[0] * grid[1])
    packed, table = kept(pack, weight, 1, transposed, DEEP), planned(weight.shape, weight.dtype, 1, transposed, DEEP).table
    most, parts = -(-tiles // -(-tiles // MOST)), -(-C // DEEP)
    depth = -(-C // (parts * wide)) * wide                  # channels to a part
    rows = depth + most + HIGHEST                           # of transformed filters, and of products
    V = layout.aligned((parts, POINTS, most * depth), x.dtype)
    scratch = layout.aligned((workers, POINTS * (rows * int(table[:, 1].max()) * wide + 2 * APART)), x.dtype)
    sizes = C, depth, 1 if len(table) % workers == 0 else workers, int(transposed)
    pixels, results = layout.rows(x), layout.rows(y)
    for t0 in range(0, tiles, most):
        block = t0, min(most, tiles - t0)
        _transform_images(pixels, grid, block, (C, depth), V)
        _convolve_panels(V, packed[0], table, sizes, bias, grid, block, scratch, results)


@njit(cache=True, parallel=True)
def _transform_images(x, grid, block, sizes, V):
    """V[part of the channels][point][tile, channel] = Bᵀ·d·B of a block of tiles"""
    (t0, count), (C, depth) = block, sizes
    size, width = x.itemsize, VECTOR // x.itemsize
    for task in prange(TASKS):
        seen, points = np.empty(POINTS, np.int64), np.empty(POINTS, np.int64)
        nothing = near(C, x)
        nothing[:] = 0
        for t in range(count * task // TASKS, count * (task + 1) // TASKS):
            patch(x, grid, t0 + t, IN, grid[6:8], grid[2:4], nothing.ctypes.data, seen)
            for part in range(V.shape[0]):
                spread(V[part].ctypes.data + t * depth * size, V.strides[1], points)
                to_input(seen.ctypes.data, points.ctypes.data, min(depth, C - part * depth) // width, (0, 0, 0, 0), x)
                for k in range(POINTS):
                    seen[k] += depth * size


@njit(cache=True, parallel=True)
def _convolve_panels(V, packed, table, sizes, bias, grid, block, scratch, y):
    """A task is a panel of filters and some tiles. It transforms the filters of some channels at a time, which then lie in the
    second cache, and multiplies all points with them; transformed filters never come to memory."""
    (C, depth, shares, turned), (t0, count) = sizes, block
    size, width = y.itemsize, VECTOR // y.itemsize
    tasks, workers = table.shape[0] * shares, scratch.shape[0]
    queues = equal_queues(tasks, workers)
    for worker in prange(workers):
        points, results = np.empty(POINTS, np.int64), np.empty(OUT * OUT, np.int64)
        places, nowhere = np.empty((2, count + HIGHEST), np.int64), near(table[0, 1] * width, y)
        task = next_task(queues, worker)
        while task >= 0:
            p, share = task // shares, task % shares
            first, last = count * share // shares, count * (share + 1) // shares
            vectors, start = table[p, 1], table[p, 0] * width
            wide = vectors * width
            U, M, step = scratch[worker], scratch[worker, POINTS * (depth * wide + APART):], (last - first) * wide + APART
            row_places(first, last, (depth, wide), places)
            for row in range(places.shape[1]):          # with a slice the texts of NumPy's errors would be compiled too
                places[1, row] -= first * wide
            for part in range(V.shape[0]):
                few = min(depth, C - part * depth)
                transform_panel(packed[start * 9 * C:], (C, part * depth, few, vectors, turned), depth * wide + APART, U)
                for point in range(POINTS):
                    _add_product(V[part, point], U[point * (depth * wide + APART):], vectors, (few, last - first, part > 0),
                                 places, M[point * step:])
            end = bias.ctypes.data + start * size, grid[8], grid[9], grid[10]
            for t in range(first, last):
                spread(M.ctypes.data + (t - first) * wide * size, step * size, points)
                patch(y, grid, t0 + t, OUT, (0, 0), grid[4:6], nowhere.ctypes.data - start * size, results)
                for k in range(OUT * OUT):
                    results[k] += start * size
                to_output(points.ctypes.data, results.ctypes.data, vectors, end, y)
            task = next_task(queues, worker)
        finish()


@njit(cache=True)
def _add_product(V, U, vectors, sizes, places, M):
    """M[t, k] (+)= Σ_c V[t, c] · U[c, k] for one panel of filters and some channels"""
    depth, count, adds = sizes
    size, height = V.itemsize, _height(vectors)
    run, behind = np.array([[0, depth, 0]]), np.int64(V.ctypes.data) + V.size * size
    _tiles(vectors, _tiles_for(count, vectors), (V.ctypes.data, places[0].ctypes.data, np.int64(1)),
           (behind, height * size, height * depth * size), run, (np.int64(U.ctypes.data), vectors * VECTOR // size),
           (np.int64(M.ctypes.data), places[1].ctypes.data, np.int64(M.ctypes.data) if adds else np.int64(0)), V)


def correlate(x, gy, grid, gw):
    """gw (K, C·9) from x (N, C, H, W), gy (N, K, OH, OW): all threads multiply a block of transformed tiles, then the next."""
    C, K, table = x.shape[1], gy.shape[1], panels(gy.shape[1], x.dtype)
    wide = int(table[:, 1].max()) * lanes(x.dtype)
    scratch = layout.aligned((get_num_threads(), POINTS * ((CHUNK + 1) * wide + APART)), x.dtype)
    for V, D, t0, count in transformed_blocks(x, gy, grid):
        _correlate_block(V, D, table, (C, K, count, int(t0 > 0)), scratch, gw)


@njit(cache=True, parallel=True)
def _correlate_block(V, D, table, sizes, scratch, gw):
    """gw[k, c·9 + t] (+)= (Gᵀ·u·G)[t], u the sums over a block of tiles. A task is a panel of filters and CHUNK channels, of
    which all points' sums lie in the second cache."""
    C, K, count, adds = sizes
    width, workers = VECTOR // V.itemsize, scratch.shape[0]
    tasks = (C + CHUNK - 1) // CHUNK * table.shape[0]
    queues = equal_queues(tasks, workers)
    for worker in prange(workers):
        places, sums = np.empty((2, CHUNK + HIGHEST), np.int64), scratch[worker]
        taps = near(9 * CHUNK * table[0, 1] * width, V)
        task = next_task(queues, worker)
        while task >= 0:
            (first, vectors), c0 = table[task % table.shape[0]], task // table.shape[0] * CHUNK
            few, wide = min(CHUNK, C - c0), vectors * width
            row_places(np.int64(0), few, (np.int64(1), wide), places)
            for point in range(POINTS):
                _correlate_chunk(V, D, point, (C, K, count, c0, few, first, vectors), places,
                                 sums[point * (CHUNK * wide + APART):])
            block = taps[:9 * few * wide].reshape(9 * few, wide)
            if adds:
                some = gw[first * width:first * width + wide, c0 * 9:(c0 + few) * 9]
                _pack_filters(some, 9, block, np.int64(0), few, (np.int64(0), np.int64(1)))
            _transform_sums(sums, few, (vectors, CHUNK * wide + APART, adds), block)
            for v in range(first, first + vectors):
                some = gw[v * width:(v + 1) * width, c0 * 9:(c0 + few) * 9]
                _unpack_filters(block[:, (v - first) * width:], 9, np.int64(0), few, some)
            task = next_task(queues, worker)


@njit(cache=True)
def _correlate_chunk(V, D, point, sizes, places, sums):
    """sums[c, k] = Σ_t V[t, c] · D[t, k] for a panel of filters and some channels; what the next point needs is asked for, by
    each tile one line of every row."""
    C, K, count, c0, few, first, vectors = sizes
    size, after, run = V.itemsize, min(point + 1, POINTS - 1), np.array([[0, count, 0]])
    a, b = V[point, c0:].ctypes.data, (np.int64(D[point].ctypes.data) + first * VECTOR, K + APART)
    height, tiles, done = _height(vectors), _tiles_for(few, vectors), 0
    for next_, pace, more in ((np.int64(V[after, c0:].ctypes.data), C + APART, min(tiles, few * size // LINE)),
                              (np.int64(D[after].ctypes.data) + first * VECTOR, K + APART, tiles)):
        _tiles(vectors, more - done, (a, places[0, done * height:].ctypes.data, C + APART),
               (next_, pace * size, np.int64(LINE)), run, b,
               (np.int64(sums.ctypes.data), places[1, done * height:].ctypes.data, np.int64(0)), V)
        done = more


@njit(cache=True)
def _transform_sums(sums, few, sizes, taps):
    """taps[t·few + c, k] (+)= (Gᵀ·u·G)[t] for some channels c"""
    vectors, step, adds = sizes
    size, wide = sums.itemsize, taps.shape[1]
    source, to = np.empty(POINTS, np.int64), np.empty(9, np.int64)
    for c in range(few):
        spread(sums.ctypes.data + c * wide * size, step * size, source)
        spread(taps.ctypes.data + c * wide * size, few * wide * size, to)
        to_filter_gradient(source.ctypes.data, to.ctypes.data, vectors, (0, 0, 0, adds), taps)
