"""The fully connected layer on the micro-kernel: with few images its cost is to read the weights, so they are read as they lie.

A BLAS packs both matrices before it multiplies; for sixteen images that is another pass over weights of a hundred megabytes.
The micro-kernel needs its vectors side by side, its rows may lie anywhere. So each product takes as vectors what lies so:

    forward           yᵀ[k, n]  = Σ_c W[k, c] · xᵀ[c, n]        rows are the weights' own, xᵀ is packed, small
    data gradient     gx[n, c]  = Σ_k gy[n, k] · W[k, c]        vectors are pieces of the weights' rows
    weight gradient   gW[k, c]  = Σ_n gyᵀ[k, n] · x[n, c]       vectors are pieces of the images' rows

Columns that fill no vector are added up one by one. Source of the blocking: Goto and van de Geijn 2008.
"""

import math

import numpy as np
from numba import prange

from kernels import layout, memory
from kernels.compiling import njit
from kernels.conv2d.implicit_gemm import R1, R2, R3, R4, VECTOR, _height, _tiles_alone, _tiles_for
from kernels.conv2d.packing import panels
from kernels.gemm.micro import lanes

DEPTH = 2048            # values of a weight row to a block: xᵀ's share stays in the second cache
NEAR = 32               # weight rows to a block of the data gradient
SHARES = 8              # of the columns of the data gradient
ROWS = math.lcm(R1, R2, R3, R4)     # weight rows to a task: whole tiles of every height, which read no row number behind it
ROWS *= max(1, 60 // ROWS)


def forward(x, weight, bias):
    """See the room, and the module for the formula."""
    (N, C), K = x.shape, weight.shape[0]
    if not x.size or not K:
        return np.zeros((N, K), x.dtype) + (0 if bias is None else bias)
    table, width = panels(N, x.dtype), lanes(x.dtype)
    packed = layout.aligned((int(table[:, 1].sum()) * C * width,), x.dtype)
    _pack_transposed(x, table, packed)
    yt = layout.aligned((K, int(table[:, 1].sum()) * width), x.dtype)
    _forward(weight, packed, table, yt)
    y = np.ascontiguousarray(yt[:, :N].T)
    return y if bias is None else y + bias


def backward(gy, x, weight, needs=(True, True, True)):
    """See the room, and the module for the formulas."""
    gx, gw = None, None
    whole = x.shape[1] // lanes(x.dtype) * lanes(x.dtype)
    table = panels(whole, x.dtype)
    if needs[0]:
        gx = np.zeros(x.shape, x.dtype)
        if gy.size and whole:
            _input_gradient(gy, weight, table, gx)
        gx[:, whole:] = gy @ weight[:, whole:]
    if needs[1]:
        gw = memory.gradient_of(weight) if gy.size else np.zeros(weight.shape, x.dtype)
        if gy.size and whole:
            _weight_gradient(gy, x, table, gw)
        gw[:, whole:] = gy.T @ x[:, whole:]
    return gx, gw, gy.sum(0) if needs[2] else None


@njit(cache=True)
def _pack_transposed(x, table, packed):
    """packed[panel][c, n] = x[n, c], zeros where the images end"""
    N, C = x.shape
    width = VECTOR // x.itemsize
    for p in range(table.shape[0]):
        first, wide = table[p, 0] * width, table[p, 1] * width
        panel = packed[first * C:(first + wide) * C].reshape(C, wide)
        for c0 in range(0, C, 16):
            for n in range(wide):
                for c in range(c0, min(C, c0 + 16)):
                    panel[c, n] = x[first + n, c] if first + n < N else 0


@njit(cache=True, parallel=True)
def _forward(weight, packed, table, yt):
    """yt (K, images) = weight (K, C) · packed (C, images)"""
    K, C = weight.shape
    wide_y, size, width = yt.shape[1], yt.itemsize, VECTOR // yt.itemsize
    for task in prange((K + ROWS - 1) // ROWS):
        reads, writes = np.empty(ROWS, np.int64), np.empty(ROWS, np.int64)
        for i in range(ROWS):                   # behind the last row the last one again
            row = min(task * ROWS + i, K - 1)
            reads[i], writes[i] = row * C, row * wide_y
        for c0 in range(0, C, DEPTH):
            run = np.array([[c0, min(DEPTH, C - c0), c0]])
            for p in range(table.shape[0]):
                first, vectors = table[p]
                to = np.int64(yt.ctypes.data) + first * VECTOR
                tiles = _tiles_for(min(ROWS, K - task * ROWS), vectors)
                _tiles_alone(vectors, tiles, (weight.ctypes.data, reads.ctypes.data, np.int64(1)), run,
                       (np.int64(packed.ctypes.data) + first * width * C * size, vectors * width),
                       (to, writes.ctypes.data, to if c0 else np.int64(0)), yt)


@njit(cache=True, parallel=True)
def _input_gradient(gy, weight, table, gx):
    """gx (N, C) += gy (N, K) · weight (K, C): a task is a share of the columns, a few rows of it at a time from end to end"""
    N, K = gy.shape
    C, P = weight.shape[1], table.shape[0]
    for share in prange(SHARES):
        reads, writes = np.empty(ROWS, np.int64), np.empty(ROWS, np.int64)
        for k0 in range(0, K, NEAR):
            run = np.array([[k0, min(NEAR, K - k0), k0]])
            for p in range(P * share // SHARES, P * (share + 1) // SHARES):
                first, vectors = table[p]
                height, to = _height(vectors), np.int64(gx.ctypes.data) + first * VECTOR
                for n in range(0, N, height):
                    for i in range(height):
                        reads[i], writes[i] = min(n + i, N - 1) * K, min(n + i, N - 1) * C
                    _tiles_alone(vectors, np.int64(1), (gy.ctypes.data, reads.ctypes.data, np.int64(1)), run,
                           (np.int64(weight.ctypes.data) + first * VECTOR, C), (to, writes.ctypes.data, to), gx)


@njit(cache=True, parallel=True)
def _weight_gradient(gy, x, table, gw):
    """gw (K, C) = gyᵀ (K, N) · x (N, C), some rows to a task"""
    N, K = gy.shape
    C = x.shape[1]
    for task in prange((K + ROWS - 1) // ROWS):
        reads, writes, run = np.empty(ROWS, np.int64), np.empty(ROWS, np.int64), np.array([[0, N, 0]])
        for i in range(ROWS):
            row = min(task * ROWS + i, K - 1)
            reads[i], writes[i] = row, row * C
        for p in range(table.shape[0]):
            first, vectors = table[p]
            tiles = _tiles_for(min(ROWS, K - task * ROWS), vectors)
            _tiles_alone(vectors, tiles, (gy.ctypes.data, reads.ctypes.data, K), run,
                   (np.int64(x.ctypes.data) + first * VECTOR, C),
                   (np.int64(gw.ctypes.data) + first * VECTOR, writes.ctypes.data, np.int64(0)), x)
