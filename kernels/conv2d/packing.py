"""Weights in the order in which the micro-kernel reads them: for a panel of filters, one vector row a tap and channel."""

import functools
import math
from typing import NamedTuple

import numpy as np
from numba import prange

from kernels.compiling import njit
from kernels.gemm.micro import lanes, registers, rows_copy, square_transpose
from kernels.layout import aligned
from kernels.memory import beside
from kernels.streaming import fetch

WIDE = registers()[1] == 32
ROWS = {1: 10, 2: 10, 3: 9, 4: 6} if WIDE else {1: 8, 2: 6, 3: 4}      # pixels to a tile of so many vectors of filters
VECTOR = registers()[0]         # bytes
NEXT = 12       # rows of weights ahead that are asked for: a panel's part of each lies far from the one before
SOON = 64       # values of a filter from those that are packed to those that are asked for
PARTS = 4       # of a panel, each packed by any thread
SHORT = 128     # rows of a panel of four vectors that stay in the first cache
_kept = {}      # id of weights -> what was made of them
_transpose = square_transpose(VECTOR)
_copy_one, _copy_two, _copy_three, _copy_four = (rows_copy(vectors, VECTOR) for vectors in (1, 2, 3, 4))


@functools.cache
def panels(filters, dtype, depth=1, most=4, parts=1):
    """Vectors of filters to each panel: [(first vector, vectors)] as int64, not to be written to; of so many equal parts of the
    filters, where they can be cut so, one after the other.

    Wide panels of at most `most` vectors, the widest first, no lonely vector at the end, and three and three rather than four
    and two, whose tiles take more instructions to a multiply-add. Panels of so many rows (`depth`) that they come from the
    second cache have three vectors, but for a fourth that would be alone: the micro-kernel then asks that cache for three lines
    every 27 multiply-adds, not for four every 24, or for two every 20.
    """
    count, most = -(-filters // lanes(dtype)) // parts, min(most, max(ROWS))
    usual = most if depth <= SHORT else min(most, 3)
    widths = [usual] * (count // usual) + [count % usual] * (count % usual > 0)
    if len(widths) > 1 and widths[-1] == 1:
        widths = [usual + 1, *widths[:-2]] if usual < most else [*widths[:-2], usual - 1, 2]
    if widths[-2:] == [4, 2]:
        widths[-2:] = [3, 3]
    widths *= parts
    return np.array([(sum(widths[:i]), width) for i, width in enumerate(widths)], np.int64).reshape(-1, 2)


@functools.cache
def merged(groups, filters, dtype):
    """How many groups of so many filters are multiplied as one, zeros outside the diagonal, lest lanes stay empty."""
    return max(m for m in range(1, groups + 1) if groups % m == 0 and (m == 1 or m * filters <= lanes(dtype)))


def kept(make, weight, *args):
    """make(weight, *args), made once for weights that cannot be written to (a model fused for inference) and kept with them."""
    if weight.flags.writeable or weight.base is not None:
        return make(weight, *args)
    own = beside(weight, _kept)
    if (make, args) not in own:
        own[make, args] = make(weight, *args)
    return own[make, args]


class Plan(NamedTuple):
    """How weights are packed: panels as (first vector, vectors); of a merged group the columns, the values of these in whole
    vectors, and the rows of a tap; how many merged groups, and how many groups each is of; how many pixels are whole tiles of
    every panel."""

    table: np.ndarray
    columns: int
    wide: int
    depth: int
    groups: int
    merged: int
    whole: int


@functools.lru_cache(512)
def planned(shape, dtype, groups, transposed=False, at_once=None, parts=1):
    """The Plan for weights of `shape`; see pack."""
    K, Cg, R, S = shape
    Kg = K // groups
    columns, depth = (Cg, Kg) if transposed else (Kg, Cg)
    m = merged(groups, columns, dtype)
    columns, depth = columns * m, depth * m
    table, wide = panels(columns, dtype, at_once or depth * R * S, parts=parts), -(-columns // lanes(dtype)) * lanes(dtype)
    return Plan(table, columns, wide, depth, groups // m, m, math.lcm(*(ROWS[int(vectors)] for vectors in table[:, 1])))


def pack(weight, groups, transposed=False, at_once=None, parts=1):
    """weight (K, C/groups, R, S) -> (G, ·): for each panel of filters the rows (r, s, c), each of the panel's width.

    transposed: for the data gradient, filters and channels change places: rows (r, s, k), and columns c. at_once: how many
    rows are multiplied at once, if not all. Groups with few columns are merged (see `merged`).
    """
    (K, Cg, R, S), plan = weight.shape, planned(weight.shape, weight.dtype, groups, transposed, at_once, parts)
    packed = aligned((plan.groups, R * S * plan.depth * plan.wide), weight.dtype)
    w = np.ascontiguousarray(weight).reshape(groups, K // groups, Cg, R * S)
    _pack(w, transposed, plan.merged, plan.table, lanes(weight.dtype), packed)
    return packed


@njit(cache=True, parallel=True)
def _pack(w, transposed, m, table, width, packed):
    """packed[G][panel][(t, d)][j] = w of column j, tap t, row d; zeros where group or filters end."""
    _, Kg, Cg, T = w.shape
    columns, depth = (Cg, Kg) if transposed else (Kg, Cg)
    G, P = packed.shape[0], table.shape[0]
    for task in prange(G * P * PARTS):
        G_, p, part = task // (P * PARTS), task // PARTS % P, task % PARTS
        first, size = table[p, 0] * width, table[p, 1] * width
        start = first * T * depth * m
        block = packed[G_, start:start + size * T * depth * m].reshape(T * m * depth, size)
        parts = 1 if m > 1 or first + size > columns * m else PARTS         # zeros come first, all of them
        if part >= parts:
            continue
        if parts == 1:
            block[:] = 0
        for g in range(m):
            low, high = max(first, g * columns), min(first + size, (g + 1) * columns)       # columns of this group
            if low < high and transposed:
                _pack_channels(w[G_ * m + g], low - g * columns, high - low, block[:, low - first:],
                               g * depth, m * depth, (part, parts))
            elif low < high:
                some = w[G_ * m + g, low - g * columns:high - g * columns].reshape(high - low, Cg * T)
                _pack_filters(some, T, block[:, low - first:], g * depth, m * depth, (part, parts))


@njit(cache=True)
def _pack_channels(w, first, count, block, d0, depth, share):
    """block[t·depth + d0 + k, j] = w[k, first + j, t] for a share of the rows k, (which one, of how many)"""
    (K, C, T), (part, parts) = w.shape, share
    flat, wide = w.reshape(w.size), block.shape[1]
    k0, k1 = K * part // parts, K * (part + 1) // parts
    if T == 1 and count == wide == block.strides[0] // w.itemsize and depth == K:       # rows as they are
        _copy_rows(wide // (VECTOR // w.itemsize), block.ctypes.data + k0 * wide * w.itemsize,
                   w.ctypes.data + (k0 * C + first) * w.itemsize, C, k1 - k0, w)
        return
    for k in range(k0, k1):
        source = flat[(k * C + first) * T:][:count * T]
        fetch(source.ctypes.data + NEXT * C * T * w.itemsize, count * T, w)
        for t in range(T):
            row = block[t * depth + d0 + k]
            for j in range(count):
                row[j] = source[j * T + t]


@njit(cache=True)
def _copy_rows(vectors, target, source, step, count, like):
    """copy_vectors, NEXT rows at a time, and the rows behind them asked for."""
    size, wide = like.itemsize, vectors * VECTOR // like.itemsize
    for row in range(0, count, NEXT):
        few, at = min(NEXT, count - row), source + row * step * size
        for k in range(few):
            fetch(at + (NEXT + k) * step * size, wide, like)
        copy_vectors(vectors, target + row * wide * size, at, step, few, like)


@njit(cache=True)
def copy_vectors(vectors, target, source, step, count, like):
    """`count` rows of so many vectors, 1 to 4, `step` values apart in the source and side by side in the target."""
    if vectors == 1:
        _copy_one(target, source, step, count, like)
    elif vectors == 2:
        _copy_two(target, source, step, count, like)
    elif vectors == 3:
        _copy_three(target, source, step, count, like)
    else:
        _copy_four(target, source, step, count, like)


@njit(cache=True)
def _pack_filters(w, T, block, d0, depth, share):
    """block[t·depth + d0 + c, k] = w[k, c·T + t] for a share of the c·T + t, (which one, of how many); squares at a time where
    they fit. So many filters at once are more streams than a core's own guesses follow: their lines are asked for."""
    K, E, width = w.shape[0], w.shape[1], VECTOR // w.itemsize
    to, from_ = np.empty(width, np.int64), np.arange(width) * (w.strides[0] // w.itemsize)
    whole, squares, (part, parts) = K // width * width, E // width, share
    for e0 in range(squares * part // parts * width, squares * (part + 1) // parts * width, width):
        for i in range(width):
            c, t = (e0 + i) // T, (e0 + i) % T
            to[i] = (t * depth + d0 + c) * (block.strides[0] // w.itemsize)
        for k in range(0, whole, width):
            for i in range(width):
                fetch(w.ctypes.data + (k + i) * w.strides[0] + (e0 + SOON) * w.itemsize, width, w)
            _transpose(block.ctypes.data + k * w.itemsize, to.ctypes.data,
                       w[k:].ctypes.data + e0 * w.itemsize, from_.ctypes.data, w)
    for k in range(K if part + 1 == parts else 0):          # what is no square
        for e in range(squares * width if k < whole else 0, E):
            block[e % T * depth + d0 + e // T, k] = w[k, e]


@njit(cache=True)
def _add(row, more):
    """row += the first of `more`; with += of arrays the texts of NumPy's errors would be compiled too."""
    for k in range(row.size):
        row[k] += more[k]


@njit(cache=True, parallel=True)
def unpack(sums, m, gw):
    """gw (groups, K/groups, C/groups, T) from sums (splits, merged groups, (t, c), filters): the splits added up in order, what
    lies between merged groups left out."""
    splits, G, rows, _ = sums.shape
    _, Kg, Cg, T = gw.shape
    width = VECTOR // gw.itemsize
    for task in prange(G * rows):
        for split in range(1, splits):
            _add(sums[0, task // rows, task % rows, :m * Kg], sums[split, task // rows, task % rows])
    blocks = (Kg + width - 1) // width
    for task in prange(G * m * blocks):
        g, first = task // blocks, task % blocks * width
        matrix = sums[0, g // m, :, g % m * Kg + first:]
        out = gw[g, first:first + width].reshape(min(width, Kg - first), Cg * T)
        _unpack_filters(matrix, T, g % m * Cg, m * Cg, out)


@njit(cache=True, parallel=True)
def add_splits(sums, gw):
    """gw (K, C) from the first rows and columns of sums (splits, ·, ·): the splits added up in order."""
    for k in prange(gw.shape[0]):
        row = gw[k]
        for c in range(row.size):
            row[c] = sums[0, k, c]
        for split in range(1, sums.shape[0]):
            _add(row, sums[split, k])


@njit(cache=True)
def _unpack_filters(matrix, T, c0, depth, out):
    """out[k, c·T + t] = matrix[t·depth + c0 + c, k]"""
    K, E, width = out.shape[0], out.shape[1], VECTOR // out.itemsize
    to, from_ = np.arange(width) * (out.strides[0] // out.itemsize), np.empty(width, np.int64)
    whole = E // width * width if width == K else 0
    for e0 in range(0, whole, width):
        for i in range(width):
            from_[i] = ((e0 + i) % T * depth + c0 + (e0 + i) // T) * (matrix.strides[0] // out.itemsize)
        _transpose(out.ctypes.data + e0 * out.itemsize, to.ctypes.data, matrix.ctypes.data, from_.ctypes.data, out)
    for e in range(whole, E):
        for k in range(K):
            out[k, e] = matrix[e % T * depth + c0 + e // T, k]
