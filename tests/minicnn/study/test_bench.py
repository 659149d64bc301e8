import json
from dataclasses import replace

import numpy as np
import pytest

import kernels
from minicnn.errors import ArgumentError, BackendError, ShapeError
from minicnn.study import bench
from minicnn.study.bench import steps
from minicnn.study.bench_cases import DEFAULTS, cases
from minicnn.study.compilation import Compilations, watching
from minicnn.study.warmup import SMALL, SMALL_MAP

QUICK = {"seconds": 0.0}


def small(op):
    return SMALL.get(op, SMALL_MAP)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("op", DEFAULTS)
def test_every_rung_of_every_room_agrees_and_is_timed(op, dtype):
    results = bench(op, dtype, **QUICK, **small(op))
    assert len(results) == (2 if op == "pool2d" else 1)
    for result in results:
        assert result
        timed = {(row.rung, row.direction) for row in result.rows}
        assert timed == {(rung, way) for rung in kernels.rungs(op) for way in ("forward", "backward")}
        assert all(row.warm > 0 and row.cold > 0 for row in result.rows)
        views = [(op, row.rung, row.direction) == ("concat", "channels_last", "backward") for row in result.rows]
        assert [row.rate is None for row in result.rows] == views
        assert [row.gain is None for row in result.rows] == [row.rung == "reference" or view for row, view in
                                                             zip(result.rows, views)]
        json.dumps(result.as_dict())


def test_default_shapes_build():
    for op in DEFAULTS:
        for case in cases(op):
            assert case.work["forward"] > 0
            assert case.unit in ("GFLOP/s", "GB/s")


@pytest.mark.parametrize(("op", "rung", "last"), [
    ("conv2d", "im2col", False), ("conv2d", "implicit_gemm", True), ("pool2d", "cpu", False), ("pool2d", "channels_last", True),
    ("batch_norm", "channels_last", True), ("lrn", "cpu", False), ("concat", "channels_last", True)])
def test_a_rung_gets_its_images_in_the_order_it_works_in(op, rung, last):
    (case, *_) = cases(op, **small(op))
    given = []
    case = replace(case, forward=lambda *images: given.extend(images))
    case.call("forward", rung)()
    assert len(given) == len(case.images) > 0
    for image, original in zip(given, case.images):
        np.testing.assert_array_equal(image, original)
        channel, column = image.strides[1], image.strides[3]
        assert (channel < column) == last           # a pixel's channels side by side, or a row's pixels


@pytest.mark.parametrize(("function", "direction"), [("forward", "forward"), ("backward", "backward")])
def test_a_wrong_rung_is_not_timed(monkeypatch, function, direction):
    rung = kernels.rungs("conv2d")[-1]
    module = kernels.ROOMS["conv2d"].rung(rung)
    right, calls = getattr(module, function), []

    def wrong(*args):
        calls.append(1)
        result = right(*args)
        part = result if function == "forward" else result[1]
        part.flat[3] += 1e-3 * np.abs(part).max()
        return result
    monkeypatch.setattr(module, function, wrong)
    (result,) = bench("conv2d", **QUICK, **small("conv2d"))
    bad = [row for row in result.rows if not row.agrees]
    assert not result
    assert [(row.rung, row.direction) for row in bad] == [(rung, direction)]
    assert bad[0].warm is None
    assert bad[0].deviation == pytest.approx(1e-3, rel=0.1)
    assert len(calls) == 1
    assert "WRONG" in str(result)


@pytest.mark.parametrize("spoil", [lambda y: np.full_like(y, np.nan), lambda y: y[:, :1]], ids=["nan", "shape"])
def test_results_that_cannot_be_compared_are_wrong(monkeypatch, spoil):
    module = kernels.ROOMS["linear"].rung("reference")
    right, calls = module.forward, []

    def wrong(*args):
        calls.append(1)
        return right(*args) if len(calls) == 1 else spoil(right(*args))       # the first call makes the oracle
    monkeypatch.setattr(module, "forward", wrong)
    (result,) = bench("linear", **QUICK, **small("linear"))
    assert [(row.rung, row.direction, row.deviation) for row in result.rows if not row.agrees] == [
        ("reference", "forward", float("inf"))]


@pytest.mark.jit
def test_a_compilation_while_the_clock_runs_is_refused(monkeypatch):
    from numba import njit
    module = kernels.ROOMS["linear"].rung("reference")
    right = module.forward

    def compiling(*args):
        njit(lambda x: x + 1)(1)
        return right(*args)
    monkeypatch.setattr(module, "forward", compiling)
    with pytest.raises(BackendError, match=r"bench linear: reference forward compiled \d+ functions while the clock ran"):
        bench("linear", **QUICK, **small("linear"))


def test_compile_time_is_the_outermost():
    class Event:
        def __init__(self, kind, is_start):
            self.kind, self.is_start = kind, is_start
    seen = Compilations()
    for kind, start in [("numba:compiler_lock", True), ("numba:compile", True), ("numba:compiler_lock", True),
                        ("numba:compiler_lock", False), ("numba:compile", False), ("numba:compiler_lock", False)]:
        seen.notify(Event(kind, start))
    assert seen.compiled == 1
    assert seen.seconds > 0
    assert seen._depth == 0


@pytest.mark.jit
def test_functions_are_named_as_they_are_compiled():
    from numba import njit
    told = []
    with watching(told.append) as seen:
        njit(lambda x: x + 1)(1)
    assert seen.compiled == len(told) >= 1
    assert told[0].startswith(f"{__name__}.test_functions_are_named")


def test_progress_names_each_rung():
    for op, first in (("linear", "fully connected, forward: reference"), ("pool2d", "max pooling, forward: reference")):
        told = []
        bench(op, **QUICK, progress=told.append, **small(op))
        assert told[0] == first
        assert len(told) == steps(op)


@pytest.mark.parametrize(("call", "error", "match"), [
    (lambda: bench("conv3d"), ArgumentError, "bench: no operation 'conv3d'; choose from conv2d, linear"),
    (lambda: bench("linear", kernel=3), ArgumentError, "bench linear: takes no kernel; it takes shape, out"),
    (lambda: bench("conv2d", shape=(1, 2, 3)), ShapeError, r"shape \(1, 2, 3\) is not 4 positive numbers; for example 16,64,"),
    (lambda: bench("linear", dtype="float16"), BackendError, "dtype 'float16' is neither float32 nor float64"),
    (lambda: bench("conv2d", shape=(1, 3, 8, 8), groups=2), ShapeError, "in_channels 3 is not divisible by groups 2"),
])
def test_errors(call, error, match):
    with pytest.raises(error, match=match):
        call()
