"""The update in one pass: w, g and v are read once and w and v written once.

A network has many small parameters, and a launch takes longer than the update of most. So one launch moves all of them: each
block looks up which parameter is its own.
"""

import itertools

import numpy as np

from kernels.device import shim
from kernels.device.array import DeviceArray
from kernels.device.launching import load, store
from kernels.device.shim import ITEMS, THREADS, cuda, device_function, kernel, launch, pointer

FIELDS = 5      # of a parameter in the table: where w, g and v lie, its size, its first block


def step(w, g, v, lr, momentum, weight_decay, nesterov):
    """See the room for the formula."""
    step_all([w], [g], [v], lr, momentum, weight_decay, nesterov)


def step_all(weights, gradients, velocities, lr, momentum, weight_decay, nesterov):
    """`step` on each parameter; all of one dtype."""
    blocks = [-(-w.size // (THREADS * ITEMS)) for w in weights]
    table = [(*(shim.address(array.flat) for array in arrays), arrays[0].size, first) for arrays, first in
             zip(zip(weights, gradients, velocities if momentum else weights), itertools.accumulate(blocks, initial=0))]
    numbers = tuple(weights[0].dtype.type(number) for number in (lr, momentum, weight_decay))
    launch(_step, sum(blocks), THREADS, weights[0], DeviceArray.of(np.array(table, np.int64)), len(weights), numbers,
           bool(momentum), bool(nesterov))


@device_function
def _parameter_of(block, table, count):
    """The last parameter that starts at this block or before it."""
    low, high = 0, count
    while high - low > 1:
        middle = (low + high) // 2
        if table[middle * FIELDS + 4] <= block:
            low = middle
        else:
            high = middle
    return low


@kernel
def _step(like, table, count, numbers, moves, nesterov):
    """Each block moves a piece of one parameter. table (count, FIELDS) int64; `like`: any array of the parameters' dtype."""
    own_w, own_g, own_v = (cuda.local.array(ITEMS, like.dtype), cuda.local.array(ITEMS, like.dtype),
                           cuda.local.array(ITEMS, like.dtype))
    lr, momentum, weight_decay = numbers
    line = _parameter_of(cuda.blockIdx.x, table, count) * FIELDS
    w, g, v = pointer(table[line], like), pointer(table[line + 1], like), pointer(table[line + 2], like)
    size, first = table[line + 3], (cuda.blockIdx.x - table[line + 4]) * (THREADS * ITEMS) + cuda.threadIdx.x
    load(w, first, size, own_w)
    load(g, first, size, own_g)
    load(v, first, size, own_v)
    for k in range(ITEMS):
        slope = own_g[k] + weight_decay * own_w[k]
        speed = slope
        if moves:
            speed = momentum * own_v[k] + slope
        own_v[k] = speed
        if nesterov:
            speed = slope + momentum * speed
        own_w[k] -= lr * speed
    if moves:
        store(own_v, first, size, v)
    store(own_w, first, size, w)
