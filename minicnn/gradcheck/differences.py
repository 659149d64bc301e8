"""Slopes of a function along one line, for all outputs at once, each with an estimate of its error.

Central differences over a sweep of steps, each an eighth of the one before, extrapolated to step 0 (Ridders 1982,
"Accurate computation of F'(x) and F'(x)F''(x)"; Press et al. 2007, section 5.7). A large step has truncation error, a
small one rounding error: every output takes the level at which successive estimates agree best.

Kinks: the second difference (y(h) - 2·y(0) + y(-h)) / h shrinks with h where y is smooth, and stays where two slopes meet.
Only levels at which it shrinks count, or grows as rounding does. Where it stays to the last the output is at a kink, and
the two one-sided slopes bound the subgradients along this line.
"""

from typing import NamedTuple

import numpy as np

RATIO = 8.0
STEPS = 2.0 ** -5 * RATIO ** -np.arange(8.0)
ACCURACY = 1e-9         # relative; no smaller step is tried once every output is this sure
# A deep network has a million kinks, of which any step but a tiny one crosses some: of ResNet-50's, steps of 1e-7 still do.
# Its output moves so far that steps of 1e-9 are not lost in rounding.
DEEP_STEPS = 2.0 ** -5 * RATIO ** -np.arange(5.0, 11.0)
COMPLEX_STEP = 1e-30    # Squire and Trapp 1998: no subtraction, so no rounding


class Slopes(NamedTuple):
    """One number an output, shape (m,): the slope, its error, at a kink the interval of the one-sided slopes, and how much
    the output moves at the largest step, as a slope: against that an error is small even where the slope is 0.
    """

    value: np.ndarray
    error: np.ndarray
    low: np.ndarray
    high: np.ndarray
    reach: np.ndarray
    kink: np.ndarray

    def scaled(self, factor):
        """The slopes along a line that is `factor` (> 0) times as long."""
        return Slopes(*(a * factor for a in self[:5]), self.kink)


def slopes(move, y0, steps=STEPS):
    """Slopes of move(t) at t = 0, where move(0) = y0: both flat float64 arrays (m,). steps: two at least, each an eighth."""
    sweep = _Sweep(y0)
    for step in steps:
        sweep.add(step, move(step), move(-step))
        if sweep.settled().all():
            break
    return sweep.slopes()


def complex_slopes(move, y0, check):
    """Slopes by a complex step, exact to rounding, where move(t) takes a complex t; `check`: slopes by real steps.

    None where it does not, or where it disagrees with the real ones (np.abs and np.var are not analytic, and give
    a wrong imaginary part without a word).
    """
    try:
        with np.errstate(all="ignore"):
            y = np.asarray(move(1j * COMPLEX_STEP))
    except Exception:       # whatever a function raises for dtypes that it was not written for
        return None
    # Complex and real functions of a library are two codes: on some processors they differ in the last digit.
    if y.dtype.kind != "c" or y.shape != y0.shape or not np.allclose(y.real, y0, rtol=1e-13, atol=0):
        return None
    value = y.imag / COMPLEX_STEP
    error = np.abs(value) * 1e-14 + 1e-15 * np.abs(value).max(initial=0)
    agree = np.abs(value - check.value) <= 5 * check.error + error
    if check.kink.any() or not agree.all():
        return None
    return Slopes(value, error, value, value, check.reach, check.kink)


class _Sweep:
    """The table of estimates, level by level; only the last level and the best of all are kept."""

    def __init__(self, y0):
        self.y0, self.level = y0, -1
        self.shrinks = np.zeros(y0.shape, bool)
        self.value = np.full(y0.shape, np.nan)
        self.error = np.full(y0.shape, np.inf)
        self.largest = np.abs(y0).max(initial=0)

    def add(self, step, plus, minus):
        """Take in y(step) and y(-step)."""
        with np.errstate(all="ignore"):
            self._add(step, plus, minus)

    def _add(self, step, plus, minus):
        self.level += 1
        size = np.maximum(np.maximum(np.abs(plus), np.abs(minus)), np.abs(self.y0))
        moved = (plus != self.y0) | (minus != self.y0)
        noise = np.where(moved, 2.0 ** -51 * size + 1e-322, 0.0) / step     # what does not move at all is sure
        self.floor = noise + 2.0 ** -51 * self.largest / step
        central = (plus - minus) / (2 * step)
        right, left = (plus - self.y0) / step, (self.y0 - minus) / step
        gap = np.abs(right - left)
        if not self.level:
            self.reach = np.nan_to_num(np.maximum(np.abs(right), np.abs(left)), posinf=0.0)
        else:
            self._extrapolate(central, gap, noise)
            self.steady = (gap > 0.5 * self.gap) & (gap < 2 * self.gap)
            self.drift = np.abs(right - self.right) + np.abs(left - self.left) + noise
        self.central, self.gap, self.right, self.left, self.noise = central, gap, right, left, noise

    def _extrapolate(self, central, gap, noise):
        """Aitken-Neville on the even powers of the step: level against the level before."""
        change = np.abs(central - self.central)
        first = central + (central - self.central) / (RATIO ** 2 - 1)
        # Twice in a row: between two steps on either side of a kink the gap can shrink by chance.
        shrinks = gap <= 0.3 * self.gap
        smooth = (shrinks & self.shrinks) | (gap <= np.maximum(32 * noise, 1e-11 * np.abs(central)))
        self.shrinks = shrinks
        rounding = (gap > 2.5 * self.gap) & (gap < 2.0 ** 12 * self.floor)      # grows as the step shrinks
        noise = noise + np.where(rounding & ~smooth, gap, 0)
        self._offer(central, change + noise, smooth | rounding)
        if self.level >= 2:
            second = first + (first - self.first) / (RATIO ** 4 - 1)
            self._offer(second, np.abs(first - self.first) + noise, smooth | rounding)
        self.first = first

    def _offer(self, value, error, smooth):
        better = smooth & (error < self.error) & np.isfinite(value)
        self.value = np.where(better, value, self.value)
        self.error = np.where(better, error, self.error)

    def settled(self):
        """Which outputs a smaller step cannot make surer, or need not."""
        if self.level < 1:
            return np.zeros(self.y0.shape, bool)
        size = np.abs(self.value)
        enough = ACCURACY * (size + 1e-3 * np.nanmax(size, initial=0))
        return self.error <= np.maximum(enough, 8 * self.floor)

    def slopes(self):
        """The best estimates so far, as Slopes."""
        with np.errstate(all="ignore"):
            kink = ~self.settled() & self.steady & (self.gap > 64 * self.noise) & (self.drift < 0.1 * self.gap)
            low = np.minimum(self.right, self.left) - self.drift
            high = np.maximum(self.right, self.left) + self.drift
            value = np.where(kink, (self.right + self.left) / 2, self.value)
            error = np.where(kink, self.drift, self.error)
        return Slopes(value, error, np.where(kink, low, value), np.where(kink, high, value), self.reach, kink)
