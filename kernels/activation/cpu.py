"""The rectifier as one parallel pass over the values as they lie in memory, whatever the order of the axes."""

import numpy as np
from numba import prange

from kernels import layout, streaming
from kernels.compiling import njit
from kernels.streaming import PIECE, between, distance, fetch, finish, near, put

ANY_ORDER = True
CHUNK = 1 << 14         # values to a task
PARTS = 64              # tasks of a pass over rows
SHARES, RUN = 16, 64    # of the rows of a sum; rows summed in the array's own dtype


def relu_forward(x):
    """See the room."""
    (x,) = layout.same_order(x)
    y = layout.empty_like(x)
    _relu(layout.flat(x), layout.flat(y))
    return y


def relu_backward(gy, y, reuse=False):
    """See the room. Written over gy, which is being read, a result costs no lines of its own."""
    if layout.prefers_channels_last(y) or layout.prefers_channels_last(gy):     # slices of channels are read as they are
        gy = layout.channels_last(gy)
        gx = gy if reuse else layout.empty(y.shape, y.dtype)
        (g, a, out), times = layout.long_rows(gy, y, gx)
        _relu_backward_rows(g, a, y.shape[1] * times, out)
        return gx
    gy, y = np.ascontiguousarray(gy), np.ascontiguousarray(y)
    gx = layout.empty_like(gy)
    _relu_backward(layout.flat(gy), layout.flat(y), layout.flat(gx))
    return gx


def relu_backward_sums(gy, y, reuse=False):
    """See the room. Runs of 64 rows are added up in the array's own dtype, and these in float64."""
    gy, y = layout.channels_last(gy), layout.channels_last(y)
    gx = gy if reuse else layout.empty(y.shape, y.dtype)
    (g, a, out), times = layout.long_rows(gy, y, gx)
    sums = _mask(g, a, [(out, y.shape[1] * times)], False)
    return gx, sums.reshape(times, -1).sum(0).astype(gy.dtype)


def relu_backward_parts(gy, y, sizes):
    """See the room. Each part is dense: a convolution that reads it twice would else read its neighbours' lines too."""
    gy, y = layout.channels_last(gy), layout.channels_last(y)
    parts = [layout.empty((len(y), size, *y.shape[2:]), y.dtype) for size in sizes]
    targets = [(layout.rows(part), size) for part, size in zip(parts, sizes)]
    return parts, _mask(layout.rows(gy), layout.rows(y), targets, streaming.pays(y)).astype(gy.dtype)


def _mask(gy, y, targets, far):
    """Σ over the rows of gy where y > 0, in float64; the rows go to targets (matrix, values of its rows), side by side."""
    places = np.array([(matrix.ctypes.data, wide, matrix.strides[0]) for matrix, wide in targets], np.int64)
    shares = np.zeros((SHARES, places[:, 1].sum()))
    _relu_backward_sums(gy, y, places, far, shares)
    return shares.sum(0)


def add(a, b):
    """See the room."""
    a, b = layout.same_order(a, b)
    y = layout.empty_like(a)
    _add(layout.flat(a), layout.flat(b), layout.flat(y))
    return y


def accumulate(a, b):
    """See the room."""
    if a.ndim == 4 and layout.pitch(a) is not None and a.size:
        _accumulate(layout.rows(a), layout.rows(layout.channels_last(b)), a.shape[1])
    elif a.flags.c_contiguous and b.flags.c_contiguous:
        _accumulate(a.reshape(1, -1), b.reshape(1, -1), a.size)
    else:
        a += b


@njit(cache=True, parallel=True)
def _accumulate(a, b, C):
    """The first C values of every row; long rows in pieces."""
    pieces = (C + CHUNK - 1) // CHUNK
    for task in prange(a.shape[0] * pieces):
        row, first = task // pieces, task % pieces * CHUNK
        u, v = a[row, first:min(C, first + CHUNK)], b[row, first:min(C, first + CHUNK)]
        for i in range(u.size):
            u[i] += v[i]


@njit(cache=True, parallel=True)
def _relu(x, y):
    zero = x.dtype.type(0)
    for task in prange((x.size + CHUNK - 1) // CHUNK):
        a, b = x[task * CHUNK:(task + 1) * CHUNK], y[task * CHUNK:(task + 1) * CHUNK]
        for i in range(a.size):
            b[i] = zero if a[i] < 0 else a[i]


@njit(cache=True, parallel=True)
def _relu_backward(gy, y, gx):
    zero = gy.dtype.type(0)
    for task in prange((y.size + CHUNK - 1) // CHUNK):
        some = slice(task * CHUNK, (task + 1) * CHUNK)
        g, a, out = gy[some], y[some], gx[some]
        for i in range(a.size):
            out[i] = zero if a[i] <= 0 else g[i]


@njit(cache=True, parallel=True)
def _relu_backward_rows(gy, y, C, gx):
    """The first C values of every row. gx may be gy: by way of a row nearby, because LLVM makes vectors only of loops whose
    arrays lie apart."""
    Q, zero = y.shape[0], gy.dtype.type(0)
    for part in prange(PARTS):
        row = near(C, gx)
        for q in range(Q * part // PARTS, Q * (part + 1) // PARTS):
            g, a = gy[q], y[q]
            for c in range(C):
                row[c] = zero if a[c] <= 0 else g[c]
            put(gx[q].ctypes.data, row.ctypes.data, C, False, gx)


@njit(cache=True, parallel=True)
def _relu_backward_sums(gy, y, places, far, shares):
    """shares[p] += the sum of share p's rows, masked as in _relu_backward_rows. Of row q the next places[i, 1] values go to
    row q of a matrix at the address places[i, 0], whose rows are places[i, 2] bytes apart; gy may be there."""
    Q, (P, C), zero = y.shape[0], shares.shape, gy.dtype.type(0)
    size = gy.itemsize      # not above: Numba's array analysis fails on the longer tuple
    ahead, ahead_gy = distance(y, C), distance(gy, C)
    for share in prange(P):
        row, run, total = near(C, gy), np.zeros(C, gy.dtype), shares[share]
        last = Q * (share + 1) // P
        for first in range(Q * share // P, last, RUN):
            for q in range(first, min(last, first + RUN)):
                g, a = gy[q], y[q]
                for c0 in range(0, C, PIECE):
                    few, at = min(PIECE, C - c0), c0 * size
                    fetch(a.ctypes.data + at + ahead, few, gy)
                    fetch(g.ctypes.data + at + ahead_gy, few, gy)
                    for c in between(c0, c0 + few):
                        row[c] = zero if a[c] <= 0 else g[c]
                    for c in between(c0, c0 + few):
                        run[c] += row[c]
                from_ = np.int64(row.ctypes.data)
                for to, few, step in places:
                    put(to + q * step, from_, few, far, gy)
                    from_ += few * size
            for c in range(C):
                total[c] += run[c]
                run[c] = 0
        finish()


@njit(cache=True, parallel=True)
def _add(a, b, y):
    for task in prange((y.size + CHUNK - 1) // CHUNK):
        some = slice(task * CHUNK, (task + 1) * CHUNK)
        u, v, out = a[some], b[some], y[some]
        for i in range(u.size):
            out[i] = u[i] + v[i]
