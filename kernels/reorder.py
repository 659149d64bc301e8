"""From one order in memory to the other, compiled: NumPy's assignment walks such arrays one value at a time, on one thread."""

from numba import prange

from kernels.compiling import njit


@njit(cache=True, parallel=True)
def to_channels_last(x, y):
    """y (N, H, W, C) from x (N, C, H, W), both in C order: a task is one row of an image."""
    N, C, H, W = x.shape
    for task in prange(N * H):
        n, h = task // H, task % H
        row = y[n, h]
        if C == 3:                      # a constant step, which LLVM makes vectors of
            red, green, blue = x[n, 0, h], x[n, 1, h], x[n, 2, h]
            for w in range(W):
                row[w, 0], row[w, 1], row[w, 2] = red[w], green[w], blue[w]
            continue
        for c0 in range(0, C, 16):
            for w in range(W):
                for c in range(c0, min(C, c0 + 16)):
                    row[w, c] = x[n, c, h, w]


@njit(cache=True, parallel=True)
def to_c_order(x, y):
    """y (N, C, H, W) from x (N, H, W, C), both in C order."""
    N, H, W, C = x.shape
    for task in prange(N * H):
        n, h = task // H, task % H
        for c0 in range(0, C, 16):
            for w in range(W):
                for c in range(c0, min(C, c0 + 16)):
                    y[n, c, h, w] = x[n, h, w, c]
