"""Two-dimensional convolution."""

import math

import kernels.conv2d as kernel
from kernels.activation import relu_backward, relu_backward_sums
from kernels.geometry import Window2d
from minicnn.autograd import Op, apply


class Conv2d(Op):
    """y[n, k, i, j] = bias[k] + Σ_{c, r, s} x[n, c, i·stride + r·dilation - pad, j·…] · weight[k, c, r, s]

    x (N, C, H, W), weight (K, C/groups, R, S), bias (K,) -> y (N, K, OH, OW).
    gx gathers weight · gy from the outputs that saw a pixel; gweight = Σ_{n, i, j} gy · x; gbias = Σ_{n, i, j} gy.
    Source: LeCun et al. 1998, section II.A; groups: Krizhevsky et al. 2012, section 3.5.
    """

    makes_gradients = "new"
    adds_gradients = True

    def __init__(self, window, groups, buffer=None):
        self.window, self.groups, self.buffer = window, groups, buffer

    def forward(self, x, weight, bias=None):
        return self.convolve(x, weight, bias)

    def convolve(self, x, weight, bias, relu=False):
        """The kernel's result, in the buffer's next channels where there is a buffer with room for it."""
        self.x, self.weight, out = kernel.ordered(x), weight, None
        if self.buffer is not None and x.device == "cpu":
            out = self.buffer.part((len(x), len(weight), *self.window.output_size(*x.shape[2:])), x.dtype)
        self.buffer = None
        return kernel.forward(self.x, weight, bias, self.window, self.groups, relu, out)

    def backward(self, gy):
        return self.convolve_back(gy, (*self.needs, False)[:3])[:len(self.needs)]

    def convolve_back(self, gy, needs):
        """The kernel's (gx, gweight, gbias), None where `needs` says False."""
        return kernel.backward(gy, self.x, self.weight, self.window, self.groups, needs, self.onto)

    def macs(self, output_shape, x_shape, weight_shape, bias_shape=None):
        return math.prod(output_shape) * math.prod(weight_shape[1:])


class Conv2dReLU(Conv2d):
    """y = max(conv2d(x, weight, bias), 0), stored once;  gy passes where y > 0, then as in Conv2d."""

    def forward(self, x, weight, bias=None):
        self.y = self.convolve(x, weight, bias, relu=True)
        return self.y

    def backward(self, gy):
        if len(self.needs) < 3 or not self.needs[2]:
            return super().backward(relu_backward(gy, self.y, self.owns_gy))
        gy, gbias = relu_backward_sums(gy, self.y, self.owns_gy)
        return *self.convolve_back(gy, (*self.needs[:2], False))[:2], gbias


def conv2d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1, buffer=None):
    """x (N, C, H, W) convolved with weight (K, C/groups, R, S) -> (N, K, OH, OW), as torch.nn.functional.conv2d.

    padding: an int, (h, w), ((top, bottom), (left, right)), "same" or "valid". buffer: an ops.ChannelBuffer whose next channels
    the result is written to. Raises ShapeError, DTypeError.
    """
    return _apply(Conv2d, x, weight, bias, stride, padding, dilation, groups, buffer)


def conv2d_relu(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1, buffer=None):
    """relu(conv2d(x, …)) in one pass over the output."""
    return _apply(Conv2dReLU, x, weight, bias, stride, padding, dilation, groups, buffer)


def _apply(kind, x, weight, bias, stride, padding, dilation, groups, buffer):
    op = kind(Window2d.of(weight.shape[2:], stride, padding, dilation), groups, buffer)
    return apply(op, x, weight) if bias is None else apply(op, x, weight, bias)
