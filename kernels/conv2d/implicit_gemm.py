"""Convolution as a matrix product whose column matrix is never written.

im2col writes all columns to memory and reads them back for the product. With the channels of a pixel side by side in memory
(kernels.layout) that is not needed: what tap (r, s) shows to an output pixel is one run of values, x's channels at another
pixel. The micro-kernel takes the addresses of a few pixels and walks over the taps by shifts that are the same for all of
them (kernels.conv2d.classes: at the borders other pixels, other taps, so that no padding exists at all). Three products:

    forward           y[q, k]    = Σ_t X[q, t] · W[t, k]            q = (n, i, j), t = (r, s, c)
    data gradient     gx[q, c]   = Σ_t GY[q, t] · Wᵀ[t, c]          q = (n, h, w), t = (r, s, k): the taps that saw q
    weight gradient   gW[t, k]   = Σ_q Xᵀ[t, q] · GY[q, k]

Each task owns some pixels, or where these are few some filters (forward, data gradient), or some filters and a fixed share of
the pixels (weight gradient), and sums in a fixed order: results do not depend on the number of threads. Groups with few filters
are multiplied as one with zeros between them; a NaN in one of them then shows in its neighbours. Sources: the blocking of Goto
and van de Geijn 2008; taps by address, Dukhan 2019, "The indirect convolution algorithm".
"""

import functools

import numpy as np
from numba import get_num_threads, prange

from kernels import layout, memory, streaming
from kernels.compiling import njit
from kernels.conv2d.classes import LONGEST, forward_classes, gradient_classes
from kernels.conv2d.packing import ROWS, WIDE, add_splits, copy_vectors, kept, pack, panels, planned, unpack
from kernels.gemm.micro import lanes, registers, rows_copy, rows_tile
from kernels.streaming import LINE, claim, finish, near

VECTOR = registers()[0]         # bytes
MOST = 360                      # pixels to a block, at the most, a multiple of every tile's rows
BLOCK = 120                     # pixels to a block of a weight gradient, or more: see _sums
NEAR = 1 << 21                  # bytes of weights that all blocks go through before the next are fetched: about a second cache
TAPS = 8 if WIDE else 4         # rows of a weight gradient to a tile, of one vector PACKED
PACKED = 2 * TAPS               # rows packed at once: of float32 a cache line, or half of one
MANY = 70_000                   # values of a weight gradient, from which on it pays to pack the filters of a block
CLOSE = 64                      # values from pixel to pixel, up to which taps are not packed
SPLITS = 2                      # of the pixels of a weight gradient: each has sums of its own, where these are small
APART = 16                      # values between rows of sums: at powers of two they would share the cache's sets
FEW = 1000                      # pixels, up to which the workers share the filters,
WIDEST = 4                      # as many vectors of them at least
PARTS = 16                      # of the pixels of a bias gradient
ANY_ORDER = True                # arrays are put in channels-last order here
_one, _two, _three, _four = (rows_tile(ROWS.get(vectors, 1), vectors, VECTOR) for vectors in (1, 2, 3, 4))
_copy_taps = rows_copy(PACKED)
_taps_one = rows_tile(PACKED, 1, VECTOR, PACKED)
_taps_two, _taps_three = (rows_tile(TAPS, vectors, VECTOR, PACKED) for vectors in (2, 3))
R1, R2, R3, R4 = (ROWS.get(vectors, 1) for vectors in (1, 2, 3, 4))


def forward(x, weight, bias, window, groups=1, relu=False, out=None):
    """y = X · W + bias; see the module. Shapes as in the room."""
    x, size = layout.channels_last(x), window.output_size(*x.shape[2:])
    y = layout.empty((x.shape[0], weight.shape[0], *size), x.dtype) if out is None else out
    return _product(x, weight, bias, window, groups, False, (int(relu), _past(y, groups), 0), y)


def backward(gy, x, weight, window, groups=1, needs=(True, True, True), onto=None):
    """(gx, gW, gbias); see the module. Shapes as in the room."""
    x, gy = layout.channels_last(x), layout.channels_last(gy)
    return (_input_gradient(gy, x.shape, weight, window, groups, onto) if needs[0] else None,
            _weight_gradient(gy, x, weight, window, groups) if needs[1] else None,
            sum_rows(gy) if needs[2] else None)


def _input_gradient(gy, shape, weight, window, groups, onto=None):
    gx = layout.empty(shape, gy.dtype) if onto is None else onto
    return _product(gy, weight, None, window, groups, True, (0, 0, int(onto is not None)), gx)


def _product(x, weight, bias, window, groups, transposed, last, y):
    """y = X · W + bias, or transposed, of the gradient x of the outputs, that of the inputs; returns y. last = (relu, past,
    adds), see _block."""
    if not y.size:
        return y
    workers = get_num_threads()
    parts = _parts(weight.shape[1 if transposed else 0], y.size, x.dtype, groups, workers)
    plan = planned(weight.shape, weight.dtype, groups, transposed, None, parts)
    seen = gradient_classes if transposed else forward_classes
    classes = seen(window, x.shape[2:], plan.depth, layout.pitch(x), y.shape[2:], layout.pitch(y))
    packing = weight, groups, transposed, None, parts
    packed = pack(*packing) if transposed else kept(pack, *packing)
    _multiply(layout.rows(x), packed, _starts(bias, plan, x.dtype), plan.table, classes, len(x),
              (plan.columns, plan.depth, workers, *last, parts, plan.whole), layout.rows(y))
    return y


@functools.lru_cache(512)
def _parts(columns, size, dtype, groups, workers):
    """Into how many parts the filters are cut, one for each worker, where `columns` of them give so many values: each worker
    then packs its own and goes through all pixels. With few pixels fewer of them fill up tiles, and packed weights need not
    come from another core; with many, all would be read twice for nothing."""
    vectors = -(-columns // lanes(dtype))
    cut = groups == 1 and size <= FEW * columns and vectors % workers == 0 and vectors >= WIDEST * workers
    return workers if cut else 1


def _past(y, groups):
    """1 where tiles may be stored past the caches."""
    whole = y.shape[1] // groups * y.itemsize % streaming.LINE == 0
    return int(whole and streaming.pays(y) and streaming.fits(layout.rows(y), VECTOR))


def _starts(bias, plan, dtype):
    """(G, vectors · lanes): what each result starts from"""
    starts = np.zeros((plan.groups, plan.wide), dtype)
    if bias is not None:
        starts[:, :plan.columns] = bias.reshape(plan.groups, plan.columns)
    return starts


@njit(cache=True)
def _tile(vectors, a, runs, b, c, like):
    """One tile of the panel's width."""
    if vectors == 1:
        _one(a, runs, b, c, like)
    elif vectors == 2:
        _two(a, runs, b, c, like)
    elif vectors == 3:
        _three(a, runs, b, c, like)
    else:
        _four(a, runs, b, c, like)


@njit(cache=True)
def _tiles(vectors, tiles, a, coming, run, b, c, like):
    """So many tiles of the panel's width for other rungs, over the one `run` of B's rows; see rows_tile. a = (address, table,
    step), b = (address, step), c = (address, table, onto); coming = (address, pace, step), a pace of 0 to ask for nothing.
    Numbers are made of one type each here, lest the tiles are compiled for every mixture."""
    (first, reads, step), (out, writes, onto), (ahead, pace, farther) = a, c, coming
    none, own = np.int64(0), np.int64(first)        # an address that is in the cache: 0 would be looked for anew each time
    _tile(vectors, (own, np.uint64(reads), np.int64(step), np.int64(ahead) if pace else own, np.int64(pace), own, none),
          (run.ctypes.data, np.int64(1), np.int64(tiles), np.int64(farther), none),
          (np.uint64(b[0]), np.int64(b[1])), (np.int64(out), np.uint64(writes), none, np.int64(onto), none, none), like)


@njit(cache=True)
def _tiles_alone(vectors, tiles, a, run, b, c, like):
    """_tiles that ask for nothing."""
    _tiles(vectors, tiles, a, (np.int64(0), np.int64(0), np.int64(0)), run, b, c, like)


@njit(cache=True)
def _height(vectors):
    return R1 if vectors == 1 else R2 if vectors == 2 else R3 if vectors == 3 else R4


@njit(cache=True)
def _tiles_for(rows, vectors):
    """How many tiles of so many vectors hold so many rows."""
    return (rows + _height(vectors) - 1) // _height(vectors)


@njit(cache=True)
def _place(classes, k, first, count, places):
    """places (2, ·): where pixels first, first + 1, … of class k read and write; behind the last the last one again."""
    row0, rows, column0, columns = classes.table[k, 0], classes.table[k, 1], classes.table[k, 2], classes.table[k, 3]
    q = 0
    while q < count:
        n, i, j = (first + q) // (rows * columns), (first + q) // columns % rows, (first + q) % columns
        source = n * classes.source + classes.rows[row0 + i, 0]
        target = n * classes.target + classes.rows[row0 + i, 1]
        some, starts = min(columns - j, count - q), classes.columns[column0 + j:]
        reads, writes = places[0, q:], places[1, q:]
        for p in range(some):
            reads[p], writes[p] = source + starts[p, 0], target + starts[p, 1]
        q += some
    for q in range(count, places.shape[1]):
        places[0, q], places[1, q] = places[0, count - 1], places[1, count - 1]


@njit(cache=True)
def _block(x, packed, start, panel, places, count, runs, sizes, coming, y, spare):
    """One block of pixels against one panel of filters of one group. coming = (address, bytes, rows of the panel): what of the
    next block is asked for meanwhile; and the address of the next panel, or 0. The lines that a tile will be stored to are
    asked for between its steps, too."""
    first, vectors = panel
    ahead, share, depth, next_ = coming
    # filters of the group, where its channels and its results begin; adds: 1 to what is in memory, 2 to what was just stored
    columns, shift, to, relu, past, adds = sizes
    size, width, height = y.itemsize, VECTOR // y.itemsize, _height(vectors)
    a, c, tiles = x.ctypes.data + shift * size, y.ctypes.data + (to + first * width) * size, _tiles_for(count, vectors)
    start_at, left = start.ctypes.data + first * width * size, columns - first * width
    share //= tiles
    part = depth * vectors * VECTOR // tiles if next_ else 0            # of the next panel to a tile
    pace, b_pace = (share + depth - 1) // depth, (part + depth - 1) // depth
    none = np.int64(0)
    reads = a, np.uint64(places[0].ctypes.data), np.int64(1), ahead + share, pace, next_, b_pace
    lines = np.full(vectors * (1 if past else tiles * height), np.int64(spare.ctypes.data))     # ours where nothing is claimed
    if not past:
        for q in range(tiles * height):
            for v in range(vectors):
                lines[q * vectors + v] = c + places[1, q] * size + v * VECTOR
    claims = lines.ctypes.data, none if past else vectors * height - 1
    wide = vectors * width
    whole = left >= wide                # else tiles go to `spare`, and from there what is the panel's
    writes, out, last = (places[1], c, (c if adds else none, relu, past)) if whole else (
        np.arange(tiles * height) * wide, np.int64(spare.ctypes.data), (none, none, none))
    _tile(vectors, reads, (runs.ctypes.data, runs.shape[0], tiles, share, part), (packed.ctypes.data, wide),
          (out, np.uint64(writes.ctypes.data), start_at, *last, *claims), y)
    if not whole:
        _copy_columns(spare, wide, places[1, :count], y.reshape(y.size)[to + first * width:], (left, relu, adds))
    lines[0] = writes[0]        # asked, lest the arrays are let go before the tiles read them


@njit(cache=True)
def _copy_columns(spare, wide, places, y, last):
    """The first columns of the rows of `spare` to their places, as the tiles store whole vectors."""
    columns, relu, adds = last
    for q in range(places.size):
        at, from_ = places[q], q * wide
        for k in range(columns):
            value = spare[from_ + k] + y[at + k] if adds else spare[from_ + k]
            y[at + k] = 0 if relu and value < 0 else value


@njit(cache=True)
def _share(classes, k, images, worker, workers, rows):
    """(first, one past the last) of class k's pixels that are a worker's, of whole tiles of `rows` pixels; whose share is the
    last, and has what is left, differs from class to class."""
    pixels, share = images * classes.table[k, 1] * classes.table[k, 3], (worker + k) % workers
    tiles = (pixels + rows - 1) // rows
    first, last = (tiles * share + workers - 1) // workers, (tiles * (share + 1) + workers - 1) // workers
    return min(pixels, first * rows), min(pixels, last * rows)


@njit(cache=True)
def _segment(runs, begin):
    """The end of some runs from `begin` on whose rows of a panel stay in the second cache."""
    end, rows = begin, 0
    while end < runs.shape[0] and (end == begin or rows + runs[end, 1] <= LONGEST):
        rows += runs[end, 1]
        end += 1
    return end


@njit(cache=True)
def _coming(x, places, count, shares):
    """(address, bytes of one of so many shares) of the pixels behind a block; no bytes where they do not lie side by side."""
    pitch = x.shape[1]
    dense = count > 1 and places[0, 1] - places[0, 0] == pitch
    ahead = np.int64(x.ctypes.data) + (places[0, count - 1] + pitch) * x.itemsize
    return ahead, (count * pitch * x.itemsize if dense else 0) // shares


@njit(cache=True)
def _own(worker, workers, parts, panels):
    """(which of how many shares of the pixels, first panel, one past the last) of a worker."""
    if parts == 1:
        return worker, workers, np.int64(0), panels
    return np.int64(0), np.int64(1), panels * worker // parts, panels * (worker + 1) // parts


@njit(cache=True, parallel=True)
def _multiply(x, packed, starts, table, classes, images, sizes, y):
    """Each worker has a share of the pixels of every class, lest one of them gets the classes that see more taps, or a part of
    the filters, see _parts. A block is some pixels against all filters: no more than fit the second cache beside these."""
    columns, depth, workers, relu, past, adds, parts, whole = sizes
    groups, height, room = packed.shape[0], _height(table[0, 1]), min(MOST, NEAR // 4 // (x.shape[1] * x.itemsize))
    block_size = room // whole * whole if room >= whole else max(height, room // height * height)
    taps = packed.shape[1] // (table[-1, 0] + table[-1, 1])       # values of a vector of filters
    together = max(1, NEAR // (taps * y.itemsize * table[0, 1]))      # panels
    rows = max(1, taps * y.itemsize // VECTOR)
    results = (MOST + R2) * 4 * VECTOR // y.itemsize if columns * y.itemsize % VECTOR else 1    # where a panel is not filled
    for worker in prange(workers):
        places, spare, zeros = np.empty((2, MOST), np.int64), near(results, y), np.zeros(starts.shape[1], y.dtype)
        share, shares, from_, to = _own(np.int64(worker), workers, parts, table.shape[0])
        for p0 in range(from_, to, together):
            end = min(to, p0 + together)
            for k in range(classes.table.shape[0]):
                runs = classes.runs[classes.table[k, 4]:classes.table[k, 4] + classes.table[k, 5]]
                if adds and runs.shape[0] == 0:         # nothing to add
                    continue
                begin, last = _share(classes, k, images, share, shares, height)
                for first in range(begin, last, block_size):
                    count = min(block_size, last - first)
                    _place(classes, k, first, count, places)
                    ahead, part = _coming(x, places, count, groups * (end - p0))
                    for g in range(groups):
                        for p in range(p0, end):
                            some = packed[g, table[p, 0] * taps:]
                            follows = np.int64(some.ctypes.data) + table[p, 1] * taps * y.itemsize if p + 1 < end else 0
                            _panel(x, some, (starts[g], zeros), (table[p, 0], table[p, 1]), places, count, runs,
                                   (columns, g * depth, g * columns, relu, past, adds), (ahead, part, rows, follows), y, spare)
                            ahead += part
        finish()


@njit(cache=True)
def _panel(x, packed, starts, panel, places, count, runs, sizes, coming, y, spare):
    """One block against one panel, some runs at a time: the later are added to what the earlier gave."""
    columns, shift, to, relu, past, adds = sizes
    begin, start, last = np.int64(0), starts[0], False
    while not last:
        end = _segment(runs, begin)
        last = end == runs.shape[0]
        _block(x, packed, start, panel, places, count, runs[begin:end],
               (columns, shift, to, relu if last else 0, past if last else 0, adds), coming, y, spare)
        begin, start, adds = end, starts[1], 2


def _weight_gradient(gy, x, weight, window, groups):
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
    # a block has more pixels where their filters, and x's values if they are read, are few bytes, an eighth of the second cache
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
def _asks(coming, tile, rhythm, count, own):
    """What a tile asks for at each of so many pixels, as rows_tile takes it: two shares of a coming block, one of every so many
    tiles (rhythm = (how many, bytes of a share)), the others for the address `own`, that is in the cache."""
    every, share = rhythm
    if tile % every:
        return own, np.int64(0), own, np.int64(0)
    offset, pace = tile // every * share, (share + count - 1) // count
    return _ahead(coming, offset), pace, _ahead(coming, (coming[1] + coming[3]) // 2 + offset), pace


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
    """sums[t, k] += Σ_q X[q, t] · GY[q, k] for some rows t, see _rows, and one block of pixels, a few rows at a time.

    coming: see _coming_block; some tiles ask for two lines or less of it at each pixel: where rows are few, one would not do.
    block = (pixels, room for packed filters, for packed taps, source, its step, packs): where there is a source, see _dense,
    the filters are read there, or packed by the first tiles on their way. Without room for taps, x is read where it lies; else
    where pixels are one piece the first tile of some rows packs them. adds: whether to sums or in their place.
    """
    size, width = x.itemsize, VECTOR // x.itemsize
    count, filters, taps, source, step_there, packs = block
    each, writes, direct = np.arange(PACKED), np.empty(PACKED, np.int64), taps.size == 0
    lying = _pixel_runs(segments)
    places = lying if direct else np.array([[0, count, 0]])
    a_from, a_step = (np.int64(x.ctypes.data), step) if direct else (np.int64(taps.ctypes.data), PACKED)
    tiles, tile, half = max(1, rows.shape[0] * table.shape[0] // TAPS), 0, (coming[1] + coming[3]) // 2
    every = max(1, min(tiles, tiles * count * LINE // max(1, half)))            # lines are asked for once each
    rhythm = every, half // ((tiles + every - 1) // every)
    row = 0
    while row < rows.shape[0]:
        left = min(PACKED, rows.shape[0] - row)
        if direct:
            for i in range(PACKED):
                each[i] = shift + rows[row + min(i, left - 1), 0]
        else:
            while rows[row + left - 1, 0] - rows[row, 0] >= left:       # no longer than what lies side by side
                left -= 1
        there = np.int64(0)
        if not direct and not packs and segments.shape[0] == 1 and left == PACKED:
            there = np.int64(x.ctypes.data) + (shift + rows[row, 0]) * size
        elif not direct:
            _pack_taps(x, segments, step, shift + rows[row, 0], left, taps)
        for i in range(PACKED):
            writes[i] = (rows[row + i, 1] if i < left else sums.shape[0] - 1) * sums.shape[1]
        for p in range(table.shape[0]):
            first_filter, wide = table[p, 0] * width, table[p, 1] * width
            b = filters.ctypes.data + first_filter * (filters.size // sums.shape[1]) * size
            to = sums.ctypes.data + first_filter * size
            where = (source + first_filter * size, step_there) if source and not packs else (b, wide)
            for some in range(0, left, _taps_height(table[p, 1])):
                asks = _asks(coming, tile, rhythm, count, np.int64(b))
                tile += 1
                a = (a_from, each[some:].ctypes.data, a_step) + asks
                if not adds:
                    _claim_rows(to, writes[some:some + _taps_height(table[p, 1])], wide, sums)
                c = (to, writes[some:].ctypes.data, np.int64(0), to if adds else np.int64(0), np.int64(0), np.int64(0))
                pixels = places.ctypes.data, places.shape[0]        # here: after its last use an array is let go
                if there and p == 0 and some == 0:
                    a = (there, each.ctypes.data, step) + asks + (np.int64(taps.ctypes.data),)
                    _taps(table[p, 1], a, (lying.ctypes.data, lying.shape[0]), where, c, x)
                elif packs and some == 0:
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
        for g in range(g0, g1 if not begun else g0):
            _begin(sums[split, g], row0, row1, False)


def sum_rows(gy):
    """gy (N, K, OH, OW), channels-last -> (K,): the gradient of the bias"""
    (rows,), times = layout.long_rows(gy)
    parts = np.zeros((PARTS, gy.shape[1] * times), np.float64)
    _sum_rows(rows, parts)
    return parts.sum(0).reshape(times, -1).sum(0).astype(gy.dtype)


@njit(cache=True, parallel=True)
def _sum_rows(rows, parts):
    """parts[p] = the sum of every row of part p, in runs of 64 rows, and these in float64"""
    P, K = parts.shape
    for part in prange(P):
        total, run = parts[part], np.empty(K, rows.dtype)
        last = rows.shape[0] * (part + 1) // P
        for first in range(rows.shape[0] * part // P, last, 64):
            run[:] = 0
            for q in range(first, min(last, first + 64)):
                row = rows[q]
                for k in range(K):
                    run[k] += row[k]
            for k in range(K):
                total[k] += run[k]
