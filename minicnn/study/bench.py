"""Every rung of a room on one shape: checked against the definition first, then timed.

Three figures that are often mixed up are kept apart: compile (Numba compiles the rung, or loads it from its cache),
cold (the first call but for that: memory is new, caches hold nothing) and warm (the median of many calls). A rung whose
result differs from the reference is not timed, and a compilation inside a timed region is an error. Each rung gets the images
in the order in memory that it works in (kernels/layout.py), as the layers of a network hand them on.
"""

import statistics
import time
from dataclasses import asdict, dataclass

import numpy as np

import kernels
from minicnn.errors import BackendError
from minicnn.study import bench_cases, figures
from minicnn.study.compilation import watching

TOLERANCE = {"float32": 1e-5, "float64": 1e-10}     # of the largest value, against the reference in float64
LEAST_REPEATS, LONG = 3, 10         # calls of each rung, unless they take more than this many times the seconds asked for


@dataclass(frozen=True)
class RungTime:
    """One rung in one direction. Times in seconds, None where the rung is wrong; rate in the case's unit.

    deviation: the largest difference from the reference, relative to the reference's largest value. cached: the
    compiled code came from Numba's cache, `compile` is what loading it took. gain: how many times faster than the rung
    below, None for the lowest. Neither rate nor gain where the result is a view of the input: nothing was computed.
    """

    rung: str
    direction: str
    deviation: float
    agrees: bool
    compile: float | None = None
    cached: bool = False
    cold: float | None = None
    warm: float | None = None
    rate: float | None = None
    gain: float | None = None


@dataclass(frozen=True)
class BenchResult:
    """All rungs of one operation on one shape; bool() is whether all agree with the reference."""

    op: str
    title: str
    detail: str
    dtype: str
    unit: str
    threads: int
    rows: tuple

    def __bool__(self):
        return all(row.agrees for row in self.rows)

    def as_dict(self):
        """For JSON."""
        return {**asdict(self), "agrees": bool(self)}

    def __str__(self):
        head = f"{self.title}: {self.detail}, {self.dtype}, {self.threads} threads"
        lines = [head, "{:<16} {:<9} {:>9} {:>9} {:>9} {:>9} {:>13} {:>8}".format(
            "rung", "direction", "deviation", "compile", "cold", "warm", self.unit, "gain")]
        lines += ["{:<16} {:<9} {:>9} {:>9} {:>9} {:>9} {:>13} {:>8}".format(*cells(row)) for row in self.rows]
        return "\n".join(lines)


def cells(row):
    """A RungTime as texts, in the order of the table's columns."""
    if not row.agrees:
        return row.rung, row.direction, figures.error(row.deviation), "WRONG:", "not", "timed", "", ""
    compiled = figures.duration(row.compile) + (" *" if row.cached else "") if row.compile else "-"
    return (row.rung, row.direction, figures.error(row.deviation), compiled, figures.duration(row.cold),
            figures.duration(row.warm), f"{row.rate:.3g}" if row.rate else "a view", f"x {row.gain:.1f}" if row.gain else "")


def steps(op):
    """How often bench calls progress for an operation."""
    return 2 * len(kernels.rungs(op)) * (2 if op == "pool2d" else 1)       # maximum and average


def bench(op, dtype="float32", seconds=0.5, progress=None, **options):
    """Check and time every rung of an operation's room, forward and backward -> a list of BenchResult.

    options: shape and what else the operation takes (see bench_cases.DEFAULTS). Each rung is called for about `seconds`,
    at least three times unless that takes ten times as long. progress(text) is called before each rung. Raises
    ArgumentError, ShapeError, DTypeError for options that do not fit, and BackendError if something is compiled while the
    clock runs.
    """
    if dtype not in TOLERANCE:
        raise BackendError(f"bench: dtype {dtype!r} is neither float32 nor float64; choose one of them")
    exact = bench_cases.cases(op, "float64", **options)
    return [_bench_case(case, oracle, dtype, seconds, progress)
            for case, oracle in zip(bench_cases.cases(op, dtype, **options), exact)]


def _bench_case(case, oracle, dtype, seconds, progress):
    rows = []
    for direction in ("forward", "backward"):
        with kernels.using(**{case.op: "reference"}):
            expected = _arrays(oracle.call(direction, "reference")())
        below = None
        for rung in kernels.rungs(case.op):
            if progress:
                progress(f"{case.title}, {direction}: {rung}")
            row = _bench_rung(case, rung, direction, expected, TOLERANCE[dtype], seconds, below)
            below = row.warm or below
            rows.append(row)
    return BenchResult(case.op, case.title, case.detail, dtype, case.unit, kernels.threads.get_num_threads(), tuple(rows))


def _bench_rung(case, rung, direction, expected, tolerance, seconds, below):
    run = case.call(direction, rung)        # what it imports and puts in order is not part of any figure
    with kernels.using(**{case.op: rung}), watching() as compilations:
        start = time.perf_counter()
        result = run()
        first = time.perf_counter() - start
    deviation = _deviation(_arrays(result), expected)
    if not deviation <= tolerance:
        return RungTime(rung, direction, deviation, agrees=False)
    with kernels.using(**{case.op: rung}):
        warm = _median_time(run, seconds, f"bench {case.op}: {rung} {direction}")
    view = all(any(np.may_share_memory(part, image) for image in run.args) for part in _arrays(result))
    return RungTime(rung, direction, deviation, True, compilations.seconds or None,
                    bool(compilations.seconds) and not compilations.compiled, first - compilations.seconds, warm,
                    None if view else case.work[direction] / warm / 1e9, None if view else below and below / warm)


def _median_time(run, seconds, what):
    """Median seconds of run(); raises BackendError if Numba compiles anything meanwhile. Slow ones are not run thrice."""
    times, begin = [], time.perf_counter()
    with watching() as compilations:
        end = time.perf_counter() + seconds
        while not times or time.perf_counter() < end or (
                len(times) < LEAST_REPEATS and time.perf_counter() < begin + LONG * max(seconds, 0.1)):
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
    if compilations.compiled:
        raise BackendError(f"{what} compiled {compilations.compiled} functions while the clock ran, so its time would mean "
                           "nothing; it must take the same types at every call")
    return statistics.median(times)


def _arrays(result):
    return [np.asarray(part) for part in (result if isinstance(result, tuple | list) else (result,))]


def _deviation(found, expected):
    """The largest relative difference of any of the arrays; infinite where shapes differ or values are not finite."""
    worst = 0.0
    for a, b in zip(found, expected, strict=True):
        if a.shape != b.shape or not np.isfinite(a).all():
            return float("inf")
        scale = max(float(np.abs(b).max(initial=0)), np.finfo(np.float64).tiny)
        worst = max(worst, float(np.abs(a - b).max(initial=0)) / scale)
    return worst
