"""The bias of a convolution and its gradient, shared by the compiled rungs."""

import numpy as np
from numba import prange

from kernels.compiling import njit


@njit(cache=True, parallel=True)
def add_bias(y, bias):
    """y (N, K, OH, OW) += bias (K,), in place"""
    N, K = y.shape[:2]
    for plane in prange(N * K):
        y[plane // K, plane % K] += bias[plane % K]


@njit(cache=True, parallel=True)
def sum_pixels(gy):
    """gy (N, K, OH, OW) -> (K,): the gradient of the bias, images in order"""
    N, K, OH, OW = gy.shape
    total = np.empty(K, gy.dtype)
    for k in prange(K):
        channel = 0.0
        for n in range(N):
            plane = 0.0
            for i in range(OH):
                for j in range(OW):
                    plane += gy[n, k, i, j]
            channel += plane
        total[k] = channel
    return total
