"""Two orders of one array: which is which, and that kernels read either, with gaps between pixels too."""

import numpy as np
import pytest

import kernels
from kernels import Window2d, layout


def test_an_empty_array_is_channels_last_and_aligned():
    x = layout.empty((2, 3, 4, 5), np.float32)
    assert x.shape == (2, 3, 4, 5)
    assert x.strides == (240, 4, 60, 12)
    assert x.ctypes.data % layout.ALIGN == 0
    assert layout.pitch(x) == 3


@pytest.mark.parametrize(("make", "pitch"), [
    (lambda: np.zeros((2, 3, 4, 5)), None),                                     # C order
    (lambda: np.zeros((2, 4, 5, 3)).transpose(0, 3, 1, 2), 3),
    (lambda: np.zeros((2, 4, 5, 9)).transpose(0, 3, 1, 2)[:, 2:5], 9),          # a slice of channels
    (lambda: np.zeros((2, 4, 5, 3)).transpose(0, 3, 1, 2)[:, :, ::2], None),    # every other row
    (lambda: np.zeros((2, 4, 5, 3)).transpose(0, 3, 1, 2)[:, ::-1], None),
    (lambda: np.zeros((2, 3, 1, 1)), 3), (lambda: np.zeros((2, 1, 4, 5)), 1), (lambda: np.zeros((0, 3, 4, 5)), 3)])
def test_pitch(make, pitch):
    assert layout.pitch(make()) == pitch


def test_rows_of_a_slice_are_the_same_memory():
    buffer = np.arange(2 * 4 * 5 * 9.0).reshape(2, 4, 5, 9)
    x = buffer.transpose(0, 3, 1, 2)[:, 2:5]
    rows = layout.rows(x)
    np.testing.assert_array_equal(rows[:-1, :3], buffer.reshape(40, 9)[:-1, 2:5])
    assert np.shares_memory(rows, buffer)


def test_flat_follows_memory(rng):
    x = rng.standard_normal((2, 3, 4, 5))
    last = layout.channels_last(x)
    np.testing.assert_array_equal(layout.flat(x), x.ravel())
    np.testing.assert_array_equal(layout.flat(last), x.transpose(0, 2, 3, 1).ravel())
    a, b = layout.same_order(x, last)
    assert layout.pitch(a) == layout.pitch(b) == 3


CALLS = {
    "conv2d": lambda x: kernels.conv2d.forward(x, np.arange(54.0).reshape(2, 3, 3, 3), None, Window2d.of(3, 2, 1)),
    "max_pool2d": lambda x: kernels.pool2d.max_forward(x, Window2d.of(2))[0],
    "avg_pool2d": lambda x: kernels.pool2d.avg_forward(x, Window2d.of(2, 1, 1)),
    "adaptive_avg_pool2d": lambda x: kernels.pool2d.adaptive_avg_forward(x, 3, 2),
    "global_avg_pool2d": kernels.pool2d.global_avg_forward,
    "batch_norm": lambda x: kernels.batch_norm.normalize(x, *kernels.batch_norm.statistics(x), None, None, 1e-5, None, True),
    "relu": kernels.activation.relu_forward,
    "add": lambda x: kernels.activation.add(x, x),
    "concat": lambda x: kernels.concat.forward([x, x]),
    "lrn": lambda x: kernels.lrn.forward(x, 3, 1.0, 0.75, 1.0),
}


@pytest.mark.parametrize("name", CALLS)
def test_kernels_read_both_orders_and_slices(name, rng):
    x = rng.standard_normal((2, 3, 4, 5))
    buffer = np.full((2, 4, 5, 7), np.nan)
    buffer.transpose(0, 3, 1, 2)[:, 3:6] = x
    expected = CALLS[name](x)
    for same in (layout.channels_last(x), buffer.transpose(0, 3, 1, 2)[:, 3:6]):
        before = same.copy()
        np.testing.assert_allclose(CALLS[name](same), expected, rtol=1e-13, atol=1e-14)
        np.testing.assert_array_equal(same, before)


def test_the_gradient_of_a_concatenation_is_slices_without_copies(rng):
    gy = layout.channels_last(rng.standard_normal((2, 5, 3, 4)))
    pieces = kernels.concat.backward(gy, (2, 3))
    assert all(np.shares_memory(piece, gy) for piece in pieces)
    np.testing.assert_array_equal(np.concatenate(pieces, 1), gy)
