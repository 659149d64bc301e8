"""Softmax and the cross-entropy loss."""

import math

import numpy as np

import kernels.loss as kernel
from minicnn.autograd import Op, apply
from minicnn.errors import ArgumentError, ShapeError
from minicnn.ops.arithmetic import exp


class LogSoftmax(Op):
    """y = x - log Σ exp x along one axis;  gx = gy - softmax · Σ gy"""

    def __init__(self, axis):
        self.axis = axis

    def check(self, x):
        if not -x.ndim <= self.axis < x.ndim:
            raise ShapeError(f"softmax: axis {self.axis} is outside {x.shape}; choose from {-x.ndim} to {x.ndim - 1}")

    def forward(self, x):
        self.logp = kernel.log_softmax_forward(self._rows(x))
        return self._unrows(self.logp, x.shape)

    def backward(self, gy):
        return self._unrows(kernel.log_softmax_backward(self._rows(gy), self.logp), gy.shape)

    def _rows(self, x):
        """The axis last, the others made one: (rows, K)"""
        x = np.moveaxis(x, self.axis, -1)
        return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])

    def _unrows(self, rows, shape):
        moved = [*shape[:self.axis % len(shape)], *shape[self.axis % len(shape) + 1:], rows.shape[1]]
        return np.moveaxis(rows.reshape(moved), -1, self.axis)


class CrossEntropy(Op):
    """loss = mean_n Σ_k target · -log softmax(x)[n, k], target = (1-ε)·onehot + ε/K: x (N, K), labels (N,) -> ().

    gx = gy · (softmax - target) / N.  Label smoothing ε: Szegedy et al. 2016, section 7.
    """

    def __init__(self, labels, smoothing):
        self.labels, self.smoothing = np.asarray(labels), smoothing

    def forward(self, logits):
        loss, self.logp = kernel.cross_entropy_forward(logits, self.labels, self.smoothing)
        return loss

    def backward(self, gy):
        return kernel.cross_entropy_backward(gy, self.logp, self.labels, self.smoothing)

    def flops(self, output_shape, x_shape):
        return 5 * math.prod(x_shape)


def log_softmax(x, axis=-1):
    """log(softmax(x)) along `axis`, computed so that nothing overflows. Raises ShapeError, DTypeError."""
    return apply(LogSoftmax(axis), x)


def softmax(x, axis=-1):
    """exp x / Σ exp x along `axis`. Raises ShapeError, DTypeError."""
    return exp(log_softmax(x, axis))


def cross_entropy(logits, labels, label_smoothing=0.0):
    """The mean cross-entropy of logits (N, K) and integer labels (N,), as torch.nn.functional.cross_entropy -> ().

    Raises ShapeError (also for labels outside 0..K-1), DTypeError, ArgumentError unless 0 <= label_smoothing <= 1.
    """
    if not 0 <= label_smoothing <= 1:
        raise ArgumentError(f"cross_entropy: label_smoothing {label_smoothing} is outside 0..1; papers use 0.1")
    return apply(CrossEntropy(labels, label_smoothing), logits)
