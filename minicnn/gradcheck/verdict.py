"""Verdicts on one number, and the tolerances they follow from."""

from enum import StrEnum
from typing import NamedTuple

import numpy as np

RTOL = 1e-8             # of an element's own size, beyond the error of the numeric side
CANCELLATION = 1e-10    # of the sum of absolute values that the number was added up from: rounding
ATOL = 1e-300           # nothing below can be told from rounding: float64 ends at 1e-308
SAFETY = 5              # times the estimated error of the numeric side
USEFUL = 1e-4           # a numeric side less sure than this, relatively, cannot tell


class Verdict(StrEnum):
    """What was found for one input or parameter."""

    RIGHT = "right"
    KINK = "at a kink, valid subgradient"
    KINK_INVALID = "at a kink, invalid subgradient"
    WRONG = "wrong"
    CANNOT_TELL = "cannot tell"
    NOT_CHECKABLE = "not checkable"


PASSED = (Verdict.RIGHT, Verdict.KINK)
# From the least to the most telling: a tensor gets the last of its elements' verdicts.
SEVERITY = (Verdict.RIGHT, Verdict.KINK, Verdict.CANNOT_TELL, Verdict.KINK_INVALID, Verdict.WRONG, Verdict.NOT_CHECKABLE)


class Numeric(NamedTuple):
    """Σ_j v_j · slope_j with its error; [low, high] where kinks leave it open; size is Σ_j |v_j · slope_j|, reach the same for
    the movement at the largest step.
    """

    value: float
    error: float
    low: float
    high: float
    size: float
    reach: float
    kink: bool


def contract(slopes, v):
    """The slopes of all outputs against the upstream gradient v (m,) -> Numeric."""
    used = v != 0
    if not used.all():
        slopes, v = type(slopes)(*(a[used] for a in slopes)), v[used]
    with np.errstate(all="ignore"):
        terms, ends = v * slopes.value, np.stack([v * slopes.low, v * slopes.high])
        return Numeric(float(terms.sum()), float((np.abs(v) * slopes.error).sum()), float(ends.min(0).sum()),
                       float(ends.max(0).sum()), float(np.abs(terms).sum()), float((np.abs(v) * slopes.reach).sum()),
                       bool(slopes.kink.any()))


def judge(analytic, numeric, largest=0.0, size=0.0):
    """The Verdict on one analytic number.

    largest: the largest gradient around, against which a "cannot tell" matters; size: the sum of absolute values that
    `analytic` was added up from.
    """
    if not np.isfinite(analytic):
        return Verdict.WRONG
    if not np.isfinite(numeric.error) or not np.isfinite(numeric.value):
        return Verdict.CANNOT_TELL
    tolerance = tolerance_of(analytic, numeric, size)
    if numeric.low - tolerance <= analytic <= numeric.high + tolerance:
        if numeric.kink and numeric.high - numeric.low > tolerance:
            return Verdict.KINK
        vague = SAFETY * numeric.error > USEFUL * max(abs(analytic), abs(numeric.value), 1e-2 * largest,
                                                         1e-2 * numeric.size, 1e-2 * numeric.reach) + ATOL
        return Verdict.CANNOT_TELL if vague else Verdict.RIGHT
    return Verdict.KINK_INVALID if numeric.kink else Verdict.WRONG


def tolerance_of(analytic, numeric, size=0.0):
    """How far apart the two sides may be."""
    relative = 0.0 if size else RTOL * max(abs(analytic), abs(numeric.value))
    return SAFETY * numeric.error + relative + CANCELLATION * (numeric.size + size) + ATOL
