"""The rectifier on a GPU: one thread an element, nothing else to it."""

import numpy as np

from kernels.device.shim import cuda, kernel, launch_flat


def relu_forward(x):
    """See the room."""
    y = np.empty_like(x)
    launch_flat(_relu, x.size, x, y, x.size)
    return y


def relu_backward(gy, y):
    """See the room."""
    gx = np.empty_like(gy)
    launch_flat(_relu_backward, y.size, gy, y, gx, y.size)
    return gx


def add(a, b):
    """See the room."""
    return a + b


def accumulate(a, b):
    """See the room."""
    a += b


@kernel
def _relu(x, y, count):
    i = cuda.grid(1)
    if i < count:
        y[i] = x.dtype.type(0) if x[i] < 0 else x[i]


@kernel
def _relu_backward(gy, y, gx, count):
    i = cuda.grid(1)
    if i < count:
        gx[i] = gy.dtype.type(0) if y[i] <= 0 else gy[i]
