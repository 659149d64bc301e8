"""Dropout on a GPU: each thread hashes the number of its element, as on the CPU, and comes to the same mask."""

import math

import numpy as np

from kernels.device.launching import first_item, load, over, store
from kernels.device.shim import ITEMS, THREADS, cuda, device_function, kernel, launch_items

GAMMA, MIX1, MIX2 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def forward(x, p, key):
    """y, element by element."""
    return _drop(x, p, key, 1)


def path_forward(x, p, key):
    """y, image by image."""
    return _drop(x, p, key, math.prod(x.shape[1:]))


def _drop(x, p, key, together):
    """`together` values that lie side by side share a draw."""
    y = np.empty_like(x)
    least, scale = np.uint64(math.ceil(p * 2 ** 24)), x.dtype.type(1 / (1 - p) if p < 1 else 0)
    launch_items(_dropout, x.size, x, least, np.uint64(key), scale, together, y, x.size)
    return y


@device_function
def draw(key, i):
    """The upper 24 bits of number i of SplitMix64 from the seed `key`. That u >= p for u = these bits / 2^24 is asked of whole
    numbers, bits >= p · 2^24: the same answer without float64."""
    z = key + GAMMA * np.uint64(i + 1)
    z = (z ^ (z >> np.uint64(30))) * MIX1
    z = (z ^ (z >> np.uint64(27))) * MIX2
    z ^= z >> np.uint64(31)
    return z >> np.uint64(40)


@kernel
def _dropout(x, least, key, scale, together, y, count):
    own, first = cuda.local.array(ITEMS, x.dtype), first_item()
    load(x, first, count, own)
    for k in range(ITEMS):
        bits = draw(key, over(first + k * THREADS, together))
        own[k] *= scale if bits >= least else x.dtype.type(0)
    store(own, first, count, y)
