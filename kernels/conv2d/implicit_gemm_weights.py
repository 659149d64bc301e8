"""Weight gradient of a convolution whose column matrix is never written; see kernels.conv2d.implicit_gemm.

    gW[t, k] = Σ_q Xᵀ[t, q] · GY[q, k]          # (CRS, pixels) @ (pixels, K) -> (CRS, K), q = (n, i, j), t = (r, s, c)

What is multiplied lies where it is, as in the forward pass, or is packed a block of pixels at a time: a few rows t of Xᵀ, and
the filters of all panels where rows are many. Of a 1x1 convolution with more channels than filters the roles change, so that
what is packed are the fewer ones. Each task owns some rows of gW, or some groups, and a fixed share of the pixels, and sums in
a fixed order: results do not depend on the number of threads. Sources: those of kernels.conv2d.implicit_gemm.
"""

import numpy as np
from numba import get_num_threads, prange

from kernels import layout, memory
from kernels.compiling import njit
from kernels.conv2d.classes import forward_classes
from kernels.conv2d.packing import VECTOR, WIDE, add_splits, copy_vectors, panels, planned, unpack
from kernels.gemm.micro import rows_copy, rows_tile
from kernels.streaming import LINE, claim, near

NEAR = 1 << 21                  # bytes of sums up to which each share of the pixels has its own; of blocks a part of it
BLOCK = 120                     # pixels to a block, or more: see _sums
TAPS = 8 if WIDE else 4         # rows to a tile, of one vector PACKED
PACKED = 2 * TAPS               # rows packed at once: of float32 a cache line, or half of one
MANY = 70_000                   # values of gW, from which on it pays to pack the filters of a block
CLOSE = 64                      # values from pixel to pixel, up to which taps are not packed
SPLITS = 2                      # shares of the pixels: each has sums of its own, where these are small
APART = 16                      # values between rows of sums: at powers of two they would share the cache's sets
_copy_taps = rows_copy(PACKED)
_taps_one, _taps_two, _taps_three = (rows_tile(PACKED if vectors == 1 else TAPS, vectors, VECTOR) for vectors in (1, 2, 3))


def weight_gradient(gy, x, weight, window, groups):
    """gW, of the shape of weight (K, C/groups, R, S), of gy (N, K, OH, OW) and x (N, C, H, W), channels-last."""
    if not gy.size:
        return np.zeros(weight.shape, gy.dtype)
    gw, shape = memory.gradient_of(weight), weight.shape
    if window.pointwise and groups == 1 and shape[1] > shape[0]:       # rows are packed, so let them be the fewer ones
        sums = _sums(x, gy, (shape[1], shape[0], 1, 1), window, 1)
        add_splits(sums[:, 0], gw.reshape(shape[:2]))
        return gw
    unpack(_sums(gy, x, shape, window, groups), planned(shape, gy.dtype, groups).merged,
           gw.reshape(groups, shape[0] // groups, shape[1], shape[2] * shape[3]))
    return gw


def _sums(gy, x, shape, window, groups):
    """(splits, merged groups, (t, c), filters): Σ_q Xᵀ[t, q] · GY[q, k] over each share of the pixels q"""
    T, (_, columns, wide, depth, G, _, _) = shape[2] * shape[3], planned(shape, gy.dtype, groups)
    table = panels(columns, gy.dtype, most=3)
    classes = forward_classes(window, x.shape[2:], depth, layout.pitch(x), gy.shape[2:], layout.pitch(gy))
    blocks = -(-gy.size // (shape[0] * BLOCK))
    # shares of the pixels, the same for any number of threads; where sums fill the cache, tasks share the rows of gW instead
    splits = 1 if T * depth * wide * gy.itemsize > NEAR else min(SPLITS, blocks)
    ranges = max(1, min(-(-get_num_threads() // splits), G if G > 1 else T * depth // PACKED))      # of groups, or of gW's rows
    sums = np.empty((splits, G, T * depth + 1, wide + APART), gy.dtype)         # the last row takes what fills up a tile
    direct = depth * x.itemsize <= 2 * LINE or layout.pitch(x) <= CLOSE         # x is read where it lies
    packs = T * depth * wide > MANY * ranges
    # a block has more pixels where their filters are few bytes, or where x is read its values, if these are more
    values, most = (max(layout.pitch(x), wide), 8 * BLOCK) if direct else (wide, 3 * BLOCK)
    room = max(BLOCK, min(most, NEAR // (8 if direct else 4) // (values * x.itemsize)))
    _correlate(layout.rows(x), layout.rows(gy), table, classes, len(x), (columns, depth, ranges, direct, packs, room), sums)
    return sums


@njit(cache=True)
def _segments(classes, k, first, count, segments):
    """The pixels first, first + 1, … of class k as pieces of a row (of a column, where the class is one column wide), or of
    several that follow each other at the same steps -> (how many pieces, steps of x and of gy along a piece); segments (·, 3):
    where x is read, where gy, length."""
    row0, rows, column0, columns = classes.table[k, 0], classes.table[k, 1], classes.table[k, 2], classes.table[k, 3]
    starts = classes.rows if columns == 1 else classes.columns
    place0, length = (row0, rows) if columns == 1 else (column0, columns)
    x_step, gy_step = 1, 1
    if length > 1:
        x_step, gy_step = starts[place0 + 1, 0] - starts[place0, 0], starts[place0 + 1, 1] - starts[place0, 1]
    found, q = 0, 0
    while q < count:
        at = first + q
        n, i, j = at // (rows * columns), at // columns % rows, at % columns
        x_at = n * classes.source + classes.rows[row0 + i, 0] + classes.columns[column0 + j, 0]
        gy_at = n * classes.target + classes.rows[row0 + i, 1] + classes.columns[column0 + j, 1]
        some = min(length - (i if columns == 1 else j), count - q)
        if found and (x_at - segments[found - 1, 0] == segments[found - 1, 2] * x_step
                      and gy_at - segments[found - 1, 1] == segments[found - 1, 2] * gy_step):
            segments[found - 1, 2] += some
        else:
            segments[found, 0], segments[found, 1], segments[found, 2] = x_at, gy_at, some
            found += 1
        q += some
    return found, x_step, gy_step


@njit(cache=True)
def _pack_filters(gy, segments, step, to, columns, table, room, packed):
    """packed[panel][q, :] = the panel's filters of the block's pixel q, zeros where the filters end; there is room for so many
    pixels."""
    flat, width, size = gy.reshape(-1), VECTOR // gy.itemsize, gy.itemsize
    for p in range(table.shape[0]):
        first, wide, vectors = table[p, 0] * width, table[p, 1] * width, table[p, 1]
        left, panel, q = min(wide, columns - first), packed[first * room:(first + wide) * room], 0
        for s in range(segments.shape[0]):
            at, count = segments[s, 1] + to + first, segments[s, 2]
            target, source = panel.ctypes.data + q * wide * size, gy.ctypes.data + at * size
            if left < wide:
                for i in range(count):
                    target_row, source_row = panel[(q + i) * wide:(q + i + 1) * wide], flat[at + i * step:][:left]
                    for k in range(wide):
                        target_row[k] = source_row[k] if k < left else 0
            else:
                copy_vectors(vectors, target, source, step, count, gy)
            q += count


@njit(cache=True)
def _pack_taps(x, segments, step, shift, left, packed):
    """packed[q, i] = value `shift` + i behind where pixel q starts, behind the last of `left` values anything."""
    flat, q, size = x.reshape(-1), 0, x.itemsize
    for s in range(segments.shape[0]):
        at, length = segments[s, 0] + shift, segments[s, 2]
        if left >= PACKED or at + (length - 1) * step + PACKED <= flat.size:
            _copy_taps(packed.ctypes.data + q * PACKED * size, x.ctypes.data + at * size, step, length, x)
        else:
            for p in range(length):
                target, source = packed[(q + p) * PACKED:(q + p + 1) * PACKED], flat[at + p * step:][:left]
                for i in range(PACKED):
                    target[i] = source[i] if i < left else 0
        q += length


@njit(cache=True)
def _coming_block(gy, x, first, count, steps, part, parts):
    """(address, bytes) of one of so many parts of a block of gy, then of x, from its first segment on; none where pixels lie
    apart, to judge by their steps (x, gy)."""
    size = gy.itemsize
    gy_bytes = count * gy.shape[1] * size // parts if steps[1] == gy.shape[1] else 0
    x_bytes = count * x.shape[1] * size // parts if steps[0] == x.shape[1] else 0
    return (np.int64(gy.ctypes.data) + first[1] * size + part * gy_bytes, gy_bytes,
            np.int64(x.ctypes.data) + first[0] * size + part * x_bytes, x_bytes)


@njit(cache=True)
def _ahead(coming, offset):
    """The address of a byte of a coming block."""
    gy_at, gy_bytes, x_at, _ = coming
    return gy_at + offset if offset < gy_bytes else x_at + offset - gy_bytes


@njit(cache=True)
def _rhythm(coming, tiles, count):
    """How so many tiles ask for a coming block: (one tile of how many, bytes of a share of half the block, of these to each of
    `count` pixels, bytes of the half). Tiles that ask for a quarter of a line at each pixel ask for each line four times; fewer
    tiles with a line at each pixel would ask for more than a core keeps track of, and all behind these would wait."""
    half = (coming[1] + coming[3]) // 2
    every = max(1, min(tiles, tiles * count * (LINE // 4) // max(1, half)))
    share = half // ((tiles + every - 1) // every)
    return every, share, (share + count - 1) // count, half


@njit(cache=True)
def _asks(coming, tile, rhythm, own):
    """What a tile asks for, as rows_tile takes it: a share of each half of a coming block, see _rhythm, or nothing but the
    address `own`, that is in the cache."""
    every, share, pace, half = rhythm
    if tile % every:
        return own, np.int64(0), own, np.int64(0)
    offset = tile // every * share
    return _ahead(coming, offset), pace, _ahead(coming, half + offset), pace


@njit(cache=True)
def _dense(gy, segments, to, columns):
    """The address of a block's pixels where they are one piece of whole vectors, else 0."""
    whole = segments.shape[0] == 1 and columns % (VECTOR // gy.itemsize) == 0
    return np.int64(gy.ctypes.data) + (segments[0, 1] + to) * gy.itemsize if whole else np.int64(0)


@njit(cache=True)
def _taps_height(vectors):
    """Rows of a weight gradient to a tile."""
    return PACKED if vectors == 1 else TAPS


@njit(cache=True)
def _taps(vectors, a, runs, b, c, like):
    """One tile of a weight gradient, of the panel's width."""
    if vectors == 1:
        _taps_one(a, runs, b, c, like)
    elif vectors == 2:
        _taps_two(a, runs, b, c, like)
    else:
        _taps_three(a, runs, b, c, like)


@njit(cache=True)
def _rows(runs, row0, row1):
    """(·, 2): for each value of the runs that is a row of gW from row0 to row1 its shift, and the row."""
    rows, count = np.empty((row1 - row0, 2), np.int64), 0
    for run in range(runs.shape[0]):
        first = runs[run, 2]
        for row in range(max(first, row0), min(first + runs[run, 1], row1)):
            rows[count, 0], rows[count, 1] = runs[run, 0] + row - first, row
            count += 1
    return rows[:count]


@njit(cache=True)
def _pixel_runs(segments):
    """(·, 3): of each segment where x is read, its length, and which pixel of the block is its first."""
    places, q = np.empty(segments.shape, np.int64), 0
    for s in range(segments.shape[0]):
        places[s, 0], places[s, 1], places[s, 2] = segments[s, 0], segments[s, 2], q
        q += segments[s, 2]
    return places


@njit(cache=True)
def _correlate_block(x, segments, step, coming, shift, rows, block, table, sums, adds):
    """sums[t, k] (+)= Σ_q X[q, t] · GY[q, k] for some rows t, see _rows, and one block of pixels, a few rows at a time.

    coming: see _coming_block; some tiles ask for two lines or less of it at each pixel: where rows are few, one would not do.
    block = (pixels, room for packed filters, for packed taps, source, its step, packs): where there is a source, see _dense,
    the filters are read there, or packed by the first tiles on their way. Without room for taps, x is read where it lies.
    adds: whether to sums or in their place.
    """
    size, width = x.itemsize, VECTOR // x.itemsize
    count, filters, taps, source, step_there, packs = block
    each, writes, direct = np.arange(PACKED), np.empty(PACKED, np.int64), taps.size == 0
    places = _pixel_runs(segments) if direct else np.array([[0, count, 0]])
    a_from, a_step = (np.int64(x.ctypes.data), step) if direct else (np.int64(taps.ctypes.data), PACKED)
    rhythm, tile, row = _rhythm(coming, max(1, rows.shape[0] * table.shape[0] // TAPS), count), 0, 0
    while row < rows.shape[0]:
        left = min(PACKED, rows.shape[0] - row)
        if direct:
            for i in range(PACKED):
                each[i] = shift + rows[row + min(i, left - 1), 0]
        else:
            while rows[row + left - 1, 0] - rows[row, 0] >= left:       # no longer than what lies side by side
                left -= 1
            _pack_taps(x, segments, step, shift + rows[row, 0], left, taps)
        for i in range(PACKED):
            writes[i] = (rows[row + i, 1] if i < left else sums.shape[0] - 1) * sums.shape[1]
        for p in range(table.shape[0]):
            first_filter, wide = table[p, 0] * width, table[p, 1] * width
            b = filters.ctypes.data + first_filter * (filters.size // sums.shape[1]) * size
            to = sums.ctypes.data + first_filter * size
            where = (source + first_filter * size, step_there) if source and not packs else (b, wide)
            for some in range(0, left, _taps_height(table[p, 1])):
                a = (a_from, each[some:].ctypes.data, a_step) + _asks(coming, tile, rhythm, np.int64(b))
                tile += 1
                if not adds:
                    _claim_rows(to, writes[some:some + _taps_height(table[p, 1])], wide, sums)
                c = (to, writes[some:].ctypes.data, np.int64(0), to if adds else np.int64(0), np.int64(0), np.int64(0))
                pixels = places.ctypes.data, places.shape[0]        # here: after its last use an array is let go
                if packs and some == 0:
                    _taps(table[p, 1], a, pixels, (source + first_filter * size, step_there, b), c, x)
                else:
                    _taps(table[p, 1], a, pixels, where, c, x)
        if packs:
            source, packs = np.int64(0), False
        row += left


@njit(cache=True)
def _claim_rows(to, places, wide, like):
    """Ask for the lines that a tile will be stored to."""
    for place in places:
        claim(to + place * like.itemsize, wide, like)


@njit(cache=True)
def _clear(sums):
    """sums = 0; by the thread that will add to them, which then has them in its cache"""
    for row in range(sums.shape[0]):
        for k in range(sums.shape[1]):
            sums[row, k] = 0


@njit(cache=True)
def _begin(sums, row0, row1, stored):
    """Clear the last row, and those of a task unless its first block is `stored` in every one of them."""
    _clear(sums[sums.shape[0] - 1:])
    if not stored:
        _clear(sums[row0:row1])


@njit(cache=True, parallel=True)
def _correlate(x, gy, table, classes, images, sizes, sums):
    """A task is some groups, or some rows of gW of the only one, over every splits-th block of pixels, in order."""
    columns, depth, ranges, direct, packs, room = sizes
    splits, groups, rows, wide = sums.shape
    rows -= 1
    for task in prange(splits * ranges):
        split, part = task // ranges, task % ranges
        g0, g1 = (groups * part // ranges, groups * (part + 1) // ranges) if groups > 1 else (0, 1)
        row0, row1 = (rows * part // ranges, rows * (part + 1) // ranges) if groups == 1 else (0, rows)
        segments, next_ = np.empty((room, 3), np.int64), np.empty((1, 3), np.int64)
        filters, taps = near(room * wide, x), near(0 if direct else room * PACKED, x)
        block, begun = 0, False
        for k in range(classes.table.shape[0]):
            pixels = images * classes.table[k, 1] * classes.table[k, 3]
            some = _rows(classes.runs[classes.table[k, 4]:classes.table[k, 4] + classes.table[k, 5]], row0, row1)
            blocks = (pixels + room - 1) // room
            if blocks > splits or pixels >= BLOCK:          # as many for every split
                blocks += -blocks % splits
            most, whole = (pixels + blocks - 1) // blocks, some.shape[0] == row1 - row0
            for q0 in range(0, pixels, most):
                if block % splits == split and some.shape[0]:
                    count = min(most, pixels - q0)
                    found, step, gy_step = _segments(classes, k, q0, count, segments)
                    _segments(classes, k, min(pixels - 1, q0 + splits * most), np.int64(1), next_)
                    for g in range(g0, g1):
                        if not begun:
                            _begin(sums[split, g], row0, row1, whole)
                        share = (g, groups) if groups > 1 else (part, ranges)       # of what is asked for
                        source = _dense(gy, segments[:found], g * columns, columns)
                        if not source:
                            _pack_filters(gy, segments[:found], gy_step, g * columns, columns, table, room, filters)
                        coming = _coming_block(gy, x, next_[0], most, (step, gy_step), *share)
                        _correlate_block(x, segments[:found], step, coming, g * depth, some,
                                         (count, filters, taps, source, gy_step, source and packs), table, sums[split, g],
                                         begun or not whole)
                    begun = True
                block += 1
        if not begun:
            for g in range(g0, g1):
                _begin(sums[split, g], row0, row1, False)
