"""The fully connected layer on a GPU: three matrix products (kernels/gemm/cuda.py), transposes by reading in another order."""

from kernels.device import sums
from kernels.gemm.cuda import product


def forward(x, weight, bias):
    """y = x @ weightᵀ + bias"""
    (N, C), K = x.shape, weight.shape[0]
    y = product(x, weight, N, K, C, (C, 1, 1, C, 0, 0)).reshape(N, K)       # (N, C) @ (C, K) -> (N, K)
    if bias is not None:
        y += bias
    return y


def backward(gy, x, weight, needs=(True, True, True)):
    """gx = gy @ weight, gweight = gyᵀ @ x, gbias = the sum of gy over the batch"""
    (N, C), K = x.shape, weight.shape[0]
    return (product(gy, weight, N, C, K, (K, 1, C, 1, 0, 0)).reshape(N, C) if needs[0] else None,   # (N, K) @ (K, C) -> (N, C)
            product(gy, x, K, C, N, (1, K, C, 1, 0, 0)).reshape(K, C) if needs[1] else None,        # (K, N) @ (N, C) -> (K, C)
            sums.middle(gy, N, K, 1) if needs[2] else None)
