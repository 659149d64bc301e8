"""Dropout and drop-path."""

import kernels.dropout as kernel
from minicnn import random
from minicnn.autograd import Op, apply, as_tensor
from minicnn.errors import ArgumentError


class Dropout(Op):
    """y = x · mask / (1 - p), mask 0 with probability p;  gx = gy · mask / (1 - p).

    The mask follows from `key` and is computed again in backward. Source: Srivastava et al. 2014, "inverted".
    """

    def __init__(self, p, key):
        self.p, self.key = p, key

    def forward(self, x):
        return kernel.forward(x, self.p, self.key)

    def backward(self, gy):
        return kernel.backward(gy, self.p, self.key)


class DropPath(Op):
    """y[n] = x[n] · mask[n] / (1 - p), one draw an image.  Sources: Larsson et al. 2017, section 3; Huang et al. 2016."""

    def __init__(self, p, key):
        self.p, self.key = p, key

    def forward(self, x):
        return kernel.path_forward(x, self.p, self.key)

    def backward(self, gy):
        return kernel.path_backward(gy, self.p, self.key)


def dropout(x, p=0.5, training=True):
    """Each value dropped with probability p and the others scaled by 1/(1-p); x itself when not training.

    Raises ArgumentError unless 0 <= p <= 1.
    """
    return apply(Dropout(p, random.next_key()), x) if _drops("dropout", p, training) else as_tensor(x)


def drop_path(x, p, training=True):
    """Each image x[n] dropped whole with probability p and the others scaled by 1/(1-p); x itself when not training.

    Raises ArgumentError unless 0 <= p <= 1.
    """
    return apply(DropPath(p, random.next_key()), x) if _drops("drop_path", p, training) else as_tensor(x)


def _drops(name, p, training):
    if not 0 <= p <= 1:
        raise ArgumentError(f"{name}: p {p} is not a probability; choose from 0 to 1")
    return training and p > 0
