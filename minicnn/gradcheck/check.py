"""The checks that users call, and the order of their steps."""

import contextlib
import time

import numpy as np

from kernels import threads
from minicnn.errors import MinicnnError
from minicnn.gradcheck.audit import assurance, examine, largest_error, project
from minicnn.gradcheck.behaviour import disagreement, faults_of, unrepeatable
from minicnn.gradcheck.diagnosis import diagnose
from minicnn.gradcheck.point import Point, generator, scale_of, upstream
from minicnn.gradcheck.report import Report, Result
from minicnn.gradcheck.subject import BackwardError, subject_of
from minicnn.gradcheck.verdict import PASSED, Verdict

SECONDS = 2.0


def check(function, inputs, reference=None, seconds=SECONDS, seed=0):
    """Check every gradient of a function against finite differences in float64 -> Report.

    function: takes tensors and returns a tensor or several; or a Module, whose parameters are then checked as well; or a pair
    of NumPy functions (forward, backward): forward(*inputs) -> y with backward(gy, *inputs), or forward(*inputs) ->
    (y, cache) with backward(gy, cache), where backward returns one gradient for each floating input.
    inputs: tensors or float64 arrays in a list, by name in a dict, or just one; anything else in it (labels, None, numbers that
    are not floats) is passed on unchecked.
    reference: a function of arrays that gives the expected output, which gradients alone cannot judge.
    seconds: about how long the search for errors may take; arrays too large for it are tested by random projections and a
    random audit (`Result.tested` says how much, `Result.miss_probability` how sure that is). seed: of what is drawn.

    Raises what the function itself raises at the given inputs; ArgumentError for something that cannot be called.
    """
    start = time.perf_counter()
    subject = subject_of(function, inputs)
    try:
        report = check_subject(subject, seconds, generator(seed), reference)
    finally:
        subject.close()
    report.seconds = time.perf_counter() - start
    return report


def assert_gradients(function, inputs, **options):
    """Raise AssertionError with the whole report unless check(function, inputs, **options) passes; for tests."""
    report = check(function, inputs, **options)
    if not report:
        raise AssertionError(f"gradients are not right\n{report}")
    return report


def check_subject(subject, seconds, rng, reference=None):
    """All steps for one Subject -> Report."""
    reason = _not_float64(subject)
    if reason:
        return _not_checkable(subject, reason)
    point = Point(subject)
    with threads.num_threads(1) if point.small else contextlib.nullcontext():
        reason = _bad_output(point) or unrepeatable(point)
        return _not_checkable(subject, reason) if reason else _check_point(point, seconds, rng, reference)


def _check_point(point, seconds, rng, reference):
    v, second = upstream(point.flat, rng), _second(point, rng)
    faults = faults_of(point, v, second) + _buffer_faults(point.subject)
    if reference is not None:
        faults += disagreement(point, reference(*point.copies()), "the reference function")
    faults = [Result(kind, Verdict.WRONG, text, kind=kind) for kind, text in faults]
    try:
        results = _results(point, examine(point, seconds, rng, v))
        if second is not None and not faults and all(r.verdict in PASSED for r in results):
            results = _at_second(point, second, v, results, rng)
    except BackwardError as error:
        return Report(_not_checkable(point.subject, f"backward raises {error}").results, faults)
    return Report(results, faults)


def _not_float64(subject):
    for name, a in zip(subject.names, subject.arrays):
        if a.dtype != np.float64:
            return (f"not float64: {name} has dtype {a.dtype}, whose rounding hides errors of a thousandth; convert with "
                    ".astype('float64')")
    return None


def _bad_output(point):
    if point.y.dtype != np.float64:
        return f"not float64: the output has dtype {point.y.dtype} for float64 inputs; compute in the input's dtype"
    bad = np.argwhere(~np.isfinite(point.y))
    if len(bad):
        at = tuple(int(k) for k in bad[0])
        return f"the output at {at} is {point.y[at]}; choose inputs inside the domain of the function"
    for name, a in zip(point.subject.names, point.arrays):
        if not np.isfinite(a).all():
            return f"{name} holds NaN or infinity; choose finite inputs"
    return None


def _not_checkable(subject, reason):
    return Report([Result(name, Verdict.NOT_CHECKABLE, reason) for name in subject.names])


def _second(point, rng):
    """The same values in another order and up to a quarter larger: the same domain, another point. None if it has none."""
    arrays = [(rng.permutation(a.ravel()) * (1 + 0.25 * rng.random(a.size))).reshape(a.shape) for a in point.arrays]
    try:
        second = Point(point.subject, arrays)
    except MinicnnError:
        return None
    good = second.y.shape == point.y.shape and np.isfinite(second.y).all() and any(a.size for a in arrays)
    return second if good else None


def _buffer_faults(subject):
    """Running statistics move in training; in evaluation nothing may."""
    module = getattr(subject, "module", None)
    if module is None or any(m.training for m in module.modules()):
        return []
    subject.value([a.copy() for a in subject.arrays])
    names = subject.changed_buffers()
    return [("buffers changed", f"{', '.join(names)} changes in evaluation mode; update it only while self.training")] if (
        names) else []


def _results(point, found):
    known = [(point.subject.names[f.i], _numeric_map(f)) for f in found if f.everything()]
    return [_result(point, f, [(n, a) for n, a in known if n != point.subject.names[f.i]]) for f in found]


def _result(point, found, others):
    name, x = point.subject.names[found.i], point.arrays[found.i]
    if found.gradient.shape != x.shape:
        return Result(name, Verdict.NOT_CHECKABLE, f"its gradient has shape {found.gradient.shape}, not {x.shape}",
                      kind="gradient shape")
    verdict, worst = found.verdict(), found.worst()
    analytic, numeric, error = largest_error(found)
    result = Result(name, verdict, _reason(found, verdict), analytic=analytic, numeric=numeric, error=error)
    result.tested, result.miss_probability = assurance(found, scale_of(x))
    if worst is not None and (verdict in PASSED or worst.verdict not in PASSED):
        result.index = tuple(int(k) for k in np.unravel_index(worst.at, x.shape))
    if found.elements:
        result.error_map = _error_map(found)
    if verdict in (Verdict.WRONG, Verdict.KINK_INVALID):
        diagnosis = diagnose(point, found, others)
        if diagnosis is None and verdict is Verdict.KINK_INVALID:
            diagnosis = ("tie rule", "the gradient is right away from kinks: at ties it is given to too many inputs, to too "
                         "few, or to the wrong one")
        if diagnosis is not None:
            result.kind, result.diagnosis = diagnosis
    return result


def _reason(found, verdict):
    kinks = sum(m.verdict is Verdict.KINK for m in found.elements)
    if verdict is Verdict.KINK:
        return f"{kinks:,} of {len(found.elements):,} elements at a kink, inside their one-sided slopes" if kinks else (
            "kinks along the projections, inside their one-sided slopes")
    if verdict is Verdict.KINK_INVALID:
        return "outside the one-sided slopes, for one element or for elements that move together"
    if verdict is Verdict.CANNOT_TELL:
        return "the differences are too noisy, or defined on one side only"
    if not found.gradient.size:
        return "empty"
    slopes = [m.slopes for m in (*found.elements, *found.projections) if m.slopes is not None]
    if slopes and not np.any(found.gradient) and not any(np.any(s.value) for s in slopes):
        return "the output does not depend on it"
    return ""


def _numeric_map(found):
    n = np.full(found.gradient.size, np.nan)
    for m in found.elements:
        n[m.at] = m.numeric.value
    return n.reshape(found.gradient.shape)


def _error_map(found):
    numeric = _numeric_map(found)
    with np.errstate(all="ignore"):
        largest = np.abs(numeric[np.isfinite(numeric)]).max(initial=0)
        return np.abs(found.gradient - numeric) / (largest or 1.0)


def _at_second(point, second, v, results, rng):
    """One projection for each input at another point, where a gradient kept from the first would be wrong."""
    found = project(second, v, rng)
    for result, f, g in zip(results, found, point.gradients(v)):
        if f.verdict() not in (*PASSED, Verdict.CANNOT_TELL):
            analytic, numeric, error = largest_error(f)
            diagnosis = diagnose(second, f) or ("depends on values", "right at the first input, wrong at another one")
            if np.array_equal(f.gradient, g):
                diagnosis = ("stale buffer", "the gradient at a second input is still that of the first: something is kept "
                             "between calls")
            result.verdict, result.reason, result.index = f.verdict(), "at a second input, after the first was right", None
            result.analytic, result.numeric, result.error = analytic, numeric, error
            result.kind, result.diagnosis = diagnosis
    return results
