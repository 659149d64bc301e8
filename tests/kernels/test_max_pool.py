"""Max pooling by vectors of channels: windows, channels and layouts of every kind against the definition."""

import numpy as np
import pytest

import kernels
from kernels import layout
from kernels.geometry import Window2d

WINDOWS = {
    "3x3, overlapping, padded": Window2d.of(3, 2, 1),
    "2x2": Window2d.of(2, 2),
    "sides and strides apart": Window2d.of((2, 3), (1, 2), ((1, 0), (0, 2))),
    "dilated": Window2d.of((3, 2), (2, 1), (2, 1), (2, 3)),
    "pixels that no window sees": Window2d.of(2, 4),
    "more taps than a byte counts": Window2d.of((19, 14), 1, (6, 3)),
    "one past the end": Window2d.of(3, 2, 0, 1, True),
}
CHANNELS = [1, 16, 83]          # values alone, one vector, vectors in fours and alone and values


def pooled(rung, x, gy, window):
    with kernels.using(pool2d=rung):
        y, places = kernels.pool2d.max_forward(x, window)
        return y, places, kernels.pool2d.max_backward(gy, places, window, *x.shape[2:])


@pytest.mark.parametrize("rung", kernels.rungs("pool2d")[1:])
@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("window", WINDOWS.values(), ids=WINDOWS)
def test_every_window_as_defined(rung, channels, window, rng):
    x = rng.integers(0, 6, (2, channels, 15, 14)).astype(float)        # with ties
    x[rng.random(x.shape) < 0.02] = np.nan
    gy = rng.standard_normal((2, channels, *window.output_size(15, 14)))
    for got, expected in zip(pooled(rung, layout.channels_last(x), gy, window), pooled("reference", x, gy, window)):
        assert got.dtype == expected.dtype
        np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12)


def test_places_take_a_byte_where_a_byte_does():
    assert WINDOWS["2x2"].tap_dtype == Window2d.of(16).tap_dtype == np.uint8
    assert Window2d.of((16, 17)).tap_dtype == WINDOWS["more taps than a byte counts"].tap_dtype == np.int32


def test_large_images_whose_results_go_past_the_caches(rng):
    x = layout.channels_last(rng.standard_normal((2, 64, 121, 120), np.float32))
    window = Window2d.of(3, 2, 1)
    gy = rng.standard_normal((2, 64, *window.output_size(121, 120)), np.float32)
    assert gy.nbytes > kernels.streaming.LARGE
    for got, expected in zip(pooled("channels_last", x, gy, window), pooled("cpu", x, gy, window)):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rung", kernels.rungs("pool2d"))
def test_a_place_in_the_padding_has_no_gradient(rung):
    places = np.array([0, 3], np.uint8).reshape(1, 1, 1, 2)           # the padded corner; a pixel
    window = Window2d.of(2, 1, ((1, 0), (1, 0)))
    with kernels.using(pool2d=rung):
        gx = kernels.pool2d.max_backward(np.array([[[[5.0, 7.0]]]]), places, window, 1, 2)
    np.testing.assert_array_equal(gx, [[[[0, 7]]]])


@pytest.mark.parametrize("rung", kernels.rungs("activation"))
@pytest.mark.parametrize(("shape", "sizes"), [((2, 83, 5, 3), (64, 16, 3)), ((3, 7, 4, 6), (7,)), ((2, 5, 3, 1), (0, 1, 4)),
                                              ((2, 128, 60, 61), (64, 64))])
def test_relu_gradients_cut_into_parts(rung, shape, sizes, rng):
    gy, y = (layout.channels_last(rng.standard_normal(shape)) for _ in range(2))
    with kernels.using(activation=rung):
        parts, sums = kernels.activation.relu_backward_parts(gy, y, sizes)
    expected = np.where(y > 0, gy, 0)
    assert [part.shape[1] for part in parts] == list(sizes)
    np.testing.assert_array_equal(np.concatenate(parts, 1), expected)
    np.testing.assert_allclose(sums, expected.sum((0, 2, 3)), rtol=1e-10, atol=1e-10)
