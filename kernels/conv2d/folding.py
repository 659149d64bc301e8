"""Data gradient onto few channels: all taps of all channels are columns of one product, which is then folded up.

A gradient of an image has three channels, and a vector holds more: multiplied pixel by pixel of the image, as the rung below
does it, most of its lanes stay empty. Pixel by pixel of the output, the taps fill them:

    P[q, (t, c)]  = Σ_k GY[q, k] · W[k, (t, c)]             # (pixels, K) @ (K, RSC) -> (pixels, RSC)
    gx[h, w, c]   = Σ P[(i, j), (r, s, c)]                  over h = i·stride + r·dilation - pad, and w likewise

P is what im2col's product gives (its col2im folds it up), here a row of pixels at a time, which stays near. A task is some rows
of one image's gx, and goes through the rows of gy that see them, in order: results do not depend on the number of threads. All
else is left to the rung below. Source: col2im, Jia et al. 2014, "Caffe"; a row at a time is ours.
"""

import functools

import numpy as np
from numba import get_num_threads, prange

from kernels import layout
from kernels.compiling import njit
from kernels.conv2d import implicit_gemm
from kernels.conv2d.implicit_gemm import VECTOR, _tiles_alone, _tiles_for
from kernels.conv2d.packing import ROWS, pack, planned
from kernels.gemm.micro import lanes
from kernels.sharing import equal_queues, next_task
from kernels.streaming import between, near

ANY_ORDER = True        # arrays are put in channels-last order here
TASKS = 4               # for each thread, where images have rows enough
BEHIND = max(ROWS.values())         # pixels that a row's last tile may write behind it

forward = implicit_gemm.forward


@functools.lru_cache(512)
def fits(weight_shape, dtype, window, groups):
    """Whether taps fill vectors that channels would leave at least half empty."""
    return groups == 1 and 2 * weight_shape[1] <= lanes(dtype) and not window.one_pixel and 0 not in weight_shape


def backward(gy, x, weight, window, groups=1, needs=(True, True, True), onto=None):
    """See the room, and the module for the formulas."""
    folds = needs[0] and fits(weight.shape, weight.dtype, window, groups)
    gx, gw, gbias = implicit_gemm.backward(gy, x, weight, window, groups, (needs[0] and not folds, *needs[1:]), onto)
    return _input_gradient(layout.channels_last(gy), x.shape, weight, window, onto) if folds else gx, gw, gbias


def _input_gradient(gy, shape, weight, window, onto):
    """gx of `shape` (N, C, H, W), or `onto` with it added, from gy (N, K, OH, OW)."""
    gx, (N, C, H, W), (K, _, R, S) = layout.empty(shape, gy.dtype) if onto is None else onto, shape, weight.shape
    columns = np.ascontiguousarray(weight.transpose(0, 2, 3, 1)).reshape(K, R * S * C, 1, 1)
    plan, workers = planned(columns.shape, weight.dtype, 1, True), get_num_threads()
    pieces = max(1, min(H // window.extent[0], -(-TASKS * workers // max(1, N))))
    if gx.size:
        _fold(layout.rows(gy), pack(columns, 1, True)[0], plan.table, window, (*gy.shape[2:], H, W, C),
              (N, pieces, workers, int(onto is not None)), layout.rows(gx))
    return gx


@njit(cache=True, parallel=True)
def _fold(gy, packed, table, window, sizes, tasks, gx):
    """All rows of gx (N·H·W, ·), set or added to, from gy (N·OH·OW, ·). sizes = (OH, OW, H, W, C); tasks = (images, pieces of
    each, workers, whether to add)."""
    (_, OW, H, W, C), (N, pieces, workers, adds) = sizes, tasks
    queues, wide = equal_queues(N * pieces, workers), (table[-1, 0] + table[-1, 1]) * VECTOR // gy.itemsize
    for worker in prange(workers):
        P, places = near((OW + BEHIND) * wide, gy).reshape(OW + BEHIND, wide), np.empty((2, OW + BEHIND), np.int64)
        for q in range(OW + BEHIND):
            places[0, q], places[1, q] = min(q, OW - 1) * gy.shape[1], q * wide
        task = next_task(queues, worker)
        while task >= 0:
            n, piece = task // pieces, task % pieces
            first, last = H * piece // pieces, H * (piece + 1) // pieces
            if not adds:
                for q in range((n * H + first) * W, (n * H + last) * W):
                    gx[q, :C] = 0
            _fold_rows(gy, packed, table, window, sizes, (n, first, last), places, P, gx)
            task = next_task(queues, worker)


@njit(cache=True)
def _fold_rows(gy, packed, table, window, sizes, share, places, P, gx):
    """gx += what its rows first, …, last - 1 of image n get, from every row i of gy that sees one of them."""
    (n, first, last), (OH, OW, H, W, C) = share, sizes
    stride, step = window.stride_h, window.dilation_h
    begin = max(0, (first + window.top - (window.kernel_h - 1) * step + stride - 1) // stride)
    for i in range(begin, min(OH, (last - 1 + window.top) // stride + 1)):
        _multiply_row(gy, (n * OH + i) * OW, packed, table, places, P)
        for r in range(window.kernel_h):
            h = i * stride - window.top + r * step
            if first <= h < last:
                _fold_row(P[:OW], r, window, (W, C), gx[(n * H + h) * W:(n * H + h + 1) * W])


@njit(cache=True)
def _multiply_row(gy, pixel, packed, table, places, P):
    """P (OW, RSC) of the pixels of a row of gy, the first of which is `pixel`: one panel of columns after the other."""
    size, width, depth = gy.itemsize, VECTOR // gy.itemsize, packed.size // P.shape[1]
    run, a = np.array([[0, depth, 0]]), np.int64(gy.ctypes.data) + pixel * gy.shape[1] * gy.itemsize
    for p in range(table.shape[0]):
        first, vectors = table[p, 0] * width, table[p, 1]
        _tiles_alone(vectors, _tiles_for(P.shape[0] - BEHIND, vectors), (a, places[0].ctypes.data, np.int64(1)), run,
                     (np.int64(packed.ctypes.data) + first * depth * size, vectors * width),
                     (np.int64(P.ctypes.data) + first * size, places[1].ctypes.data, np.int64(0)), gy)


@njit(cache=True)
def _fold_row(P, r, window, sizes, row):
    """row[w, c] += P[j, (r, s, c)] for w = j·stride + s·dilation - pad, one tap after the other: of two pixels side by side the
    second would wait for what was stored for the first."""
    (W, C), stride = sizes, window.stride_w
    values, flat = P.reshape(-1), row.reshape(-1)
    step, wide = np.uint64(stride * row.shape[1]), np.uint64(P.shape[1])        # unsigned, see streaming.between
    for s in range(window.kernel_w):
        shift = s * window.dilation_w - window.left
        first, last = max(0, (-shift + stride - 1) // stride), min(P.shape[0], (W - 1 - shift) // stride + 1)
        for c in range(C):
            to = np.uint64((first * stride + shift) * row.shape[1] + c)
            from_ = np.uint64(first * P.shape[1] + (r * window.kernel_w + s) * C + c)
            for j in between(0, max(0, last - first)):
                flat[to + j * step] += values[from_ + j * wide]
