"""Trading time for memory: forget what lies between, compute it again when the gradient comes."""

import numpy as np

from minicnn.autograd import Op, Tensor, apply, no_grad


class Recompute(Op):
    """y = function(*xs), of which only the inputs are kept; backward runs function again, recorded this time.

    Source: Chen et al. 2016, "Training deep nets with sublinear memory cost"; for DenseNet Pleiss et al. 2017.
    """

    def __init__(self, function):
        self.function = function

    def forward(self, *xs):
        self.xs = xs
        with no_grad():
            return self.function(*[Tensor(x) for x in xs], again=False).data

    def backward(self, gy):
        tensors = [Tensor(x, requires_grad=needed) for x, needed in zip(self.xs, self.needs)]
        self.function(*tensors, again=True).backward(gy)
        return tuple(t.grad if t.grad is not None or not needed else np.zeros_like(t.data)
                     for t, needed in zip(tensors, self.needs))


def recompute(function, *inputs):
    """function(*inputs, again=False) -> Tensor, keeping none of its intermediate arrays.

    The backward pass calls function(*inputs, again=True), which must compute the same without further effects (no second
    update of running statistics, no fresh random draws); gradients of parameters inside are added to them there. At least
    one of `inputs` must need a gradient, or nothing is recorded.
    """
    return apply(Recompute(function), *inputs)
