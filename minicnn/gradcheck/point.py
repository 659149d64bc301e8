"""A subject at one point: its output, its analytic gradients, and its slopes along any line."""

import contextlib
import functools
import sys
import time

import numpy as np

from kernels import threads
from minicnn.gradcheck.differences import DEEP_STEPS, STEPS, complex_slopes, slopes

SMALL = 2e-3        # seconds
COARSE = 2.0 ** -10     # a smaller scale may be lost in an output of size 1


class Point:
    """arrays: where; y: the output there; seconds: what one forward pass takes;
    threads: how many there are; small: whether one of them will do."""

    def __init__(self, subject, arrays=None):
        self.subject = subject
        self.arrays = subject.arrays if arrays is None else arrays
        self.y = np.array(subject.value(self.copies()))     # may compile
        self._measure()
        if self.small:
            with threads.num_threads(1):
                self.y = np.array(subject.value(self.copies()))
        self.flat = self.y.ravel()
        self.scales = [scale_of(a) for a in self.arrays]

    def _measure(self):
        """Where a pass takes no longer than waking other threads does, one thread will do; behaviour.py compares the two."""
        compiled = "numba" in sys.modules
        self.threads = threads.get_num_threads() if compiled else 1
        with threads.num_threads(1) if compiled else contextlib.nullcontext():
            self.seconds = self._seconds()
        self.small = compiled and self.seconds < SMALL
        if compiled and not self.small:
            self.seconds = self._seconds()

    def _seconds(self):
        times = []
        for _ in range(2):
            start = time.perf_counter()
            self.subject.value(self.copies())
            times.append(time.perf_counter() - start)
        return min(times)

    def copies(self):
        """The inputs, so that nothing under test can change the originals."""
        return [a.copy() for a in self.arrays]

    def gradients(self, v):
        """The analytic gradients for the upstream gradient v (m,)."""
        _, backward = self.subject.open(self.copies())
        return backward(v.reshape(self.y.shape).astype(self.y.dtype))

    def along(self, i, direction):
        """Slopes of all outputs when input i moves along `direction`, an array of its shape."""
        def move(t):
            arrays = list(self.arrays)
            arrays[i] = arrays[i] + t * direction
            return np.array(self.subject.value(arrays)).ravel()
        found = slopes(move, self.flat)
        if self.scales[i] < COARSE:
            found = _surer(found, slopes(lambda t: move(t / self.scales[i]), self.flat).scaled(self.scales[i]))
        return self._with_complex(move, found)

    def together(self, inputs, directions):
        """Slopes of all outputs when several inputs move at once, input i along directions[i]."""
        def move(t):
            arrays = list(self.arrays)
            for i in inputs:
                arrays[i] = arrays[i] + t * directions[i]
            return np.array(self.subject.value(arrays)).ravel()
        return slopes(move, self.flat, DEEP_STEPS)

    def column(self, i, at):
        """Slopes of all outputs for element `at` (flat index) of input i.

        The first sweep steps in the scale of the whole array; an element much smaller than that, which a kink or the end
        of the domain may be near to, gets a second one in its own, and where the scale is too small to move the output, one
        in units.
        """
        scale = self.scales[i]
        found = self._element(i, at, scale)
        own = abs(float(self.arrays[i].flat[at]))
        unsure = found.kink | (found.error > 1e-6 * np.nanmax(np.abs(found.value), initial=0))
        if unsure.any() and 1e-290 < own < scale / 1024:
            closer = self._element(i, at, power_of_two(own))
            # What did not move may have moved by less than the output's rounding.
            hidden = (2.0 ** -51 * np.abs(self.flat) + 1e-322) / (STEPS[0] * own)
            closer = closer._replace(error=np.where(closer.error == 0, hidden, closer.error))
            unsure &= closer.error < np.where(found.kink, 1e-3 * (found.high - found.low), found.error)
            found = type(found)(*(np.where(unsure, b, a) for a, b in zip(found, closer)))
        return _surer(found, self._element(i, at, 1.0)) if scale < COARSE else found

    def _element(self, i, at, scale):
        # A power of two: it divides out exactly.
        def move(t):
            arrays = list(self.arrays)
            moved = arrays[i].astype(np.result_type(arrays[i].dtype, type(t)))
            moved.flat[at] += t * scale
            arrays[i] = moved
            return np.array(self.subject.value(arrays)).ravel()
        return self._with_complex(move, slopes(move, self.flat)).scaled(1 / scale)

    def _with_complex(self, move, found):
        if self._is_pair and not found.kink.any():
            return complex_slopes(move, self.flat, found) or found
        return found

    @functools.cached_property
    def _is_pair(self):
        return hasattr(self.subject, "forward")


def _surer(found, other):
    """For each output that the first sweep did not move, or is unsure of, the other's slopes if they are surer."""
    unmoved = (found.error == 0) & (found.value == 0)
    unsure = found.error > 1e-6 * np.nanmax(np.abs(found.value), initial=0)
    better = ~other.kink & np.isfinite(other.error) & (unmoved | (unsure & (other.error < found.error)))
    return type(found)(*(np.where(better, a, b) for a, b in zip(other, found)))


def generator(seed):
    """Random numbers that no input drawn from default_rng(seed) equals: an upstream gradient equal to x hides errors."""
    return np.random.default_rng([seed, 0x67726164])


def upstream(y, rng):
    """A random upstream gradient (m,) for the output y: never ones, which hide the terms that add up to nothing."""
    v = rng.standard_normal(y.size)
    largest = np.abs(y).max(initial=0)
    return np.ldexp(v, -int(np.log2(largest))) if largest > 1e150 else v


def direction(array, rng):
    """A random direction in the array's own scale, rounded to eighths so that steps along it are exact."""
    steps = np.round(8 * rng.standard_normal(array.shape)) / 8
    return np.where(steps == 0, 0.125, steps) * scale_of(array)


def scale_of(array):
    """The mean absolute value, as a power of two; 1 where there is none."""
    largest = float(np.abs(array).max(initial=0))
    if not 1e-290 < largest < np.inf:
        return 1.0
    return power_of_two(largest * float(np.abs(array / largest).mean()))


def power_of_two(value):
    """The power of two next to a positive value."""
    return float(np.exp2(np.round(np.log2(value)))) if value > 1e-290 else 1.0
