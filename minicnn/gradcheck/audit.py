"""Gradients against slopes: all elements where that is cheap, else random projections first and a random audit after.

For upstream gradient v the analytic gradient g of an input must meet g · d = Σ_j v_j · (slope of output j along d) for every
direction d. One random d tests all elements at once, to nine digits; where it fails, halving d leads to the element. Where
it holds, single outputs (rows of the Jacobian, v = e_j) and single elements drawn at random are tested one by one.
Along a d that crosses kinks the outputs that stay smooth are tested sharply, with v zero for the others, and the others
against the interval of their one-sided slopes.
"""

import math
from dataclasses import dataclass, field

import numpy as np

from minicnn.gradcheck.differences import Slopes
from minicnn.gradcheck.point import direction, scale_of, upstream
from minicnn.gradcheck.verdict import PASSED, SAFETY, SEVERITY, Numeric, Verdict, contract, judge, tolerance_of

PROJECTIONS, ROWS = 2, 2
FEWEST, MOST = 3, 200       # elements that an audit draws
KEPT = 2_000_000            # slopes kept for the diagnosis


@dataclass
class Measured:
    """A direction, or an element, that was tested: `at` is the flat index, None for a direction over the whole array."""

    at: int | None
    direction: np.ndarray | None
    slopes: Slopes
    analytic: float
    numeric: Numeric
    verdict: Verdict

    def excess(self):
        """How far outside its tolerance the analytic value is."""
        outside = max(self.numeric.low - self.analytic, self.analytic - self.numeric.high, 0.0)
        return outside / tolerance_of(self.analytic, self.numeric) if math.isfinite(outside) else math.inf


@dataclass
class Findings:
    """All that was measured for one input."""

    i: int
    gradient: np.ndarray
    v: np.ndarray
    elements: list = field(default_factory=list)
    projections: list = field(default_factory=list)
    ties: list = field(default_factory=list)        # directions that move the elements at kinks together
    rows: list = field(default_factory=list)

    def verdict(self):
        """The most telling verdict of all."""
        found = {m.verdict for m in (*self.elements, *self.projections, *self.rows)}
        if any(m.verdict not in (*PASSED, Verdict.CANNOT_TELL) for m in self.ties):
            found.add(Verdict.KINK_INVALID)
        settled = self.projections and all(m.verdict in PASSED for m in self.projections)
        if settled and found <= {*PASSED, Verdict.CANNOT_TELL}:
            found.discard(Verdict.CANNOT_TELL)      # the whole was sure where a single element or row was too small to be
        return max(found, key=SEVERITY.index, default=Verdict.RIGHT)

    def worst(self):
        """The element that says most about the verdict, or None."""
        return max(self.elements, key=lambda m: (SEVERITY.index(m.verdict), m.excess()), default=None)

    def everything(self):
        """True when every element was tested."""
        return len(self.elements) == self.gradient.size


def examine(point, seconds, rng, v=None):
    """Test every input of the point's subject -> one Findings each. seconds: about how long it may take."""
    v = upstream(point.flat, rng) if v is None else v
    gradients = point.gradients(v)
    evaluations = seconds / (point.seconds + 5e-5) / max(1, len(gradients))
    rows = _Rows(point, rng)
    return [_examine_input(point, i, v, g, evaluations, rows, rng) for i, g in enumerate(gradients)]


def project(point, v, rng):
    """One projection for each input, no more -> one Findings each."""
    found = [Findings(i, np.asarray(g), v) for i, g in enumerate(point.gradients(v))]
    for f in found:
        if f.gradient.size and point.flat.size:
            f.projections = [_projection(point, f, rng)]
    return found


def _examine_input(point, i, v, gradient, evaluations, rows, rng):
    found = Findings(i, np.asarray(gradient), v)
    size = point.arrays[i].size
    if found.gradient.shape != point.arrays[i].shape or not size or not point.flat.size:
        return found
    if size <= max(16, evaluations / 6):
        found.elements = [element(point, found, at) for at in range(size)]
        _ties(point, found, rng)
        return found
    found.projections = [_projection(point, found, rng) for _ in range(PROJECTIONS)]
    if any(m.slopes.kink.any() for m in found.projections):
        found.ties = [along(point, found, _tied_direction(point.arrays[i], rng))]
    if all(m.verdict in PASSED for m in found.projections):
        found.rows = rows.test(found)
    count = int(np.clip(evaluations / 12, FEWEST, MOST))
    found.elements = [element(point, found, at) for at in rng.choice(size, min(count, size), replace=False)]
    _ties(point, found, rng)
    if found.verdict() not in PASSED:
        _search(point, found, evaluations, rng)
    return found


def element(point, found, at):
    """Test one element of one input."""
    slopes = point.column(found.i, at)
    analytic, numeric = float(found.gradient.flat[at]), contract(slopes, found.v)
    verdict = judge(analytic, numeric, largest=_largest(found.gradient))
    keep = found.v.size * (len(found.elements) + 1) <= KEPT
    return Measured(int(at), None, slopes if keep else None, analytic, numeric, verdict)


def along(point, found, d):
    """Test one direction of one input."""
    slopes = point.along(found.i, d)
    numeric = contract(slopes, found.v)
    measured = _compare(d, slopes, found.gradient, numeric)
    if measured.verdict in PASSED and slopes.kink.any():
        smooth = np.where(slopes.kink, 0.0, found.v)
        sharp = _compare(d, slopes, point.gradients(smooth)[found.i], contract(slopes, smooth))
        if sharp.verdict not in PASSED:
            return sharp
    return measured


def _compare(d, slopes, gradient, numeric):
    with np.errstate(all="ignore"):
        terms = gradient * d
        analytic, size = float(terms.sum()), float(np.abs(terms).sum())
    return Measured(None, d, slopes, analytic, numeric, judge(analytic, numeric, size=size))


def _projection(point, found, rng):
    """A random direction in the array's scale; where that cannot tell, one in each element's own."""
    d = direction(point.arrays[found.i], rng)
    measured = along(point, found, d)
    if measured.verdict is Verdict.CANNOT_TELL:
        x = np.abs(point.arrays[found.i])
        smallest = x[x > 1e-290].min(initial=point.scales[found.i])
        closer = along(point, found, d / point.scales[found.i] * np.maximum(x, smallest))
        return closer if closer.verdict is not Verdict.CANNOT_TELL else measured
    return measured


def _tied_direction(x, rng):
    """A random direction that moves equal values equally, so that they stay ties and the function smooth."""
    values, which = np.unique(x, return_inverse=True)
    return direction(values, rng)[which].reshape(x.shape) * (scale_of(x) / scale_of(values))


def _ties(point, found, rng):
    """Move the elements at kinks together, as one and at random: single elements cannot show that a tie is counted twice."""
    kinked = [m.at for m in found.elements if m.verdict is Verdict.KINK]
    if not kinked or not found.everything():
        return
    x = point.arrays[found.i]
    chosen = np.zeros(x.shape)
    chosen.flat[kinked] = point.scales[found.i]
    steps = direction(np.ones(x.shape), rng)
    found.ties = [along(point, found, d) for d in (chosen, chosen * np.abs(steps), chosen * steps)]


class _Rows:
    """Single rows of the Jacobian: the gradients for v = e_j of a few outputs j, computed once for all inputs."""

    def __init__(self, point, rng):
        self.point = point
        self.outputs = rng.choice(point.flat.size, min(ROWS, point.flat.size), replace=False) if point.flat.size else []
        self.gradients = {}

    def test(self, found):
        """Each row against the slope of its output along the first projection."""
        d, slopes = found.projections[0].direction, found.projections[0].slopes
        return [_compare(d, slopes, self._row(j)[found.i], contract(slopes, self._one(j))) for j in self.outputs
                if math.isfinite(slopes.error[j])]

    def _one(self, j):
        one = np.zeros(self.point.flat.size)
        one[j] = 1
        return one

    def _row(self, j):
        if j not in self.gradients:
            self.gradients[j] = self.point.gradients(self._one(j))
        return self.gradients[j]


def judge_line(point, inputs, directions, gradients, v):
    """Test several inputs of a point moved at once, each along its direction -> Measured."""
    slopes = point.together(inputs, directions)
    smooth = ~slopes.kink & np.isfinite(slopes.error)
    if not smooth.all():                    # outputs at kinks are left out: the layers are tested there one by one
        v = np.where(smooth, v, 0.0)
        gradients = point.gradients(v)
    with np.errstate(all="ignore"):
        terms = [gradients[i] * directions[i] for i in inputs]
        analytic, size = sum(float(t.sum()) for t in terms), sum(float(np.abs(t).sum()) for t in terms)
    numeric = contract(slopes, v)
    if not smooth.any():                    # zero against zero proves nothing
        numeric = numeric._replace(error=math.inf)
    return Measured(None, None, slopes, analytic, numeric, judge(analytic, numeric, size=size))


def _search(point, found, evaluations, rng):
    """Halve the failing direction down to one element, then measure others around it for the diagnosis."""
    failing = next((m for m in found.projections if m.verdict not in PASSED), None)
    if failing is not None and failing.direction is not None:
        at = _halve(point, found, failing.direction, failing.analytic - failing.numeric.value)
        found.elements.append(element(point, found, at))
    tested = {m.at for m in found.elements}
    size = found.gradient.size
    more = np.arange(size) if size <= evaluations else rng.choice(size, min(size, int(np.clip(evaluations / 12, 24, 200))),
                                                                 replace=False)
    found.elements += [element(point, found, at) for at in more if at not in tested]


def _halve(point, found, d, discrepancy):
    """The flat index of an element in which most of the discrepancy lies: it adds up over parts of d where y is smooth."""
    indices = np.arange(d.size)
    while len(indices) > 1:
        half = indices[:len(indices) // 2]
        part = np.zeros(d.shape)
        part.flat[half] = d.flat[half]
        measured = _compare(part, *_slopes_and_gradient(point, found, part))
        first = measured.analytic - measured.numeric.value
        if not math.isfinite(first) or abs(first) >= abs(discrepancy - first):
            indices, discrepancy = half, first
        else:
            indices, discrepancy = indices[len(half):], discrepancy - first
    return indices[0]


def _slopes_and_gradient(point, found, d):
    slopes = point.along(found.i, d)
    return slopes, found.gradient, contract(slopes, found.v)


def _largest(gradient):
    finite = np.abs(gradient[np.isfinite(gradient)])
    return float(finite.max(initial=0))


def assurance(found, scale):
    """What the tests of one input prove, in words, with the probability that an error passed them.

    An error e of the gradient passes a projection on a normal direction of size s if |e · d| is within the tolerance t:
    with probability below sqrt(2/pi) · t / (s · |e|).
    """
    size = found.gradient.size
    if found.everything():
        return f"all {size:,} elements", 0.0
    single = 0.99 ** len(found.elements)
    norm = 0.01 * scale * float(np.linalg.norm(found.gradient))
    passes = 1.0
    for m in found.projections:
        t = tolerance_of(m.analytic, m.numeric, float(np.abs(found.gradient * m.direction).sum()))
        passes *= min(1.0, math.sqrt(2 / math.pi) * t / norm) if norm > 0 else 1.0
    text = (f"{len(found.projections)} projections, {len(found.rows)} rows, {len(found.elements):,} of {size:,} elements; "
            f"an error of 1 % of the gradient's norm passes with probability below {max(passes, 1e-300):.0e}, "
            f"one in 1 % of the elements passes the elements alone with {single:.0%}")
    return text, min(passes, single)


def largest_error(found):
    """(analytic, numeric, error of the numeric side) of the worst element, or of the worst projection."""
    worst = found.worst() or max(found.projections, key=lambda m: m.excess(), default=None)
    if worst is None:
        return None, None, None
    return worst.analytic, worst.numeric.value, SAFETY * worst.numeric.error
