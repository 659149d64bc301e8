"""Random numbers for augmentation: a pure function of (seed, epoch, sample index, draw number).

Each sample has its own stream, so that a batch comes out the same whichever thread makes it and wherever training
resumes. The generator is counter-based: draw j of the stream with key k is mix64(k + (j + 1)·γ), which is SplitMix64
started at k (Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators", figure 12). Creating a stream
costs nothing, and one NumPy expression draws for a whole batch.
"""

import numpy as np

from minicnn.errors import ArgumentError

__all__ = ["Stream", "Streams", "sample_order", "sample_streams", "uniforms"]

_MASK = 0xFFFFFFFFFFFFFFFF
_GAMMA = 0x9E3779B97F4A7C15     # odd, 2^64 divided by the golden ratio
_AUGMENT, _ORDER = 1, 2         # keeps the augmentation of an epoch unrelated to its order


def _mix64(z):
    """The finaliser of SplitMix64, for a Python int or a uint64 array."""
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


def _keys(seed, epoch, indices, purpose):
    key = _mix64((int(seed) + purpose * _GAMMA) & _MASK)
    key = _mix64((key + int(epoch) * _GAMMA) & _MASK)
    return _mix64(np.asarray(indices, dtype=np.uint64) * np.uint64(_GAMMA) + np.uint64(key))


def _normals(uniform):
    """Box–Muller: (..., 2n) uniforms in [0, 1) to (..., n) standard normals."""
    first, second = uniform[..., ::2], uniform[..., 1::2]
    return np.sqrt(-2.0 * np.log1p(-first)) * np.cos(2.0 * np.pi * second)


class Stream:
    """The random numbers of one sample; it has the two methods of numpy.random.Generator that the transforms use."""

    def __init__(self, key, counter):
        self._key = int(key)
        self._counter = counter     # array of one element, shared with Streams

    def random(self, size=None):
        """Uniform float64 numbers in [0, 1): one, or an array of `size` of them."""
        start = int(self._counter[0])
        count = 1 if size is None else size
        self._counter[0] += count
        values = [(_mix64((self._key + (start + j + 1) * _GAMMA) & _MASK) >> 11) * 2.0**-53 for j in range(count)]
        return values[0] if size is None else np.array(values)

    def standard_normal(self, size=None):
        """Normal float64 numbers of mean 0 and variance 1: one, or an array of `size` of them."""
        values = _normals(self.random(2 if size is None else 2 * size))
        return float(values[0]) if size is None else values


class Streams:
    """The streams of a batch; `streams[i]` is the one of sample i, and both count the same draws."""

    def __init__(self, keys):
        self._keys = keys
        self._counters = np.zeros(len(keys), dtype=np.uint64)

    def __len__(self):
        return len(self._keys)

    def __getitem__(self, i):
        return Stream(self._keys[i], self._counters[i : i + 1])

    def random(self, size):
        """Uniform float64 numbers in [0, 1), shape (N, size): what each stream's random(size) would give."""
        draws = self._counters[:, None] + np.arange(1, size + 1, dtype=np.uint64)
        self._counters += np.uint64(size)
        return (_mix64(self._keys[:, None] + draws * np.uint64(_GAMMA)) >> np.uint64(11)) * 2.0**-53


def uniforms(rngs, size):
    """(N, size) uniform numbers: `size` from each of a batch's generators (Streams, or a list of Generators)."""
    if isinstance(rngs, Streams):
        return rngs.random(size)
    return np.array([rng.random(size) for rng in rngs]).reshape(len(rngs), size)


def check_seed(seed, what="seed"):
    """Return seed as an int; ArgumentError unless it is an integer in 0..2^64-1."""
    if not isinstance(seed, (int, np.integer)) or isinstance(seed, bool) or not 0 <= int(seed) <= _MASK:
        raise ArgumentError(f"{what} {seed!r} is not an integer from 0 to 2**64 - 1; pass for example 0")
    return int(seed)


def sample_streams(seed, epoch, indices):
    """The augmentation streams of the samples `indices` in one epoch."""
    return Streams(_keys(seed, epoch, indices, _AUGMENT))


def sample_order(seed, epoch, count):
    """A permutation of 0..count-1 (int64) that depends on seed and epoch alone, not on the version of NumPy."""
    return np.argsort(_keys(seed, epoch, np.arange(count), _ORDER), kind="stable")
