"""The pixels that a 1x1 convolution of a larger stride sees, apart from those that it passes over.

    x[n, :, i·stride, j·stride] -> seen[n, :, i, j]         and their gradients back to where they came from

With them it is a convolution of stride 1, a product of matrices.
"""

from numba import prange

from kernels import layout
from kernels.compiling import njit
from kernels.streaming import between, distance, fetch


def pixels_seen(x, window):
    """x (N, C, H, W), channels-last -> (N, C, OH, OW): x itself where no pixel is passed over, else a copy."""
    if window.pointwise:
        return x
    seen = layout.empty((*x.shape[:2], *window.output_size(*x.shape[2:])), x.dtype)
    _gather(layout.rows(x), x.shape[2:], window[2:4], layout.images(seen))
    return seen


def put_back(seen, window, adds, x):
    """x (N, C, H, W), channels-last, = seen (N, C, OH, OW) where it was seen, 0 elsewhere; with `adds` it is added to x."""
    _scatter(layout.images(seen), window[2:4], adds, x.shape[2:], layout.rows(x))


@njit(cache=True, parallel=True)
def _gather(x, size, stride, seen):
    """seen (N, OH, OW, C) from the rows x (N·H·W, ·) of an image of size = (H, W); a task is a row of `seen`."""
    N, OH, OW, C = seen.shape
    ahead = distance(x, C)
    for row in prange(N * OH):
        n, i = row // OH, row % OH
        for j in range(OW):
            source, to = x[(n * size[0] + i * stride[0]) * size[1] + j * stride[1]], seen[n, i, j]
            fetch(source.ctypes.data + ahead, C, x)
            for c in between(0, C):
                to[c] = source[c]


@njit(cache=True, parallel=True)
def _scatter(seen, stride, adds, size, x):
    """The rows x (N·H·W, ·) of an image of size = (H, W) from seen (N, OH, OW, C); a task is a row of the image."""
    N, OH, OW, C = seen.shape
    for row in prange(N * size[0]):
        n, i = row // size[0], row % size[0]
        for j in range(size[1]):
            to, here = x[row * size[1] + j], i % stride[0] + j % stride[1] == 0 and i // stride[0] < OH and j // stride[1] < OW
            if not adds:
                for c in between(0, C):
                    to[c] = 0
            if here:
                source = seen[n, i // stride[0], j // stride[1]]
                for c in between(0, C):
                    to[c] += source[c]
