"""Dropout on a GPU: each thread hashes the number of its element, as on the CPU, and comes to the same mask."""

import math

import numpy as np

from kernels.device.launching import split
from kernels.device.shim import cuda, device_function, kernel, launch_flat

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
    launch_flat(_dropout, x.size, x, p, np.uint64(key), x.dtype.type(1 / (1 - p) if p < 1 else 0), together, y, x.size)
    return y


@device_function
def uniform(key, i):
    """Number i of SplitMix64 from the seed `key`, as a float in [0, 1) with 24 bits."""
    z = key + GAMMA * np.uint64(i + 1)
    z = (z ^ (z >> np.uint64(30))) * MIX1
    z = (z ^ (z >> np.uint64(27))) * MIX2
    z ^= z >> np.uint64(31)
    return np.float64(z >> np.uint64(40)) * 2.0 ** -24


@kernel
def _dropout(x, p, key, scale, together, y, count):
    i = cuda.grid(1)
    if i < count:
        draw, _ = split(i, together)
        y[i] = x[i] * (scale if uniform(key, draw) >= p else x.dtype.type(0))
