"""Right implementations in awkward places: no false alarm, and nothing passed over in silence."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minicnn import Tensor, gradcheck, ops
from minicnn.gradcheck import cases

ELEMENTWISE = {"relu": ops.relu, "exp": ops.exp, "negate": ops.negate, "square": lambda x: x * x,
               "cube": lambda x: x * x * x, "sum": lambda x: ops.sum(x, 0), "max": lambda x: ops.max_pool2d(x, 2, 1),
               "softmax": lambda x: ops.softmax(x, 1), "average": lambda x: ops.avg_pool2d(x, 2, 1),
               "twice": lambda x: x + x, "identity": lambda x: x, "LRN": lambda x: ops.local_response_norm(x, 3, 1.0)}
LINEAR = ("relu", "negate", "sum", "max", "average", "twice", "identity")
special = st.sampled_from([0.0, -0.0, 0.5, 0.5, 1.0, -1.0, 1e-3, -1e-3, 5e-324, 1e-310, 1e-200, 1e-30])


@pytest.mark.slow
@settings(max_examples=300)
@given(name=st.sampled_from(sorted(cases.CASES)), seed=st.integers(0, 10 ** 6))
def test_every_op_on_any_shape_with_and_without_ties(name, seed):
    function, inputs = cases.example(name, seed)
    report = gradcheck.check(function, inputs, seconds=0.2)
    assert report, report


@pytest.mark.slow
@settings(max_examples=300)
@given(name=st.sampled_from(sorted(ELEMENTWISE)), values=st.lists(special, min_size=12, max_size=12))
def test_zeros_ties_and_denormals(name, values):
    report = gradcheck.check(ELEMENTWISE[name], np.array(values).reshape(1, 2, 2, 3), seconds=0.2)
    assert report, report


@settings(max_examples=200)
@given(name=st.sampled_from(LINEAR), exponent=st.integers(-280, 280), seed=st.integers(0, 10 ** 6))
def test_huge_and_tiny_scales(name, exponent, seed):
    x = np.random.default_rng(seed).standard_normal((1, 2, 3, 3)) * 10.0 ** exponent
    report = gradcheck.check(ELEMENTWISE[name], x, seconds=0.2)
    assert report, report


@settings(max_examples=100)
@given(spread=st.integers(0, 12), seed=st.integers(0, 10 ** 6))
def test_scales_that_differ_within_one_array(spread, seed):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((2, 3)) * 10.0 ** -rng.integers(0, spread + 1, (2, 3))
    for function in (lambda x: x * x, ops.relu, lambda x: ops.log(x * x)):
        report = gradcheck.check(function, x, seconds=0.2)
        assert report, report


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(shapes=st.sampled_from([((2, 3), (3,)), ((2, 1, 3), (4, 1)), ((), (2,)), ((1,), (3, 1)), ((0, 2), (2,)), ((2,), (2,))]),
       op=st.sampled_from([ops.add, ops.subtract, ops.multiply]), seed=st.integers(0, 10 ** 6))
def test_broadcasting_and_empty_arrays(shapes, op, seed):
    rng = np.random.default_rng(seed)
    report = gradcheck.check(op, [np.asarray(rng.standard_normal(shape)) for shape in shapes], seconds=0.2)
    assert report, report


def test_integer_labels_are_passed_on_unchecked(rng):
    report = gradcheck.check(ops.cross_entropy, [rng.standard_normal((3, 4)), np.array([0, 3, 1])])
    assert report, report
    assert [result.name for result in report.results] == ["logits"]


def test_an_unused_input_is_right_with_a_zero_gradient_and_said_to_be_unused(rng):
    report = gradcheck.check(lambda x, unused: ops.exp(x), [rng.standard_normal(3), rng.standard_normal(2)])
    assert report, report
    assert report.results[1].reason == "the output does not depend on it"


def test_a_function_without_inputs_in_its_graph(rng):
    report = gradcheck.check(lambda x: Tensor(np.ones(3)), rng.standard_normal(2))
    assert report, report


def test_several_outputs_and_an_input_used_twice(rng):
    report = gradcheck.check(lambda a, b: (a * b, ops.sum(a), a), [rng.standard_normal((2, 3)), rng.standard_normal(3)])
    assert report, report


def test_ones_as_upstream_gradient_are_not_needed_for_a_scalar(rng):
    assert gradcheck.check(ops.sum, rng.standard_normal((2, 3)))


@pytest.mark.parametrize("size", [700, 5000])
def test_kinks_along_projections_of_large_arrays(size, rng):
    x = np.round(2 * rng.standard_normal((1, 1, size // 10, 10))) / 2
    for function in (ops.relu, lambda x: ops.max_pool2d(x, 3, 2, 1)):
        report = gradcheck.check(function, x, seconds=0.01)
        assert report, report
        assert report.results[0].verdict == gradcheck.Verdict.KINK
        assert 0 < report.results[0].miss_probability < 1


@pytest.mark.parametrize("seed", range(5))
def test_pooling_after_a_relu(seed):
    """Thousands of windows with tied zeros, some with a small maximum that the larger steps do not see."""
    x = np.maximum(np.random.default_rng(seed).standard_normal((2, 16, 32, 32)), 0)
    report = gradcheck.check(lambda x: ops.max_pool2d(x, 3, 2, 1), x, seconds=0.05)
    assert report, report
