"""Batch normalisation in as few passes over memory as the formula allows, one thread to a channel.

Forward: one pass for both sums, one that writes y. The sums are of x minus the channel's first value, so that a large
mean does not cancel the variance away, and in float64, so that float32 activations of any count add up exactly enough.
Backward: one pass for Σ gy and Σ gy·xhat, one that writes gx, since both gradients' means are needed before gx.
"""

import math

import numpy as np
from numba import prange

from kernels.activation.cpu import relu_backward
from kernels.compiling import njit

FAST = {"reassoc", "contract"}      # a fixed cut of each sum into vector lanes; NaN and infinity survive


def statistics(x):
    """See the room."""
    mean, var = np.empty(x.shape[1], x.dtype), np.empty(x.shape[1], x.dtype)
    _statistics(_flat(x), mean, var)
    return mean, var


def normalize(x, mean, var, weight, bias, eps, add=None, relu=False):
    """See the room."""
    y = np.empty_like(x)
    _normalize(_flat(x), mean, var, weight, bias, eps, _flat(y))
    if add is not None:
        y += add
    return np.maximum(y, 0, out=y) if relu else y


def backward(gy, x, mean, var, weight, eps, batch_statistics, relu_bias=None, reuse=False):
    """See the room, and the reference for the formula."""
    if relu_bias is not None:
        gy = relu_backward(gy, normalize(x, mean, var, weight, relu_bias, eps))
    gx, gweight, gbias = np.empty_like(x), np.empty_like(mean), np.empty_like(mean)
    _sums(_flat(gy), _flat(x), mean, var, eps, gweight, gbias)
    _input_gradient(_flat(gy), _flat(x), mean, var, weight, eps,
                    (gweight, gbias) if batch_statistics else (np.zeros_like(mean), np.zeros_like(mean)), _flat(gx))
    return gx, gweight, gbias


def add_relu_backward(gy, y, x, mean, var, weight, eps, batch_statistics, reuse=False):
    """See the room."""
    gadd = relu_backward(gy, y)
    return *backward(gadd, x, mean, var, weight, eps, batch_statistics), gadd


@njit(cache=True)
def move_running(running_mean, running_var, mean, var, momentum, count):
    """See the room."""
    for c in range(mean.size):
        running_mean[c] += momentum * (mean[c] - running_mean[c])
        running_var[c] += momentum * (var[c] * (count / (count - 1)) - running_var[c])


def _flat(x):
    """(N, C, H, W) -> (N, C, P)"""
    return x.reshape(*x.shape[:2], x.shape[2] * x.shape[3])


@njit(cache=True, parallel=True, fastmath=FAST)
def _statistics(x, mean, var):
    N, C, P = x.shape
    for c in prange(C):
        shift = np.float64(x[0, c, 0])
        total = square = 0.0
        for n in range(N):
            for p in range(P):
                d = np.float64(x[n, c, p]) - shift
                total += d
                square += d * d
        average = total / (N * P)
        mean[c] = shift + average
        var[c] = max(square / (N * P) - average * average, 0.0) if square == square else square


@njit(cache=True, parallel=True, fastmath=FAST)
def _normalize(x, mean, var, weight, bias, eps, y):
    N, C, P = x.shape
    for plane in prange(N * C):
        n, c = plane // C, plane % C
        scale = x.dtype.type(weight[c] / math.sqrt(var[c] + eps))
        centre, base = mean[c], bias[c]
        for p in range(P):
            y[n, c, p] = (x[n, c, p] - centre) * scale + base


@njit(cache=True, parallel=True, fastmath=FAST)
def _sums(gy, x, mean, var, eps, gweight, gbias):
    N, C, P = x.shape
    for c in prange(C):
        centre = np.float64(mean[c])
        total = product = 0.0
        for n in range(N):
            for p in range(P):
                g = np.float64(gy[n, c, p])
                total += g
                product += g * (np.float64(x[n, c, p]) - centre)
        gbias[c] = total
        gweight[c] = product / math.sqrt(var[c] + eps)


@njit(cache=True, parallel=True, fastmath=FAST)
def _input_gradient(gy, x, mean, var, weight, eps, sums, gx):
    N, C, P = x.shape
    gweight, gbias = sums
    for plane in prange(N * C):
        n, c = plane // C, plane % C
        invstd = 1 / math.sqrt(var[c] + eps)
        scale = x.dtype.type(weight[c] * invstd)
        g_mean = x.dtype.type(gbias[c] / (N * P))
        slope = x.dtype.type(gweight[c] / (N * P) * invstd)
        centre = mean[c]
        for p in range(P):
            gx[n, c, p] = scale * (gy[n, c, p] - g_mean - (x[n, c, p] - centre) * slope)
