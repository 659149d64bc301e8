"""Matrix products on the micro-kernel, to be called inside one thread of a compiled loop.

Packing puts the numbers a tile needs one behind the other, in the order in which it reads them, whatever the strides of the
matrices: the tile then streams through memory. The packed panel of B (K x 3 vectors) is used by all rows of A.
Source: Goto and van de Geijn 2008, sections 4 and 5.
"""

import numpy as np

from kernels.compiling import njit
from kernels.gemm.micro import product_tile, registers

ROWS, VECTOR = (8 if registers()[1] == 32 else 4), registers()[0]
_product = product_tile(ROWS, 3, VECTOR)


@njit(cache=True)
def pack(a):
    """a (M, K) -> (⌈M/ROWS⌉, K, ROWS), zeros where M ends: A as `multiply` reads it."""
    packed = np.zeros((-(-a.shape[0] // ROWS), a.shape[1], ROWS), a.dtype)
    pack_into(a, packed)
    return packed


@njit(cache=True)
def pack_into(a, packed):
    """As pack, into the zeros or the packed matrix of the same shape that is there."""
    for m in range(a.shape[0]):
        to, row = packed[m // ROWS, :, m % ROWS], a[m]
        for k in range(a.shape[1]):
            to[k] = row[k]


@njit(cache=True)
def multiply(packed, b, out, accumulate):
    """out (M, N) = (or with accumulate +=) a (M, K) @ b (K, N), with a packed."""
    row_panels, K = packed.shape[:2]
    M, N, size = out.shape[0], b.shape[1], out.itemsize
    width = 3 * VECTOR // size
    offsets = np.arange(K) * width
    panel, c = np.zeros((K, width), out.dtype), np.empty((row_panels * ROWS, width), out.dtype)
    for j0 in range(0, N, width):
        columns = min(width, N - j0)
        _pack_panel(b[:, j0:j0 + columns], panel)
        for r in range(row_panels):
            target = c.ctypes.data + r * ROWS * width * size
            _product(packed[r].ctypes.data, panel.ctypes.data, offsets.ctypes.data, K, target, width, 0, out)
        for m in range(M):
            to, row = out[m, j0:j0 + columns], c[m]
            if accumulate:
                for j in range(columns):
                    to[j] += row[j]
            else:
                for j in range(columns):
                    to[j] = row[j]


@njit(cache=True)
def _pack_panel(b, panel):
    """b (K, columns) -> panel (K, width), along b's memory: transposed matrices are read row by row as well."""
    K, columns = b.shape
    if b.strides[1] > b.strides[0]:
        for j in range(columns):
            for k in range(K):
                panel[k, j] = b[k, j]
    elif columns == panel.shape[1]:
        for k in range(K):
            for j in range(panel.shape[1]):
                panel[k, j] = b[k, j]
    else:
        for k in range(K):
            for j in range(columns):
                panel[k, j] = b[k, j]
