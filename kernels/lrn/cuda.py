"""Local response normalisation on a GPU: one thread a value, which reads the `size` channels around its own.

Neighbouring threads are neighbouring pixels, so that each of these reads is one for all of them, and the next channel's
threads find it in the cache. s is kept for the backward pass, which gathers from the channels that see a value.
"""

import math

import numpy as np

from kernels.device.launching import split
from kernels.device.shim import cuda, device_function, kernel, launch_planes


def forward(x, size, alpha, beta, k):
    """See the room."""
    y, s = np.empty_like(x), np.empty_like(x)
    number = x.dtype.type
    launch_planes(_forward, *_planes(x), x, size, (number(alpha / size), number(beta), number(k)), y, s, _sizes(x))
    return y, s


def backward(gy, x, s, size, alpha, beta):
    """See the room."""
    gx, number = np.empty_like(x), x.dtype.type
    launch_planes(_backward, *_planes(x), gy, x, s, size, (number(2 * alpha * beta / size), number(beta)), gx, _sizes(x))
    return gx


def _planes(x):
    return x.shape[0] * x.shape[1], x.shape[2] * x.shape[3]


def _sizes(x):
    return x.shape[0] * x.shape[1], x.shape[1], x.shape[2] * x.shape[3]


@device_function
def _power(s, beta):
    """s^-beta; beta 0.75, which every paper uses, takes two square roots"""
    if beta == 0.75:
        root = math.sqrt(s)
        return 1 / (root * math.sqrt(root))
    return s ** -beta


@kernel
def _forward(x, size, numbers, y, s, sizes):
    plane = cuda.blockIdx.x * cuda.blockDim.y + cuda.threadIdx.y
    p = cuda.blockIdx.y * cuda.blockDim.x + cuda.threadIdx.x
    planes, C, P = sizes
    if plane < planes and p < P:
        n, c = split(plane, C)
        total = x.dtype.type(0)
        for other in range(max(0, c - size // 2), min(C, c + (size - 1) // 2 + 1)):
            value = x[(n * C + other) * P + p]
            total += value * value
        scale = numbers[2] + numbers[0] * total
        i = plane * P + p
        s[i] = scale
        y[i] = x[i] * _power(scale, numbers[1])


@kernel
def _backward(gy, x, s, size, numbers, gx, sizes):
    plane = cuda.blockIdx.x * cuda.blockDim.y + cuda.threadIdx.y
    p = cuda.blockIdx.y * cuda.blockDim.x + cuda.threadIdx.x
    planes, C, P = sizes
    if plane < planes and p < P:
        n, c = split(plane, C)
        total = x.dtype.type(0)
        for other in range(max(0, c - (size - 1) // 2), min(C, c + size // 2 + 1)):
            at = (n * C + other) * P + p
            total += gy[at] * x[at] * _power(s[at], numbers[1]) / s[at]
        i = plane * P + p
        gx[i] = gy[i] * _power(s[i], numbers[1]) - numbers[0] * x[i] * total
