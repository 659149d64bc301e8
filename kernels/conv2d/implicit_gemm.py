"""Convolution as a matrix product whose column matrix is never written.

im2col writes all columns to memory and reads them back for the product. With the channels of a pixel side by side in memory
(kernels.layout) that is not needed: what tap (r, s) shows to an output pixel is one run of values, x's channels at another
pixel. The micro-kernel takes the addresses of a few pixels and walks over the taps by shifts that are the same for all of
them (kernels.conv2d.classes: at the borders other pixels, other taps, so that no padding exists at all). Three products:

    forward           y[q, k]    = Σ_t X[q, t] · W[t, k]            q = (n, i, j), t = (r, s, c)
    data gradient     gx[q, c]   = Σ_t GY[q, t] · Wᵀ[t, c]          q = (n, h, w), t = (r, s, k): the taps that saw q
    weight gradient   gW[t, k]   = Σ_q Xᵀ[t, q] · GY[q, k]          see kernels.conv2d.implicit_gemm_weights

Each task owns some pixels, or where these are few some filters, and sums in a fixed order: results do not depend on the number
of threads. Groups with few filters are multiplied as one with zeros between them; a NaN in one of them then shows in its
neighbours. Sources: the blocking of Goto and van de Geijn 2008; taps by address, Dukhan 2019, "The indirect convolution
algorithm".
"""

import functools

import numpy as np
from numba import get_num_threads, prange

from kernels import layout, streaming
from kernels.compiling import njit
from kernels.conv2d.classes import LONGEST, forward_classes, gradient_classes
from kernels.conv2d.implicit_gemm_weights import weight_gradient
from kernels.conv2d.packing import ROWS, kept, pack, planned
from kernels.gemm.micro import lanes, registers, rows_tile
from kernels.sharing import END, NEXT, empty_queues, next_task
from kernels.streaming import finish, near

VECTOR = registers()[0]         # bytes
MOST = 360                      # pixels to a block, at the most, a multiple of every tile's rows
NEAR = 1 << 21                  # bytes of weights that all blocks go through before the next are fetched: about a second cache
FEWER = 4                       # a block has a fourth of the pixels that are left, at the most
FEW = 1000                      # pixels, up to which the workers share the filters,
WIDEST = 4                      # as many vectors of them at least
PARTS = 16                      # of the pixels of a bias gradient
ANY_ORDER = True                # arrays are put in channels-last order here
_one, _two, _three, _four = (rows_tile(ROWS.get(vectors, 1), vectors, VECTOR) for vectors in (1, 2, 3, 4))
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
            weight_gradient(gy, x, weight, window, groups) if needs[1] else None,
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
    asked for at the beginning of each run, too."""
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
    wide = vectors * width
    whole = left >= wide                # else tiles go to `spare`, and from there what is the panel's
    writes, out, last = (places[1], c, (c if adds else none, relu, past)) if whole else (
        np.arange(tiles * height) * wide, np.int64(spare.ctypes.data), (none, none, none))
    claimed = out if whole and not past else none
    _tile(vectors, reads, (runs.ctypes.data, runs.shape[0], tiles, share, part), (packed.ctypes.data, wide),
          (out, np.uint64(writes.ctypes.data), start_at, *last, claimed), y)
    if not whole:
        _copy_columns(spare, wide, places[1, :count], y.reshape(y.size)[to + first * width:], (left, relu, adds))
    places[1, 0] = writes[0] if whole else places[1, 0]         # asked, lest the array is let go before the tiles read it


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
def _size(left, most, unit):
    """Pixels of the next block where so many are left: less and less, so that at the end threads wait for little."""
    return min(left, most, max(unit, left // FEWER // unit * unit))


@njit(cache=True)
def _blocks(classes, images, panels, sizes, queues, blocks):
    """blocks (·, 5): (first panel, one past the last, class, first pixel, pixels) of each, a worker's one behind the other, as
    queues says then -> how many there are. As many panels together as stay near; of the pixels of every class each worker has a
    share, or of the filters, see _parts."""
    parts, together, most, unit, height, adds = sizes
    workers, found = queues.shape[0], 0
    for worker in range(workers):
        queues[worker, NEXT] = found
        share, shares = (np.int64(worker), workers) if parts == 1 else (np.int64(0), np.int64(1))
        from_, to = (np.int64(0), panels) if parts == 1 else (panels * worker // parts, panels * (worker + 1) // parts)
        for p in range(from_, to, together):
            for k in range(classes.table.shape[0]):
                first, last = _share(classes, k, images, share, shares, height)
                if adds and classes.table[k, 5] == 0:       # nothing to add
                    continue
                while first < last:
                    count = _size(last - first, most, unit)
                    if found < blocks.shape[0]:
                        block = p, min(to, p + together), k, first, count
                        for i in range(5):
                            blocks[found, i] = block[i]
                    found, first = found + 1, first + count
        queues[worker, END] = found
    return found


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


@njit(cache=True, parallel=True)
def _multiply(x, packed, starts, table, classes, images, sizes, y):
    """Each worker has a share of the pixels of every class, lest one of them gets the classes that see more taps, or a part of
    the filters, see _parts; a task is a block of pixels against all filters: no more than fit the second cache beside these."""
    columns, depth, workers, relu, past, adds, parts, whole = sizes
    groups, height, room = packed.shape[0], _height(table[0, 1]), min(MOST, NEAR // 4 // (x.shape[1] * x.itemsize))
    unit = whole if room >= whole else height
    taps = packed.shape[1] // (table[-1, 0] + table[-1, 1])       # values of a vector of filters
    together = max(1, NEAR // (taps * y.itemsize * table[0, 1]))      # panels
    rows = max(1, taps * y.itemsize // VECTOR)
    results = (MOST + R2) * 4 * VECTOR // y.itemsize if columns * y.itemsize % VECTOR else 1    # where a panel is not filled
    cut = parts, together, max(unit, room // unit * unit), unit, height, adds
    queues = empty_queues(workers)
    blocks = np.empty((_blocks(classes, images, table.shape[0], cut, queues, np.empty((0, 5), np.int64)), 5), np.int64)
    _blocks(classes, images, table.shape[0], cut, queues, blocks)
    for worker in prange(workers):
        places, spare, zeros = np.empty((2, MOST), np.int64), near(results, y), np.zeros(starts.shape[1], y.dtype)
        task = next_task(queues, worker)
        while task >= 0:
            p0, end, k, first, count = blocks[task, 0], blocks[task, 1], blocks[task, 2], blocks[task, 3], blocks[task, 4]
            runs = classes.runs[classes.table[k, 4]:classes.table[k, 4] + classes.table[k, 5]]
            _place(classes, k, first, count, places)
            ahead, part = _coming(x, places, count, groups * (end - p0))
            for g in range(groups):
                for p in range(p0, end):
                    some = packed[g, table[p, 0] * taps:]
                    follows = np.int64(some.ctypes.data) + table[p, 1] * taps * y.itemsize if p + 1 < end else 0
                    _panel(x, some, (starts[g], zeros), (table[p, 0], table[p, 1]), places, count, runs,
                           (columns, g * depth, g * columns, relu, past, adds), (ahead, part, rows, follows), y, spare)
                    ahead += part
            task = next_task(queues, worker)
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
