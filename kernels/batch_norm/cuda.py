"""Batch normalisation on a GPU, in as few passes over memory as the formula allows.

On the CPU one thread takes a channel. Here a channel is cut into chunks for many blocks, or 64 channels would keep 64 of the
GPU's processors busy and no more; each block adds up its chunk in a tree, and a second kernel adds the chunks in order. The
sums are those of cpu.py, of x minus the channel's first value, so that a large mean does not cancel the variance away: RUN
values of a thread in x's own type, and all that in float64 (kernels/device/sums.py). The two passes that write take one pixel
of ITEMS images a thread: the same channel, so that its root and quotient are computed once.
"""

import math

import numpy as np

from kernels.device.array import DeviceArray
from kernels.device.launching import at, block_sum, load_images, plane_and_pixel, short, split, store_images
from kernels.device.shim import ITEMS, THREADS, cuda, device_function, kernel, launch, launch_flat, launch_planes
from kernels.device.sums import RUN, cut, further, steps_of


def statistics(x):
    """See the room."""
    N, C, P = _flat(x)
    mean, var = DeviceArray((C,), x.dtype), DeviceArray((C,), x.dtype)
    chunk, chunks = cut(N * P, C)
    partial = DeviceArray((2, C, chunks), np.float64)
    launch(_moments, C * chunks, THREADS, x, (N, C, P), chunk, chunks, partial, mean, var)
    if chunks > 1:
        launch_flat(_finish_statistics, C, x, partial, (N, C, P), chunks, mean, var)
    return mean, var


def normalize(x, mean, var, weight, bias, eps, add=None, relu=False):
    """See the room."""
    N, C, P = _flat(x)
    y = DeviceArray(x.shape, x.dtype)
    launch_planes(_normalize, C, P, x, (mean, var, weight, bias), x.dtype.type(eps), x if add is None else add,
                  (add is not None, relu), y, (N, C, P), images=N)
    return y


def backward(gy, x, mean, var, weight, eps, batch_statistics, relu_bias=None, reuse=False):
    """See the room, and the reference for the formula."""
    behind_relu = relu_bias is not None
    return _backward(gy, x, mean, var, weight, eps, batch_statistics, relu_bias if behind_relu else weight, behind_relu)


def add_relu_backward(gy, y, x, mean, var, weight, eps, batch_statistics, reuse=False):
    """gadd = gy where y > 0, else 0; the rest is backward of that"""
    from kernels.activation.cuda import relu_backward
    gadd = relu_backward(gy, y)
    return *backward(gadd, x, mean, var, weight, eps, batch_statistics), gadd


def move_running(running_mean, running_var, mean, var, momentum, count):
    """See the room."""
    number = mean.dtype.type
    launch_flat(_move_running, mean.size, running_mean, running_var, mean, var, number(momentum), number(count / (count - 1)),
                mean.size)


def _backward(gy, x, mean, var, weight, eps, batch_statistics, bias, behind_relu):
    N, C, P = _flat(x)
    gx, gweight, gbias = (DeviceArray(like.shape, x.dtype) for like in (x, mean, mean))
    chunk, chunks = cut(N * P, C)
    partial = DeviceArray((2, C, chunks), np.float64)
    terms, eps = (mean, var, weight, bias), x.dtype.type(eps)
    launch(_products, C * chunks, THREADS, gy, x, terms, eps, behind_relu, (N, C, P), (chunk, chunks), partial, gweight, gbias)
    if chunks > 1:
        launch_flat(_finish_gradients, C, partial, chunks, var, eps, gweight, gbias, C)
    launch_planes(_input_gradient, C, P, gy, x, terms, eps, (behind_relu, batch_statistics), (gweight, gbias), gx, (N, C, P),
                  images=N)
    return gx, gweight, gbias


def _flat(x):
    """(N, C, H, W) -> (N, C, P)"""
    return *x.shape[:2], x.shape[2] * x.shape[3]


@kernel
def _moments(x, sizes, chunk, chunks, partial, mean, var):
    """Block (c, k): Σ d and Σ d² over chunk k of channel c, d = x - the channel's first value; the moments, if k is the only
    one."""
    shared = cuda.shared.array(THREADS, np.float64)
    N, C, P = sizes
    c, k = split(cuda.blockIdx.x, chunks)
    start, stop = k * chunk + cuda.threadIdx.x, min(N * P, (k + 1) * chunk)
    (n, p), steps = split(start, P), steps_of(C, P)
    place, p, P, origin = short((n * C + c) * P + p), short(p), short(P), short(c * P)
    shift = x[at(origin)]
    total, square, own = 0.0, 0.0, cuda.local.array(RUN, x.dtype)
    for first in range(start, stop, RUN * THREADS):
        some, squares = x.dtype.type(0), x.dtype.type(0)
        for r in range(RUN):                # all are asked for before the first is needed; beyond the end d is 0
            own[r] = x[at(place if first + r * THREADS < stop else origin)]
            place, p = further(place, p, steps, P)
        for r in range(RUN):
            d = own[r] - shift
            some += d
            squares += d * d
        total += np.float64(some)
        square += np.float64(squares)
    total = block_sum(shared, total)
    square = block_sum(shared, square)
    if cuda.threadIdx.x == 0:
        if chunks == 1:
            mean[c], var[c] = _mean_and_var(shift, total, square, N * sizes[2])
        else:
            partial[c * chunks + k] = total
            partial[(C + c) * chunks + k] = square


@device_function
def _mean_and_var(shift, total, square, count):
    """From the sums of x - shift and of its square."""
    average = total / count
    spread = square / count - average * average
    return np.float64(shift) + average, 0.0 if spread < 0 else spread       # NaN stays NaN


@kernel
def _finish_statistics(x, partial, sizes, chunks, mean, var):
    N, C, P = sizes
    c = cuda.grid(1)
    if c < C:
        total, square = 0.0, 0.0
        for k in range(chunks):
            total += partial[c * chunks + k]
            square += partial[(C + c) * chunks + k]
        mean[c], var[c] = _mean_and_var(x[c * P], total, square, N * P)


@kernel
def _move_running(running_mean, running_var, mean, var, momentum, unbias, C):
    c = cuda.grid(1)
    if c < C:
        running_mean[c] += momentum * (mean[c] - running_mean[c])
        running_var[c] += momentum * (var[c] * unbias - running_var[c])


@kernel
def _normalize(x, terms, eps, add, flags, y, sizes):
    N, C, P = sizes
    c, p = plane_and_pixel(P)
    if c < C and p < P:
        place, n, (mean, var, weight, bias) = c * P + p, cuda.blockIdx.y * ITEMS, terms
        own, shortcut = cuda.local.array(ITEMS, x.dtype), cuda.local.array(ITEMS, x.dtype)
        load_images(x, place, n, N, C * P, own)             # first: the root below need not wait for them, nor they for it
        if flags[0]:
            load_images(add, place, n, N, C * P, shortcut)
        factor = _factor(var[c], weight[c], eps)
        for k in range(ITEMS):
            value = _affine(own[k], mean[c], factor, bias[c])
            if flags[0]:
                value += shortcut[k]
            own[k] = x.dtype.type(0) if flags[1] and value < 0 else value
        store_images(own, place, n, N, C * P, y)


@device_function
def _factor(var, weight, eps):
    """weight / sqrt(var + eps)"""
    return weight / math.sqrt(var + eps)


@device_function
def _affine(x, mean, factor, bias):
    """weight · (x - mean) / sqrt(var + eps) + bias, the same to the last bit wherever it is computed"""
    return (x - mean) * factor + bias


@kernel
def _products(gy, x, terms, eps, behind_relu, sizes, cuts, partial, gweight, gbias):
    """Block (c, k): Σ gy and Σ gy · (x - mean) over chunk k of channel c. Behind a ReLU gy counts as 0 where the output was not
    above 0: it is computed again, nobody has to keep it. The gradients, if k is the only chunk."""
    shared = cuda.shared.array(THREADS, np.float64)
    N, C, P = sizes
    chunk, chunks = cuts
    c, k = split(cuda.blockIdx.x, chunks)
    start, stop = k * chunk + cuda.threadIdx.x, min(N * P, (k + 1) * chunk)
    (n, p), steps = split(start, P), steps_of(C, P)
    place, p, P, origin = short((n * C + c) * P + p), short(p), short(P), short(c * P)
    mean, bias, factor = terms[0][c], terms[3][c], _factor(terms[1][c], terms[2][c], eps)
    total, product, zero = 0.0, 0.0, x.dtype.type(0)
    own, values = cuda.local.array(RUN, gy.dtype), cuda.local.array(RUN, x.dtype)
    for first in range(start, stop, RUN * THREADS):
        some, products = zero, zero
        for r in range(RUN):                # all are asked for before the first is needed
            inside = first + r * THREADS < stop
            here = at(place if inside else origin)
            g, values[r] = gy[here], x[here]
            own[r] = g if inside else zero
            place, p = further(place, p, steps, P)
        for r in range(RUN):
            g = zero if behind_relu and _affine(values[r], mean, factor, bias) <= 0 else own[r]
            some += g
            products += g * (values[r] - mean)
        total += np.float64(some)
        product += np.float64(products)
    total = block_sum(shared, total)
    product = block_sum(shared, product)
    if cuda.threadIdx.x == 0:
        if chunks == 1:
            gbias[c], gweight[c] = total, product / math.sqrt(np.float64(terms[1][c]) + eps)
        else:
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
    N, C, P = sizes
    c, p = plane_and_pixel(P)
    if c < C and p < P:
        place, n, zero = c * P + p, cuda.blockIdx.y * ITEMS, x.dtype.type(0)
        own, values = cuda.local.array(ITEMS, gy.dtype), cuda.local.array(ITEMS, x.dtype)
        load_images(gy, place, n, N, C * P, own)
        load_images(x, place, n, N, C * P, values)
        mean, bias, factor = terms[0][c], terms[3][c], _factor(terms[1][c], terms[2][c], eps)
        count = x.dtype.type(N * P)
        average, slope = sums[1][c] / count, sums[0][c] / count / math.sqrt(terms[1][c] + eps)
        for k in range(ITEMS):
            g = zero if flags[0] and _affine(values[k], mean, factor, bias) <= 0 else own[k]
            if flags[1]:
                g -= average + (values[k] - mean) * slope
            own[k] = factor * g
        store_images(own, place, n, N, C * P, gx)
