"""Results that are written side by side into one array are the numbers of a concatenation, which then copies nothing."""

import numpy as np
import pytest

import kernels
from minicnn import Tensor, nn, ops, record
from minicnn.autograd import Op, apply

SHAPES = ((16, 5, 1, 1), (24, 5, 3, 3), (16, 5, 3, 3))          # of three filters, on vectors' boundaries or not


def tensors(seed=0, dtype="float64"):
    rng = np.random.default_rng(seed)
    draw = lambda *shape: Tensor(rng.standard_normal(shape).astype(dtype), requires_grad=True)
    return draw(2, 5, 7, 6), [draw(*shape) for shape in SHAPES], rng.standard_normal((2, 56, 7, 6)).astype(dtype)


def joined(x, weights, buffer):
    parts = [ops.conv2d_relu(x, w, padding=w.shape[2] // 2, buffer=buffer) for w in weights]
    return parts, ops.concat(parts)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_convolutions_in_one_buffer_give_what_a_concatenation_gives(dtype):
    results = []
    for buffer in (None, ops.ChannelBuffer(56)):
        x, weights, gy = tensors(dtype=dtype)
        parts, y = joined(x, weights, buffer)
        y.backward(gy)
        results.append([y.data, x.grad, *[w.grad for w in weights]])
        assert np.may_share_memory(parts[1].data, y.data) == (buffer is not None)
    for plain, buffered in zip(*results):
        np.testing.assert_array_equal(plain, buffered)


def test_statistics_of_channels_that_were_seen_are_not_computed_again(monkeypatch, rng):
    """A buffer that is filled in pieces: each channel is read once, and all have the statistics of the whole."""
    seen, statistics = [], kernels.batch_norm.statistics
    monkeypatch.setattr(kernels.batch_norm, "statistics", lambda x: seen.append(x.shape[1]) or statistics(x))
    pieces, buffer = [Tensor(rng.standard_normal((2, k, 3, 4)) + k) for k in (5, 3, 2)], ops.ChannelBuffer(10)
    x = pieces[0]
    for piece in pieces[1:]:
        x = ops.append(x, piece, buffer)
        mean, var = buffer.statistics(x.data)
        np.testing.assert_allclose(mean, x.data.mean((0, 2, 3)), rtol=1e-12)
        np.testing.assert_allclose(var, x.data.var((0, 2, 3)), rtol=1e-12)
    assert seen == [8, 2]
    np.testing.assert_allclose(buffer.statistics(x.data[:, :4])[0], x.data[:, :4].mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(buffer.statistics(pieces[0].data)[0], pieces[0].data.mean((0, 2, 3)), rtol=1e-12)
    assert seen == [8, 2, 5], "an array of somebody else's is read"


@pytest.mark.parametrize("rung", ["reference", "im2col", "implicit_gemm", "winograd"])
def test_every_rung_writes_to_the_buffer(rung):
    x, weights, _ = tensors(dtype="float32")
    expected = joined(x, weights, None)[1].data
    with kernels.using(conv2d=rung):
        parts, y = joined(x, weights, ops.ChannelBuffer(56))
    assert np.may_share_memory(parts[2].data, y.data)
    np.testing.assert_allclose(y.data, expected, rtol=0, atol=2e-5 * np.abs(expected).max())


def test_what_does_not_fit_the_buffer_goes_elsewhere():
    x, weights, _ = tensors()
    expected = joined(x, weights, None)[1].data
    for buffer in (ops.ChannelBuffer(40), ops.ChannelBuffer(70), ops.ChannelBuffer(3)):
        np.testing.assert_array_equal(joined(x, weights, buffer)[1].data, expected)
    small = ops.ChannelBuffer(56)
    ops.conv2d(x, weights[0], stride=2, buffer=small)               # the room has that size now
    np.testing.assert_array_equal(joined(x, weights, small)[1].data, expected)


def test_parts_in_another_order_or_with_a_gap_are_copied():
    x, weights, _ = tensors()
    parts, _ = joined(x, weights, ops.ChannelBuffer(56))
    swapped = ops.concat([parts[0], parts[2], parts[1]])
    np.testing.assert_array_equal(swapped.data, np.concatenate([parts[i].data for i in (0, 2, 1)], 1))
    some = ops.concat(parts[:2])
    assert not np.may_share_memory(some.data, parts[0].data)
    np.testing.assert_array_equal(some.data, np.concatenate([part.data for part in parts[:2]], 1))


class Twice(Op):
    """y = 2x, an array of its own"""

    def forward(self, x):
        return 2 * x

    def backward(self, gy):
        return 2 * gy


def test_append_takes_a_part_that_is_there_and_copies_another():
    x, weights, gy = tensors()
    for between in (lambda part: part, lambda part: apply(Twice(), part)):
        buffer = ops.ChannelBuffer(56)
        y = ops.append(ops.conv2d(x, weights[0]), ops.conv2d(x, weights[1], padding=1), buffer)
        new = between(ops.conv2d(x, weights[2], padding=1, buffer=buffer))
        z = ops.append(y, new, buffer)
        np.testing.assert_array_equal(z.data, np.concatenate([y.data, new.data], 1))
        z.backward(gy)


def test_layers_that_are_watched_are_seen_one_by_one():
    conv = nn.Conv2d(5, 16, 1)
    x, _, _ = tensors(dtype="float32")
    buffer = ops.ChannelBuffer(16)
    model = nn.Sequential(conv)
    with record(model) as seen:
        nn.conv_into(conv, x, buffer)
    assert buffer.room is None
    assert len(seen.activations)
    assert np.may_share_memory(nn.conv_into(conv, x, buffer).data, buffer.room)
