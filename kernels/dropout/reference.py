"""Dropout by NumPy; the random numbers are SplitMix64's, number i for element i."""

import numpy as np


def forward(x, p, key):
    """y = x · [u >= p] / (1 - p)"""
    return x * _mask(x.size, p, key, x.dtype).reshape(x.shape)


def path_forward(x, p, key):
    """y[n] = x[n] · [u(n) >= p] / (1 - p)"""
    return x * _mask(len(x), p, key, x.dtype).reshape(-1, *[1] * (x.ndim - 1))


def uniform(key, count):
    """`count` numbers in [0, 1) with 24 bits each: SplitMix64 from the seed `key`."""
    z = np.uint64(key) + np.uint64(0x9E3779B97F4A7C15) * np.arange(1, count + 1, dtype=np.uint64)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return (z >> np.uint64(40)) * 2.0 ** -24


def _mask(count, p, key, dtype):
    keep = uniform(key, count) >= p
    return np.where(keep, 1 / (1 - p) if p < 1 else 0, 0).astype(dtype)
