"""The Winograd rung: all three passes against the reference in float64, and when it leaves the work to the rung below."""

import numpy as np
import pytest
from support import close

import kernels
from kernels import Window2d, layout, threads
from kernels.conv2d import winograd, winograd_many, winograd_tiles

SHAPES = [  # N, C, H, W, K, padding: images that no whole number of tiles covers, and borders of every kind
    (2, 16, 9, 7, 32, 1), (3, 48, 8, 13, 16, 0), (1, 16, 6, 5, 80, ((0, 1), (2, 1))), (2, 32, 4, 4, 16, 2)]
FILTERS_OF_VECTORS = pytest.mark.parametrize("shape", SHAPES, ids=str)


def arrays(shape, rng):
    N, C, H, W, K, padding = shape
    window = Window2d.of(3, 1, padding)
    x, w, b = (rng.standard_normal(s).astype(np.float32) for s in ((N, C, H, W), (K, C, 3, 3), (K,)))
    gy = rng.standard_normal((N, K, *window.output_size(H, W))).astype(np.float32)
    return x, w, b, gy, window


def both_passes(rung, x, w, b, gy, window):
    with kernels.using(conv2d=rung):
        return kernels.conv2d.forward(x, w, b, window, 1, True), *kernels.conv2d.backward(gy, x, w, window)


@FILTERS_OF_VECTORS
def test_agrees_with_the_definition(shape, rng):
    x, w, b, gy, window = arrays(shape, rng)
    assert winograd.fits(x.shape, w.shape, x.dtype, window, 1)
    exact = both_passes("reference", *(a.astype(np.float64) for a in (x, w, b, gy)), window)
    for actual, expected in zip(both_passes("winograd", x, w, b, gy, window), exact):
        assert actual.dtype == np.float32
        close(actual, expected, 2e-5)


@FILTERS_OF_VECTORS
def test_threads_change_no_bit(shape, rng, monkeypatch):
    monkeypatch.setattr("kernels.dispatch.FEW", 0)
    x, w, b, gy, window = arrays(shape, rng)
    with threads.num_threads(1):
        one = both_passes("winograd", x, w, b, gy, window)
    for a, b_ in zip(both_passes("winograd", x, w, b, gy, window), one):
        np.testing.assert_array_equal(a, b_)


@pytest.mark.parametrize("shape", [(1, 144, 10, 6, 96, 1), (2, 208, 9, 7, 176, 1)], ids=str)
@pytest.mark.parametrize("tiles", [5, 96])
def test_filters_that_the_second_cache_does_not_hold(shape, tiles, rng, monkeypatch):
    """Transformed a panel and some channels at a time; images in blocks of tiles, the weight gradient added up over them."""
    monkeypatch.setattr(winograd_many, "MOST", tiles)
    monkeypatch.setattr(winograd_tiles, "FAR", 0)
    monkeypatch.setattr(winograd_tiles, "LEAST", tiles)
    monkeypatch.setattr("kernels.dispatch.FEW", 0)
    x, w, b, gy, window = arrays(shape, rng)
    assert winograd.POINTS * w[..., 0, 0].nbytes > winograd.NEAR
    assert winograd._many(shape[4], shape[1], 12) == (shape[1] == 208)
    exact = both_passes("reference", *(a.astype(np.float64) for a in (x, w, b, gy)), window)
    results = {}
    for workers in (1, 2):
        with threads.num_threads(workers):
            results[workers] = both_passes("winograd", x, w, b, gy, window)
    for one, two, expected in zip(results[1], results[2], exact):
        np.testing.assert_array_equal(one, two)
        close(two, expected, 2e-5)


def test_adds_to_a_gradient_panel_by_panel(rng):
    x, w, _, gy, window = arrays((2, 176, 9, 7, 208, 1), rng)
    there = rng.standard_normal(x.shape).astype(np.float32)
    exact = there + both_passes("reference", *(a.astype(np.float64) for a in (x, w, w[:, 0, 0, 0], gy)), window)[1]
    onto = layout.channels_last(there.copy())
    with kernels.using(conv2d="winograd"):
        assert kernels.conv2d.backward(gy, x, w, window, needs=(True, False, False), onto=onto)[0] is onto
    close(onto, exact, 2e-5)


@pytest.mark.parametrize(("dtype", "channels", "window", "groups"), [
    ("float64", 16, Window2d.of(3, 1, 1), 1), ("float32", 15, Window2d.of(3, 1, 1), 1),
    ("float32", 16, Window2d.of(5, 1, 1), 1), ("float32", 16, Window2d.of(3, 2, 1), 1),
    ("float32", 16, Window2d.of(3, 1, 1, 2), 1),
    ("float32", 32, Window2d.of(3, 1, 1), 2), ("float32", 16, Window2d.of(3, 1, 3), 1)])
def test_leaves_other_convolutions_to_the_rung_below(dtype, channels, window, groups, rng):
    x = rng.standard_normal((2, channels, 9, 8)).astype(dtype)
    w = rng.standard_normal((channels, channels // groups, *window[:2])).astype(dtype)
    assert not winograd.fits(x.shape, w.shape, x.dtype, window, groups)
    with kernels.using(conv2d="winograd"):
        y = kernels.conv2d.forward(x, w, None, window, groups)
    with kernels.using(conv2d="implicit_gemm"):
        np.testing.assert_array_equal(y, kernels.conv2d.forward(x, w, None, window, groups))


def test_default_for_small_maps_where_filters_are_many():
    x, window = (16, 256, 7, 7), Window2d.of(3, 1, 1)
    assert winograd.pays(x, (256, 256, 3, 3), np.dtype(np.float32), window, 1)
    assert not winograd.pays(x, (32, 256, 3, 3), np.dtype(np.float32), window, 1)


def test_default_for_large_images_in_float32_only():
    w, window = (32, 32, 3, 3), Window2d.of(3, 1, 1)
    assert winograd.pays((4, 32, 28, 28), w, np.dtype(np.float32), window, 1)
    assert not winograd.pays((1, 32, 4, 4), w, np.dtype(np.float32), window, 1)
    assert not winograd.pays((4, 32, 28, 28), w, np.dtype(np.float64), window, 1)


@pytest.mark.parametrize("transform", ["input_transform", "filter_transform", "output_transform"])
def test_transforms_are_linear_maps_of_the_papers_matrices(transform):
    """Bᵀ, G and Aᵀ of Lavin and Gray 2016, section 4.1."""
    matrices = {
        "input_transform": [[4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0], [0, -2, -1, 2, 1, 0],
                            [0, 2, -1, -2, 1, 0], [0, 4, 0, -5, 0, 1]],
        "filter_transform": [[1 / 4, 0, 0], [-1 / 6, -1 / 6, -1 / 6], [-1 / 6, 1 / 6, -1 / 6], [1 / 24, 1 / 12, 1 / 6],
                             [1 / 24, -1 / 12, 1 / 6], [0, 0, 1]],
        "output_transform": [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]}
    matrix = np.array(matrices[transform])
    np.testing.assert_allclose(np.array(getattr(winograd_tiles, transform)(np.eye(matrix.shape[1]))), matrix, atol=1e-15)
    transposed = {"filter_transform": winograd_tiles.filter_gradient, "output_transform": winograd_tiles.result_gradient}
    if transform in transposed:
        np.testing.assert_allclose(np.array(transposed[transform](np.eye(len(matrix)))), matrix.T, atol=1e-15)
