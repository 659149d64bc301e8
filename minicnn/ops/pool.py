"""Pooling: maximum, average, adaptive average, global average."""

import kernels.pool2d as kernel
from kernels.geometry import Window2d, pair
from minicnn.autograd import Op, apply


class MaxPool2d(Op):
    """The maximum over each window: x (N, C, H, W) -> y (N, C, OH, OW).

    Ties send the whole gradient to the first maximum in row-major order.
    Source: Krizhevsky et al. 2012, section 3.4 (overlapping pooling).
    """

    makes_gradients = "new"

    def __init__(self, window):
        self.window = window

    def forward(self, x):
        self.size = x.shape[2:]
        y, self.places = kernel.max_forward(x, self.window)
        return y

    def backward(self, gy):
        return kernel.max_backward(gy, self.places, self.window, *self.size)

    def flops(self, output_shape, x_shape):
        return _window_flops(self.window, output_shape)


class AvgPool2d(Op):
    """The average over each window: x (N, C, H, W) -> y (N, C, OH, OW).  gx spreads gy / count over the window."""

    makes_gradients = "new"

    def __init__(self, window, count_include_pad):
        self.window, self.count_include_pad = window, count_include_pad

    def forward(self, x):
        self.size = x.shape[2:]
        return kernel.avg_forward(x, self.window, self.count_include_pad)

    def backward(self, gy):
        return kernel.avg_backward(gy, self.window, *self.size, self.count_include_pad)

    def flops(self, output_shape, x_shape):
        return _window_flops(self.window, output_shape)


class AdaptiveAvgPool2d(Op):
    """The average over OH x OW cells that share the plane: x (N, C, H, W) -> y (N, C, OH, OW)."""

    makes_gradients = "new"

    def __init__(self, output_size):
        self.output_size = output_size

    def forward(self, x):
        self.size = x.shape[2:]
        sides = [size if out is None else out for out, size in zip(self.output_size, self.size)]
        return kernel.adaptive_avg_forward(x, *sides)

    def backward(self, gy):
        return kernel.adaptive_avg_backward(gy, *self.size)

    def flops(self, output_shape, x_shape):
        return x_shape[0] * x_shape[1] * x_shape[2] * x_shape[3]


class GlobalAvgPool2d(Op):
    """The mean of each plane: x (N, C, H, W) -> y (N, C).  gx = gy / (H·W).  Source: Lin et al. 2014, section 3.2."""

    makes_gradients = "new"

    def forward(self, x):
        self.size = x.shape[2:]
        return kernel.global_avg_forward(x)

    def backward(self, gy):
        return kernel.global_avg_backward(gy, *self.size)

    def flops(self, output_shape, x_shape):
        return x_shape[0] * x_shape[1] * x_shape[2] * x_shape[3]


def _window_flops(window, output_shape):
    n, c, oh, ow = output_shape
    return n * c * oh * ow * window.kernel_h * window.kernel_w


def max_pool2d(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False):
    """x (N, C, H, W) -> (N, C, OH, OW); stride None means kernel_size. Raises ShapeError, DTypeError."""
    stride = kernel_size if stride is None else stride
    return apply(MaxPool2d(Window2d.of(kernel_size, stride, padding, dilation, ceil_mode)), x)


def avg_pool2d(x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
    """x (N, C, H, W) -> (N, C, OH, OW); stride None means kernel_size; padding counts unless count_include_pad is False.

    Raises ShapeError, DTypeError.
    """
    stride = kernel_size if stride is None else stride
    return apply(AvgPool2d(Window2d.of(kernel_size, stride, padding, 1, ceil_mode), count_include_pad), x)


def adaptive_avg_pool2d(x, output_size):
    """x (N, C, H, W) -> (N, C, OH, OW) whatever H and W; a side of None stays as it is. Raises ShapeError, DTypeError."""
    sides = output_size if isinstance(output_size, tuple | list) else (output_size, output_size)
    pair("output_size", tuple(1 if side is None else side for side in sides), least=1)
    return apply(AdaptiveAvgPool2d(tuple(sides)), x)


def global_avg_pool2d(x):
    """x (N, C, H, W) -> (N, C), the mean of each plane. Raises ShapeError, DTypeError."""
    return apply(GlobalAvgPool2d(), x)
