"""Convolution as a matrix product: the textbook step from the definition to speed.

Copy, for every output pixel, the C·R·S input pixels it sees into one column. Then all filters over all pixels are one
matrix product, for which fast libraries exist: y = W (K, CRS) @ columns (CRS, P), with P = OH·OW. The price is a
buffer R·S times the size of the image; it is kept to a few images at a time so that it stays in the cache.

Backward: gW = gy @ columnsᵀ, and gcolumns = Wᵀ @ gy is added back to the pixels the columns were copied from (col2im).
Source: Chellapilla, Puri and Simard 2006, "High performance convolutional neural networks for document processing".
"""

import numpy as np
from numba import njit, prange

BUFFER_BYTES = 4 << 20      # of columns at a time, about what the caches hold


def forward(x, weight, bias, window, groups=1):
    """y = W @ im2col(x) + bias, a few images at a time. See the room for shapes."""
    N, _, H, W = x.shape
    K = weight.shape[0]
    OH, OW = window.output_size(H, W)
    w = weight.reshape(groups, K // groups, -1)
    y = np.empty((N, groups, K // groups, OH * OW), x.dtype)
    for block in _blocks(x, window, OH * OW):
        columns = _columns(x[block], window, OH, OW, groups)
        np.matmul(w, columns, out=y[block])     # (G, K/G, CRS) @ (n, G, CRS, P) -> (n, G, K/G, P)
    y = y.reshape(N, K, OH, OW)
    if bias is not None:
        _add_bias(y, bias)
    return y


def backward(gy, x, weight, window, groups=1, needs=(True, True, True)):
    """gW = gy @ im2col(x)ᵀ and gx = col2im(Wᵀ @ gy), a few images at a time. See the room for shapes."""
    N, _, OH, OW = gy.shape
    K = weight.shape[0]
    g = gy.reshape(N, groups, K // groups, OH * OW)
    wt = weight.reshape(groups, K // groups, -1).transpose(0, 2, 1)
    gw = np.zeros((groups, K // groups, wt.shape[1]), x.dtype)
    gx = np.empty_like(x) if needs[0] else None
    for block in _blocks(x, window, OH * OW):
        if needs[1]:
            columns = _columns(x[block], window, OH, OW, groups)
            # (n, G, K/G, P) @ (n, G, P, CRS) -> (n, G, K/G, CRS), then summed over the images
            gw += np.matmul(g[block], columns.transpose(0, 1, 3, 2)).sum(0)
        if needs[0]:
            gcolumns = np.matmul(wt, g[block])  # (G, CRS, K/G) @ (n, G, K/G, P) -> (n, G, CRS, P)
            _image_gradient(gcolumns, window, OH, OW, gx[block])
    return gx, gw.reshape(weight.shape) if needs[1] else None, _sum_pixels(gy) if needs[2] else None


def _blocks(x, window, P):
    """Slices of a few images each, whose columns fit the buffer."""
    N, C = x.shape[:2]
    one = C * window.kernel_h * window.kernel_w * P * x.itemsize
    step = max(1, BUFFER_BYTES // max(1, one))
    return [slice(n, n + step) for n in range(0, N, step)]


def _columns(x, window, OH, OW, groups):
    """x (n, C, H, W) -> columns (n, G, C/G·R·S, OH·OW); a view of x itself for a 1x1 window."""
    n, C = x.shape[:2]
    if window.pointwise:
        return x.reshape(n, groups, C // groups, OH * OW)
    columns = np.empty((n, C, window.kernel_h, window.kernel_w, OH, OW), x.dtype)
    im2col(x, window, columns)
    return columns.reshape(n, groups, -1, OH * OW)


def _image_gradient(gcolumns, window, OH, OW, gx):
    """gcolumns (n, G, C/G·R·S, OH·OW) -> gx (n, C, H, W)"""
    if window.pointwise:
        gx[...] = gcolumns.reshape(gx.shape)
    else:
        col2im(gcolumns.reshape(*gx.shape[:2], window.kernel_h, window.kernel_w, OH, OW), window, gx)


@njit(cache=True)
def _inside(tap, stride, pad, size, positions):
    """The range of output positions for which a tap (r·dilation) falls on a pixel and not on padding."""
    first = max(0, -((tap - pad) // stride))
    last = min(positions, (size - 1 + pad - tap) // stride + 1)
    return min(first, positions), max(last, min(first, positions))


@njit(cache=True, parallel=True)
def im2col(x, window, columns):
    """columns[n, c, r, s, i, j] = x[n, c, i·stride + r·dilation - top, j·stride + s·dilation - left], 0 outside."""
    N, C, H, W = x.shape
    R, S, OH, OW = columns.shape[2:]
    for plane in prange(N * C):
        n, c = plane // C, plane % C
        for r in range(R):
            down = r * window.dilation_h
            i0, i1 = _inside(down, window.stride_h, window.top, H, OH)
            for s in range(S):
                across = s * window.dilation_w
                j0, j1 = _inside(across, window.stride_w, window.left, W, OW)
                out = columns[n, c, r, s]
                out[:i0] = 0
                out[i1:] = 0
                for i in range(i0, i1):
                    row = x[n, c, i * window.stride_h + down - window.top]
                    out[i, :j0] = 0
                    out[i, j1:] = 0
                    for j in range(j0, j1):
                        out[i, j] = row[j * window.stride_w + across - window.left]


@njit(cache=True, parallel=True)
def col2im(gcolumns, window, gx):
    """gx[n, c, h, w] = the sum of gcolumns over all (r, s, i, j) that im2col copied from that pixel.

    Each thread owns whole planes (n, c), so adding taps one after the other is safe and always in the same order.
    """
    N, C, R, S, OH, OW = gcolumns.shape
    H, W = gx.shape[2:]
    for plane in prange(N * C):
        n, c = plane // C, plane % C
        gx[n, c] = 0
        for r in range(R):
            down = r * window.dilation_h
            i0, i1 = _inside(down, window.stride_h, window.top, H, OH)
            for s in range(S):
                across = s * window.dilation_w
                j0, j1 = _inside(across, window.stride_w, window.left, W, OW)
                for i in range(i0, i1):
                    row = gx[n, c, i * window.stride_h + down - window.top]
                    taps = gcolumns[n, c, r, s, i]
                    for j in range(j0, j1):
                        row[j * window.stride_w + across - window.left] += taps[j]


@njit(cache=True, parallel=True)
def _add_bias(y, bias):
    N, K = y.shape[:2]
    for plane in prange(N * K):
        y[plane // K, plane % K] += bias[plane % K]


@njit(cache=True, parallel=True)
def _sum_pixels(gy):
    """(N, K, OH, OW) -> (K,), images in order"""
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
