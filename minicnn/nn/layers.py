"""The layers: each holds what its op needs and calls it. Arguments are in PyTorch's order, with its defaults."""

import math

import numpy as np

from kernels.errors import ShapeError
from kernels.geometry import pair
from minicnn import ops
from minicnn.autograd import Tensor
from minicnn.errors import ArgumentError
from minicnn.nn import init
from minicnn.nn.module import Module, Parameter


class Conv2d(Module):
    """ops.conv2d with its weight (out_channels, in_channels/groups, R, S) and bias (out_channels,).

    Initial weights: He et al. 2015 for fan_in and ReLU, bias 0 (PyTorch draws both from U(±1/√fan_in) instead).
    Raises ShapeError if groups does not divide both channel counts.
    """

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0, dilation=1, groups=1, bias=True):
        super().__init__()
        for name, channels in (("in_channels", in_channels), ("out_channels", out_channels)):
            if groups < 1 or channels % groups:
                fits = ", ".join(str(g) for g in range(1, math.gcd(in_channels, out_channels) + 1)
                                 if in_channels % g == 0 and out_channels % g == 0)
                raise ShapeError(f"Conv2d: {name} {channels} is not divisible by groups {groups}; choose groups from {fits}")
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size = pair("kernel_size", kernel_size, least=1)
        self.stride, self.padding, self.dilation = stride, padding, dilation
        self.fused = None               # in a model that was fused: {None or id of a batch norm: (weight, bias)}
        self.weight = Parameter(init.he_normal((out_channels, in_channels // groups, *self.kernel_size)))
        self.register_parameter("bias", Parameter(np.zeros(out_channels, np.float32)) if bias else None)

    def forward(self, x):
        return ops.conv2d(x, *self.weights(), *self.geometry)

    @property
    def geometry(self):
        """(stride, padding, dilation, groups), as ops.conv2d takes them."""
        return self.stride, self.padding, self.dilation, self.groups

    def weights(self):
        """(weight, bias): the parameters, or in a fused model copies that cannot change, which kernels pack only once."""
        if self.fused is None or self.training:
            return self.weight, self.bias
        if None not in self.fused:
            self.fused[None] = _frozen(self.weight.data, None if self.bias is None else self.bias.data)
        return self.fused[None]

    def folds(self, norm):
        """Whether a BatchNorm2d behind this layer is folded into it: in a model that was fused, in evaluation."""
        return self.fused is not None and not self.training and not norm.training

    def folded(self, norm):
        """(weight, bias) of the convolution that equals this one with `norm` behind it in evaluation:
        weight · γ/√(var + eps) and (bias - mean) · γ/√(var + eps) + β."""
        if id(norm) not in self.fused:
            gamma = 1 if norm.weight is None else norm.weight.data
            scale = (gamma / np.sqrt(norm.running_var + norm.eps)).astype(self.weight.dtype)
            bias = (0 if self.bias is None else self.bias.data) - norm.running_mean
            bias = bias * scale + (0 if norm.bias is None else norm.bias.data)
            self.fused[id(norm)] = _frozen(self.weight.data * scale[:, None, None, None], bias.astype(self.weight.dtype))
        return self.fused[id(norm)]

    def extra_repr(self):
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        for name, default in (("padding", 0), ("dilation", 1), ("groups", 1)):
            if getattr(self, name) != default:
                text += f", {name}={getattr(self, name)}"
        return text + (", bias=False" if self.bias is None else "")


def _frozen(*arrays):
    """Tensors of copies that cannot be written to; None stays None."""
    tensors = tuple(None if array is None else Tensor(array.copy()) for array in arrays)
    for tensor in tensors:
        if tensor is not None and tensor.device == "cpu":
            tensor.data.flags.writeable = False
    return tensors


class Linear(Module):
    """ops.linear with its weight (out_features, in_features) and bias (out_features,).

    Initial weights: He et al. 2015 with gain 1, bias 0 (PyTorch draws both from U(±1/√in_features) instead).
    """

    def __init__(self, in_features, out_features, bias=True):
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.weight = Parameter(init.he_normal((out_features, in_features), gain=1.0))
        self.register_parameter("bias", Parameter(np.zeros(out_features, np.float32)) if bias else None)

    def forward(self, x):
        return ops.linear(x, self.weight, self.bias)

    def extra_repr(self):
        return f"{self.in_features}, {self.out_features}" + (", bias=False" if self.bias is None else "")


class BatchNorm2d(Module):
    """ops.batch_norm with weight, bias, running_mean and running_var (num_features,) and num_batches_tracked ().

    momentum counts as in PyTorch: running = (1 - momentum)·running + momentum·batch.
    """

    def __init__(self, num_features, eps=1e-5, momentum=0.1, affine=True):
        super().__init__()
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.register_parameter("weight", Parameter(np.ones(num_features, np.float32)) if affine else None)
        self.register_parameter("bias", Parameter(np.zeros(num_features, np.float32)) if affine else None)
        self.register_buffer("running_mean", np.zeros(num_features, np.float32))
        self.register_buffer("running_var", np.ones(num_features, np.float32))
        self.register_buffer("num_batches_tracked", np.zeros((), np.int64))

    def forward(self, x):
        return ops.batch_norm(x, *self._state())

    def with_relu(self, x, add=None, buffer=None):
        """relu(self(x) + add) in one pass over memory; add may be left out. buffer: see ops.batch_norm_relu."""
        return ops.batch_norm_relu(x, *self._state(), add=add, buffer=buffer)

    def _state(self):
        if self.training:
            self._buffers["num_batches_tracked"] += 1
        return (self.running_mean, self.running_var, self.weight, self.bias, self.training, self.momentum, self.eps)

    def extra_repr(self):
        return f"{self.num_features}, eps={self.eps}, momentum={self.momentum}"


class LocalResponseNorm(Module):
    """ops.local_response_norm; alpha is divided by size, as in PyTorch (AlexNet's paper does not)."""

    def __init__(self, size, alpha=1e-4, beta=0.75, k=1.0):
        super().__init__()
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, x):
        return ops.local_response_norm(x, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self):
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"


class ReLU(Module):
    """ops.relu; inplace is taken for PyTorch's sake and must be False: an in-place ReLU falsifies recorded activations."""

    def __init__(self, inplace=False):
        super().__init__()
        if inplace:
            raise ArgumentError("ReLU: inplace=True would change what other layers recorded; leave it out")

    def forward(self, x):
        return ops.relu(x)


class MaxPool2d(Module):
    """ops.max_pool2d; stride None means kernel_size."""

    def __init__(self, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False):
        super().__init__()
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.dilation, self.ceil_mode = padding, dilation, ceil_mode

    def forward(self, x):
        return ops.max_pool2d(x, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)

    def extra_repr(self):
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}" + (
            ", ceil_mode=True" if self.ceil_mode else "")


class AvgPool2d(Module):
    """ops.avg_pool2d; stride None means kernel_size."""

    def __init__(self, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
        super().__init__()
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.ceil_mode, self.count_include_pad = padding, ceil_mode, count_include_pad

    def forward(self, x):
        return ops.avg_pool2d(x, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad)

    def extra_repr(self):
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AdaptiveAvgPool2d(Module):
    """ops.adaptive_avg_pool2d: (N, C, H, W) -> (N, C, *output_size) whatever H and W."""

    def __init__(self, output_size):
        super().__init__()
        self.output_size = output_size

    def forward(self, x):
        return ops.adaptive_avg_pool2d(x, self.output_size)

    def extra_repr(self):
        return f"{self.output_size}"


class Dropout(Module):
    """ops.dropout in training, the identity in evaluation."""

    def __init__(self, p=0.5):
        super().__init__()
        self.p = p

    def forward(self, x):
        return ops.dropout(x, self.p, self.training)

    def extra_repr(self):
        return f"p={self.p}"


class DropPath(Module):
    """ops.drop_path in training, the identity in evaluation."""

    def __init__(self, p):
        super().__init__()
        self.p = p

    def forward(self, x):
        return ops.drop_path(x, self.p, self.training)

    def extra_repr(self):
        return f"p={self.p}"


class Flatten(Module):
    """ops.flatten: all axes from start_axis on made one."""

    def __init__(self, start_axis=1):
        super().__init__()
        self.start_axis = start_axis

    def forward(self, x):
        return ops.flatten(x, self.start_axis)


class Identity(Module):
    """y = x"""

    def forward(self, x):
        return x
