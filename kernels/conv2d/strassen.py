"""1x1 convolution with fewer multiplications: Strassen's product of matrices.

Such a convolution is a product of pixels and weights, Y (pixels, K) = X (pixels, C) · W (C, K). Cut in half both ways, a
product of matrices C = A · B is one of 2x2 blocks, of which the definition forms eight products:

    C11 = A11·B11 + A12·B21             C12 = A11·B12 + A12·B22
    C21 = A21·B11 + A22·B21             C22 = A21·B12 + A22·B22

Strassen forms seven, of sums of blocks (kernels.conv2d.strassen_blocks). Multiply them out: what a product has too much,
another takes away. An eighth of the multiplications is saved. The price is additions, whose number grows with the sides of the
matrices and not with their product: it is worth paying where channels and filters are many.

    forward           Y  = X · W        pixels in pairs, channels and filters in halves
    data gradient     gX = gY · Wᵀ      the same, channels and filters changed places
    weight gradient   gW = gYᵀ · X      see kernels.conv2d.strassen_weights

With a larger stride X, or gX, is of the pixels that the convolution sees, side by side: kernels.conv2d.seen. The forward pass
is then left to the rung below, which reads them where they lie and is as fast.

A worker takes a few pairs of pixels at a time, so that their sums stay in the second cache. Their seven products with a panel
of filters go to a small array; while the next panel is multiplied, they are summed up and stored, one pair of pixels at a time,
lest memory waits for the arithmetic and then the arithmetic for memory. Which pixels are a pair follows from the shape alone,
and so do all results.

Rounding stays at some 1e-6 of the largest value in float32. But a value that is far smaller than its partners in another block
loses digits to them, and a NaN or an infinity shows in these, too. So this rung is for float32 alone, and what it does not fit
it hands over to the rung below. Sources: Strassen 1969, "Gaussian elimination is not optimal"; sums as a part of packing and
storing: Huang, Smith, Henry and van de Geijn 2016, "Strassen's algorithm reloaded".
"""

import functools
import math

import numpy as np
from numba import get_num_threads, prange

from kernels import layout
from kernels.compiling import njit
from kernels.conv2d import implicit_gemm, strassen_weights
from kernels.conv2d.implicit_gemm import _height, _past, _tile
from kernels.conv2d.implicit_gemm_weights import APART
from kernels.conv2d.packing import _pack_filters, kept, planned
from kernels.conv2d.seen import pixels_seen, put_back
from kernels.conv2d.strassen_blocks import PRODUCTS, RIGHT, VECTOR, left_sums, results, seven, take
from kernels.gemm.micro import lanes
from kernels.sharing import equal_queues, next_task
from kernels.streaming import claim, finish, near

ANY_ORDER = True        # arrays are put in channels-last order here
NEAR = 3 << 17          # bytes of the sums of pixels, of all products, that stay in the second cache
LEAST, MOST = 36, 54    # pairs of pixels to a block
SPARE = 16              # rows behind a block's products that its last tile may write
SOON = 2                # pairs from the one that is stored to the one whose lines are asked for
PIXELS = 512            # the fewest for which it pays
PACKED = 400            # pixels whose products cost as much as the packing of weights that change
SAVED = 85              # C·K / (C + K): products for each addition, from which on it pays
DEEP = 256              # filters of a data gradient, below which it is stored for too few products


@functools.lru_cache(512)
def fits(x_shape, weight_shape, dtype, window, groups):
    """Whether this rung computes such a convolution itself."""
    return (dtype == np.float32 and window.one_pixel and groups == 1 and 0 not in x_shape
            and all(channels % (2 * lanes(np.float32)) == 0 for channels in weight_shape[:2]))


def pays(function, x_shape, weight_shape, dtype, window, groups, changing=True):
    """Whether it is also faster, in "forward" or in one of the gradients of "backward"."""
    if not fits(x_shape, weight_shape, dtype, window, groups):
        return False
    (N, _, H, W), (K, C) = x_shape, weight_shape[:2]
    pixels = N * math.prod(window.output_size(H, W))
    if function == "backward":
        return _data_pays(pixels, K, C) or strassen_weights.pays(pixels, K, C, window.pointwise)
    return _saves(pixels, K, C, changing)


def _saves(pixels, K, C, changing=True):
    """Whether channels, filters and pixels are many; weights that change are packed each time."""
    free = pixels * (1 - SAVED * (C + K) / (C * K))         # so many have their products saved and nothing to pay
    return pixels >= PIXELS and free >= (PACKED if changing else 0)


def _data_pays(pixels, K, C):
    return K >= DEEP and _saves(pixels, K, C)


def forward(x, weight, bias, window, groups=1, relu=False, out=None):
    """See the room, and the module for the formula."""
    if not (window.pointwise and fits(x.shape, weight.shape, x.dtype, window, groups)):
        return implicit_gemm.forward(x, weight, bias, window, groups, relu, out)
    x = layout.channels_last(x)
    y = layout.empty((len(x), len(weight), *x.shape[2:]), x.dtype) if out is None else out
    bias = np.zeros(len(weight), x.dtype) if bias is None else bias
    _convolve(x, weight, False, bias, (int(relu), _past(y, 2), 0), y)
    return y


def backward(gy, x, weight, window, groups=1, needs=(True, True, True), onto=None):
    """See the room, and the module for the formulas."""
    if not fits(x.shape, weight.shape, x.dtype, window, groups):
        return implicit_gemm.backward(gy, x, weight, window, groups, needs, onto)
    x, gy = layout.channels_last(x), layout.channels_last(gy)
    pixels, K, C = gy.size // len(weight), *weight.shape[:2]
    here = (needs[0] and _data_pays(pixels, K, C),
            needs[1] and strassen_weights.fits(pixels, K, C, window.pointwise), False)
    below = tuple(needed and not found for needed, found in zip(needs, here))
    gx, gw, gbias = implicit_gemm.backward(gy, x, weight, window, groups, below, onto)
    if here[0]:
        gx = _input_gradient(gy, x.shape, weight, window, onto)
    return gx, strassen_weights.weight_gradient(gy, pixels_seen(x, window), weight) if here[1] else gw, gbias


def _input_gradient(gy, shape, weight, window, onto):
    """gx of `shape` (N, C, H, W), or `onto` with it added, from gy (N, K, OH, OW): gX = gY · Wᵀ of the pixels that are seen."""
    gx, nothing = layout.empty(shape, gy.dtype) if onto is None else onto, np.zeros(shape[1], gy.dtype)
    if window.pointwise:
        _convolve(gy, weight, True, nothing, (0, 0, int(onto is not None)), gx)
        return gx
    seen = layout.empty((len(gy), shape[1], *gy.shape[2:]), gy.dtype)
    _convolve(gy, weight, True, nothing, (0, 0, 0), seen)
    put_back(seen, window, onto is not None, gx)
    return gx


def _convolve(x, weight, transposed, bias, last, y):
    """y = x · W + bias, W (C, K) the weights turned round; transposed: y = x · weight. last = (relu, past, adds)."""
    (K, C), workers = weight.shape[:2], get_num_threads()
    plan = planned((K // 2, C // 2, 1, 1), weight.dtype, 1, transposed)
    _multiply(layout.rows(x), kept(_packed, weight, transposed), bias, plan.table, (plan.depth, plan.columns, workers), last,
              layout.rows(y))


def _packed(weight, transposed):
    """(7, ·): the sums of the blocks of W, each packed as implicit_gemm's weights are"""
    K, C = weight.shape[:2]
    plan = planned((K // 2, C // 2, 1, 1), weight.dtype, 1, transposed)
    packed = layout.aligned((PRODUCTS, K * C // 4), weight.dtype)
    _pack(np.ascontiguousarray(weight).reshape(K, C), transposed, plan.table, packed)
    return packed


@njit(cache=True, parallel=True)
def _pack(w, transposed, table, packed):
    """packed[product][panel][row] = the panel's filters. A block of W is one of w, with transposed, or one of wᵀ."""
    (K, C), size, width = w.shape, w.itemsize, VECTOR // w.itemsize
    depth, P, at = K // 2 if transposed else C // 2, table.shape[0], np.int64(w.ctypes.data)
    for task in prange(PRODUCTS * P):
        i, p = task // P, task % P
        first, wide, vectors = table[p, 0] * width, table[p, 1] * width, table[p, 1]
        block = packed[i, first * depth:(first + wide) * depth].reshape(depth, wide)
        row0, column0, row1, column1, sign = RIGHT[i]
        if transposed:
            a, b = (row0 * K * C + column0 * C) // 2 + first, (row1 * K * C + column1 * C) // 2 + first
            take(sign, (at + a * size, at + b * size, C), (np.int64(block.ctypes.data), wide), (depth, vectors), w)
        else:
            a, b = (column0 * K // 2 + first) * C + row0 * C // 2, (column1 * K // 2 + first) * C + row1 * C // 2
            some = near(wide * depth, w).reshape(wide, depth)
            take(sign, (at + a * size, at + b * size, C), (np.int64(some.ctypes.data), depth), (wide, depth // width), w)
            _pack_filters(some, np.int64(1), block[:, 0:], np.int64(0), depth, (np.int64(0), np.int64(1)))


@njit(cache=True)
def _sum_pixels(x, place, sums):
    """sums (7, ·, ·): the sums of a block's pixels, a pair to a row. place = (first pixel, pixels from one of a pair to the
    other, pairs, channels of a half): of each unit of 2·apart pixels the first half is paired with the second; what would lie
    behind the last pixel is that one again."""
    first, apart, pairs, depth = place
    count, size, pitch = x.shape[0], x.itemsize, x.strides[0]
    from_, to, half = np.int64(x.ctypes.data), np.int64(sums.ctypes.data), depth * size
    for r in range(0, pairs, apart):
        q = first + 2 * r
        rows = apart if q + 2 * apart <= count else 1
        for i in range(0, apart, rows):
            a, c = from_ + min(q + i, count - 1) * pitch, from_ + min(q + i + apart, count - 1) * pitch
            left_sums((a, a + half, c, c + half, pitch // size),
                      seven(to + (r + i) * sums.strides[1], sums.strides[0], sums.strides[1] // size),
                      (rows, half // VECTOR), (0, 0, 0), x)


@njit(cache=True, parallel=True)
def _multiply(x, packed, bias, table, sizes, last, y):
    """A task is a block of units of pixels, which is multiplied by all panels. The products of each panel wait in one of two
    arrays while the next panel's are formed: `late` = (address, first filter, filters, first pixel, pairs)."""
    depth, columns, workers = sizes
    size, width, pitch, apart = y.itemsize, VECTOR // y.itemsize, depth + APART, _height(table[0, 1])
    block = max(LEAST, min(MOST, NEAR // (PRODUCTS * pitch * size))) // apart
    distances = apart, columns
    units, whole = (x.shape[0] + 2 * apart - 1) // (2 * apart), PRODUCTS * (MOST + SPARE)
    blocks = (units + block - 1) // block
    queues = equal_queues(blocks, workers)
    for worker in prange(workers):
        sums, products = near(PRODUCTS * MOST * pitch, x), near(2 * whole * 4 * width, x)
        now = np.int64(products.ctypes.data)
        other, late = now + whole * 4 * width * size, (now, np.int64(0), np.int64(0), np.int64(0), np.int64(0))
        b = next_task(queues, worker)
        while b >= 0:
            unit, next_ = units * b // blocks, units * (b + 1) // blocks
            first, pairs = unit * 2 * apart, (next_ - unit) * apart
            some = sums[:PRODUCTS * pairs * pitch].reshape(PRODUCTS, pairs, pitch)
            _sum_pixels(x, (first, apart, pairs, depth), some)
            coming = (np.int64(x.ctypes.data) + next_ * 2 * apart * x.strides[0],
                      2 * pairs * x.strides[0] if b + 1 < blocks else 0)
            for p in range(table.shape[0]):
                _panel(some, packed, table, (p, depth, pairs), coming, (now, late, distances), (bias, last), y)
                late = now, table[p, 0] * width, table[p, 1] * width, first, pairs
                now, other = other, now
            b = next_task(queues, worker)
        for r in range(late[4] if products.size else 0):        # asked, lest the array is let go before
            _deliver(late, r, distances, bias.ctypes.data, last, (y.ctypes.data, y.strides[0], y.shape[0]), y)
        finish()


@njit(cache=True)
def _panel(sums, packed, table, sizes, coming, places, ends, y):
    """The seven products of a block's sums and a panel of filters. In between, the next block and the next filters are asked
    for, and the results of the panel before are stored: addresses are passed, not arrays, see kernels.streaming."""
    (p, depth, pairs), (now, late, distances), (bias, last) = sizes, places, ends
    size, vectors, zero = y.itemsize, table[p, 1], np.int64(0)
    wide, height, pitch = vectors * VECTOR // size, _height(vectors), sums.shape[2]
    run = np.array([[0, depth, 0]])
    tiles = (pairs + height - 1) // height
    reads, writes = np.minimum(np.arange(tiles * height), pairs - 1) * pitch, np.arange(height) * wide
    share, part = coming[1] // (table.shape[0] * PRODUCTS * tiles), depth * wide * size // tiles
    pace, b_pace, ahead = (share + depth - 1) // depth, (part + depth - 1) // depth, coming[0] + p * PRODUCTS * tiles * share
    filters, done = np.int64(packed.ctypes.data) + table[p, 0] * depth * VECTOR, zero
    out = y.ctypes.data, y.strides[0], y.shape[0]
    for i in range(PRODUCTS):
        b = filters + i * packed.strides[0]
        b_ahead = b + packed.strides[0] if i + 1 < PRODUCTS else filters + depth * wide * size
        a, c = sums.ctypes.data + i * pairs * pitch * size, now + i * (pairs + SPARE) * wide * size
        for t in range(tiles):
            # types as in implicit_gemm, lest the tiles are compiled once more
            _tile(vectors, (a, np.uint64(reads.ctypes.data + 8 * t * height), zero + 1, ahead, pace, b_ahead, b_pace),
                  (run.ctypes.data, zero + 1, zero + 1, zero, zero), (np.uint64(b), wide),
                  (c + t * height * wide * size, writes.ctypes.data, zero, zero, zero, zero, zero), y)
            ahead, b_ahead = ahead + share, b_ahead + part
            until = late[4] * (i * tiles + t + 1) // (PRODUCTS * tiles)
            while done < until:
                if not last[1]:
                    _claim(late, done + SOON, distances, out, y)
                _deliver(late, done, distances, bias.ctypes.data, last, out, y)
                done += 1


@njit(cache=True)
def _first_of(start, r, apart):
    """The first pixel of pair r of a block that begins with pixel `start`; the second follows `apart` pixels behind."""
    return start + r // apart * 2 * apart + r % apart


@njit(cache=True)
def _claim(late, r, distances, out, like):
    """Ask for the lines that pair r will be stored to. distances = (pixels of a pair, halves of the filters); out = (address,
    bytes from pixel to pixel, pixels)."""
    (_, first, wide, start, pairs), (apart, columns) = late, distances
    q = _first_of(start, r, apart)
    if r < pairs and q + apart < out[2]:
        for pixel in (q, q + apart):
            for k in (first, first + columns):
                claim(out[0] + pixel * out[1] + k * like.itemsize, wide, like)


@njit(cache=True)
def _deliver(late, r, distances, bias, last, out, like):
    """Sum up the products of pair r and store them; what would lie behind the last pixel goes where the products were."""
    (from_, first, wide, start, pairs), (apart, columns) = late, distances
    size, q = like.itemsize, _first_of(start, r, apart)
    if q >= out[2]:
        return
    side, step, m = columns * size, (pairs + SPARE) * wide * size, from_ + r * wide * size
    y, left = out[0] + q * out[1] + first * size, bias + first * size
    below, right = (y + apart * out[1], side) if q + apart < out[2] else (m, 0)
    results((*seven(m, step, wide)[:PRODUCTS], left, left + side, 0),
            (y, y + side, below, below + right, 0), (1, wide * size // VECTOR), last, like)
