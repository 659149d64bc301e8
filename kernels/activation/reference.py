"""The rectifier by NumPy."""

import numpy as np


def relu_forward(x):
    """y = max(x, 0); NumPy's maximum keeps NaN"""
    return np.maximum(x, 0)


def relu_backward(gy, y, reuse=False):
    """gx = gy · [y > 0]; a NaN in y lets gy through, so that it is seen"""
    return np.where(y <= 0, 0, gy).astype(gy.dtype)


def relu_backward_sums(gy, y, reuse=False):
    """gx = gy · [y > 0], Σ gx"""
    gx = relu_backward(gy, y)
    return gx, gx.sum((0, 2, 3))


def relu_backward_parts(gy, y, sizes):
    """As relu_backward_sums, gx cut behind the channels of each part"""
    gx, sums = relu_backward_sums(gy, y)
    return np.split(gx, np.cumsum(sizes)[:-1], 1), sums


def accumulate(a, b):
    """a += b"""
    a += b


def add(a, b):
    """y = a + b"""
    return a + b
