"""Two orders of the same array in memory. All arrays are (N, C, H, W); what differs is which neighbour lies next in memory.

C order, NumPy's own: pixels of a row side by side, one plane a channel. Channels-last: the channels of a pixel side by side,
one pixel after the other, so that an image is a matrix (pixels, C) whose rows compiled loops read whole, whatever the window.
NumPy's elementwise functions keep either order. A slice of channels of a channels-last array is a matrix with a gap behind
each row: rows have a `pitch`, the distance from pixel to pixel in values.
"""

import functools
import math
from ctypes import addressof, c_char

import numpy as np

LONG = 256              # values to a row, where there are pixels enough
MANY = 1 << 14          # values: fewer are copied by NumPy
ALIGN = 64              # bytes: a cache line and the widest vector


def aligned(shape, dtype):
    """An uninitialised C-ordered array that starts on a cache line."""
    dtype = np.dtype(dtype)
    count, size = math.prod(shape), dtype.itemsize
    flat = np.empty(count + ALIGN // size, dtype)
    start = -addressof(c_char.from_buffer(flat)) % ALIGN // size        # flat.ctypes.data takes four times as long
    return flat[start:start + count].reshape(shape)


def empty(shape, dtype):
    """An uninitialised channels-last array of shape (N, C, H, W)."""
    N, C, H, W = shape
    return aligned((N, H, W, C), dtype).transpose(0, 3, 1, 2)


def pitch(x):
    """Values from pixel to pixel of a channels-last array, None if x (N, C, H, W) is in another order. C order with one
    channel or one pixel counts as channels-last too."""
    (N, C, H, W), size = x.shape, x.itemsize
    n, c, h, w = x.strides
    if c == size and w == C * size and h == W * w and n == H * h:       # the pixels side by side: nearly always
        return C
    if x.size == 0:
        return C
    step = w // size if W > 1 else h // size if H > 1 else n // size if N > 1 else C
    fits = ((C == 1 or c == size) and (W == 1 or w == step * size) and (H == 1 or h == W * step * size)
            and (N == 1 or n == H * W * step * size) and step >= C)
    return step if fits else None


def channels_last(x):
    """x itself if it is in channels-last order, else a copy that is."""
    return x if pitch(x) is not None else _copy(x)


def prefers_channels_last(x):
    """True if x is in channels-last order and not in C order as well."""
    return x.ndim == 4 and not x.flags.c_contiguous and pitch(x) is not None


def rows(x):
    """x (N, C, H, W) in channels-last order -> (matrix (N·H·W, pitch), C): the same memory, of which the last pitch - C values
    of a row are not x's. Compiled loops must leave them alone: they belong to another array, or to none."""
    step = pitch(x)
    if step == x.shape[1] and x.size:
        return x.transpose(0, 2, 3, 1).reshape(-1, step)        # a view: the pixels lie one behind the other
    return np.lib.stride_tricks.as_strided(x, (x.shape[0] * x.shape[2] * x.shape[3], step), (step * x.itemsize, x.itemsize))


def long_rows(*arrays):
    """(matrices, times): images of one shape as `rows`; of dense ones with few channels `times` pixels make a row, so that
    loops along it are worth their start."""
    arrays = [channels_last(array) for array in arrays]
    N, C, H, W = arrays[0].shape
    if any(pitch(array) != C for array in arrays):
        return [rows(array) for array in arrays], 1
    times = _times(C, N * H * W)
    return [array.transpose(0, 2, 3, 1).reshape(-1, C * times) for array in arrays], times


@functools.lru_cache(512)
def _times(C, pixels):
    times = 1
    while 0 < C * times < LONG and pixels % (2 * times) == 0:
        times *= 2
    return times


def images(x):
    """A dense channels-last array as it lies in memory: (N, H, W, C), C order."""
    return x.transpose(0, 2, 3, 1)


def empty_like(x):
    """An uninitialised array of x's shape and dtype, in x's order where that is one of the two, else in C order."""
    return empty(x.shape, x.dtype) if prefers_channels_last(x) else aligned(x.shape, x.dtype)


def same_order(x, *others):
    """The arrays, all dense and in one order: channels-last if any of them is, else C order. Copies what is not."""
    arrays = (x, *others)
    if any(prefers_channels_last(a) for a in arrays):
        return [a if pitch(a) == a.shape[1] else _copy(a) for a in arrays]
    return [np.ascontiguousarray(a) for a in arrays]


def flat(x):
    """The values of a dense array as they lie in memory, (x.size,): a view."""
    return x.reshape(-1) if x.flags.c_contiguous else x.transpose(0, 2, 3, 1).reshape(-1)


def c_order(x):
    """x itself if it is in C order, else a copy that is."""
    if x.ndim != 4 or x.size < MANY or not prefers_channels_last(x) or pitch(x) != x.shape[1]:
        return np.ascontiguousarray(x) if x.ndim else x
    from kernels import reorder
    y = aligned(x.shape, x.dtype)
    reorder.to_c_order(images(x), y)
    return y


def _copy(x):
    y = empty(x.shape, x.dtype)
    if x.size >= MANY and x.flags.c_contiguous:
        from kernels import reorder
        reorder.to_channels_last(x, images(y))
    else:
        y[...] = x
    return y
