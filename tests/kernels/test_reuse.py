"""Gradients written over the upstream gradient, or added to one that is there: the same numbers as in an array of their own, on
every rung and in every order."""

import numpy as np
import pytest

import kernels
from kernels import activation, batch_norm, conv2d, layout
from kernels.dispatch import rungs
from kernels.geometry import Window2d

N, C, H, W = 2, 5, 3, 4


def orders(gy):
    """The gradient in C order, channels-last, and as some channels of a larger channels-last array."""
    wide = layout.empty((N, C + 3, H, W), gy.dtype)
    parts = wide[:, 2:C + 2]
    parts[...] = gy
    return {"C order": gy.copy(), "channels-last": layout.channels_last(gy.copy()), "some channels": parts}


@pytest.fixture
def arrays(rng):
    return {name: rng.standard_normal((N, C, H, W)) for name in ("gy", "x", "y")}


@pytest.mark.parametrize("order", ["C order", "channels-last", "some channels"])
@pytest.mark.parametrize("rung", rungs("activation"))
def test_relu(rung, order, arrays):
    y = layout.channels_last(arrays["y"])
    with kernels.using(activation=rung):
        expected = activation.relu_backward(arrays["gy"], y)
        gx = activation.relu_backward(orders(arrays["gy"])[order], y, reuse=True)
    np.testing.assert_array_equal(gx, expected)


@pytest.mark.parametrize("reuse", [False, True])
@pytest.mark.parametrize("order", ["C order", "channels-last", "some channels"])
@pytest.mark.parametrize("rung", rungs("activation"))
def test_the_bias_under_a_relu(rung, order, reuse, arrays):
    expected = np.where(arrays["y"] > 0, arrays["gy"], 0)
    with kernels.using(activation=rung):
        gx, gbias = activation.relu_backward_sums(orders(arrays["gy"])[order], layout.channels_last(arrays["y"]), reuse)
    np.testing.assert_array_equal(gx, expected)
    np.testing.assert_allclose(gbias, expected.sum((0, 2, 3)), rtol=1e-12, atol=1e-12)


def calls(arrays, rng):
    """{name: a function of (gy, reuse, onto)} of both backward passes."""
    mean, var, weight, bias = rng.standard_normal((4, C))
    x, y = layout.channels_last(arrays["x"]), layout.channels_last(arrays["y"])
    terms = x, mean, var ** 2, weight, 1e-5, True
    return {"backward": lambda gy, *rest: batch_norm.backward(gy, *terms, None, *rest),
            "relu": lambda gy, *rest: batch_norm.backward(gy, *terms, bias, *rest),
            "add_relu": lambda gy, reuse: batch_norm.add_relu_backward(gy, y, *terms, reuse)}


@pytest.mark.parametrize("order", ["C order", "channels-last", "some channels"])
@pytest.mark.parametrize("name", ["backward", "relu", "add_relu"])
@pytest.mark.parametrize("rung", rungs("batch_norm"))
def test_batch_norm(rung, name, order, arrays, rng):
    call = calls(arrays, rng)[name]
    with kernels.using(batch_norm=rung):
        expected = call(arrays["gy"], False)
        found = call(orders(arrays["gy"])[order], True)
    for actual, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("order", ["C order", "channels-last", "some channels"])
@pytest.mark.parametrize("name", ["backward", "relu"])
@pytest.mark.parametrize("rung", rungs("batch_norm"))
def test_batch_norm_adds_to_a_gradient_that_is_there(rung, name, order, arrays, rng):
    call, there = calls(arrays, rng)[name], rng.standard_normal((N, C, H, W))
    with kernels.using(batch_norm=rung):
        expected = call(arrays["gy"], False)
        onto = orders(there)[order]
        found = call(arrays["gy"].copy(), True, onto)
    assert found[0] is onto
    np.testing.assert_allclose(onto, there + expected[0], rtol=1e-12, atol=1e-12)
    for actual, wanted in zip(found[1:], expected[1:], strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=1e-12, atol=1e-12)


def test_what_lies_beside_is_left_alone(arrays, rng):
    """Some channels of a larger array are written over, the others are not."""
    wide = layout.channels_last(rng.standard_normal((N, C + 3, H, W)))
    before, parts = wide.copy(), wide[:, 2:C + 2]
    gx = activation.relu_backward(parts, layout.channels_last(arrays["y"]), reuse=True)
    assert np.shares_memory(gx, wide)
    assert (wide[:, 2:C + 2] != before[:, 2:C + 2]).any()
    np.testing.assert_array_equal(np.delete(wide, np.s_[2:C + 2], 1), np.delete(before, np.s_[2:C + 2], 1))


@pytest.mark.parametrize("order", ["C order", "channels-last", "some channels"])
@pytest.mark.parametrize("rung", rungs("conv2d"))
def test_large_gradients_of_convolutions_image_by_image(rung, order, arrays, rng, monkeypatch):
    weight, window = rng.standard_normal((C, C, 3, 3)), Window2d.of(3, 1, 1)
    gy, x = orders(arrays["gy"])[order], layout.channels_last(arrays["x"])
    with kernels.using(conv2d=rung):
        expected = conv2d.backward(arrays["gy"], x, weight, window)
        kept = conv2d.backward(gy, x, weight, window, reuse=True)
        assert not np.may_share_memory(kept[0], gy)                 # small: not worth a copy of each image
        monkeypatch.setattr(conv2d, "HUGE", x.nbytes)
        results = conv2d.backward(gy, x, weight, window, reuse=True)
    assert np.may_share_memory(results[0], gy) == (order != "C order")
    for got, also, right in zip(results, kept, expected):
        np.testing.assert_allclose(got, right, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(also, right, rtol=1e-10, atol=1e-12)


def test_a_gradient_of_another_shape_is_not_written_over(arrays, rng, monkeypatch):
    monkeypatch.setattr(conv2d, "HUGE", 0)
    x, weight = layout.channels_last(arrays["x"]), rng.standard_normal((C + 1, C, 3, 3))
    gy = layout.channels_last(rng.standard_normal((N, C + 1, H, W)))
    gx, _, _ = conv2d.backward(gy.copy(order="K"), x, weight, Window2d.of(3, 1, 1), reuse=True)
    np.testing.assert_allclose(gx, conv2d.backward(gy, x, weight, Window2d.of(3, 1, 1))[0], rtol=1e-10, atol=1e-12)
