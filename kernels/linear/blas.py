"""The fully connected layer through NumPy's matrix product, which is a BLAS tuned over decades."""


def forward(x, weight, bias):
    """y = x @ weightᵀ + bias"""
    y = x @ weight.T            # (N, C) @ (C, K) -> (N, K)
    if bias is not None:
        y += bias
    return y


def backward(gy, x, weight, needs=(True, True, True)):
    """gx = gy @ weight, gweight = gyᵀ @ x, gbias = the sum of gy over the batch"""
    return (gy @ weight if needs[0] else None,          # (N, K) @ (K, C) -> (N, C)
            gy.T @ x if needs[1] else None,             # (K, N) @ (N, C) -> (K, C)
            gy.sum(0) if needs[2] else None)
