"""Channels-last rows that are not a whole number of pieces long: the numbers of the definition, neighbours left alone."""

import numpy as np
import pytest

import kernels
from kernels import activation, batch_norm, layout
from kernels.streaming import PIECE

EPS = 1e-5


def image(shape, rng, sliced):
    """A channels-last image; sliced: some channels of a wider one, of which the others are NaN."""
    N, C, H, W = shape
    wide = layout.empty((N, C + 3, H, W), np.float64) if sliced else layout.empty(shape, np.float64)
    wide[...] = np.nan
    own = wide[:, 1:C + 1] if sliced else wide
    own[...] = rng.standard_normal(shape)
    return own


def neighbours(part):
    """How many of the values beside a slice are still NaN."""
    return np.isnan(part.base if part.base is not None else part).sum()


def results(rung, C, sliced):
    """{name: array} of every function that goes through rows in pieces."""
    rng, shape = np.random.default_rng(C), (2, C, 3, 5)
    x, add, gy, onto = (image(shape, rng, sliced) for _ in range(4))
    weight, bias, beside = rng.standard_normal(C), rng.standard_normal(C), neighbours(onto)
    with kernels.using(batch_norm=rung):
        mean, var = batch_norm.statistics(x)
        terms = x, mean, var, weight, EPS, True
        y = batch_norm.normalize(x, mean, var, weight, bias, EPS, add, True)
        found = {"mean": mean, "var": var, "y": y, "norm": batch_norm.normalize(x, mean, var, weight, bias, EPS)}
        for name, some in (("gradients", batch_norm.backward(gy, *terms)),
                           ("under relu", batch_norm.backward(gy, *terms, bias)),
                           ("with add", batch_norm.add_relu_backward(gy, y, *terms)),
                           ("added", batch_norm.backward(gy, *terms, bias, False, onto))):
            found.update((f"{name} {i}", array) for i, array in enumerate(some))
    assert neighbours(onto) == beside
    return found


@pytest.mark.parametrize("sliced", [False, True])
@pytest.mark.parametrize("C", [1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE + 2])
def test_batch_norm(C, sliced):
    expected, found = (results(rung, C, sliced) for rung in ("reference", "channels_last"))
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-10, atol=1e-11, err_msg=name)


@pytest.mark.parametrize("sliced", [False, True])
@pytest.mark.parametrize("C", [PIECE - 1, PIECE + 1])
def test_the_bias_under_a_relu(C, sliced, rng):
    gy, y = (image((2, C, 3, 5), rng, sliced) for _ in range(2))
    gx, gbias = activation.relu_backward_sums(gy, y)
    expected = np.where(y > 0, gy, 0)
    np.testing.assert_array_equal(gx, expected)
    np.testing.assert_allclose(gbias, expected.sum((0, 2, 3)), rtol=1e-12, atol=1e-12)
