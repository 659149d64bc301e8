"""Which typical bug fits a wrong gradient: each hypothesis is put right on paper and tried against all that was measured.

A hypothesis is either a corrected gradient (the analytic one divided by a factor, with axes swapped, shifted back …),
which must then agree with the numeric side, or another upstream gradient (v without all but one image, ones, v mirrored …)
for which the analytic gradient as it is would be right, or a part of the Jacobian that was left out. Both are tested
on single elements and, where the array is large, on whole projections, so none needs all of the numeric gradient.
"""

import itertools
import math
from typing import NamedTuple

import numpy as np

from minicnn.gradcheck.point import Point, direction, generator

FITS = 1e-6         # of the largest value


class Diagnosis(NamedTuple):
    """kind: a short name of the bug; text: what fits, and where."""

    kind: str
    text: str


class Evidence:
    """All that was measured for one input, as arrays: which = flat indices of the elements tested, n = their numeric
    gradient, columns (K, m) = their slopes for each output, and the projections.
    """

    def __init__(self, point, found, others):
        self.x, self.y, self.g = point.arrays[found.i], point.y, np.array(found.gradient, np.float64)
        self.point, self.i = point, found.i
        self.v = found.v.reshape(point.y.shape)
        # An element that is not settled (a kink, a large numeric error) neither supports a hypothesis nor speaks against it.
        usable = [m for m in found.elements if m.slopes is not None and not m.numeric.kink and math.isfinite(m.numeric.error)]
        self.which = np.array([m.at for m in usable], int)
        self.n = np.array([m.numeric.value for m in usable])
        self.columns = np.array([m.slopes.value for m in usable]).reshape(len(usable), found.v.size)
        self.errors = np.array([m.numeric.error for m in usable])
        self.wrong = np.array([m.verdict != "right" for m in usable], bool)
        self.projections = [m for m in found.projections if m.direction is not None and not m.slopes.kink.any()]
        self.full = len(self.which) == self.g.size
        self.others = others
        scale, error = np.abs(self.n).max(initial=0), np.abs(self.measured() - self.n).max(initial=0)
        # A hypothesis must fit much better than the gradient as it is.
        self.fits = min(FITS, 0.01 * float(error / scale)) if scale > 0 and error > 0 else FITS

    def measured(self):
        """The analytic gradient where the numeric one is known."""
        return self.g.ravel()[self.which]

    def agrees(self, analytic, numeric, only=slice(None)):
        """Whether two arrays over the tested elements agree."""
        a, n = analytic[only], numeric[only]
        scale = np.abs(numeric).max(initial=0)
        return a.size > 0 and bool(np.all(np.abs(a - n) <= self.fits * scale + 5 * self.errors[only]))

    def mended_by(self, gradient):
        """Whether `gradient`, an array of x's shape, would have been right."""
        if gradient.shape != self.x.shape or not np.isfinite(gradient).all():
            return False
        if self.which.size and not self.agrees(gradient.ravel()[self.which], self.n):
            return False
        return self.which.size + len(self.projections) > 0 and all(
            abs((gradient * p.direction).sum() - p.numeric.value) <= self.fits * np.linalg.norm(gradient * p.direction)
            + 5 * p.numeric.error for p in self.projections)

    def right_for(self, v):
        """Whether the gradient as it is would be right for the upstream gradient `v`."""
        v = np.broadcast_to(v, self.y.shape).ravel()
        if not np.any(self.g) or (self.which.size and not self.agrees(self.measured(), self.columns @ v)):
            return False
        return self.which.size + len(self.projections) > 0 and all(
            abs(p.analytic - v @ p.slopes.value) <= self.fits * np.linalg.norm(self.g * p.direction)
            + 5 * float(np.abs(v) @ p.slopes.error) for p in self.projections)


def diagnose(point, found, others=()):
    """The Diagnosis that fits, or None. others: (name, numeric gradient) of the other inputs, where all is known."""
    if found.gradient.shape != point.arrays[found.i].shape or found.gradient.size == 0:
        return None
    if not np.isfinite(found.gradient).all():
        bad = int((~np.isfinite(found.gradient)).sum())
        return Diagnosis("not finite", f"{bad:,} of {found.gradient.size:,} gradients are NaN or infinite")
    with np.errstate(all="ignore"):
        evidence = Evidence(point, found, others)
        if not evidence.wrong.any() and all(p.verdict == "right" for p in evidence.projections):
            return None
        for hypothesis in HYPOTHESES:
            fitting = hypothesis(evidence)
            if fitting:
                return fitting
    return None


def _zero(e):
    if not np.any(e.g):
        return Diagnosis("zero", "the gradient is zero throughout: it was not computed, or the path to this input is cut")
    return None


def _factor(e):
    a, n = e.measured(), e.n
    if not e.which.size:
        a, n = (np.array([p.analytic if side else p.numeric.value for p in e.projections]) for side in (1, 0))
    c = _least_squares(a, n)
    if c is None or abs(c - 1) < 1e-5 or not e.mended_by(e.g / c):
        return None
    if abs(c + 1) < 1e-5:
        return Diagnosis("sign", "the gradient has the wrong sign")
    return Diagnosis("constant factor", f"the gradient is {c:.6g} times the right one{_meaning(c, e)}")


def _meaning(c, e):
    """A count that the factor may be: a mean taken for a sum, or the other way round."""
    counts = {"the batch size": e.y.shape[0] if e.y.ndim else 0, "the number of outputs": e.y.size,
              "the number of inputs": e.x.size}
    counts |= {f"side {k} of the output": side for k, side in enumerate(e.y.shape)}
    counts |= {f"side {k} of the input": side for k, side in enumerate(e.x.shape)}
    for name, count in counts.items():
        if count > 1 and math.isclose(c, 1 / count, rel_tol=1e-5):
            return f": divided by {name}, {count}, once too often"
        if count > 1 and math.isclose(c, count, rel_tol=1e-5):
            return f": not divided by {name}, {count}"
    return ""


def _least_squares(a, n):
    """c with a ≈ c · n, or None where there is nothing to fit."""
    n_n = float(n @ n)
    if n_n == 0 or not np.any(a):
        return None
    c = float(a @ n) / n_n
    return c if c and math.isfinite(c) else None


def _transposed(e):
    if e.x.size == e.y.size and e.mended_by(e.g.reshape(e.y.shape, order="F").reshape(e.x.shape)):
        return Diagnosis("transposed axes", "right when read in column-major order")
    for axes in itertools.permutations(range(e.x.ndim)):
        if list(axes) == sorted(axes):
            continue
        for mended in (e.g.transpose(axes), e.g.reshape([e.x.shape[a] for a in axes]).transpose(np.argsort(axes))):
            if mended.shape == e.x.shape and e.mended_by(mended):
                return Diagnosis("transposed axes", f"right with its axes in another order: transpose by {axes}")
    return None


def _axes_of(array):
    """Every choice of axes longer than 1, small ones first."""
    long = [k for k in range(array.ndim) if array.shape[k] > 1]
    return [axes for count in range(1, len(long) + 1) for axes in itertools.combinations(long, count)]


def _flipped(e):
    for axes in _axes_of(e.g):
        if e.mended_by(np.flip(e.g, axes)):
            return Diagnosis("flipped axes", f"right when reversed along axes {axes}: a filter not turned round, or turned "
                             "once too often")
    for axes in _axes_of(e.v):
        if e.right_for(np.flip(e.v, axes)):
            return Diagnosis("flipped axes", f"right for an upstream gradient reversed along axes {axes} of the output")
    return None


def _shifted(e):
    """Rolled, or moved with zeros or leftovers coming in at the edge."""
    for axis, by in itertools.product(range(e.g.ndim), (1, -1, 2, -2)):
        if e.g.shape[axis] > abs(by) and _moved(e, axis, by):
            return Diagnosis("shifted window", f"right when moved by {by} along axis {axis}: a window or an index is off "
                             f"by {abs(by)}")
    for axis, by in itertools.product(range(e.v.ndim), (1, -1, 2, -2)):
        if e.v.shape[axis] > abs(by) and (e.right_for(np.roll(e.v, by, axis)) or e.right_for(_pushed(e.v, axis, by))):
            return Diagnosis("shifted window", f"right for an upstream gradient moved by {by} along axis {axis} of the "
                             "output: a window or an index is off")
    return None


def _moved(e, axis, by):
    mended = np.roll(e.g, by, axis)
    if not e.which.size:
        return e.mended_by(mended)
    inside = np.roll(np.pad(np.ones([s - abs(by) if k == axis else s for k, s in enumerate(e.g.shape)], bool),
                            [(0, abs(by)) if k == axis else (0, 0) for k in range(e.g.ndim)]), by if by > 0 else 0, axis)
    a, keep = mended.ravel()[e.which], inside.ravel()[e.which]
    known = np.abs(e.n[keep]).max(initial=0)
    return keep.sum() >= 3 and known > 0 and e.wrong[keep].any() and e.agrees(a, e.n, keep)


def _pushed(v, axis, by):
    """v moved along an axis, zeros coming in."""
    moved = np.roll(v, by, axis)
    edge = slice(0, by) if by > 0 else slice(by, None)
    moved[(slice(None),) * axis + (edge,)] = 0
    return moved


def _upstream_ignored(e):
    for text, v in (("ones", np.ones(e.y.shape)), ("its signs", np.sign(e.v)), ("its absolute values", np.abs(e.v)),
                    ("its mean", np.full(e.y.shape, e.v.mean())), ("its positive part", np.maximum(e.v, 0)),
                    ("its squares", e.v ** 2)):
        if e.right_for(v):
            return Diagnosis("upstream gradient", f"right for {text} in place of the upstream gradient")
    return None


def _missing_sum(e):
    """Only one index of an output axis was counted, or one was left out, or half of them."""
    for axis, side in enumerate(e.y.shape):
        if side < 2:
            continue
        for k in sorted({0, side - 1, *range(min(side, 8))}):
            one = np.zeros(e.y.shape)
            one[(slice(None),) * axis + (k,)] = 1
            what = "image" if axis == 0 else f"index of output axis {axis}"
            for scale in (1.0, float(side)):
                if e.right_for(e.v * one * scale):
                    return Diagnosis("missing sum", f"only {what} {k} of {side} counts: the sum over axis {axis} of the output "
                                     "is missing")
            if e.right_for(e.v * (1 - one)):
                return Diagnosis("missing sum", f"{what} {k} of {side} is left out of the sum over axis {axis} of the output")
    return None


def _wrong_argument(e):
    for name, n in e.others:
        scale = np.abs(n).max(initial=0)
        if n.size == e.g.size and scale > 0 and any(
                np.allclose(e.g.ravel(), m.ravel(), rtol=0, atol=e.fits * scale) for m in (n, n.T)):
            return Diagnosis("wrong argument", f"this is the gradient of {name}: two results are swapped")
        if e.g.ndim and n.ndim == e.g.ndim and np.shape(n) != e.g.shape:
            with_sum = _summed(n, e.g.shape)
            if with_sum is not None and np.allclose(e.g, with_sum, rtol=0, atol=e.fits * max(scale, 1e-300)):
                return Diagnosis("wrong argument", f"this is the gradient of {name}, summed to this shape")
    return None


def _summed(n, shape):
    """n summed over the axes along which `shape` is 1, or None."""
    if any(s not in (1, m) for s, m in zip(shape, n.shape)):
        return None
    axes = tuple(k for k, (s, m) in enumerate(zip(shape, n.shape)) if s != m)
    return n.sum(axes, keepdims=True)


def _cross_term(e):
    """The parts of the Jacobian that couple different channels, images or positions, left out altogether or in part."""
    if e.y.ndim != e.x.ndim or not e.which.size or _is_elementwise(e):
        return None
    if e.y.shape == e.x.shape:
        found = _statistics_as_constants(e)
        if found:
            return found
    inside, outside = np.unravel_index(e.which, e.x.shape), np.indices(e.y.shape).reshape(e.y.ndim, -1)
    offsets = [outside[k][None, :] - np.asarray(inside[k])[:, None] for k in range(e.y.ndim)]
    same = np.all([o == 0 for o in offsets], axis=0)
    if e.agrees(e.measured(), (e.columns * same) @ e.v.ravel()):
        return Diagnosis("dropped cross term", "only the effect of each element on its own output is there")
    for axis, o in enumerate(offsets):
        if e.y.shape[axis] != e.x.shape[axis] or e.y.shape[axis] < 2:
            continue
        if e.agrees(e.measured(), (e.columns * (o == 0)) @ e.v.ravel()):
            return Diagnosis("dropped cross term", f"the terms between different indices of axis {axis} are left out")
        for by in np.unique(o):
            for keep, text in ((o != by, f"with an output {abs(by)} {'after' if by > 0 else 'before'}"),
                               (np.abs(o) < abs(by), f"{abs(by)} and more apart"), (o >= 0, "with outputs before"),
                               (o <= 0, "with outputs after")):
                if by and e.agrees(e.measured(), (e.columns * keep) @ e.v.ravel()):
                    return Diagnosis("dropped cross term", f"along axis {axis} the terms {text} are left out")
    return None


def _statistics_as_constants(e):
    """y = x · a + b with a and b that depend on x, differentiated as if they did not, or by another factor than 1."""
    for text, model in (("gy · y / x", e.v * e.y / e.x), ("gy", e.v), ("gy · y", e.v * e.y)):
        own = model.ravel()[e.which]
        if np.allclose(e.measured(), own, rtol=e.fits, atol=0):
            return Diagnosis("dropped cross term", f"the gradient is {text}: what normalises is taken for a constant, the "
                             "terms through it are left out")
        c = _least_squares(e.measured() - own, e.n - own)
        if c is not None and abs(c - 1) > 1e-5 and e.agrees(e.measured(), own + c * (e.n - own)):
            kind = "sign" if abs(c + 1) < 1e-5 else "constant factor"
            return Diagnosis(kind, f"beside {text} all terms are {c:.6g} times the right ones")
    return _statistics_term(e)


def _statistics_term(e):
    """The error is, for each index of one axis, one number (a term through the mean) or a + b · x (through the variance)."""
    error, x, places = e.measured() - e.n, e.x.ravel()[e.which], np.unravel_index(e.which, e.x.shape)
    largest = np.abs(error).max(initial=0)
    for axis in range(e.x.ndim):
        fits = []
        for k in range(e.x.shape[axis]):
            here = places[axis] == k
            if here.sum() < 4:
                break
            constant = np.ptp(error[here]) <= 1e-5 * largest
            line = np.polynomial.polynomial.Polynomial.fit(x[here], error[here], 1)(x[here]) if np.ptp(x[here]) else 0
            fits.append((constant, np.abs(error[here] - line).max() <= 1e-5 * largest))
        if len(fits) == e.x.shape[axis] and all(line for _, line in fits):
            which = "one number, a term through the mean" if all(constant for constant, _ in fits) else (
                "a + b · x, terms through the mean and the variance")
            return Diagnosis("dropped cross term", f"the error is, for each index of axis {axis}, {which}")
    return None


def _is_elementwise(e):
    """Whether each output depends on its own input alone."""
    if e.y.shape != e.x.shape or not e.which.size:
        return False
    own = np.arange(e.v.size)[None, :] == e.which[:, None]
    return not np.any(e.columns[~own])


def _elementwise(e):
    """Another factor for each element: x, y, or a number that depends on one axis alone."""
    factors = [("x", e.x), ("1/x", 1 / e.x), ("2x", 2 * e.x), ("|x|", np.abs(e.x))]
    if e.y.shape == e.x.shape:
        factors += [("y", e.y), ("1/y", 1 / e.y), ("y/x", e.y / e.x), ("x/y", e.x / e.y), ("1 - y", 1 - e.y)]
    for name, factor in factors:
        for mended, text in ((e.g / factor, "too many"), (e.g * factor, "missing")):
            if e.mended_by(mended):
                return Diagnosis("elementwise factor", f"the factor {name} is {text}")
    if _is_elementwise(e):
        for name, factor in (("x", e.x), ("y", e.y), ("1", np.ones(e.x.shape)), ("max(x, 0)", np.maximum(e.x, 0))):
            if np.allclose(e.measured(), (e.v * factor).ravel()[e.which], rtol=e.fits, atol=0):
                return Diagnosis("elementwise factor", f"the slope is taken for {name}: the gradient is gy · {name}")
    return _factor_along_axis(e) if e.full else None


def _other_values(e):
    """Right for other values of another input: turned round, with its axes swapped, or 1."""
    rng = generator(0)
    lines = [direction(e.x, rng) for _ in range(2)]
    for j, other in enumerate(e.point.arrays):
        if j == e.i or not other.size:
            continue
        name = e.point.subject.names[j]
        for kind, text, changed in _variants(other):
            try:
                point = Point(e.point.subject, [*e.point.arrays[:j], changed, *e.point.arrays[j + 1:]])
            except Exception:       # whatever the function says to values that it was not made for
                continue
            if point.y.shape == e.y.shape and all(_agree_along(e, point, d) for d in lines):
                return Diagnosis(kind, f"right if {name} were {text}")
    return None


def _agree_along(e, point, d):
    numeric = float(e.v.ravel() @ point.along(e.i, d).value)
    return abs((e.g * d).sum() - numeric) <= e.fits * np.linalg.norm(e.g * d)


def _variants(other):
    """(kind, text, values) that a slip may have put in the place of an input."""
    yield "elementwise factor", "1", np.ones_like(other)
    yield "elementwise factor", "its square", other * other
    for axes in _axes_of(other)[:15]:
        yield "flipped axes", f"reversed along axes {axes}", np.flip(other, axes).copy()
    for axes in itertools.permutations(range(other.ndim)):
        swapped = other.transpose(axes)
        if swapped.shape == other.shape and list(axes) != sorted(axes):
            yield "transposed axes", f"transposed by {axes}", swapped.copy()


def _factor_along_axis(e):
    n = np.empty(e.g.size)
    n[e.which] = e.n
    n = n.reshape(e.g.shape)
    for axis in range(e.g.ndim):
        others = tuple(k for k in range(e.g.ndim) if k != axis)
        if not others or math.prod(e.g.shape[k] for k in others) < 3:
            continue
        c = (e.g * n).sum(others, keepdims=True) / (n * n).sum(others, keepdims=True)
        if np.isfinite(c).all() and np.allclose(e.g, c * n, rtol=0, atol=e.fits * np.abs(e.g).max()):
            values = ", ".join(f"{value:.4g}" for value in c.ravel()[:6])
            return Diagnosis("elementwise factor", f"a factor that depends on axis {axis} alone: {values}")
    return None


def _extra_term(e):
    """A constant or the upstream gradient on top."""
    extra = e.measured() - e.n
    terms = [("a constant", np.ones(e.g.shape)), ("the input", e.x)]
    if e.y.shape == e.x.shape:
        terms.append(("the upstream gradient", e.v))
    for name, term in terms:
        c = _least_squares(extra, term.ravel()[e.which]) if e.which.size else None
        if c is not None and e.which.size > 2 and e.mended_by(e.g - c * term):
            return Diagnosis("extra term", f"{c:.6g} times {name} is added")
    return None


def _permuted(e):
    """The right values at each other's places along one axis, as when groups or channels are mixed up."""
    if not e.full:
        return None
    n = np.empty(e.g.size)
    n[e.which] = e.n
    n = n.reshape(e.g.shape)
    for axis in range(e.g.ndim):
        a, b = np.moveaxis(e.g, axis, 0), np.moveaxis(n, axis, 0)
        if 2 <= len(a) <= 64 and a[0].size > 1:
            near = np.abs(a[:, None] - b[None]).reshape(len(a), len(a), -1).max(-1) <= e.fits * np.abs(n).max()
            if near.any(1).all() and not near.diagonal().all():
                order = [int(k) for k in near.argmax(1)]
                return Diagnosis("permuted", f"along axis {axis} index i holds the gradient of index {order}")
    return None


def _rounded(e):
    a, n = e.measured(), e.n
    near = np.abs(a - n) <= 2e-6 * np.abs(n).max(initial=0)
    if a.size and near.all() and e.wrong.mean() >= 0.25:
        return Diagnosis("precision", "right to float32's precision only: something is computed or kept in float32")
    return None


def _mask(e):
    """Zero where it should not be, or the other way round."""
    a, n = e.measured()[e.wrong], e.n[e.wrong]
    if not a.size:
        return None
    lost, extra = (a == 0) & (n != 0), (n == 0) & (a != 0)
    if lost.all() and _place(e):
        return Diagnosis("missing part", f"the gradient is zero for {len(a):,} elements{_place(e)}, where it should not be: a "
                         "border, a tap or a slice is lost")
    if (lost | extra).mean() >= 0.5:
        return Diagnosis("mask", f"{int(extra.sum()):,} elements get a gradient that should be zero, {int(lost.sum()):,} get "
                         "none that should: another mask, or another place, than in forward")
    return None


def _overwritten(e):
    """Of the outputs that an element goes into only one counts."""
    terms = (e.columns * e.v.ravel())[e.wrong]
    a = e.measured()[e.wrong]
    several = (terms != 0).sum(1) >= 2
    near = np.abs(terms - a[:, None]) <= e.fits * np.abs(e.n).max(initial=0)
    if len(a) and several.all() and (near & (terms != 0)).any(1).all():
        return Diagnosis("missing sum", f"where an element goes into several outputs only one of them counts ({len(a):,} "
                         "elements): overwritten, not added")
    return None


def _part(e):
    """One of the simple bugs, in one part of the array."""
    if not e.wrong.any() or e.wrong.all():
        return None
    a, n = e.measured()[e.wrong], e.n[e.wrong]
    where = _place(e)
    c = _least_squares(a, n)
    if c is not None and len(a) > 1 and np.allclose(a, c * n, rtol=0, atol=e.fits * np.abs(n).max()):
        kind = "sign" if abs(c + 1) < 1e-5 else "constant factor"
        return Diagnosis(kind, f"{c:.6g} times the right gradient for {len(a):,} elements{where}")
    if where:
        return Diagnosis("one part", f"wrong for {len(a):,} elements{where} alone")
    return None


def _place(e):
    """What the wrong elements have in common: one index, or one end, of an axis, which the right ones have not."""
    places = np.unravel_index(e.which, e.x.shape)
    for axis, k in enumerate(places):
        wrong, right = np.unique(k[e.wrong]), np.unique(k[~e.wrong])
        if not np.intersect1d(wrong, right).size or len(wrong) == 1 < e.x.shape[axis]:
            return f" at {', '.join(map(str, wrong[:6]))} of 0..{e.x.shape[axis] - 1} along axis {axis}"
    return ""


HYPOTHESES = (_zero, _factor, _wrong_argument, _transposed, _flipped, _upstream_ignored, _missing_sum, _rounded, _shifted,
              _mask, _cross_term, _overwritten, _permuted, _part, _elementwise, _extra_term, _other_values)
