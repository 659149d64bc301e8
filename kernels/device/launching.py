"""Small device functions that many kernels share."""

import numpy as np

from kernels.device.shim import THREADS, cuda, device_function


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
