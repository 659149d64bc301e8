"""Activation functions."""

import kernels.activation as kernel
from minicnn.autograd import Op, apply


class ReLU(Op):
    """y = max(x, 0);  gx = gy where y > 0, else 0.  Source: Krizhevsky et al. 2012, section 3.1."""

    makes_gradients = "new"

    def forward(self, x):
        self.y = kernel.relu_forward(x)
        return self.y

    def backward(self, gy):
        return kernel.relu_backward(gy, self.y, self.owns_gy)


def relu(x):
    """max(x, 0), elementwise; NaN stays NaN. Never in place: recorded activations stay what they were."""
    return apply(ReLU(), x)
