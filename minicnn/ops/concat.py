"""Concatenation."""

import kernels.concat as kernel
from minicnn.autograd import Op, apply, no_flops


class Concat(Op):
    """y = the inputs one after the other along an axis;  the gradients are gy, split there."""

    flops = no_flops

    def __init__(self, axis):
        self.axis = axis

    def forward(self, *xs):
        y = kernel.forward(xs, self.axis)
        self.sizes = [x.shape[self.axis] for x in xs]
        return y

    def backward(self, gy):
        return tuple(kernel.backward(gy, self.sizes, self.axis))


def concat(tensors, axis=1):
    """One tensor: `tensors` one after the other along `axis`. Raises ShapeError, DTypeError."""
    return apply(Concat(axis), *tensors)
