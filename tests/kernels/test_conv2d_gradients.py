"""Gradients of convolutions in special places: added to an array that is there, and of more channels than filters."""

import numpy as np
import pytest

import kernels
from kernels import conv2d, layout
from kernels.geometry import Window2d

CASES = {      # channels, filters, side, kernel, stride, padding, groups
    "1x1": (16, 32, 6, 1, 1, 0, 1),
    "1x1 stride 2, three quarters of the pixels unseen": (16, 32, 7, 1, 2, 0, 1),
    "3x3": (16, 16, 9, 3, 1, 1, 1),
    "3x3 of channels that fill no vector": (5, 7, 6, 3, 1, 1, 1),
    "3x3 in groups": (16, 16, 6, 3, 1, 1, 4),
    "5x5 stride 2": (3, 6, 9, 5, 2, 2, 1),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES)
def test_onto_is_added_to_on_every_rung(case, dtype):
    C, K, side, kernel, stride, padding, groups = CASES[case]
    window, rng = Window2d.of((kernel, kernel), stride, padding, 1), np.random.default_rng(0)
    draw = lambda *shape: rng.standard_normal(shape).astype(dtype)
    x, weight = draw(2, C, side, side), draw(K, C // groups, kernel, kernel)
    gy, there = draw(2, K, *window.output_size(side, side)), draw(*x.shape)
    with kernels.using(conv2d="reference"):
        expected = there + conv2d.backward(gy, x, weight, window, groups)[0]
    for rung in kernels.rungs("conv2d"):
        wide = layout.empty((2, 2 * C, side, side), dtype)
        for onto in (there.copy(), layout.channels_last(there.copy()), wide[:, C:]):
            onto[...] = there
            wide[:, :C] = 7
            with kernels.using(conv2d=rung):
                gx = conv2d.backward(gy, x, weight, window, groups, onto=onto)[0]
            assert gx is onto
            tolerance = (1e-10 if dtype == "float64" else 2e-5) * np.abs(expected).max()
            np.testing.assert_allclose(gx, expected, rtol=0, atol=tolerance)
            assert (wide[:, :C] == 7).all()


@pytest.mark.parametrize(("channels", "filters"), [(48, 16), (37, 5), (200, 24)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_weight_gradient_of_more_channels_than_filters_is_that_of_the_reference(channels, filters, dtype):
    """A 1x1 convolution: the product is then turned round."""
    rng, window = np.random.default_rng(1), Window2d.of((1, 1), 1, 0, 1)
    x, gy = rng.standard_normal((3, channels, 9, 11)).astype(dtype), rng.standard_normal((3, filters, 9, 11)).astype(dtype)
    weight = np.zeros((filters, channels, 1, 1), dtype)
    expected = np.einsum("nkij,ncij->kc", gy.astype("float64"), x.astype("float64"))
    for threads in (1, 2):
        with kernels.threads.num_threads(threads), kernels.using(conv2d="implicit_gemm"):
            gw = conv2d.backward(gy, x, weight, window, needs=(False, True, False))[1][:, :, 0, 0]
        np.testing.assert_allclose(gw, expected, rtol=0, atol=(1e-10 if dtype == "float64" else 1e-5) * np.abs(expected).max())
