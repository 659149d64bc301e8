"""The fully connected layer."""

import kernels.linear as kernel
from minicnn.autograd import Op, apply


class Linear(Op):
    """y = x · weightᵀ + bias: x (N, C), weight (K, C), bias (K,) -> y (N, K).

    gx = gy · weight, gweight = gyᵀ · x, gbias = Σ_n gy
    """

    makes_gradients = "new"

    def forward(self, x, weight, bias=None):
        self.x, self.weight = x, weight
        return kernel.forward(x, weight, bias)

    def backward(self, gy):
        needs = (*self.needs, False)[:3]
        return kernel.backward(gy, self.x, self.weight, needs)[:len(self.needs)]

    def macs(self, output_shape, x_shape, weight_shape, bias_shape=None):
        return output_shape[0] * weight_shape[0] * weight_shape[1]


def linear(x, weight, bias=None):
    """y (N, K) = x (N, C) · weight (K, C)ᵀ + bias (K,). Raises ShapeError, DTypeError."""
    return apply(Linear(), x, weight) if bias is None else apply(Linear(), x, weight, bias)
