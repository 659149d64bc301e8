"""What the micro-kernels compute, in NumPy at the same addresses: for NUMBA_DISABLE_JIT=1, where there is no LLVM to emit
them. The loops around them then run as plain Python, so that a debugger or a coverage tool can follow them."""

import ctypes

import numpy as np


def view(address, count, dtype):
    """The array of `count` values at an address."""
    size = count * np.dtype(dtype).itemsize
    return np.frombuffer((ctypes.c_char * size).from_address(int(address)), dtype)


def product_tile(rows, vectors, vector_bytes):
    """See kernels.gemm.micro."""
    def tile(a, b, offsets, depth, c, ldc, accumulate, like):
        dtype, size = like.dtype, like.itemsize
        width = vectors * vector_bytes // size
        A = view(a, depth * rows, dtype).reshape(depth, rows)
        B = np.array([view(b + at * size, width, dtype) for at in view(offsets, depth, np.int64)])
        with np.errstate(all="ignore"):             # junk pixels may hold anything
            _store(A.T @ B, c, ldc, accumulate)     # (rows, depth) @ (depth, width) -> (rows, width)
    return tile


def correlation_tile(rows, vectors, vector_bytes):
    """See kernels.gemm.micro."""
    def tile(a, offsets, b, depth, c, ldc, accumulate, like):
        dtype, size = like.dtype, like.itemsize
        width = vectors * vector_bytes // size
        A = np.array([view(a + at * size, depth, dtype) for at in view(offsets, rows, np.int64)])
        B = view(b, depth * width, dtype).reshape(depth, width)
        with np.errstate(all="ignore"):
            _store(A @ B, c, ldc, accumulate)       # (rows, depth) @ (depth, width) -> (rows, width)
    return tile


def vector_copy(vector_bytes):
    """See kernels.gemm.micro."""
    def copy(target, source, vectors, like):
        view(target, vectors * vector_bytes, np.uint8)[:] = view(source, vectors * vector_bytes, np.uint8)
    return copy


def copy_plus(vector_bytes):
    """See kernels.gemm.micro."""
    def copy(target, source, count, value):
        view(target, count, value.dtype)[:] = view(source, count, value.dtype) + value
    return copy


def _store(tile, c, ldc, accumulate):
    for i, row in enumerate(tile):
        target = view(c + i * ldc * tile.itemsize, tile.shape[1], tile.dtype)
        target[:] = target + row if accumulate else row
