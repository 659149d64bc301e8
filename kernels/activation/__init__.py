"""Rectified linear units, y = max(x, 0), elementwise on any shape; NaN stays NaN. And the sum of two arrays.

Source: Nair and Hinton 2010; in convolutional networks Krizhevsky et al. 2012, section 3.1.
"""

from kernels.dispatch import Room, expect_rank, expect_shape
from kernels.errors import ShapeError

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


def relu_backward_parts(gy, y, sizes):
    """(parts, gbias (C,)): relu_backward_sums, its gx cut along the channels into a list of arrays of `sizes` channels."""
    expect_rank("relu: y", y, "(N, C, H, W)")
    expect_shape("relu: gy", gy, y.shape)
    if sum(sizes) != y.shape[1]:
        raise ShapeError(f"relu: sizes {tuple(sizes)} add up to {sum(sizes)}, y has {y.shape[1]} channels; pass the channels "
                         "of the arrays that y is made of")
    return room.call("relu_backward_parts", gy, y, tuple(sizes))


def accumulate(a, b):
    """a += b, in place, for arrays of one shape; a may be some channels of a larger channels-last array."""
    expect_shape("accumulate: b", b, a.shape)
    room.call_as_is("accumulate", a, b)


def add(a, b):
    """y = a + b for arrays of one shape: a residual sum, and gradients that meet."""
    expect_shape("add: b", b, a.shape)
    return room.call("add", a, b)
