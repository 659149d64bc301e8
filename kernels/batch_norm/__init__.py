"""Batch normalisation of each channel over the batch and its pixels.

    y = weight · (x - mean) / sqrt(var + eps) + bias       x (N, C, H, W), all others (C,)

In training mean and var are the batch's own (biased), so that the gradient flows through them too; in evaluation they
are constants. Source: Ioffe and Szegedy 2015, algorithm 1 and section 3.
"""

import numpy as np

from kernels import device, layout
from kernels.activation import accumulate
from kernels.dispatch import Room, by_order, expect_rank, expect_shape
from kernels.errors import ShapeError

room = Room("batch_norm", ["reference", "cpu", "channels_last"], by_order)


def statistics(x):
    """(mean, var), each (C,): the biased mean and variance of every channel."""
    expect_rank("batch_norm: x", x, "(N, C, H, W)")
    if x.size == 0:
        raise ShapeError(f"batch_norm: x has shape {x.shape} and so no values to average; pass at least one image")
    return room.call("statistics", x)


def normalize(x, mean, var, weight, bias, eps, add=None, relu=False):
    """y (N, C, H, W); see the module for the formula. weight None is 1, bias None is 0.

    In the same pass: add (N, C, H, W) is added to y (a shortcut), and with relu what is below 0 becomes 0.
    """
    weight, bias = _check(x, mean, var, weight, bias)
    expect_shape("batch_norm: add", add, x.shape)
    return room.call("normalize", x, mean, var, weight, bias, eps, add, bool(relu))


def backward(gy, x, mean, var, weight, eps, batch_statistics, relu_bias=None, reuse=False, onto=None):
    """(gx, gweight, gbias). batch_statistics: mean and var came from x (training), so the gradient goes through them.

    relu_bias: the bias, where normalize was called with relu and without add: gy then passes where y was above 0.
    reuse: gx may take gy's memory, which is then lost. onto: an array of x's shape that gx is added to, and which is returned
    in its place.
    """
    weight, relu_bias = _check(x, mean, var, weight, relu_bias, optional=True)
    expect_shape("batch_norm: gy", gy, x.shape)
    expect_shape("batch_norm: onto", onto, x.shape)
    arguments = gy, x, mean, var, weight, eps, bool(batch_statistics), relu_bias, bool(reuse)
    if onto is None:
        return room.call("backward", *arguments)
    if x.device == "cpu" and room.pinned() in (None, "channels_last") and layout.prefers_channels_last(onto):
        return room.call("backward", *arguments, onto)
    gx, gweight, gbias = room.call("backward", *arguments)
    accumulate(onto, gx)
    return onto, gweight, gbias


def add_relu_backward(gy, y, x, mean, var, weight, eps, batch_statistics, reuse=False):
    """(gx, gweight, gbias, gadd), where normalize was called with add and relu and gave y. reuse: gadd may take gy's memory."""
    weight, _ = _check(x, mean, var, weight, None)
    for name, array in (("gy", gy), ("y", y)):
        expect_shape(f"batch_norm: {name}", array, x.shape)
    return room.call("add_relu_backward", gy, y, x, mean, var, weight, eps, bool(batch_statistics), bool(reuse))


def move_running(running_mean, running_var, mean, var, momentum, count):
    """running = (1 - momentum)·running + momentum·batch, in place, all (C,); var, which is biased, times count/(count - 1) for
    the `count` > 1 values that it is of. Raises ShapeError."""
    for name, array in (("running_mean", running_mean), ("running_var", running_var)):
        expect_shape(f"batch_norm: {name}", array, mean.shape)
    if device.place("batch_norm.move_running", (running_mean, running_var, mean, var)) == "cuda":
        device.call_room("batch_norm", "move_running", (running_mean, running_var, mean, var, momentum, count))
    else:
        room.rung(room.pinned() or "cpu").move_running(running_mean, running_var, mean, var, momentum, count)


def _check(x, mean, var, weight, bias, optional=False):
    expect_rank("batch_norm: x", x, "(N, C, H, W)")
    C = x.shape[1]
    weight = np.ones_like(x, shape=C) if weight is None else weight
    bias = np.zeros_like(x, shape=C) if bias is None and not optional else bias
    for name, array in (("mean", mean), ("var", var), ("weight", weight), ("bias", bias)):
        expect_shape(f"batch_norm: {name}", array, (C,))
    return weight, bias
