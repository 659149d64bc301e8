"""Convolution as a matrix product: the textbook step from the definition to speed.

Copy, for every output pixel, the C·R·S input pixels it sees into one column. Then all filters over all pixels are one
matrix product, which can be made fast once and for all (kernels.gemm): y = W (K, CRS) @ columns (CRS, P), with P = OH·OW.
The price is a buffer R·S times the size of an image; each thread has one, and works through its images with it.

Backward: gW = gy @ columnsᵀ, and gcolumns = Wᵀ @ gy is added back to the pixels the columns were copied from (col2im).
Source: Chellapilla, Puri and Simard 2006, "High performance convolutional neural networks for document processing".
"""

import numpy as np
from numba import prange

from kernels.compiling import njit
from kernels.conv2d.bias import add_bias, sum_pixels
from kernels.gemm.matmul import ROWS, multiply, pack, pack_into

PARTS = 16      # of the batch: each sums its images in order, so that results are the same for any number of threads


def forward(x, weight, bias, window, groups=1, relu=False):
    """y = W @ im2col(x) + bias. See the room for shapes."""
    K = weight.shape[0]
    OH, OW = window.output_size(*x.shape[2:])
    y = np.empty((x.shape[0], K, OH, OW), x.dtype)
    _forward(x, weight.reshape(groups, K // groups, -1), window, y)
    if bias is not None:
        add_bias(y, bias)
    return np.maximum(y, 0, out=y) if relu else y


def backward(gy, x, weight, window, groups=1, needs=(True, True, True)):
    """gW = gy @ im2col(x)ᵀ and gx = col2im(Wᵀ @ gy). See the room for shapes."""
    w = weight.reshape(groups, weight.shape[0] // groups, -1)
    gx, gw = np.empty_like(x) if needs[0] else None, None
    if needs[0]:
        _input_gradient(gy, np.ascontiguousarray(w.transpose(0, 2, 1)), window, gx)
    if needs[1]:
        parts = np.zeros((PARTS, *w.shape), x.dtype)
        _weight_gradient(gy, x, window, parts)
        gw = parts.sum(0).reshape(weight.shape)
    return gx, gw, sum_pixels(gy) if needs[2] else None


@njit(cache=True, parallel=True)
def _forward(x, w, window, y):
    """(G, K/G, CRS) @ (G, CRS, P) -> (G, K/G, P) for each image"""
    (N, C), (K, OH, OW), G = x.shape[:2], y.shape[1:], w.shape[0]
    for part in prange(PARTS):
        columns = np.empty((C, window.kernel_h, window.kernel_w, OH, OW), x.dtype)
        for g in range(G):
            packed = pack(w[g])
            for n in range(N * part // PARTS, N * (part + 1) // PARTS):
                some = columns[:C // G]
                im2col(x[n, g * C // G:(g + 1) * C // G], window, some)
                out = y[n, g * K // G:(g + 1) * K // G].reshape(K // G, OH * OW)
                multiply(packed, some.reshape(w.shape[2], OH * OW), out, False)


@njit(cache=True, parallel=True)
def _input_gradient(gy, wt, window, gx):
    """(G, CRS, K/G) @ (G, K/G, P) -> (G, CRS, P) for each image, then col2im"""
    (N, K, OH, OW), C, G = gy.shape, gx.shape[1], wt.shape[0]
    for part in prange(PARTS):
        columns = np.empty((C // G, window.kernel_h, window.kernel_w, OH, OW), gy.dtype)
        for g in range(G):
            packed = pack(wt[g])
            for n in range(N * part // PARTS, N * (part + 1) // PARTS):
                some = gy[n, g * K // G:(g + 1) * K // G].reshape(K // G, OH * OW)
                multiply(packed, some, columns.reshape(wt.shape[1], OH * OW), False)
                col2im(columns, window, gx[n, g * C // G:(g + 1) * C // G])


@njit(cache=True, parallel=True)
def _weight_gradient(gy, x, window, parts):
    """(G, K/G, P) @ (G, P, CRS) -> (G, K/G, CRS), summed over the images of each part"""
    (N, K, OH, OW), C, (G, _, T) = gy.shape, x.shape[1], parts.shape[1:]
    for part in prange(PARTS):
        columns = np.empty((C // G, window.kernel_h, window.kernel_w, OH, OW), x.dtype)
        packed = np.zeros((-(-T // ROWS), OH * OW, ROWS), x.dtype)
        for n in range(N * part // PARTS, N * (part + 1) // PARTS):
            for g in range(G):
                im2col(x[n, g * C // G:(g + 1) * C // G], window, columns)
                # the larger matrix is packed as A, the smaller one transposed: (CRS, P) @ (P, K/G) -> (CRS, K/G)
                some = gy[n, g * K // G:(g + 1) * K // G].reshape(K // G, OH * OW)
                pack_into(columns.reshape(T, OH * OW), packed)
                multiply(packed, some.T, parts[part, g].T, True)


@njit(cache=True)
def _inside(tap, stride, pad, size, positions):
    """The range of output positions for which a tap (r·dilation) falls on a pixel and not on padding."""
    first = max(0, -((tap - pad) // stride))
    last = min(positions, (size - 1 + pad - tap) // stride + 1)
    return min(first, positions), max(last, min(first, positions))


@njit(cache=True)
def im2col(x, window, columns):
    """columns[c, r, s, i, j] = x[c, i·stride + r·dilation - top, j·stride + s·dilation - left], 0 outside."""
    C, H, W = x.shape
    R, S, OH, OW = columns.shape[1:]
    for c in range(C):
        for r in range(R):
            down = r * window.dilation_h
            i0, i1 = _inside(down, window.stride_h, window.top, H, OH)
            for s in range(S):
                across = s * window.dilation_w
                j0, j1 = _inside(across, window.stride_w, window.left, W, OW)
                out = columns[c, r, s]
                out[:i0] = 0
                out[i1:] = 0
                for i in range(i0, i1):
                    row = x[c, i * window.stride_h + down - window.top]
                    out[i, :j0] = 0
                    out[i, j1:] = 0
                    shift = across - window.left
                    if window.stride_w == 1:            # a run of memory, which LLVM copies in vectors
                        target, source = out[i, j0:j1], row[j0 + shift:j1 + shift]
                        for j in range(j1 - j0):
                            target[j] = source[j]
                    else:
                        for j in range(j0, j1):
                            out[i, j] = row[j * window.stride_w + shift]


@njit(cache=True)
def col2im(gcolumns, window, gx):
    """gx[c, h, w] = the sum of gcolumns over all (r, s, i, j) that im2col copied from that pixel."""
    C, R, S, OH, OW = gcolumns.shape
    H, W = gx.shape[1:]
    for c in range(C):
        gx[c] = 0
        for r in range(R):
            down = r * window.dilation_h
            i0, i1 = _inside(down, window.stride_h, window.top, H, OH)
            for s in range(S):
                across = s * window.dilation_w
                j0, j1 = _inside(across, window.stride_w, window.left, W, OW)
                for i in range(i0, i1):
                    row = gx[c, i * window.stride_h + down - window.top]
                    taps = gcolumns[c, r, s, i]
                    shift = across - window.left
                    if window.stride_w == 1:
                        target, source = row[j0 + shift:j1 + shift], taps[j0:j1]
                        for j in range(j1 - j0):
                            target[j] += source[j]
                    else:
                        for j in range(j0, j1):
                            row[j * window.stride_w + shift] += taps[j]
