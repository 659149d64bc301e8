"""Rungs are listed, pinned and refused by name; the door copies strange strides and refuses strange dtypes."""

import threading

import numpy as np
import pytest

import kernels
from kernels import Window2d
from kernels.errors import BackendError, DTypeError, ShapeError


def test_rungs_lists_the_ladder():
    assert kernels.rungs("conv2d")[:2] == ("reference", "im2col")
    with pytest.raises(BackendError, match="no operation named 'conv3d'; choose from activation"):
        kernels.rungs("conv3d")


def test_using_pins_nests_and_lets_go(monkeypatch):
    called = []
    reference = kernels.ROOMS["linear"].rung("reference")
    monkeypatch.setattr(reference, "forward", lambda *args: called.append("reference"))
    blas = kernels.ROOMS["linear"].rung("blas")
    monkeypatch.setattr(blas, "forward", lambda *args: called.append("blas"))
    x = np.ones((2, 3))
    with kernels.using(linear="reference"):
        kernels.linear.forward(x, x, None)
        with kernels.using(linear="blas"):
            kernels.linear.forward(x, x, None)
        kernels.linear.forward(x, x, None)
        thread = threading.Thread(target=lambda: called.append(kernels.dispatch._pinned.get().get("linear")))
        thread.start()
        thread.join()
    assert called == ["reference", "blas", "reference", None]


def test_unknown_rungs_are_refused():
    with pytest.raises(BackendError, match="conv2d has no rung 'fft'; choose from reference, im2col"), \
            kernels.using(conv2d="fft"):
        pass


def test_dtypes_are_refused_with_the_remedy():
    x = np.ones((1, 1, 3, 3), np.float16)
    with pytest.raises(DTypeError, match=r"conv2d.forward: dtype float16 is neither float32 nor float64; convert"):
        kernels.conv2d.forward(x, x, None, Window2d.of(3))
    with pytest.raises(DTypeError, match="the arrays have dtypes float32, float64"):
        kernels.conv2d.forward(x.astype("float32"), x.astype("float64"), None, Window2d.of(3))


def image(*shape):
    return np.ones(shape)


@pytest.mark.parametrize(("call", "message"), [
    (lambda: kernels.conv2d.forward(image(1, 3, 5, 5), image(4, 3, 3, 3), None, Window2d.of(3), 2),
     "in_channels 3 is not divisible by groups 2; choose groups from 1$"),
    (lambda: kernels.conv2d.forward(image(1, 4, 5, 5), image(6, 3, 3, 3), None, Window2d.of(3)),
     r"conv2d: weight has shape \(6, 3, 3, 3\), not \(6, 4, 3, 3\)"),
    (lambda: kernels.conv2d.forward(image(4, 5, 5), image(6, 3, 3, 3), None, Window2d.of(3)), r"not \(N, C, H, W\)"),
    (lambda: kernels.conv2d.forward(image(1, 3, 5, 5), image(6, 3, 3, 3), image(5), Window2d.of(3)), "conv2d: bias"),
    (lambda: kernels.conv2d.backward(image(1, 6, 4, 4), image(1, 3, 5, 5), image(6, 3, 3, 3), Window2d.of(3)), "conv2d: gy"),
    (lambda: kernels.linear.forward(image(2, 3), image(4, 5), None), r"linear: weight has shape \(4, 5\), not \(4, 3\)"),
    (lambda: kernels.pool2d.max_backward(image(1, 1, 2, 2), np.full((1, 1, 2, 2), 4, np.uint8), Window2d.of(2, 1), 3, 3),
     r"places \(uint8\) are not taps of uint8 below 4; pass what max_forward returned"),
    (lambda: kernels.pool2d.max_backward(image(1, 1, 2, 2), np.zeros((1, 1, 2, 2), np.int32), Window2d.of(2, 1), 3, 3),
     r"places \(int32\) are not taps of uint8"),
    (lambda: kernels.activation.relu_backward_parts(image(1, 5, 2, 2), image(1, 5, 2, 2), (2, 2)),
     r"sizes \(2, 2\) add up to 4, y has 5 channels"),
    (lambda: kernels.pool2d.max_forward(image(3, 5, 5), Window2d.of(2)), "max_pool2d: x"),
    (lambda: kernels.pool2d.avg_forward(image(1, 1, 5, 5), Window2d.of(2, dilation=2)), "average pooling has none"),
    (lambda: kernels.pool2d.adaptive_avg_forward(image(1, 1, 5, 5), 0, 2), "every side must be at least 1"),
    (lambda: kernels.batch_norm.normalize(image(1, 2, 3, 3), image(3), image(2), None, None, 0.1), "batch_norm: mean"),
    (lambda: kernels.batch_norm.statistics(image(0, 2, 3, 3)), "no values to average"),
    (lambda: kernels.lrn.forward(image(1, 2, 3, 3), 0, 1, 1, 1), "size 0 is less than 1"),
    (lambda: kernels.concat.forward([]), "no arrays"),
    (lambda: kernels.concat.forward([image(1, 2, 3), image(1, 2, 4)]), r"array 1 has shape \(1, 2, 4\), array 0 has"),
    (lambda: kernels.concat.forward([image(1, 2)], 2), "axis 2 is outside arrays of 2 axes"),
    (lambda: kernels.concat.backward(image(1, 5), (2, 2)), "sizes .2, 2. add up to 4, gy has 5"),
    (lambda: kernels.activation.relu_backward(image(2), image(3)), "relu: gy"),
    (lambda: kernels.loss.cross_entropy_forward(image(2, 3), np.array([0, 3])), r"label 3 is outside 0\.\.2"),
    (lambda: kernels.loss.cross_entropy_forward(image(2, 3), np.array([0, 1, 2])), "labels has shape"),
    (lambda: kernels.loss.cross_entropy_forward(image(0, 3), np.zeros(0, int)), "the batch is empty"),
])
def test_shapes_are_refused_at_the_door(call, message):
    """Compiled loops read outside an array if they are let: nothing of the wrong shape may reach them."""
    with pytest.raises(ShapeError, match=message):
        call()


def test_labels_must_be_integers():
    with pytest.raises(DTypeError, match="labels have dtype float64, not an integer one"):
        kernels.loss.cross_entropy_forward(image(2, 3), np.array([0.0, 1.0]))


def test_running_statistics_move_alike_on_every_rung_and_must_fit():
    rng = np.random.default_rng(0)
    mean, var, start = rng.random(5), rng.random(5), rng.random((2, 5))
    moved = []
    for rung in kernels.rungs("batch_norm"):
        running_mean, running_var = start.copy()
        with kernels.using(batch_norm=rung):
            kernels.batch_norm.move_running(running_mean, running_var, mean, var, 0.1, 8)
        moved.append((running_mean, running_var))
    for running_mean, running_var in moved:
        np.testing.assert_allclose(running_mean, 0.9 * start[0] + 0.1 * mean, rtol=1e-14)
        np.testing.assert_allclose(running_var, 0.9 * start[1] + 0.1 * var * 8 / 7, rtol=1e-14)
    with pytest.raises(ShapeError, match=r"batch_norm: running_var has shape \(4,\), not \(5,\)"):
        kernels.batch_norm.move_running(start[0], start[1, :4], mean, var, 0.1, 8)
