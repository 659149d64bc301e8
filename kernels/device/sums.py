"""Sums that come out the same every time: a fixed cut into chunks, a tree within each, then the chunks in order.

Everything is a sum over the outer and the inner axis of an array seen as (A, R, B), one result for each of R: channels of
images (N, C, HW), rows (1, N, K), columns (N, K, 1), the whole array (1, 1, size). A thread adds RUN values in the array's own
type, and all such sums in float64: most GPUs add float64 at a 32nd or a 64th of the speed of float32.
"""

import math

import numpy as np

from kernels.device.array import DeviceArray
from kernels.device.launching import at, block_sum, short, split
from kernels.device.shim import THREADS, cuda, device_function, kernel, launch, launch_flat

CHUNK = 16 * THREADS        # values that one block adds up: 16 a thread
RUN = 8                     # values of a thread that are added in their own type
BLOCKS = 1024               # enough to fill a GPU: longer sums get longer chunks


def over_axes(x, axis, keepdims=False):
    """x.sum(axis, keepdims)"""
    axes = range(x.ndim) if axis is None else axis if isinstance(axis, tuple | list) else (axis,)
    axes = tuple(a % x.ndim for a in axes)
    kept = [i for i in range(x.ndim) if i not in axes]
    sides = [1 if i in axes else side for i, side in enumerate(x.shape)]
    shape = [x.shape[i] for i in kept]
    if kept and kept != list(range(kept[0], kept[-1] + 1)):
        x = x.transpose(*kept, *axes)                               # the kept axes first
        A, R, B = 1, math.prod(shape), math.prod(x.shape[len(kept):])
    else:
        first, last = (kept[0], kept[-1] + 1) if kept else (x.ndim, x.ndim)
        A, R, B = math.prod(x.shape[:first]), math.prod(shape), math.prod(x.shape[last:])
    return middle(x, A, R, B).reshape(sides if keepdims else shape)


def middle(x, A, R, B):
    """(R,) in x's dtype: Σ over a and b of x[a, r, b]."""
    out = DeviceArray((R,), x.dtype)
    chunk, chunks = cut(A * B, R)
    partial = DeviceArray((R, chunks), np.float64)
    launch(_chunks, R * chunks, THREADS, x, A * B, R, B, chunk, chunks, partial)
    launch_flat(_finish, R, partial, chunks, out, R)
    return out


def cut(length, results):
    """(values to a chunk, chunks) for a sum over `length` values, one of `results`: depends on nothing else."""
    wanted = max(1, min(-(-length // CHUNK), BLOCKS // max(results, 1)))
    chunk = -(-max(length, 1) // wanted)
    return chunk, -(-max(length, 1) // chunk)


@device_function
def steps_of(R, B):
    """What `further` needs: how far b, the place, and the place at a carry move."""
    a, b = split(THREADS, B)
    return short(b), short(a * R * B + b), short((R - 1) * B)


@device_function
def further(place, b, steps, B):
    """(place, b) of the value THREADS on in the sum, place = (a·R + r)·B + b: a carry, where a division takes longer."""
    place, b = short(place + steps[1]), short(b + steps[0])
    carry = b >= B
    return short(place + steps[2]) if carry else place, short(b - B) if carry else b


@kernel
def _chunks(x, length, R, B, chunk, chunks, partial):
    """Block (r, c) adds up chunk c of result r; thread t takes values t, t + THREADS, …: neighbours read neighbours."""
    shared = cuda.shared.array(THREADS, np.float64)
    r, c = split(cuda.blockIdx.x, chunks)
    start, stop = c * chunk + cuda.threadIdx.x, min(length, (c + 1) * chunk)
    (a, b), steps = split(start, B), steps_of(R, B)
    place, b, B = short((a * R + r) * B + b), short(b), short(B)
    total, own = 0.0, cuda.local.array(RUN, x.dtype)
    for first in range(start, stop, RUN * THREADS):
        some = x.dtype.type(0)
        for k in range(RUN):                # all are asked for before the first is needed
            inside = first + k * THREADS < stop
            value = x[at(place if inside else 0)]
            own[k] = value if inside else x.dtype.type(0)
            place, b = further(place, b, steps, B)
        for k in range(RUN):
            some += own[k]
        total += np.float64(some)
    total = block_sum(shared, total)
    if cuda.threadIdx.x == 0:
        partial[cuda.blockIdx.x] = total


@kernel
def _finish(partial, chunks, out, R):
    r = cuda.grid(1)
    if r < R:
        total = 0.0
        for c in range(chunks):
            total += partial[r * chunks + c]
        out[r] = total


def layers(x):
    """(…): the sum over the first axis of x, in order; x itself, less that axis, where it has one layer."""
    if x.shape[0] == 1:
        return x.reshape(x.shape[1:])
    out = DeviceArray(x.shape[1:], x.dtype)
    launch_flat(_layers, out.size, x, x.shape[0], out, out.size)
    return out


@kernel
def _layers(x, layers, out, count):
    i = cuda.grid(1)
    if i < count:
        total = 0.0
        for layer in range(layers):
            total += x[layer * count + i]
        out[i] = total


def norm(arrays):
    """√Σ x² over all values of all arrays, as a Python float. Squares in float64: those of float32 may overflow. One launch an
    array, one copy to the host, which adds the chunks up."""
    cuts = [cut(x.size, 1) for x in arrays]
    partial, first = DeviceArray((sum(chunks for _, chunks in cuts),), np.float64), 0
    for x, (chunk, chunks) in zip(arrays, cuts):
        launch(_square_chunks, chunks, THREADS, x, x.size, chunk, partial, first)
        first += chunks
    return math.sqrt(np.asarray(partial).sum())


@kernel
def _square_chunks(x, length, chunk, partial, first):
    shared = cuda.shared.array(THREADS, np.float64)
    total = 0.0
    for i in range(cuda.blockIdx.x * chunk + cuda.threadIdx.x, min(length, (cuda.blockIdx.x + 1) * chunk), THREADS):
        value = np.float64(x[i])
        total += value * value
    total = block_sum(shared, total)
    if cuda.threadIdx.x == 0:
        partial[first + cuda.blockIdx.x] = total
