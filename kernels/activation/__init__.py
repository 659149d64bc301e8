"""Rectified linear units, y = max(x, 0), elementwise on any shape; NaN stays NaN. And the sum of two arrays.

Source: Nair and Hinton 2010; in convolutional networks Krizhevsky et al. 2012, section 3.1.
"""

from kernels.dispatch import Room, expect_rank, expect_shape

room = Room("activation", ["reference", "cpu"])


def relu_forward(x):
    """y = max(x, 0)"""
    return room.call("relu_forward", x)


def relu_backward(gy, y, reuse=False):
    """gx = gy where y > 0, else 0: the subgradient at the kink is 0. reuse: gx may take gy's memory, which is then lost."""
    expect_shape("relu: gy", gy, y.shape)
    return room.call("relu_backward", gy, y, bool(reuse))


def relu_backward_sums(gy, y, reuse=False):
    """(gx, gbias (C,)) for gy (N, C, H, W) in one pass: gbias = Σ gx over images and pixels, for a bias under the rectifier."""
    expect_rank("relu: y", y, "(N, C, H, W)")
    expect_shape("relu: gy", gy, y.shape)
    return room.call("relu_backward_sums", gy, y, bool(reuse))


def accumulate(a, b):
    """a += b, in place, for arrays of one shape; a may be some channels of a larger channels-last array."""
    expect_shape("accumulate: b", b, a.shape)
    room.call_as_is("accumulate", a, b)


def add(a, b):
    """y = a + b for arrays of one shape: a residual sum, and gradients that meet."""
    expect_shape("add: b", b, a.shape)
    return room.call("add", a, b)
