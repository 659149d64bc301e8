"""Log-softmax and cross-entropy on a GPU: one block to a row, whose threads share its maximum and its sums.

Labels are integers on the host, checked there; they are moved here, a few bytes a batch.
"""

import math

import numpy as np

from kernels.device.array import DeviceArray, full
from kernels.device.launching import block_sum, split
from kernels.device.shim import THREADS, cuda, device_function, kernel, launch, launch_flat
from kernels.device.sums import middle


def log_softmax_forward(x):
    """See the room."""
    logp = np.empty_like(x)
    launch(_log_softmax, x.shape[0] if x.size else 0, THREADS, x, x.shape[1], logp)
    return logp


def log_softmax_backward(gy, logp):
    """See the room."""
    gx = np.empty_like(gy)
    launch(_log_softmax_backward, gy.shape[0] if gy.size else 0, THREADS, gy, logp, gy.shape[1], gx)
    return gx


def cross_entropy_forward(logp, labels, smoothing):
    """See the room."""
    N, K = logp.shape
    rows = DeviceArray((N,), np.float64)
    launch(_losses, N, THREADS, logp, _labels(labels), smoothing, K, rows)
    return (middle(rows, N, 1, 1) / N).astype(logp.dtype).reshape(())


def cross_entropy_backward(gloss, logp, labels, smoothing):
    """See the room."""
    gx, (N, K) = np.empty_like(logp), logp.shape
    gloss = gloss if isinstance(gloss, DeviceArray) else full((1,), gloss, logp.dtype)      # not asked for: nobody waits
    launch_flat(_cross_entropy_backward, gx.size, gloss, logp, _labels(labels), smoothing, (N, K), gx, gx.size)
    return gx


def _labels(labels):
    return DeviceArray.of(np.asarray(labels, np.int64))


@device_function
def _block_max(shared, value):
    """The largest value over the threads of a block, for every thread; a tree, as in block_sum. NaN wins."""
    t = cuda.threadIdx.x
    shared[t] = value
    cuda.syncthreads()
    half = THREADS // 2
    while half > 0:
        if t < half and not shared[t] >= shared[t + half] and shared[t] == shared[t]:
            shared[t] = shared[t + half]
        cuda.syncthreads()
        half //= 2
    top = shared[0]
    cuda.syncthreads()
    return top


@kernel
def _log_softmax(x, K, logp):
    shared = cuda.shared.array(THREADS, np.float64)
    start = cuda.blockIdx.x * K
    top = np.float64(x[start])
    for k in range(cuda.threadIdx.x, K, THREADS):
        value = np.float64(x[start + k])
        top = top if top >= value or top != top else value
    top = _block_max(shared, top)
    total = 0.0
    for k in range(cuda.threadIdx.x, K, THREADS):
        total += math.exp(np.float64(x[start + k]) - top)
    rest = math.log(block_sum(shared, total))
    for k in range(cuda.threadIdx.x, K, THREADS):
        logp[start + k] = np.float64(x[start + k]) - top - rest


@kernel
def _log_softmax_backward(gy, logp, K, gx):
    shared = cuda.shared.array(THREADS, np.float64)
    start = cuda.blockIdx.x * K
    total = 0.0
    for k in range(cuda.threadIdx.x, K, THREADS):
        total += gy[start + k]
    total = block_sum(shared, total)
    for k in range(cuda.threadIdx.x, K, THREADS):
        gx[start + k] = gy[start + k] - math.exp(np.float64(logp[start + k])) * total


@kernel
def _losses(logp, labels, smoothing, K, rows):
    shared = cuda.shared.array(THREADS, np.float64)
    n = cuda.blockIdx.x
    total = 0.0
    for k in range(cuda.threadIdx.x, K, THREADS):
        total += logp[n * K + k]
    total = block_sum(shared, total)
    if cuda.threadIdx.x == 0:
        rows[n] = -(1 - smoothing) * logp[n * K + labels[n]] - smoothing / K * total


@kernel
def _cross_entropy_backward(gloss, logp, labels, smoothing, sizes, gx, count):
    i = cuda.grid(1)
    if i < count:
        N, K = sizes
        n, k = split(i, K)
        target = smoothing / K + ((1 - smoothing) if k == labels[n] else 0.0)
        gx[i] = np.float64(gloss[0]) / N * (math.exp(np.float64(logp[i])) - target)
