"""Linear classifiers on features: the formula and its limits. FC7 of a trained VGG is in models/test_learning.py."""

import numpy as np
import pytest

from minicnn import models, nn, ops
from minicnn.errors import ArgumentError, ShapeError
from minicnn.training import fit_linear, layer_features


def loss(weight, bias, x, labels, ridge):
    """What fit_linear minimises, written out."""
    spread = np.mean(np.square(x - x.mean(0)).sum(1))
    errors = x @ weight.T + bias - np.eye(len(weight))[labels]
    return np.square(errors).sum() / len(x) + ridge * spread * np.square(weight).sum()


@pytest.mark.parametrize("shape", [(30, 5), (12, 20)])
def test_the_classifier_minimises_its_loss(rng, shape):
    """Fewer and more features than images; steps away in random directions lose more, by the second order alone."""
    x, labels = rng.standard_normal(shape), rng.integers(0, 3, shape[0])
    probe = fit_linear(x, labels, 3, ridge=0.05).astype("float64")
    weight, bias = probe.weight.data, probe.bias.data
    least = loss(weight, bias, x, labels, 0.05)
    for _ in range(20):
        dw, db = 1e-2 * rng.standard_normal(weight.shape), 1e-2 * rng.standard_normal(bias.shape)
        there, back = (loss(weight + s * dw, bias + s * db, x, labels, 0.05) for s in (1, -1))
        assert min(there, back) > least
        assert abs(there - back) < 1e-2 * (there + back - 2 * least)


def test_the_unit_of_the_features_does_not_matter(rng):
    x, labels = rng.standard_normal((20, 6)), rng.integers(0, 4, 20)
    one, thousand = (fit_linear(scale * x, labels, 4) for scale in (1, 1000))
    np.testing.assert_allclose(thousand.weight.data * 1000, one.weight.data, rtol=1e-4)


@pytest.mark.parametrize(("x", "labels", "options", "message"), [
    (np.ones(3), np.zeros(3, int), {}, r"features \(3,\) and labels \(3,\) are not \(N, D\)"),
    (np.ones((3, 2)), np.zeros(2, int), {}, r"features \(3, 2\) and labels \(2,\)"),
    (np.ones((0, 2)), np.zeros(0, int), {}, r"with N, D > 0"),
    (np.ones((3, 2)), np.array([0, 1, 4]), {}, r"labels from 0 to 4 do not fit 3 classes; choose from 0 to 2"),
    (np.ones((3, 2)), np.array([0, 1, 2]), {"ridge": 0.0}, r"ridge 0.0 is not above 0"),
])
def test_what_does_not_fit(x, labels, options, message):
    with pytest.raises((ShapeError, ArgumentError), match=message):
        fit_linear(x, labels, 3, **options)


def test_features_need_a_network_that_has_them():
    with pytest.raises(ArgumentError, match="CifarResNet has no features_at; choose an AlexNet or VGG"):
        layer_features(models.create("resnet20", depth=8), "fc7", [])


def test_features_are_of_unit_length_in_the_loaders_order(rng):
    class Model(nn.Module):
        """FC7 is the images themselves, flat."""

        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(np.ones(1, np.float32))

        def features_at(self, layer, x):
            assert layer == "fc7"
            assert not self.training
            return ops.flatten(x)

    batches = [(rng.standard_normal((count, 1, 2, 2)).astype("float32"), rng.integers(0, 3, count)) for count in (3, 2)]
    batches[0][0][1] = 0                    # a row of zeros cannot be made longer
    features, labels = layer_features(Model(), "fc7", batches)
    np.testing.assert_array_equal(labels, np.concatenate([of_batch for _, of_batch in batches]))
    flat = np.concatenate([images.reshape(len(images), -1) for images, _ in batches])
    np.testing.assert_allclose(features * np.linalg.norm(flat, axis=1, keepdims=True), flat, rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), [1, 0, 1, 1, 1], rtol=1e-5)
