"""Every op of op_cases.py through every check."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from op_cases import CASES
from support import central_differences, close, run_with_gradients, rungs_above_reference, strided, value

import kernels
from kernels import layout, threads
from minicnn import Tensor
from minicnn.errors import DTypeError

TOLERANCE = {"float64": 1e-10, "float32": 1e-5}
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
kernel_case = pytest.mark.parametrize("case", [c for c in CASES if c.room], ids=lambda case: case.name)
rungs = pytest.mark.parametrize(("case", "rung"), [(c, r) for c in CASES if c.room for r in rungs_above_reference(c.room)],
                                ids=lambda v: v if isinstance(v, str) else v.name)


def image_orders(array):
    """An image as it is and with its channels last in memory; other arrays as they are."""
    return (array, layout.channels_last(array)) if array.ndim == 4 else (array, array)


def inputs(case, rng, dtype="float64"):
    return [case.values(rng, shape).astype(dtype) for shape in case.shapes]


@every_case
def test_oracle(case, rng):
    """The default rung in float64 gives the values of the definition in plain loops."""
    if case.oracle is None:
        pytest.skip("random: its oracle is in test_dropout.py")
    arrays = inputs(case, rng)
    close(value(case.run, arrays), np.asarray(case.oracle(*arrays)), 1e-12)


@every_case
def test_finite_differences(case, rng):
    """Every gradient agrees with central differences for a random upstream gradient, in the readable rung."""
    arrays = inputs(case, rng)
    with kernels.using(**{case.room: "reference"} if case.room else {}):
        y, gradients = run_with_gradients(case.run, arrays)
        gy = np.random.default_rng(1).standard_normal(y.shape)
        for i, gradient in enumerate(gradients):
            close(gradient, central_differences(case.run, arrays, i, gy), 1e-7)


@pytest.mark.parametrize("dtype", TOLERANCE)
@rungs
def test_rung_agrees_with_reference(case, rung, dtype, rng):
    arrays = inputs(case, rng, dtype)
    with kernels.using(**{case.room: "reference"}):
        y, gradients = run_with_gradients(case.run, arrays)
    with kernels.using(**{case.room: rung}):
        y_rung, gradients_rung = run_with_gradients(case.run, arrays)
    for actual, expected in zip([y_rung, *gradients_rung], [y, *gradients]):
        assert actual.dtype == dtype
        close(actual, expected, TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", TOLERANCE)
@kernel_case
def test_channels_last_images(case, dtype, rng):
    """Images in the other order, through the rungs that are the default for them."""
    arrays = inputs(case, rng, dtype)
    with kernels.using(**{case.room: "reference"}):
        y, gradients = run_with_gradients(case.run, arrays)
    y_last, gradients_last = run_with_gradients(case.run, [image_orders(a)[1] for a in arrays])
    for actual, expected in zip([y_last, *gradients_last], [y, *gradients]):
        assert actual.dtype == dtype
        close(actual, expected, TOLERANCE[dtype])


@every_case
def test_dtype_stays(case, rng):
    for dtype in TOLERANCE:
        y, gradients = run_with_gradients(case.run, inputs(case, rng, dtype))
        assert {a.dtype.name for a in (y, *gradients)} == {dtype}


@every_case
def test_inputs_are_not_mutated_and_gradients_not_aliased(case, rng):
    arrays = inputs(case, rng)
    before = [a.copy() for a in arrays]
    y, gradients = run_with_gradients(case.run, arrays)
    for array, copy in zip(arrays, before):
        np.testing.assert_array_equal(array, copy)
    for i, gradient in enumerate(gradients):
        assert gradient.flags.writeable
        for other in (*arrays, y, *gradients[:i]):
            assert not np.shares_memory(gradient, other)


@every_case
def test_any_strides(case, rng):
    """Inputs with gaps and reversed axes give the same numbers, bit for bit."""
    arrays = inputs(case, rng)
    y, gradients = run_with_gradients(case.run, arrays)
    y_strided, gradients_strided = run_with_gradients(case.run, [strided(a) for a in arrays])
    np.testing.assert_allclose(y_strided, y, rtol=1e-13, atol=1e-15)
    for actual, expected in zip(gradients_strided, gradients):
        np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-14)


@kernel_case
def test_one_thread_gives_the_same_bits(case, rng, monkeypatch):
    monkeypatch.setattr("kernels.dispatch.FEW", 0)      # or arrays this small would run on one thread anyway
    for dtype in TOLERANCE:
        arrays = inputs(case, rng, dtype)
        with threads.num_threads(threads.most()):
            many = run_with_gradients(case.run, arrays)
        with threads.num_threads(1):
            one = run_with_gradients(case.run, arrays)
        for a, b in zip([many[0], *many[1]], [one[0], *one[1]]):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("case", [c for c in CASES if c.examples is not None], ids=lambda case: case.name)
def test_any_shape(case):
    """Hypothesis' shapes: every rung agrees with reference, forward and backward, in float64."""

    @settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.nested_given])
    @given(example=case.examples, seed=st.integers(0, 2 ** 16))
    def check(example, seed):
        run, shapes = example
        rng = np.random.default_rng(seed)
        arrays = [case.values(rng, shape) for shape in shapes]
        with kernels.using(**{case.room: "reference"}):
            expected = run_with_gradients(run, arrays)
        for rung in rungs_above_reference(case.room):
            with kernels.using(**{case.room: rung}):
                actual = run_with_gradients(run, arrays)
            for a, b in zip([actual[0], *actual[1]], [expected[0], *expected[1]]):
                scale = max(np.abs(b).max(initial=0), 1.0)
                assert a.shape == b.shape
                assert np.abs(a - b).max(initial=0) <= 1e-10 * scale
    check()


@every_case
def test_mixed_dtypes_are_refused(case, rng):
    if len(case.shapes) < 2:
        pytest.skip("one input")
    first, *rest = inputs(case, rng)
    with pytest.raises(DTypeError, match="dtype"):
        case.run(Tensor(first.astype("float32")), *[Tensor(a) for a in rest])
