"""Local response normalisation."""

import kernels.lrn as kernel
from minicnn.autograd import Op, apply


class LocalResponseNorm(Op):
    """y[c] = x[c] · s[c]^-beta, s[c] = k + alpha/size · Σ x² over the `size` channels around c: x (N, C, H, W).

    gx[c] = gy[c]·s[c]^-beta - 2·alpha·beta/size · x[c] · Σ over the c' that see c of gy[c']·x[c']·s[c']^(-beta-1)
    Source: Krizhevsky et al. 2012, section 3.3, whose alpha is not divided by size.
    """

    makes_gradients = "new"

    def __init__(self, size, alpha, beta, k):
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, x):
        self.x = x
        return kernel.forward(x, self.size, self.alpha, self.beta, self.k)

    def backward(self, gy):
        return kernel.backward(gy, self.x, self.size, self.alpha, self.beta, self.k)

    def flops(self, output_shape, x_shape):
        n, c, h, w = output_shape
        return n * c * h * w * (2 * self.size + 4)


def local_response_norm(x, size, alpha=1e-4, beta=0.75, k=1.0):
    """x (N, C, H, W) -> the same shape; alpha is divided by size, as in PyTorch. Raises ShapeError, DTypeError."""
    return apply(LocalResponseNorm(size, alpha, beta, k), x)
