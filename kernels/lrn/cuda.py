"""Local response normalisation on a GPU: one thread a value, which reads the `size` channels around its own.

Neighbouring threads are neighbouring pixels, so that each of these reads is one for all of them, and the next channel's
threads find it in the cache. The backward pass computes s anew, and gathers from the channels that see a value.
"""

import math

import numpy as np

from kernels.device.launching import at, plane_and_pixel, split
from kernels.device.shim import device_function, kernel, launch_planes


def forward(x, size, alpha, beta, k):
    """See the room."""
    y, numbers = np.empty_like(x), tuple(x.dtype.type(number) for number in (alpha / size, beta, k, 1))
    launch_planes(_forward, *_planes(x), x, size, numbers, beta == 0.75, y, _sizes(x))
    return y


def backward(gy, x, size, alpha, beta, k):
    """See the room."""
    s, gx, type_ = np.empty_like(x), np.empty_like(x), x.dtype.type
    launch_planes(_scales, *_planes(x), x, size, (type_(alpha / size), type_(k)), s, _sizes(x))
    numbers = tuple(type_(number) for number in (2 * alpha * beta / size, beta, 1))
    launch_planes(_backward, *_planes(x), gy, x, s, size, numbers, beta == 0.75, gx, _sizes(x))
    return gx


def _planes(x):
    return x.shape[0] * x.shape[1], x.shape[2] * x.shape[3]


def _sizes(x):
    return x.shape[0] * x.shape[1], x.shape[1], x.shape[2] * x.shape[3]


@device_function
def _power(s, beta, roots, one):
    """s^-beta; beta 0.75, which every paper uses, takes two square roots. `one` is of s's type: to Numba a whole number over
    a float32 is float64."""
    if roots:
        root = math.sqrt(s)
        return one / (root * math.sqrt(root))
    return s ** -beta


@device_function
def _scale(x, n, c, C, size, P, p, share, k):
    """s = k + share · Σ x² over the window of channel c at pixel p"""
    total = x.dtype.type(0)
    for other in range(max(0, c - size // 2), min(C, c + (size - 1) // 2 + 1)):
        value = x[at((n * C + other) * P + p)]
        total += value * value
    return k + share * total


@kernel
def _forward(x, size, numbers, roots, y, sizes):
    planes, C, P = sizes
    plane, p = plane_and_pixel(P)
    if plane < planes and p < P:
        n, c = split(plane, C)
        i = at(plane * P + p)
        y[i] = x[i] * _power(_scale(x, n, c, C, size, P, p, numbers[0], numbers[2]), numbers[1], roots, numbers[3])


@kernel
def _scales(x, size, numbers, s, sizes):
    planes, C, P = sizes
    plane, p = plane_and_pixel(P)
    if plane < planes and p < P:
        n, c = split(plane, C)
        s[at(plane * P + p)] = _scale(x, n, c, C, size, P, p, numbers[0], numbers[1])


@kernel
def _backward(gy, x, s, size, numbers, roots, gx, sizes):
    planes, C, P = sizes
    plane, p = plane_and_pixel(P)
    if plane < planes and p < P:
        n, c = split(plane, C)
        total = x.dtype.type(0)
        for other in range(max(0, c - (size - 1) // 2), min(C, c + size // 2 + 1)):
            i = at((n * C + other) * P + p)
            total += gy[i] * x[i] * _power(s[i], numbers[1], roots, numbers[2]) / s[i]
        i = at(plane * P + p)
        gx[i] = gy[i] * _power(s[i], numbers[1], roots, numbers[2]) - numbers[0] * x[i] * total
