"""Batch normalisation."""

import math

import numpy as np

import kernels.batch_norm as kernel
from minicnn.autograd import Op, apply, as_tensor
from minicnn.errors import ShapeError


class BatchNorm(Op):
    """y = weight · (x - mean) / sqrt(var + eps) + bias, for each channel of x (N, C, H, W).

    With the batch's own mean and biased var (training) the gradient goes through them as well:
    gx = weight / sqrt(var + eps) · (gy - mean(gy) - xhat · mean(gy · xhat)); gweight = Σ gy · xhat; gbias = Σ gy.
    Source: Ioffe and Szegedy 2015, algorithm 1.
    """

    makes_gradients = "new"
    adds_gradients = True

    def __init__(self, mean=None, var=None, eps=1e-5, buffer=None):
        self.mean, self.var, self.eps, self.buffer = mean, var, eps, buffer
        self.batch_statistics = mean is None

    def check(self, x, *_):
        if self.batch_statistics and x.ndim == 4 and x.shape[0] * x.shape[2] * x.shape[3] == 1:
            raise ShapeError(f"batch_norm: x has shape {x.shape}, one value a channel, and its variance is 0 in training; "
                             "use a larger batch or image, or evaluation mode")

    def forward(self, x, weight=None, bias=None):
        self.take_statistics(x)
        self.x, self.weight = x, weight
        return kernel.normalize(x, self.mean, self.var, weight, bias, self.eps)

    def take_statistics(self, x):
        """In training mean and var of this batch."""
        if self.batch_statistics:
            self.mean, self.var = kernel.statistics(x) if self.buffer is None else self.buffer.statistics(x)
        self.buffer = None

    def backward(self, gy):
        gradients = kernel.backward(gy, self.x, self.mean, self.var, self.weight, self.eps, self.batch_statistics,
                                    reuse=self.owns_gy, onto=self.onto)
        return gradients[:len(self.needs)]

    def flops(self, output_shape, *input_shapes):
        return (7 if self.batch_statistics else 2) * math.prod(output_shape)


class BatchNormReLU(BatchNorm):
    """y = max(weight · (x - mean) / sqrt(var + eps) + bias + add, 0) in one pass over memory; inputs x, weight, bias(, add).

    gy passes where y > 0, goes to `add` as it is, and through the batch norm as in BatchNorm. Source: Ioffe and Szegedy
    2015, algorithm 1; the sum with a shortcut He et al. 2016, figure 2.
    """

    def forward(self, x, weight, bias, add=None):
        self.take_statistics(x)
        self.x, self.weight, self.bias = x, weight, bias
        y = kernel.normalize(x, self.mean, self.var, weight, bias, self.eps, add, relu=True)
        self.y = None if add is None else y
        return y

    def backward(self, gy):
        terms = self.x, self.mean, self.var, self.weight, self.eps, self.batch_statistics
        if self.y is None:
            return kernel.backward(gy, *terms, relu_bias=self.bias, reuse=self.owns_gy, onto=self.onto)
        return kernel.add_relu_backward(gy, self.y, *terms, reuse=self.owns_gy)

    def flops(self, output_shape, *input_shapes):
        return (7 if self.batch_statistics else 2) * math.prod(output_shape) + (len(input_shapes) - 2) * math.prod(output_shape)


def batch_norm(x, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
    """x (N, C, H, W) -> the same shape; as torch.nn.functional.batch_norm.

    Training (or running_mean None) uses the batch's statistics and moves the running arrays (C,), in place, by
    running = (1 - momentum)·running + momentum·batch, the variance unbiased (the paper's moving average counts the other
    way round: its momentum is 1 - momentum here; None of weight and bias is 1 and 0). Raises ShapeError, DTypeError.
    """
    x = as_tensor(x)
    if weight is None and bias is not None:
        weight = as_tensor(np.ones_like(x.data, shape=x.shape[1]))
    inputs = [t for t in (x, weight, bias) if t is not None]
    return _apply(BatchNorm, inputs, running_mean, running_var, training, momentum, eps, None)


def batch_norm_relu(x, running_mean, running_var, weight, bias, training=False, momentum=0.1, eps=1e-5, add=None, buffer=None):
    """relu(batch_norm(x, …) + add) in one pass over memory each way; add (N, C, H, W) may be left out. See batch_norm.

    buffer: the ops.ChannelBuffer that x fills, so that channels whose statistics were taken before are not read for them again.
    """
    inputs = [as_tensor(x), weight, bias] + ([] if add is None else [add])
    return _apply(BatchNormReLU, inputs, running_mean, running_var, training, momentum, eps, buffer)


def _apply(kind, inputs, running_mean, running_var, training, momentum, eps, buffer):
    """Apply the op with the batch's statistics or the running ones, and move the running ones in training."""
    own = training or running_mean is None
    op = kind(eps=eps, buffer=buffer) if own else kind(running_mean, running_var, eps)
    y = apply(op, *inputs)
    if training and running_mean is not None:
        kernel.move_running(running_mean, running_var, op.mean, op.var, momentum, y.size // y.shape[1])
    return y
