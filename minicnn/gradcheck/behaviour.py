"""More than gradients: what else a forward and backward pass must not do.

Each test returns faults as (kind, text): inputs or the upstream gradient changed, results that a later call overwrites,
gradients of another shape or dtype, two runs that differ, results that depend on what ran before or on the number of
threads, a backward that is not linear in the upstream gradient, and a forward that disagrees with the reference rung.
"""

import contextlib

import numpy as np

import kernels
from kernels import threads
from minicnn.gradcheck.subject import BackwardError

AGREE = 1e-10       # of the largest value: a rung against the reference rung, as the tests of the kernels ask for


def faults_of(point, v, second):
    """All faults found at a Point for the upstream gradient v; `second`: another Point of the same subject."""
    faults = _mutation(point, second, v)
    with contextlib.suppress(BackwardError):
        first = point.gradients(v)
        faults += _gradient_forms(point, first)
        if not faults:
            faults += _history(point, second, v, first) or _linearity(point, second, v, first) or _threads(point, v, first)
    return faults + _reference(point)


def unrepeatable(point):
    """Why two runs of the forward pass differ, or None."""
    again = np.array(point.subject.value(point.copies()))
    if again.shape != point.y.shape or not np.array_equal(again, point.y, equal_nan=True):
        return ("two forward passes on the same input differ; draw random numbers from minicnn.random (the check resets "
                "it), or seed the generator inside the function")
    return None


def _mutation(point, second, v):
    """Inputs and the upstream gradient, before and after; the output after another call."""
    arrays, gy = point.copies(), v.reshape(point.y.shape).copy()
    y, backward = point.subject.open(arrays)
    faults = [("input mutated", f"forward changes {name} in place; work on a copy")
              for name, a, before in zip(point.subject.names, arrays, point.arrays) if not _same(a, before)]
    faults += [("output aliases input", f"the output shares memory with {name}, so that writing to one changes the other; "
                "return a copy") for name, a in zip(point.subject.names, arrays)
               if np.shares_memory(y, a) and not _is_view_op(point.subject) and y.shape == a.shape]
    kept = y.copy()
    try:
        given = gy.copy()
        backward(given)
    except BackwardError as error:
        return faults + [("backward raises", str(error))]
    if not _same(given, gy):
        faults.append(("upstream mutated", "backward changes the upstream gradient in place; work on a copy"))
    if not faults:
        faults += [("input mutated", f"backward changes {name} in place; work on a copy")
                   for name, a, before in zip(point.subject.names, arrays, point.arrays) if not _same(a, before)]
    if second is not None:
        point.subject.value(second.copies())
    if not _same(y, kept):
        faults.append(("output overwritten", "the output changes after it was returned: a buffer is used again by backward "
                       "or by the next call; return a new array"))
    return faults


def _is_view_op(subject):
    """Functions of tensors may return an input itself: tensors are never written to."""
    return hasattr(subject, "function") or type(getattr(subject, "op", None)).__name__ in ("Reshape", "Transpose", "Index")


def _gradient_forms(point, gradients):
    faults = []
    for name, a, g in zip(point.subject.names, point.arrays, gradients):
        if g.shape != a.shape:
            faults.append(("gradient shape", f"the gradient of {name} has shape {g.shape}, not {a.shape}{_hint(g, a)}"))
        elif g.dtype != a.dtype:
            faults.append(("gradient dtype", f"the gradient of {name} has dtype {g.dtype}, not {a.dtype}; compute it in "
                           "the input's dtype"))
    return faults


def _hint(g, a):
    """What would mend a gradient of the wrong shape."""
    with contextlib.suppress(ValueError):
        if np.broadcast_shapes(g.shape, a.shape) == g.shape:
            return "; sum over the axes that were broadcast"
    return "; transpose it" if g.shape == a.shape[::-1] else "; reshape it to the input's shape"


def _history(point, second, v, first):
    """Gradients again, after another input, and with two graphs alive at once: all must agree to the bit."""
    again = point.gradients(v)
    if not _all_same(first, again):
        factors = [_factor(a, b) for a, b in zip(first, again)]
        factor = next((c for c in factors if c and c != 1), None) if all(factors) else None
        return [("stale buffer" if factor else "non-deterministic", "two backward passes on the same input differ" + (
            f" (by the factor {factor:.3g}: a buffer is added to and not cleared)" if factor else ""))]
    if second is None:
        return []
    alone = second.gradients(v)
    _, backward = point.subject.open(point.copies())
    _, other = second.subject.open(second.copies())
    shape = point.y.shape
    pairs = ((first, backward(v.reshape(shape).copy())), (alone, other(v.reshape(shape).copy())))
    if not all(_all_same(a, b) for a, b in pairs):
        return [("stale buffer", "the gradients change when another input is passed forward in between: what forward keeps "
                 "outlives its call or is overwritten by the next; keep it for each call")]
    return []


def _factor(first, again):
    """c where again = c · first throughout, else None."""
    a, b = first.ravel(), again.ravel()
    if np.array_equal(a, b):
        return 1.0
    c = float(a @ b / (a @ a)) if np.any(a) else 0.0
    return c if np.allclose(b, c * a, rtol=1e-9, atol=0) else None


def _linearity(point, second, v, usual):
    """g(1024·v) = 1024·g(v): a power of two, so that nothing rounds."""
    faults = []
    with np.errstate(all="ignore"):
        large = point.gradients(1024.0 * v)
        for i, (name, a, b) in enumerate(zip(point.subject.names, large, usual)):
            in_range = np.isfinite(b).all() and np.abs(b).max(initial=0) < 1e300
            if not in_range or np.allclose(a, 1024.0 * b, rtol=1e-9, atol=1e-290):
                continue
            if not _same(a, b):
                faults.append(("not linear", f"the gradient of {name} is not proportional to the upstream gradient; backward "
                               "is a product with the Jacobian, nothing in it may clip, round or add to gy"))
            elif second is not None and _same(second.gradients(v)[i], b):
                faults.append(("stale buffer", f"the gradient of {name} never changes, whatever the inputs and the upstream "
                               "gradient are: it was kept from the first call"))
            else:
                faults.append(("upstream gradient", f"the gradient of {name} does not depend on the upstream gradient; "
                               "multiply by it"))
    return faults


def _threads(point, v, first):
    """One thread against all; only where compiled kernels have run."""
    if point.threads == 1:
        return []
    count = point.threads if point.small else 1         # the other number than the one in use
    with threads.num_threads(count):
        other = [np.array(point.subject.value(point.copies())), *point.gradients(v)]
    if _all_same([point.y, *first], other):
        return []
    return [("depends on threads", f"1 thread and {point.threads} give different results; cut every sum in the same way for "
             "any number of threads, and let no two write to one place")]


def _reference(point):
    """The forward pass against the reference rungs: a wrong forward with its own right backward passes all differences."""
    with kernels.using(**dict.fromkeys(kernels.ROOMS, "reference")):
        expected = np.array(point.subject.value(point.copies()))
    return disagreement(point, expected, "the reference rung")


def disagreement(point, expected, whose):
    """The fault of a forward pass that does not give the expected values."""
    expected = np.asarray(expected)
    if expected.shape != point.y.shape:
        return [("wrong forward", f"the output has shape {point.y.shape}, {whose} gives {expected.shape}")]
    with np.errstate(all="ignore"):
        error = np.abs(expected - point.y)
    same = (expected == point.y) | (np.isnan(expected) & np.isnan(point.y))
    limit = AGREE * np.abs(expected[np.isfinite(expected)]).max(initial=0)
    bad = ~same & ~(error <= limit)
    if not bad.any():
        return []
    at = tuple(int(k) for k in np.argwhere(bad)[0])
    return [("wrong forward", f"the output at {at} is {point.y[at]:.8g}, {whose} gives {expected[at]:.8g} "
             f"({bad.sum():,} of {bad.size:,} values differ)")]


def _same(a, b):
    return np.array_equal(a, b, equal_nan=True)


def _all_same(first, second):
    return all(_same(a, b) for a, b in zip(first, second))
