"""The suite is itself tested: bugs planted in ops and kernels must be caught by the checks of test_ops.py."""

import numpy as np
import pytest
from minicnn_checks import check_case
from op_cases import CASES

import kernels
from minicnn.ops.activation import ReLU
from minicnn.ops.arithmetic import Add, Multiply
from minicnn.ops.batch_norm import BatchNorm
from minicnn.ops.conv import Conv2d
from minicnn.ops.loss import CrossEntropy, LogSoftmax
from minicnn.ops.lrn import LocalResponseNorm
from minicnn.ops.pool import MaxPool2d
from minicnn.ops.shape import Sum, Transpose

BY_NAME = {case.name: case for case in CASES}


def change(gradients, i, edit):
    gradients = list(gradients)
    gradients[i] = edit(gradients[i])
    return tuple(gradients)


def after(cls, edit):
    """The class's backward with `edit` on its result."""
    original = cls.backward
    return cls, "backward", lambda self, gy: edit(original(self, gy))


def in_reference(room, function, replace):
    module = kernels.ROOMS[room].rung("reference")
    return module, function, replace(getattr(module, function))


def drop_batch_terms(original):
    return lambda gy, x, mean, var, weight, eps, batch, *rest: original(gy, x, mean, var, weight, eps, False, *rest)


def drop_cross_channel_term(original):
    return lambda gy, x, *constants: gy * kernels.lrn.forward(x, *constants) / x


def last_maximum(original):
    def forward(x, window):
        y, places = original(x, window)
        return y, np.where(places > 0, places - 1, places).astype(places.dtype)
    return forward


def smaller_padding(original):
    return lambda x, weight, bias, window, groups, relu: original(np.roll(x, 1, 2), weight, bias, window, groups, relu)


BUGS = {
    "conv2d: weight gradient transposed": ("conv2d same", lambda: after(
        Conv2d, lambda g: change(g, 1, lambda w: np.ascontiguousarray(w[..., ::-1, :])))),
    "conv2d: bias gradient a mean": ("conv2d", lambda: after(Conv2d, lambda g: change(g, 2, lambda b: b / 60))),
    "conv2d: input gradient zero": ("conv2d", lambda: after(Conv2d, lambda g: change(g, 0, np.zeros_like))),
    "conv2d: shifted forward with its own right backward": (
        "conv2d", lambda: in_reference("conv2d", "forward", smaller_padding)),
    "batch_norm: batch terms dropped": ("batch_norm in training",
                                        lambda: in_reference("batch_norm", "backward", drop_batch_terms)),
    "batch_norm: zero gradient": ("batch_norm in training", lambda: after(BatchNorm, lambda g: change(g, 0, np.zeros_like))),
    "lrn: cross-channel term dropped": ("local_response_norm",
                                        lambda: in_reference("lrn", "backward", drop_cross_channel_term)),
    "lrn: sign": ("local_response_norm", lambda: after(LocalResponseNorm, lambda g: -g)),
    "max_pool2d: gradient to the neighbour": ("max_pool2d", lambda: in_reference("pool2d", "max_forward", last_maximum)),
    "max_pool2d: gradient transposed": ("max_pool2d", lambda: after(MaxPool2d, lambda g: g[:, :, ::-1].copy())),
    "relu: gradient everywhere": ("relu", lambda: (ReLU, "backward", lambda self, gy: gy.copy())),
    "log_softmax: sum left out": ("log_softmax", lambda: (LogSoftmax, "backward", lambda self, gy: gy.copy())),
    "cross_entropy: not divided by N": ("cross_entropy", lambda: after(CrossEntropy, lambda g: g * 4)),
    "multiply: own factor": ("multiply", lambda: (Multiply, "backward", lambda self, gy: (
        (gy * self.a).sum(1, keepdims=True), (gy * self.b).sum(2, keepdims=True)))),
    "add: broadcast not summed": ("add", lambda: after(Add, lambda g: change(g, 1, lambda b: b / 2))),
    "sum: wrong factor": ("sum", lambda: after(Sum, lambda g: g * 1.001)),
    "transpose: same permutation back": ("transpose", lambda: (Transpose, "backward", lambda self, gy: (
        gy.reshape(2, 3, 4)))),
}


@pytest.mark.parametrize("bug", BUGS)
def test_planted_bug_is_caught(bug, monkeypatch, rng):
    name, plant = BUGS[bug]
    check_case(BY_NAME[name], rng)              # right before the bug is there
    monkeypatch.setattr(*plant())
    with pytest.raises(AssertionError):
        check_case(BY_NAME[name], rng)
