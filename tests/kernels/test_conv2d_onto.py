"""The data gradient added to an array that is there: the sum of both, on every rung, in every order of memory."""

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
