"""Batch normalisation on a GPU, in as few passes over memory as the formula allows.

On the CPU one thread takes a channel. Here a channel is cut into chunks for many blocks, or 64 channels would keep 64 of the
GPU's processors busy and no more; each block adds up its chunk in a tree, and a second kernel adds the chunks in order. The
sums are those of cpu.py: of x minus the channel's first value, so that a large mean does not cancel the variance away, and in
float64. The two passes that write go pixel by pixel, one thread each.
"""

import math

import numpy as np

from kernels.device.array import DeviceArray
from kernels.device.launching import block_sum, split
from kernels.device.shim import THREADS, cuda, device_function, kernel, launch, launch_flat, launch_planes
from kernels.device.sums import cut


def statistics(x):
    """See the room."""
    N, C, P = _flat(x)
    mean, var = DeviceArray((C,), x.dtype), DeviceArray((C,), x.dtype)
    chunk, chunks = cut(N * P, C)
    partial = DeviceArray((2, C, chunks), np.float64)
    launch(_moments, C * chunks, THREADS, x, (N, C, P), chunk, chunks, partial)
    launch_flat(_finish_statistics, C, x, partial, (N, C, P), chunks, mean, var)
    return mean, var


def normalize(x, mean, var, weight, bias, eps, add=None, relu=False):
    """See the room."""
    N, C, P = _flat(x)
    y = np.empty_like(x)
    launch_planes(_normalize, N * C, P, x, (mean, var, weight, bias), x.dtype.type(eps), x if add is None else add,
                  (add is not None, relu), y, (N * C, C, P))
    return y


def backward(gy, x, mean, var, weight, eps, batch_statistics, relu_bias=None):
    """See the room, and the reference for the formula."""
    behind_relu = relu_bias is not None
    return _backward(gy, x, mean, var, weight, eps, batch_statistics, relu_bias if behind_relu else weight, behind_relu)


def add_relu_backward(gy, y, x, mean, var, weight, eps, batch_statistics):
    """gadd = gy where y > 0, else 0; the rest is backward of that"""
    from kernels.activation.cuda import relu_backward
    gadd = relu_backward(gy, y)
    return *backward(gadd, x, mean, var, weight, eps, batch_statistics), gadd


def _backward(gy, x, mean, var, weight, eps, batch_statistics, bias, behind_relu):
    N, C, P = _flat(x)
    gx, gweight, gbias = np.empty_like(x), np.empty_like(mean), np.empty_like(mean)
    chunk, chunks = cut(N * P, C)
    partial = DeviceArray((2, C, chunks), np.float64)
    terms, eps = (mean, var, weight, bias), x.dtype.type(eps)
    launch(_products, C * chunks, THREADS, gy, x, terms, eps, behind_relu, (N, C, P), (chunk, chunks), partial)
    launch_flat(_finish_gradients, C, partial, chunks, var, eps, gweight, gbias, C)
    launch_planes(_input_gradient, N * C, P, gy, x, terms, eps, (behind_relu, batch_statistics), (gweight, gbias), gx,
                  (N * C, C, P))
    return gx, gweight, gbias


def _flat(x):
    """(N, C, H, W) -> (N, C, P)"""
    return *x.shape[:2], x.shape[2] * x.shape[3]


@kernel
def _moments(x, sizes, chunk, chunks, partial):
    """Block (c, k): Σ d and Σ d² over chunk k of channel c, d = x - the channel's first value."""
    shared = cuda.shared.array(THREADS, np.float64)
    N, C, P = sizes
    c, k = split(cuda.blockIdx.x, chunks)
    shift = np.float64(x[c * P])
    total, square = 0.0, 0.0
    for i in range(k * chunk + cuda.threadIdx.x, min(N * P, (k + 1) * chunk), THREADS):
        n, p = split(i, P)
        d = np.float64(x[(n * C + c) * P + p]) - shift
        total += d
        square += d * d
    total = block_sum(shared, total)
    square = block_sum(shared, square)
    if cuda.threadIdx.x == 0:
        partial[c * chunks + k] = total
        partial[(C + c) * chunks + k] = square


@kernel
def _finish_statistics(x, partial, sizes, chunks, mean, var):
    N, C, P = sizes
    c = cuda.grid(1)
    if c < C:
        total, square = 0.0, 0.0
        for k in range(chunks):
            total += partial[c * chunks + k]
            square += partial[(C + c) * chunks + k]
        average = total / (N * P)
        spread = square / (N * P) - average * average
        mean[c] = np.float64(x[c * P]) + average
        var[c] = 0.0 if spread < 0 else spread          # NaN stays NaN


@kernel
def _normalize(x, terms, eps, add, flags, y, sizes):
    plane = cuda.blockIdx.x * cuda.blockDim.y + cuda.threadIdx.y
    p = cuda.blockIdx.y * cuda.blockDim.x + cuda.threadIdx.x
    planes, C, P = sizes
    if plane < planes and p < P:
        _, c = split(plane, C)
        mean, var, weight, bias = terms
        i = plane * P + p
        value = _affine(x[i], mean[c], var[c], weight[c], bias[c], eps)
        if flags[0]:
            value += add[i]
        y[i] = x.dtype.type(0) if flags[1] and value < 0 else value


@device_function
def _affine(x, mean, var, weight, bias, eps):
    """weight · (x - mean) / sqrt(var + eps) + bias, the same to the last bit wherever it is computed"""
    return (x - mean) * (weight / math.sqrt(var + eps)) + bias


@device_function
def _upstream(gy, x, terms, c, eps, behind_relu):
    """gy, or behind a ReLU 0 where its output was not above 0: y is computed again, nobody has to keep it"""
    mean, var, weight, bias = terms
    blocked = behind_relu and _affine(x, mean[c], var[c], weight[c], bias[c], eps) <= 0
    return gy * 0 if blocked else gy


@kernel
def _products(gy, x, terms, eps, behind_relu, sizes, cuts, partial):
    """Block (c, k): Σ gy and Σ gy · (x - mean) over chunk k of channel c."""
    shared = cuda.shared.array(THREADS, np.float64)
    N, C, P = sizes
    chunk, chunks = cuts
    c, k = split(cuda.blockIdx.x, chunks)
    centre = np.float64(terms[0][c])
    total, product = 0.0, 0.0
    for i in range(k * chunk + cuda.threadIdx.x, min(N * P, (k + 1) * chunk), THREADS):
        n, p = split(i, P)
        at = (n * C + c) * P + p
        g = np.float64(_upstream(gy[at], x[at], terms, c, eps, behind_relu))
        total += g
        product += g * (np.float64(x[at]) - centre)
    total = block_sum(shared, total)
    product = block_sum(shared, product)
    if cuda.threadIdx.x == 0:
        partial[c * chunks + k] = total
        partial[(C + c) * chunks + k] = product


@kernel
def _finish_gradients(partial, chunks, var, eps, gweight, gbias, C):
    c = cuda.grid(1)
    if c < C:
        total, product = 0.0, 0.0
        for k in range(chunks):
            total += partial[c * chunks + k]
            product += partial[(C + c) * chunks + k]
        gbias[c] = total
        gweight[c] = product / math.sqrt(np.float64(var[c]) + eps)


@kernel
def _input_gradient(gy, x, terms, eps, flags, sums, gx, sizes):
    plane = cuda.blockIdx.x * cuda.blockDim.y + cuda.threadIdx.y
    p = cuda.blockIdx.y * cuda.blockDim.x + cuda.threadIdx.x
    planes, C, P = sizes
    if plane < planes and p < P:
        _, c = split(plane, C)
        i = plane * P + p
        g = _upstream(gy[i], x[i], terms, c, eps, flags[0])
        one = x.dtype.type(1)
        invstd = one / math.sqrt(terms[1][c] + eps)
        if flags[1]:
            count = x.dtype.type(planes // C * P)
            g -= sums[1][c] / count + (x[i] - terms[0][c]) * invstd * (sums[0][c] / count)
        gx[i] = terms[2][c] * invstd * g
