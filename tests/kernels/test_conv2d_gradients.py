"""Convolutions in special places: gradients added to what is there, more channels than filters, sums in several pieces."""

import numpy as np
import pytest
from support import close

import kernels
from kernels import conv2d, layout
from kernels.conv2d import implicit_gemm, implicit_gemm_weights
from kernels.conv2d.classes import LONGEST
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


@pytest.mark.parametrize(("channels", "kernel", "stride"), [(4100, 1, 1), (1400, 3, 1), (1400, 3, 2)])
def test_sums_longer_than_a_panel_that_stays_near(channels, kernel, stride):
    """Runs of taps are multiplied some at a time, the later added to what the earlier gave; bias first, ReLU last."""
    assert kernel * channels > LONGEST
    rng, window = np.random.default_rng(2), Window2d.of(kernel, stride, kernel // 2)
    for filters in (20, channels):                  # a long sum in the forward pass, and in the data gradient
        C = channels if filters == 20 else 20
        x, weight, bias = (rng.standard_normal(s) for s in ((2, C, 5, 4), (filters, C, kernel, kernel), (filters,)))
        gy, there = rng.standard_normal((2, filters, *window.output_size(5, 4))), rng.standard_normal(x.shape)
        with kernels.using(conv2d="reference"):
            y, (gx, gw, _) = conv2d.forward(x, weight, bias, window, 1, True), conv2d.backward(gy, x, weight, window)
        with kernels.using(conv2d="implicit_gemm"):
            onto = layout.channels_last(there.copy())
            actual = conv2d.forward(x, weight, bias, window, 1, True), *conv2d.backward(gy, x, weight, window, onto=onto)[:2]
        for one, other in zip(actual, (y, there + gx, gw)):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-12 * np.abs(other).max() * channels)


@pytest.mark.parametrize(("dtype", "filters", "kernel"), [("float32", 176, 1), ("float64", 96, 3)])
def test_workers_that_share_the_filters_change_no_bit(dtype, filters, kernel, monkeypatch):
    """Of few pixels: with 1 worker, with 2 and 3 that have as many vectors of filters or channels each, and with 5."""
    window, rng = Window2d.of((kernel, kernel), 1, kernel // 2, 1), np.random.default_rng(0)
    draw = lambda *shape: rng.standard_normal(shape).astype(dtype)
    x, weight, bias = draw(2, 192, 5, 7), draw(filters, 192, kernel, kernel), draw(filters)
    gy, there, results, cut = draw(2, filters, 5, 7), draw(*x.shape), [], []
    parts = implicit_gemm._parts
    monkeypatch.setattr(implicit_gemm, "_parts", lambda *args: cut.append(parts(*args)) or cut[-1])
    for workers in (1, 2, 3, 5):
        monkeypatch.setattr(implicit_gemm, "get_num_threads", lambda workers=workers: workers)
        with kernels.using(conv2d="implicit_gemm"):
            results.append((conv2d.forward(x, weight, bias, window, 1, True),
                            conv2d.backward(gy, x, weight, window, onto=there.copy())[0]))
    assert set(cut) == {1, 2, 3}
    for y, gx in results[1:]:
        np.testing.assert_array_equal(y, results[0][0])
        np.testing.assert_array_equal(gx, results[0][1])
    with kernels.using(conv2d="reference"):
        y = np.maximum(conv2d.forward(x, weight, bias, window), 0)
        gx = there + conv2d.backward(gy, x, weight, window)[0]
    for actual, expected in zip(results[0], (y, gx)):
        tolerance = (1e-12 if dtype == "float64" else 1e-5) * np.abs(expected).max()
        np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize(("shape", "kernel", "stride", "padding", "groups"), [
    ((3, 48, 9, 11, 16), 1, 1, 0, 1), ((3, 20, 9, 11, 40), 3, 1, 1, 1), ((1, 80, 2, 2, 96), 3, 1, 1, 1),
    ((2, 64, 7, 6, 64), 3, 2, 1, 2), ((1, 8, 1, 1, 8), 5, 1, 2, 1), ((2, 24, 5, 5, 7), 1, 2, 0, 1)], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sums_of_the_weight_gradient_need_not_be_cleared(shape, kernel, stride, padding, groups, dtype, monkeypatch):
    """The first block is stored, the others are added to it, and what no block sees is 0: whatever the memory held."""
    (N, C, H, W, K), rng, window = shape, np.random.default_rng(4), Window2d.of(kernel, stride, padding)
    x, weight = rng.standard_normal((N, C, H, W)).astype(dtype), np.zeros((K, C // groups, kernel, kernel), dtype)
    gy = rng.standard_normal((N, K, *window.output_size(H, W))).astype(dtype)
    with kernels.using(conv2d="reference"):
        expected = conv2d.backward(gy, x, weight, window, groups, (False, True, False))[1]
    correlate = implicit_gemm_weights._correlate

    def of_what_was_there(*args):
        args[-1].fill(np.nan)
        correlate(*args)
    monkeypatch.setattr(implicit_gemm_weights, "_correlate", of_what_was_there)
    for threads in (1, 2, 5):
        monkeypatch.setattr(implicit_gemm_weights, "get_num_threads", lambda count=threads: count)
        with kernels.using(conv2d="implicit_gemm"):
            actual = conv2d.backward(gy, x, weight, window, groups, (False, True, False))[1]
        close(actual, expected, 1e-12 if dtype == "float64" else 1e-5)
