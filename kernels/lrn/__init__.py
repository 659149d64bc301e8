"""Local response normalisation across channels.

    y[n, c] = x[n, c] · s[n, c]^-beta,   s[n, c] = k + alpha/size · sum over c' in the window of c of x[n, c']²

The window of c is c - size//2 .. c + (size-1)//2, cut at the ends. x (N, C, H, W). Source: Krizhevsky et al. 2012,
section 3.3; there alpha is not divided by size, here it is, as in PyTorch, ONNX and Caffe.
"""

from kernels.dispatch import Room, by_order, expect_rank, expect_shape
from kernels.errors import ShapeError

room = Room("lrn", ["reference", "cpu", "channels_last"], by_order)


def forward(x, size, alpha, beta, k):
    """y (N, C, H, W)"""
    expect_rank("local_response_norm: x", x, "(N, C, H, W)")
    if size < 1:
        raise ShapeError(f"local_response_norm: size {size} is less than 1; the papers use 5")
    return room.call("forward", x, size, alpha, beta, k)


def backward(gy, x, size, alpha, beta, k):
    """gx (N, C, H, W); s is computed anew: to keep it would be one more array to write, to hold, and to read."""
    expect_rank("local_response_norm: x", x, "(N, C, H, W)")
    expect_shape("local_response_norm: gy", gy, x.shape)
    return room.call("backward", gy, x, size, alpha, beta, k)
