"""Weights in the order in which the micro-kernel reads them: for a panel of filters, one vector row for each tap and channel."""

import numpy as np
from numba import njit, prange

from kernels.gemm.micro import lanes, registers
from kernels.layout import aligned

WIDE = registers()[1] == 32
ROWS = {1: 10, 2: 10, 3: 8, 4: 6} if WIDE else {1: 8, 2: 6, 3: 4}      # pixels to a tile of so many vectors of filters
NEAR = 8        # rows of a panel that are packed together


def panels(filters, dtype):
    """Vectors of filters to each panel: [(first vector, vectors)] as an int64 array; wide panels, no lonely vector at the end."""
    count, most = -(-filters // lanes(dtype)), max(ROWS)
    widths = [most] * (count // most) + [count % most] * (count % most > 0)
    if len(widths) > 1 and widths[-1] == 1:
        widths[-2:] = [most - 1, 2]
    return np.array([(sum(widths[:i]), width) for i, width in enumerate(widths)], np.int64).reshape(-1, 2)


def merged(groups, filters, dtype):
    """How many groups of so many filters are multiplied as one, zeros outside the diagonal: few filters would leave lanes empty."""
    return max(m for m in range(1, groups + 1) if groups % m == 0 and (m == 1 or m * filters <= lanes(dtype)))


def pack(weight, groups, transposed=False):
    """weight (K, C/groups, R, S) -> (G, vectors, ...) flat: for each panel of filters the rows (r, s, c), each of the panel's width.

    transposed: for the data gradient, filters and channels change places: rows (r, s, k), and columns c. Groups with few
    columns are merged (see `merged`). Returns (packed, columns of a merged group, rows a tap of a merged group, merged groups).
    """
    K, Cg, R, S = weight.shape
    Kg = K // groups
    columns, depth = (Cg, Kg) if transposed else (Kg, Cg)
    m = merged(groups, columns, weight.dtype)
    G, columns, depth = groups // m, columns * m, depth * m
    table = panels(columns, weight.dtype)
    width = lanes(weight.dtype)
    vectors = int(table[:, 1].sum())
    packed = aligned((G, vectors * R * S * depth * width), weight.dtype)
    w = np.ascontiguousarray(weight).reshape(groups, Kg, Cg, R * S)
    _pack(w, transposed, m, table, width, packed)
    return packed, columns, depth, G


@njit(cache=True, parallel=True)
def _pack(w, transposed, m, table, width, packed):
    """packed[G][panel][(t, d)][j] = w of column j, tap t, row d; zeros where group or filters end."""
    _, Kg, Cg, T = w.shape
    columns, depth = (Cg, Kg) if transposed else (Kg, Cg)
    G, P = packed.shape[0], table.shape[0]
    for task in prange(G * P):
        G_, p = task // P, task % P
        first, size = table[p, 0], table[p, 1] * width
        start = first * width * T * depth * m
        block = packed[G_, start:start + size * T * depth * m].reshape(T, m * depth, size)
        ends = first * width + size > columns * m
        if m > 1 or ends:
            block[:] = 0
        for some in range(0, depth, NEAR):          # these rows of the panel stay in the first cache
            for j in range(min(size, columns * m - first * width)):
                column = first * width + j
                g, inside, d0 = G_ * m + column // columns, column % columns, column // columns * depth
                for d in range(some, min(some + NEAR, depth)):
                    taps = w[g, d, inside] if transposed else w[g, inside, d]
                    for t in range(T):
                        block[t, d0 + d, j] = taps[t]
