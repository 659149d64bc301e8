"""Weight gradient of a 1x1 convolution with fewer multiplications: Strassen's product of matrices.

    gW = GYᵀ · X        # (K, pixels) @ (pixels, C) -> (K, C)

Filters, pixels and channels are cut in half, and seven products are formed in the place of eight; see
kernels.conv2d.strassen_blocks for them, and kernels.conv2d.strassen for what it costs. A block A of GYᵀ is (half of the
filters, half of the pixels), a block B of X is (half of the pixels, half of the channels). As in the rung below, a block of
pixels at a time is packed, 16 filters for all channels, but what is packed is the sum of two pixels' values; the sums of
channels are formed by the first tile that reads them, between its multiplications, and stored for the others.

    M_i += (A ± A')·(B ± B')            # (K/2, pixels) @ (pixels, C/2) -> (K/2, C/2), the seven over all pixels
    gW's quarters = sums of M_i         # once, at the end

What grows are seven quarters of gW, not four. They would not stay in the second cache together: a worker goes through a chunk
of the pixels, one that stays in the third cache, seven times, and each time one M_i grows. How the pixels are shared out
follows from the shape alone, and so do all results. Sources: those of kernels.conv2d.strassen.
"""

import numpy as np
from numba import get_num_threads, prange

from kernels import layout, memory
from kernels.compiling import njit
from kernels.conv2d.implicit_gemm_weights import APART, BLOCK, PACKED, TAPS, _taps, _taps_height
from kernels.conv2d.packing import panels
from kernels.conv2d.strassen_blocks import LEFT, PRODUCTS, RIGHT, VECTOR, results, seven, take
from kernels.gemm.micro import lanes
from kernels.streaming import LINE, near

NEAR = 1 << 19          # bytes of a task's share of an M_i, that stay in the second cache
CHUNK = 1 << 23         # bytes of pixels that stay in the third
CLOSE = 4_000_000       # values of x and gy that stay in the third cache
SAVED, LEAST = 115, 54  # C·K / (C + 3·K): products for each sum, from which on it pays; where all values stay there
MANY = 4                # pixels to a filter, from which on to share out pixels is cheaper than to share out filters
WIDTH = VECTOR // 4     # values of float32 to a vector


def fits(pixels, K, C, dense=True):
    """Whether pixels pair, halves of filters and channels fill whole tiles, and it pays."""
    return pixels % 2 == 0 and K % (2 * PACKED) == 0 and C % (2 * lanes(np.float32)) == 0 and pays(pixels, K, C, dense)


def pays(pixels, K, C, dense=True):
    """Whether filters and channels are enough to pay for the sums, those of filters, for each channel, three times as dear;
    dense: whether all pixels of x are seen, else a copy of the others must come from the cache."""
    close, saved = pixels * (C + K) <= CLOSE, C * K / (C + 3 * K)
    return saved >= LEAST if close else dense and saved >= SAVED


def weight_gradient(gy, x, weight):
    """gW (K, C, 1, 1) of gy (N, K, H, W) and x (N, C, H, W), channels-last float32 that `fits`; see the module."""
    K, C, pixels = gy.shape[1], x.shape[1], gy.size // gy.shape[1]
    splits = 2 if pixels >= MANY * K else 1         # of the pixels, each with sums of its own
    parts, sets = -(-get_num_threads() // splits), 1        # of the filters, which pack all channels each; of the products
    if parts >= PRODUCTS:
        parts, sets = parts // PRODUCTS, PRODUCTS
    parts *= -(-K * C * gy.itemsize // (4 * NEAR * parts))
    sums = np.empty((splits, PRODUCTS, K // 2 + 1, C // 2 + APART), gy.dtype)     # a row more, lest M_i share a cache's sets
    longest = 2 * BLOCK if C * BLOCK * gy.itemsize <= NEAR // 2 else BLOCK  # pixels of a block, half of whose channels is near
    chunk = CHUNK // (2 * (K + C) * gy.itemsize)
    chunks = max(1, -(-pixels // 2 // (splits * max(longest, chunk))))
    blocks = -(-pixels // 2 // longest)
    blocks += -blocks % (splits * chunks)
    _correlate(layout.rows(gy), layout.rows(x), panels(C // 2, gy.dtype, most=3),
               (K // 2, C // 2), (min(parts, K // 2 // PACKED), sets, chunks, blocks, longest), sums)
    gw = memory.gradient_of(weight)
    _assemble(sums, np.zeros(C // 2, gy.dtype), gw.reshape(K, C))
    return gw


@njit(cache=True, parallel=True)
def _correlate(gy, x, table, sides, sizes, sums):
    """sums (splits, 7, K/2, ·) = the M_i of each split of the pixels. A task is a part of the filters for one split and one set
    of products."""
    parts, sets, chunks, blocks, longest = sizes
    splits, each = sums.shape[0], blocks // (sums.shape[0] * chunks)
    for task in prange(splits * parts * sets):
        split, part, own = task % splits, task // splits % parts, task // (splits * parts)
        tiles = sides[0] // PACKED
        span = tiles * part // parts * PACKED, tiles * (part + 1) // parts * PACKED
        packed, taps = near(longest * sides[1], x), near(longest * PACKED, x)
        for chunk in range(chunks):
            first = (split * chunks + chunk) * each
            for i in range(own, PRODUCTS, sets):
                _grow(gy, x, table, sides, span, (first, first + each, blocks), (packed, taps), sums[split, i], (i, chunk > 0))


@njit(cache=True)
def _grow(gy, x, table, sides, span, share, room, sums, which):
    """sums (K/2, ·) = or += one product of some blocks of pixels, for a span of its rows. sides = (K/2, C/2); share = (first,
    one past the last, of how many blocks); which = (the product, whether to add)."""
    (first, end, blocks), (i, adds), half = share, which, gy.shape[0] // 2
    most = (half + blocks - 1) // blocks
    for block in range(first, end):
        pixel, count = block * most, min(most, half - block * most)
        if count > 0:
            filters = _places(gy, pixel, sides[0], (LEFT[i, 1], LEFT[i, 0], LEFT[i, 3], LEFT[i, 2]))
            channels = _places(x, pixel, sides[1], (RIGHT[i, 0], RIGHT[i, 1], RIGHT[i, 2], RIGHT[i, 3]))
            _grow_block((LEFT[i, 4], RIGHT[i, 4]), filters, channels, span, count, table, room, sums, adds)
            adds = True


@njit(cache=True)
def _places(matrix, pixel, side, blocks):
    """(address, address, bytes to the next pixel): where two blocks of `matrix` (pixels, 2·side) begin, at a pixel of each;
    blocks = (half of the pixels, half of the columns) of both."""
    half, pitch, (row0, column0, row1, column1) = matrix.shape[0] // 2, matrix.strides[0], blocks
    first = (row0 * half + pixel) * pitch + column0 * side * matrix.itemsize
    second = (row1 * half + pixel) * pitch + column1 * side * matrix.itemsize
    return np.int64(matrix.ctypes.data) + first, np.int64(matrix.ctypes.data) + second, pitch


@njit(cache=True)
def _grow_block(signs, filters, channels, span, count, table, room, sums, adds):
    """sums[k, c] (+)= Σ_q (A ± A')[k, q] · (B ± B')[q, c], rows k of `span`, q of one block of pixels; a few rows at a time.
    signs = those of A' and B'.

    Each tile asks for a line of each pixel: the first two for the filters that are packed next, the others for a vector of the
    next block's channels."""
    packed, taps = room
    size, pitch, row_bytes = sums.itemsize, filters[2], sums.strides[0]
    each, writes, whole = np.arange(PACKED), np.empty(PACKED, np.int64), np.array([[0, count, 0]])
    lines, asked, behind = 2 * (table[-1, 0] + table[-1, 1]) * VECTOR // LINE, 0, count * channels[2]
    for row in range(span[0], span[1], PACKED):
        take(signs[0], (filters[0] + row * size, filters[1] + row * size, pitch // size),
             (np.int64(taps.ctypes.data), np.int64(PACKED)), (count, PACKED // WIDTH), taps)
        for i in range(PACKED):
            writes[i] = (row + i) * row_bytes // size
        next_ = (row + PACKED) * size if row + PACKED < span[1] else span[0] * size + count * pitch
        for p in range(table.shape[0]):
            b = np.int64(packed.ctypes.data) + table[p, 0] * VECTOR * count
            to = np.int64(sums.ctypes.data) + table[p, 0] * VECTOR
            for some in range(0, PACKED, _taps_height(table[p, 1])):
                ahead, pace = b, np.int64(0)
                if p == 0:
                    ahead, pace = filters[some // TAPS] + next_, pitch
                elif asked < lines:
                    ahead, pace = channels[asked % 2] + behind + asked // 2 * LINE, channels[2]
                    asked += 1
                a = taps.ctypes.data + some * size, each.ctypes.data, np.int64(PACKED), ahead, pace, b, np.int64(0)
                c = (to, writes[some:].ctypes.data, np.int64(0), to if adds else np.int64(0), np.int64(0), np.int64(0))
                pixels = whole.ctypes.data, np.int64(1)         # here: after its last use an array is let go
                if row == span[0] and some == 0:
                    at = table[p, 0] * VECTOR
                    summed = channels[0] + at, channels[2] // size, b, channels[1] + at, signs[1]
                    _taps(table[p, 1], a, pixels, summed, c, sums)
                else:
                    _taps(table[p, 1], a, pixels, (b, table[p, 1] * WIDTH), c, sums)


@njit(cache=True, parallel=True)
def _assemble(sums, zeros, gw):
    """gw (K, C): its quarters summed up from the products of all splits, in order; zeros (C/2,) are what `results` adds."""
    K, C = gw.shape
    for k in prange(K // 2):
        side, zero = C // 2 * gw.itemsize, np.int64(zeros.ctypes.data)
        upper = np.int64(gw.ctypes.data) + k * 2 * side
        lower = upper + K // 2 * 2 * side
        for split in range(sums.shape[0]):
            m = seven(np.int64(sums.ctypes.data) + split * sums.strides[0] + k * sums.strides[2], sums.strides[1], 0)
            results((*m[:PRODUCTS], zero, zero, 0), (upper, upper + side, lower, lower + side, 0), (1, side // VECTOR),
                    (0, 0, int(split > 0)), gw)
