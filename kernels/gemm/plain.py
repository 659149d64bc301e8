"""What the micro-kernels compute, in NumPy at the same addresses: for NUMBA_DISABLE_JIT=1, where there is no LLVM to emit
them. The loops around them then run as plain Python, so that a debugger or a coverage tool can follow them."""

import ctypes

import numpy as np


def view(address, count, dtype):
    """The array of `count` values at an address."""
    size = count * np.dtype(dtype).itemsize
    return np.frombuffer((ctypes.c_char * size).from_address(int(address)), dtype)


def product_tile(rows, vectors, vector_bytes):
    """See kernels.gemm.micro."""
    def tile(a, b, offsets, depth, c, ldc, accumulate, like):
        dtype, size = like.dtype, like.itemsize
        width = vectors * vector_bytes // size
        A = view(a, depth * rows, dtype).reshape(depth, rows)
        B = np.array([view(b + at * size, width, dtype) for at in view(offsets, depth, np.int64)])
        with np.errstate(all="ignore"):             # junk pixels may hold anything
            _store(A.T @ B, c, ldc, accumulate)     # (rows, depth) @ (depth, width) -> (rows, width)
    return tile


def rows_tile(rows, vectors, vector_bytes):
    """See kernels.gemm.micro."""
    def tile(a, runs, b, c, like):
        dtype, size = like.dtype, like.itemsize
        width = vectors * vector_bytes // size
        if len(runs) > 2:
            for i in range(runs[2]):
                tile((a[0], a[1] + 8 * rows * i, *a[2:]), runs[:2], b, (c[0], c[1] + 8 * rows * i, *c[2:]), like)
            return
        (a, a_table, a_step, *_), (runs, count), (b, b_step, *kept), (c, c_table, start, onto, relu, *_) = a, runs, b, c
        sums = np.zeros((rows, width), dtype) + (view(start, width, dtype) if start else 0)
        places, targets = view(a_table, rows, np.int64), view(c_table, rows, np.int64)
        for shift, length, first in view(runs, 3 * count, np.int64).reshape(count, 3):
            A = np.array([_strided(a + (at + shift) * size, length, a_step, dtype) for at in places])
            B = _rows(b, first, length, b_step, width, dtype)
            for other, sign in zip(kept[1::2], kept[2::2]):
                B = B + dtype.type(sign) * _rows(other, first, length, b_step, width, dtype)
            for place in kept[:1]:
                view(place + first * width * size, length * width, dtype)[:] = B.ravel()
            with np.errstate(all="ignore"):
                sums += A @ B.reshape(length, width)            # (rows, length) @ (length, width) -> (rows, width)
        if onto:
            sums += np.array([view(onto + at * size, width, dtype) for at in targets])
        for row, at in zip(np.maximum(sums, 0) if relu else sums, targets):
            view(c + at * size, width, dtype)[:] = row
    return tile


def _rows(address, first, length, step, width, dtype):
    """(length, width): `length` rows from `first` on, `step` values from one to the next"""
    return np.array([view(address + (first + q) * step * dtype.itemsize, width, dtype) for q in range(length)])


def group_tile(rows, group, part, vector_bytes):
    """See kernels.gemm.micro."""
    def tile(a, runs, b, c, like):
        dtype, size = like.dtype, like.itemsize
        width = vector_bytes // size
        (a, a_table, tiles, *_), (runs, count), (c, c_table, start, relu, *_) = a, runs, c
        for at, to in zip(view(a_table, tiles * rows, np.int64), view(c_table, tiles * rows, np.int64)):
            total = view(start, width, dtype).copy() if start else np.zeros(width, dtype)
            for shift, _, tap in view(runs, 3 * count, np.int64).reshape(count, 3):
                vector = view(a + (at + shift) * size, width, dtype)
                weights = view(b + tap * group * width * size, group * width, dtype).reshape(group, width)
                total += sum((vector * weights[d])[np.arange(width) ^ d] for d in range(group))
            view(c + to * size, width, dtype)[:] = np.maximum(total, 0) if relu else total
    return tile


def group_correlation(taps, group, part, vector_bytes):
    """See kernels.gemm.micro."""
    def tile(x, gy, segments, shifts, out, like):
        dtype, size = like.dtype, like.itemsize
        width = vector_bytes // size
        (x, x_step, *_), (gy, gy_step, *_), (segments, count), (out, places) = x, gy, segments, out
        for shift, to in zip(view(shifts, taps, np.int64), view(places, taps, np.int64)):
            sums = view(out + to * size, group * width, dtype).reshape(group, width)
            for x_at, gy_at, length in view(segments, 3 * count, np.int64).reshape(count, 3):
                for q in range(length):
                    vector = view(x + (x_at + q * x_step + shift) * size, width, dtype)
                    g = view(gy + (gy_at + q * gy_step) * size, width, dtype)
                    for d in range(group):
                        sums[d] += vector * (g[d] if group == width else g[np.arange(width) ^ d])
    return tile


def rows_copy(values, vector_bytes=0):
    """See kernels.gemm.micro."""
    def copy(target, source, step, count, like):
        wide, size = values * (vector_bytes // like.itemsize or 1), like.itemsize
        for q in range(count):
            view(target + q * wide * size, wide, like.dtype)[:] = view(source + q * step * size, wide, like.dtype)
    return copy


def square_transpose(vector_bytes):
    """See kernels.gemm.micro."""
    def transpose(target, to, source, from_, like):
        lanes, size = vector_bytes // like.itemsize, like.itemsize
        square = np.array([view(source + at * size, lanes, like.dtype) for at in view(from_, lanes, np.int64)])
        for row, at in zip(square.T, view(to, lanes, np.int64)):
            view(target + at * size, lanes, like.dtype)[:] = row
    return transpose


def tile_transform(side, function, vector_bytes):
    """See kernels.gemm.micro."""
    def transform(source, target, vectors, last, like):
        count, (start, relu, _, adds) = vectors * vector_bytes // like.itemsize, last
        d = np.array([view(at, count, like.dtype) for at in view(source, side * side, np.int64)]).reshape(side, side, count)
        rows = np.array(function(np.array(function(d)).swapaxes(0, 1))).swapaxes(0, 1)     # columns, then rows
        rows = rows + (view(start, count, like.dtype) if start else 0)
        results = (np.maximum(rows, 0) if relu else rows).astype(like.dtype).reshape(-1, count)
        for row, at in zip(results, view(target, len(results), np.int64)):
            place = view(at, count, like.dtype)
            place[:] = place + row if adds else row
    return transform


def combination(function, vector_bytes):
    """See kernels.gemm.micro."""
    def combine(sources, targets, count, last, like):
        (rows, vectors), (relu, _, adds), size = count, last, like.itemsize
        wide = vectors * vector_bytes // size
        for row in range(rows):
            values = [view(at + row * sources[-1] * size, wide, like.dtype) for at in sources[:-1]]
            for result, at in zip(function(*values), targets[:-1]):
                place = view(at + row * targets[-1] * size, wide, like.dtype)
                result = np.maximum(result, 0) if relu else result
                place[:] = place + result if adds else result
    return combine


def largest(vectors, vector_bytes):
    """See kernels.pool2d.windows."""
    def largest(table, count, targets, channels, past, like, places):
        some = _channels(channels, vectors, vector_bytes, like)
        y, where = view(targets[0], some.stop, like.dtype), view(targets[1], some.stop, places.dtype)
        for k, (at, place) in enumerate(view(table, 2 * count, np.int64).reshape(count, 2)):
            new = view(at, some.stop, like.dtype)[some]
            wins = ~np.isnan(y[some]) & ~(new <= y[some]) | (k == 0)
            y[some], where[some] = np.where(wins, new, y[some]), np.where(wins, place, where[some])
    return largest


def gathered(vectors, vector_bytes):
    """See kernels.pool2d.windows."""
    def gathered(table, count, target, channels, past, like, places):
        some = _channels(channels, vectors, vector_bytes, like)
        gx = view(target, some.stop, like.dtype)
        gx[some] = 0
        for gradient, where, place in view(table, 3 * count, np.int64).reshape(count, 3):
            here = view(where, some.stop, places.dtype)[some] == place
            gx[some] += np.where(here, view(gradient, some.stop, like.dtype)[some], 0)
    return gathered


def _channels(channels, vectors, vector_bytes, like):
    first, groups = channels
    return slice(first, first + groups * vectors * max(1, vector_bytes // like.itemsize))


def put(target, source, count, past, like):
    """See kernels.streaming."""
    view(target, count, like.dtype)[:] = view(source, count, like.dtype)


def fetch(address, count, like):
    """See kernels.streaming."""


def finish():
    """See kernels.streaming."""


def take(queues, row):
    """See kernels.sharing."""
    queues[row, 0] += 1
    return queues[row, 0] - 1


def _strided(address, count, step, dtype):
    """`count` values, `step` apart."""
    return view(address, (count - 1) * step + 1, dtype)[::step] if count else np.empty(0, dtype)


def _store(tile, c, ldc, accumulate):
    for i, row in enumerate(tile):
        target = view(c + i * ldc * tile.itemsize, tile.shape[1], tile.dtype)
        target[:] = target + row if accumulate else row
