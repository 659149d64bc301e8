"""The fully connected layer: y[n, k] = bias[k] + sum over c of x[n, c] · weight[k, c].

x (N, C), weight (K, C), bias (K,) or None, y (N, K).
"""

from kernels.dispatch import Room, expect_rank, expect_shape

room = Room("linear", ["reference", "cpu", "blas", "tiles"])


def forward(x, weight, bias):
    """y (N, K); see the module for the formula. Raises ShapeError, DTypeError."""
    _check(x, weight)
    expect_shape("linear: bias", bias, weight.shape[:1])
    return room.call("forward", x, weight, bias)


def backward(gy, x, weight, needs=(True, True, True)):
    """(gx, gweight, gbias) for the upstream gradient gy (N, K); None where `needs` says False."""
    _check(x, weight)
    expect_shape("linear: gy", gy, (x.shape[0], weight.shape[0]))
    return room.call("backward", gy, x, weight, needs)


def _check(x, weight):
    expect_rank("linear: x", x, "(N, C)")
    expect_rank("linear: weight", weight, "(K, C)")
    expect_shape("linear: weight", weight, (weight.shape[0], x.shape[1]))
