"""Every op of op_cases.py on the GPU, against the readable rung on the CPU; `make test-cuda-sim` runs it in the simulator."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from op_cases import CASES, conv_examples, distinct, pool_examples
from support import central_differences, close, run_with_gradients

import kernels
from kernels import device
from minicnn import ops

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not device.available(), reason=f"no GPU: {device.why_not()}")]
TOLERANCE = {"float64": 1e-10, "float32": 1e-5}
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def on_device(run):
    """The op with its inputs moved to the GPU and its output moved back."""
    return lambda *tensors: ops.to(run(*[ops.to(t, "cuda") for t in tensors]), "cpu")


def reference(run, room, arrays):
    with kernels.using(**{room: "reference"} if room else {}):
        return run_with_gradients(run, arrays)


@pytest.mark.parametrize("dtype", TOLERANCE)
@every_case
def test_agrees_with_reference(case, dtype, rng):
    """Output and every gradient, for a random upstream gradient; inputs stay what they were."""
    arrays = [case.values(rng, shape).astype(dtype) for shape in case.shapes]
    before = [a.copy() for a in arrays]
    y, gradients = reference(case.run, case.room, arrays)
    y_device, gradients_device = run_with_gradients(on_device(case.run), arrays)
    for actual, expected in zip([y_device, *gradients_device], [y, *gradients]):
        assert actual.dtype == dtype
        close(actual, expected, TOLERANCE[dtype])
    for array, copy in zip(arrays, before):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize(("examples", "room", "values"), [
    (conv_examples(), "conv2d", lambda rng, shape: rng.standard_normal(shape)), (pool_examples("max"), "pool2d", distinct),
    (pool_examples("avg"), "pool2d", distinct)], ids=["conv2d", "max_pool2d", "avg_pool2d"])
def test_any_window(examples, room, values):
    """Strides, paddings, dilations and groups of all kinds, forward and backward, in float64."""

    @settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow, HealthCheck.nested_given])
    @given(example=examples)
    def check(example):
        run, shapes = example
        rng = np.random.default_rng(0)
        arrays = [values(rng, shape) for shape in shapes]
        expected, actual = reference(run, room, arrays), run_with_gradients(on_device(run), arrays)
        for a, b in zip([actual[0], *actual[1]], [expected[0], *expected[1]]):
            assert a.shape == b.shape
            assert np.abs(a - b).max(initial=0) <= 1e-10 * max(np.abs(b).max(initial=0), 1.0)
    check()


TINY = {
    "conv2d": (lambda x, w, b: ops.conv2d(x, w, b, 2, 1), ((1, 2, 3, 2), (2, 2, 2, 2), (2,))),
    "conv2d in groups": (lambda x, w: ops.conv2d(x, w, None, 1, 1, (2, 1), 2), ((1, 2, 3, 2), (2, 1, 2, 2))),
    "max_pool2d": (lambda x: ops.max_pool2d(x, 2, 1, 1), ((1, 2, 2, 3),)),
    "avg_pool2d": (lambda x: ops.avg_pool2d(x, 2, 1, 1), ((1, 2, 2, 3),)),
    "adaptive_avg_pool2d": (lambda x: ops.adaptive_avg_pool2d(x, (2, 2)), ((1, 2, 3, 3),)),
    "batch_norm": (lambda x, w, b: ops.batch_norm(x, None, None, w, b, training=True), ((2, 2, 1, 2), (2,), (2,))),
    "batch_norm_relu": (lambda x, w, b, a: ops.batch_norm_relu(x, None, None, w, b, True, add=a),
                        ((2, 1, 1, 2), (1,), (1,), (2, 1, 1, 2))),
    "local_response_norm": (lambda x: ops.local_response_norm(x, 3, 1.0, 0.75, 1.0), ((1, 4, 1, 2),)),
    "linear": (ops.linear, ((2, 3), (2, 3), (2,))),
    "concat": (lambda a, b: ops.concat([a, b]), ((1, 2, 2), (1, 1, 2))),
    "relu": (ops.relu, ((2, 3),)),
    "dropout": (lambda x: ops.dropout(x, 0.4), ((2, 3),)),
    "cross_entropy": (lambda x: ops.cross_entropy(x, [1, 0], 0.1), ((2, 3),)),
    "arithmetic": (lambda a, b: ops.exp(a) * b / (b * b + 2.0) - ops.mean(a @ a.T), ((2, 3), (3,))),
}


@pytest.mark.parametrize("name", TINY)
def test_finite_differences_on_the_device(name, rng):
    """Every gradient against central differences of the device's own forward pass, in float64."""
    run, shapes = TINY[name]
    run, arrays = on_device(run), [distinct(rng, shape) * 20 for shape in shapes]
    y, gradients = run_with_gradients(run, arrays)
    gy = np.random.default_rng(1).standard_normal(y.shape)
    for i, gradient in enumerate(gradients):
        close(gradient, central_differences(run, arrays, i, gy), 1e-6)


@pytest.mark.parametrize("name", ["conv2d", "batch_norm"])
def test_the_same_bits_every_time(name, rng):
    run, shapes = TINY[name]
    arrays = [rng.standard_normal(shape).astype("float32") for shape in shapes]
    first, again = (run_with_gradients(on_device(run), arrays) for _ in range(2))
    for a, b in zip([first[0], *first[1]], [again[0], *again[1]]):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
def test_one_update_moves_every_parameter(momentum, nesterov, rng):
    """Sizes below, at and above a block's; gradients stay what they were."""
    shapes = [(3,), (1,), (17, 5), (2, 512), (1025,), (2, 3, 4)]
    host = [[rng.standard_normal(shape) for shape in shapes] for _ in range(3)]
    there = [[device.to_device(array) for array in arrays] for arrays in host]
    kernels.sgd.step_all(*there, 0.1, momentum, 0.01, nesterov)
    for w, g, v in zip(*host):
        with kernels.using(sgd="reference"):
            kernels.sgd.step(w, g, v if momentum else None, 0.1, momentum, 0.01, nesterov)
    for arrays, expected in zip(there, host):
        for array, other in zip(arrays, expected):
            np.testing.assert_allclose(np.asarray(array), other, rtol=1e-13, atol=1e-15)
