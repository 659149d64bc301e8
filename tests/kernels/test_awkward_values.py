"""NaN, infinities, ties and large means: what a fast kernel gets wrong first."""

import numpy as np
import pytest
from support import rungs_above_reference

import kernels
from kernels import Window2d


def each(room):
    return pytest.mark.parametrize("rung", ["reference", *rungs_above_reference(room)])


@each("activation")
def test_relu_keeps_nan_and_infinity(rung):
    x = np.array([np.nan, np.inf, -np.inf, -0.0, 2])
    with kernels.using(activation=rung):
        np.testing.assert_array_equal(kernels.activation.relu_forward(x), [np.nan, np.inf, 0, 0, 2])
        np.testing.assert_array_equal(kernels.activation.relu_backward(np.ones(3), np.array([0, 1.0, np.nan])), [0, 1, 1])


@each("pool2d")
def test_max_pool_ties_go_to_the_first_and_nan_wins(rung):
    x = np.array([[1, 3, 3], [3, 0, 3], [np.nan, 1, np.nan]]).reshape(1, 1, 3, 3)
    with kernels.using(pool2d=rung):
        y, places = kernels.pool2d.max_forward(x, Window2d.of(2, 1))
        np.testing.assert_array_equal(y[0, 0], [[3, 3], [np.nan, np.nan]])
        np.testing.assert_array_equal(places[0, 0], [[1, 0], [2, 3]])
        gx = kernels.pool2d.max_backward(np.array([[[[1.0, 2], [4, 8]]]]), places, Window2d.of(2, 1), 3, 3)
        np.testing.assert_array_equal(gx[0, 0], [[0, 3, 0], [0, 0, 0], [4, 0, 8]])


@each("pool2d")
def test_max_pool_padding_never_wins(rung):
    with kernels.using(pool2d=rung):
        y, _ = kernels.pool2d.max_forward(np.full((1, 1, 2, 2), -5.0), Window2d.of(3, 1, 1))
    assert (y == -5).all()


@each("batch_norm")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_batch_norm_with_a_large_mean(rung, dtype, rng):
    """Mean 1000, standard deviation 1: a plain E[x²] - E[x]² in float32 would have no correct digit."""
    x = (1000 + rng.standard_normal((4, 2, 16, 16))).astype(dtype)
    exact = x.astype(np.longdouble).var((0, 2, 3)).astype(float)
    with kernels.using(batch_norm=rung):
        mean, var = kernels.batch_norm.statistics(x)
    np.testing.assert_allclose(mean, x.astype(np.longdouble).mean((0, 2, 3)).astype(float), rtol=1e-6)
    np.testing.assert_allclose(var, exact, rtol=1e-4 if dtype == "float32" else 1e-10)


@each("batch_norm")
def test_batch_norm_shows_nan(rung):
    x = np.ones((2, 2, 2, 2))
    x[0, 1, 0, 0] = np.nan
    with kernels.using(batch_norm=rung):
        mean, var = kernels.batch_norm.statistics(x)
        y = kernels.batch_norm.normalize(x, mean, var, None, None, 1e-5)
    assert np.isnan(y[:, 1]).all()
    assert not np.isnan(y[:, 0]).any()


@each("loss")
def test_log_softmax_does_not_overflow(rung):
    with kernels.using(loss=rung):
        logp = kernels.loss.log_softmax_forward(np.array([[1e4, 0.0], [-1e4, -1e4]], np.float32))
    np.testing.assert_allclose(logp, [[0, -1e4], [-np.log(2)] * 2], rtol=1e-6)


@each("conv2d")
def test_conv2d_shows_nan_only_where_it_is_seen(rung):
    x = np.zeros((1, 1, 5, 5))
    x[0, 0, 0, 0] = np.nan
    with kernels.using(conv2d=rung):
        y = kernels.conv2d.forward(x, np.ones((1, 1, 2, 2)), None, Window2d.of(2))
    assert np.isnan(y[0, 0, 0, 0])
    assert np.isnan(y).sum() == 1


@each("conv2d")
def test_empty_batch(rung):
    window = Window2d.of(3, padding=1)
    x, w, gy = np.ones((0, 2, 4, 4)), np.ones((3, 2, 3, 3)), np.ones((0, 3, 4, 4))
    with kernels.using(conv2d=rung):
        assert kernels.conv2d.forward(x, w, np.ones(3), window).shape == (0, 3, 4, 4)
        gx, gw, gb = kernels.conv2d.backward(gy, x, w, window)
    assert gx.shape == x.shape
    assert not gw.any()
    assert not gb.any()


@each("lrn")
@pytest.mark.parametrize("size", [5, 4])
@pytest.mark.parametrize("large", [1e18, 1e25, np.inf, np.nan])
def test_response_norm_of_a_large_value_leaves_the_others_as_they_are(rung, size, large, rng):
    """1e18 has a square that float32 holds, 1e25 none: then s is infinite and y 0. Pixels side by side do not meet."""
    x = rng.standard_normal((1, 20, 2, 3)).astype("float32")
    x[0, 9, 1, 1] = large
    gy = rng.standard_normal(x.shape).astype("float32")
    with np.errstate(all="ignore"), kernels.using(lrn="reference"):
        y, gx = kernels.lrn.forward(x, size, 1.0, 0.75, 2.0), kernels.lrn.backward(gy, x, size, 1.0, 0.75, 2.0)
    assert np.isfinite(y[0, [0, 19]]).all()
    assert np.isfinite(y[:, :, 0]).all()
    with np.errstate(all="ignore"), kernels.using(lrn=rung):
        np.testing.assert_allclose(kernels.lrn.forward(x, size, 1.0, 0.75, 2.0), y, rtol=1e-5, atol=1e-30)
        np.testing.assert_allclose(kernels.lrn.backward(gy, x, size, 1.0, 0.75, 2.0), gx, rtol=1e-4, atol=1e-6)
