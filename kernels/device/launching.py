"""Small device functions that many kernels share.

What only moves values waits for memory, and a processor has to have some 20 KB on the way to keep it busy: more than its
threads ask for if each reads one number, waits, and writes it. So a thread takes ITEMS elements and reads them all, into
registers, before it needs the first: load, compute, store.
"""

import numpy as np

from kernels.device.shim import ITEMS, THREADS, cuda, device_function


@device_function
def at(i):
    """An index that the compiler knows not to be negative (Numba's may count from the end, with a test at every access), and
    of 32 bits: all arrays are shorter than 2^31."""
    return np.uint32(i)


@device_function
def short(i):
    """A number below 2^31 in one register; of 64 bits it takes two."""
    return np.int32(i)


@device_function
def wide(i):
    """An index that the compiler knows not to be negative, of 64 bits: sums of such need no more than an addition each, where
    32 bits that are a part of 64 have to be masked first."""
    return np.uint64(i)


@device_function
def first_item():
    """The first of this thread's ITEMS elements. The others follow THREADS apart, so that neighbours read neighbours."""
    return cuda.blockIdx.x * (THREADS * ITEMS) + cuda.threadIdx.x


@device_function
def load(x, first, count, own):
    """own[k] = x[first + k · THREADS]; beyond the end the last value once more, which nobody stores."""
    for k in range(ITEMS):
        own[k] = x[at(min(first + k * THREADS, count - 1))]


@device_function
def store(own, first, count, y):
    """y[first + k · THREADS] = own[k]"""
    for k in range(ITEMS):
        if first + k * THREADS < count:
            y[at(first + k * THREADS)] = own[k]


@device_function
def load_images(x, place, n, N, apart, own):
    """own[k] = x[place + (n + k) · apart]: one pixel of ITEMS images; beyond the last image that one once more."""
    for k in range(ITEMS):
        own[k] = x[at(place + min(n + k, N - 1) * apart)]


@device_function
def store_images(own, place, n, N, apart, y):
    """y[place + (n + k) · apart] = own[k]"""
    for k in range(ITEMS):
        if n + k < N:
            y[at(place + (n + k) * apart)] = own[k]


@device_function
def plane_and_pixel(pixels):
    """(plane, pixel) of this thread in a grid of launch_planes; either may lie beyond the last."""
    group, part = split(cuda.blockIdx.x, over(pixels + cuda.blockDim.x - 1, cuda.blockDim.x))
    return group * cuda.blockDim.y + cuda.threadIdx.y, part * cuda.blockDim.x + cuda.threadIdx.x


@device_function
def over(i, n):
    """i // n of numbers that are not negative, divided in 32 bits."""
    return np.int64(np.uint32(i) // np.uint32(n))


@device_function
def split(i, n):
    """(i // n, i % n), by a division of 32-bit numbers: one of 64 bits takes several times as many instructions."""
    whole = np.uint32(i) // np.uint32(n)
    return np.int64(whole), np.int64(i) - np.int64(whole) * np.int64(n)


@device_function
def block_sum(shared, value):
    """The sum of `value` over the THREADS threads of a block, in `shared` (THREADS,), for every thread.

    A tree: half of the threads add the other half's values, then a quarter, … The order is always the same, and so is the
    sum, bit for bit; threads that added to one place with atomics would take turns as they come.
    """
    t = cuda.threadIdx.x
    shared[t] = value
    cuda.syncthreads()
    half = THREADS // 2
    while half > 0:
        if t < half:
            shared[t] += shared[t + half]
        cuda.syncthreads()
        half //= 2
    total = shared[0]
    cuda.syncthreads()          # or a thread could write its next value before another has read this sum
    return total
