"""Two-dimensional convolution."""

import math

import kernels.conv2d as kernel
from kernels import concat
from kernels.activation import relu_backward, relu_backward_parts, relu_backward_sums
from kernels.dispatch import expect_rank
from kernels.geometry import Window2d
from minicnn.autograd import Op, apply
from minicnn.errors import ShapeError
from minicnn.ops.concat import ChannelBuffer


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
        return kernel.backward(gy, self.x, self.weight, self.window, self.groups, needs, self.onto, self.owns_gy)

    def macs(self, output_shape, x_shape, weight_shape, bias_shape=None):
        return math.prod(output_shape) * math.prod(weight_shape[1:])


class Conv2dReLU(Conv2d):
    """y = max(conv2d(x, weight, bias), 0), stored once;  gy passes where y > 0, then as in Conv2d."""

    def forward(self, x, weight, bias=None):
        self.y = self.convolve(x, weight, bias, relu=True)
        return self.y

    def backward(self, gy):
        masked = relu_backward_sums if len(self.needs) == 3 and self.needs[2] else _relu_backward
        gy, gbias = masked(gy, self.y, self.owns_gy)
        self.owns_gy = True         # what is masked is nobody else's
        return (*self.convolve_back(gy, (*self.needs[:2], False))[:2], gbias)[:len(self.needs)]


def _relu_backward(gy, y, reuse):
    """As relu_backward_sums, where no sums are asked for."""
    return relu_backward(gy, y, reuse), None


class ExpandReLU(Op):
    """y = max(concat(conv2d(x, weight_1, bias_1), conv2d(x, weight_2, bias_2), …), 0) along the channels, stored once.

    x (N, C, H, W), weight_i (K_i, C/groups, R, S), bias_i (K_i,) -> y (N, ΣK_i, OH, OW). gy passes where y > 0, in one pass
    over all channels, and is then each convolution's as in Conv2d.
    Source: the expand layer of Iandola et al. 2016, section 3.1.
    """

    makes_gradients = "new"
    adds_gradients = True

    def __init__(self, windows, groups):
        self.windows, self.groups = windows, groups

    def check(self, x, *parameters):
        expect_rank("expand_relu: x", x, "(N, C, H, W)")
        sizes = {window.output_size(*x.shape[2:]) for window in self.windows}
        if len(sizes) > 1:
            raise ShapeError(f"expand_relu: the convolutions give images of {' and '.join(map(str, sorted(sizes)))} pixels; "
                             "all must give the same, choose paddings and strides for that")

    def forward(self, x, *parameters):
        x, weights, biases = kernel.ordered(x), parameters[::2], parameters[1::2]
        self.counts = [len(weight) for weight in weights]
        buffer = ChannelBuffer(sum(self.counts))
        self.convs = [Conv2d(window, groups, buffer) for window, groups in zip(self.windows, self.groups)]
        self.y = concat.forward([conv.convolve(x, *each, True) for conv, *each in zip(self.convs, weights, biases)])
        return self.y

    def backward(self, gy):
        parts, gbias = relu_backward_parts(gy, self.y, self.counts)
        gx, gradients = self.onto, []
        for conv, part, gb, needed in zip(self.convs, parts, concat.backward(gbias, self.counts, 0), self.needs[1::2]):
            conv.onto = gx
            gx, gweight, _ = conv.convolve_back(part, (self.needs[0], needed, False))
            gradients += [gweight, gb]
        return gx, *gradients

    def macs(self, output_shape, x_shape, *shapes):
        N, _, OH, OW = output_shape
        return N * OH * OW * sum(math.prod(shape) for shape in shapes[::2])


def conv2d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1, buffer=None):
    """x (N, C, H, W) convolved with weight (K, C/groups, R, S) -> (N, K, OH, OW), as torch.nn.functional.conv2d.

    padding: an int, (h, w), ((top, bottom), (left, right)), "same" or "valid". buffer: an ops.ChannelBuffer whose next channels
    the result is written to. Raises ShapeError, DTypeError.
    """
    return _apply(Conv2d, x, weight, bias, stride, padding, dilation, groups, buffer)


def conv2d_relu(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1, buffer=None):
    """relu(conv2d(x, …)) in one pass over the output."""
    return _apply(Conv2dReLU, x, weight, bias, stride, padding, dilation, groups, buffer)


def expand_relu(x, *convolutions):
    """relu(concat([conv2d(x, *each) for each in convolutions])) in one pass over the output.

    x (N, C, H, W); each: weight, bias and then, if wanted, stride, padding, dilation, groups as in conv2d -> (N, ΣK, OH, OW).
    Raises ShapeError, DTypeError; ShapeError too where the convolutions do not give images of one size.
    """
    if not convolutions:
        raise ShapeError("expand_relu: no convolutions given; pass at least one (weight, bias)")
    parameters, windows, groups = [], [], []
    for weight, bias, *geometry in convolutions:
        stride, padding, dilation, count = (*geometry, *(1, 0, 1, 1)[len(geometry):])
        parameters += [weight, bias]
        windows.append(Window2d.of(weight.shape[2:], stride, padding, dilation))
        groups.append(count)
    return apply(ExpandReLU(windows, groups), x, *parameters)


def _apply(kind, x, weight, bias, stride, padding, dilation, groups, buffer):
    op = kind(Window2d.of(weight.shape[2:], stride, padding, dilation), groups, buffer)
    return apply(op, x, weight) if bias is None else apply(op, x, weight, bias)
