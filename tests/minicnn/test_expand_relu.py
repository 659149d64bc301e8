"""Convolutions of one image side by side under one ReLU: the numbers of the layers one by one."""

import numpy as np
import pytest

import kernels
from minicnn import Tensor, nn, ops
from minicnn.autograd import observing
from minicnn.errors import ShapeError


def convolutions(rng):
    convs = [nn.Conv2d(5, 6, 1), nn.Conv2d(5, 4, 3, padding=1), nn.Conv2d(5, 3, 3, padding=2, dilation=2)]
    for conv in convs:
        conv.weight.data = rng.standard_normal(conv.weight.shape)
        conv.bias.data = rng.standard_normal(conv.bias.shape)
    return convs


def layer_by_layer(convs, x):
    return ops.concat([ops.relu(conv(x)) for conv in convs])


def gradients(expand, convs, x, gy):
    """y and the gradients of x, which is used once more, and of all parameters."""
    x, parameters = Tensor(x, requires_grad=True), [p for conv in convs for p in (conv.weight, conv.bias)]
    for parameter in parameters:
        parameter.grad = None
    y = expand(convs, x)
    (ops.sum(y * Tensor(gy)) + ops.sum(x * x)).backward()
    return [y.data, x.grad, *[p.grad for p in parameters]]


@pytest.mark.parametrize("rung", [None, "im2col", "reference"])
def test_numbers_of_the_layers_one_by_one(rung, rng):
    convs, x, gy = convolutions(rng), rng.standard_normal((2, 5, 7, 6)), rng.standard_normal((2, 13, 7, 6))
    with kernels.using(**({"conv2d": rung} if rung else {})):
        results = [gradients(expand, convs, x, gy) for expand in (nn.expand_relu, layer_by_layer)]
    for got, expected in zip(*results):
        np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-10)


def test_gradients_share_no_memory(rng):
    convs = convolutions(rng)
    got = gradients(nn.expand_relu, convs, rng.standard_normal((2, 5, 7, 6)), rng.standard_normal((2, 13, 7, 6)))
    assert not any(np.may_share_memory(a, b) for i, a in enumerate(got) for b in got[:i])


def test_no_gradient_for_what_needs_none(rng):
    convs = convolutions(rng)
    for parameter in (convs[0].weight, convs[1].bias):
        parameter.requires_grad = False
    ops.sum(nn.expand_relu(convs, Tensor(rng.standard_normal((2, 5, 7, 6))))).backward()
    assert [p.grad is None for conv in convs for p in (conv.weight, conv.bias)] == [True, False, False, True, False, False]


def test_every_layer_is_seen_by_who_watches(rng):
    class Watcher:
        seen = []

        def forward(self, op, inputs, output, seconds):
            self.seen.append(type(op).__name__)

    convs, x = convolutions(rng), Tensor(rng.standard_normal((2, 5, 7, 6)))
    expected = nn.expand_relu(convs, x).data
    with observing(Watcher()) as watcher:
        np.testing.assert_allclose(nn.expand_relu(convs, x).data, expected, rtol=1e-12)
    assert watcher.seen == ["Conv2d", "ReLU"] * 3 + ["Concat"]


def test_convolutions_without_a_bias_are_computed_one_by_one(rng):
    convs = [nn.Conv2d(5, 6, 1, bias=False), nn.Conv2d(5, 4, 3, padding=1)]
    x = Tensor(rng.standard_normal((2, 5, 7, 6), np.float32))
    np.testing.assert_allclose(nn.expand_relu(convs, x).data, layer_by_layer(convs, x).data, rtol=1e-6)


@pytest.mark.parametrize(("shape", "padding", "message"), [
    ((2, 5, 7, 6), 0, r"images of \(5, 4\) and \(7, 6\) pixels; all must give the same"),
    ((5, 7, 6), 1, r"expand_relu: x has shape \(5, 7, 6\), not \(N, C, H, W\)")])
def test_images_that_do_not_fit(shape, padding, message, rng):
    parameters = [(rng.standard_normal((3, 5, size, size)), np.zeros(3)) for size in (1, 3)]
    with pytest.raises(ShapeError, match=message):
        ops.expand_relu(rng.standard_normal(shape), parameters[0], (*parameters[1], 1, padding))


def test_no_convolutions():
    with pytest.raises(ShapeError, match="no convolutions given; pass at least one"):
        ops.expand_relu(np.zeros((1, 1, 2, 2)))
