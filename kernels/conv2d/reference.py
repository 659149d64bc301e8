"""Convolution as its definition, in NumPy: a sum over the R x S taps of the filter.

For one tap (r, s) the pixels that all output positions see form a strided view of the padded image, and the tap's
share of the output is a product over channels. The backward pass is the same sum read in the other two directions.
"""

import numpy as np


def forward(x, weight, bias, window, groups=1, relu=False):
    """y[n, k] = bias[k] + sum over r, s of weight[k, :, r, s] · tap(x, r, s)[n, :]."""
    N, _, H, W = x.shape
    K, _, R, S = weight.shape
    OH, OW = window.output_size(H, W)
    padded = _split(_pad(x, window), groups)
    w = weight.reshape(groups, K // groups, -1, R, S)
    y = np.zeros((N, groups, K // groups, OH, OW), x.dtype)
    for r in range(R):
        for s in range(S):
            # (G, K/G, C/G) , (N, G, C/G, OH, OW) -> (N, G, K/G, OH, OW)
            y += np.einsum("gkc,ngcij->ngkij", w[..., r, s], padded[_tap(r, s, window, OH, OW)], optimize=True)
    y = y.reshape(N, K, OH, OW)
    y = y if bias is None else y + bias[:, None, None]
    return np.maximum(y, 0) if relu else y


def backward(gy, x, weight, window, groups=1, needs=(True, True, True)):
    """gx[n, c] gathers weight · gy back over each tap; gweight[k, c, r, s] = sum over n, i, j of gy · tap(x, r, s)."""
    N, C, H, W = x.shape
    K, _, R, S = weight.shape
    OH, OW = gy.shape[2:]
    padded = _split(_pad(x, window), groups)
    g = _split(gy, groups)
    w = weight.reshape(groups, K // groups, -1, R, S)
    gpadded, gw = np.zeros_like(padded), np.zeros_like(w)
    for r in range(R):
        for s in range(S):
            tap = _tap(r, s, window, OH, OW)
            if needs[0]:        # (G, K/G, C/G) , (N, G, K/G, OH, OW) -> (N, G, C/G, OH, OW)
                gpadded[tap] += np.einsum("gkc,ngkij->ngcij", w[..., r, s], g, optimize=True)
            if needs[1]:        # (N, G, K/G, OH, OW) , (N, G, C/G, OH, OW) -> (G, K/G, C/G)
                gw[..., r, s] = np.einsum("ngkij,ngcij->gkc", g, padded[tap], optimize=True)
    gpadded = gpadded.reshape(N, C, *gpadded.shape[3:])
    gx = gpadded[:, :, window.top:window.top + H, window.left:window.left + W]
    return (np.ascontiguousarray(gx) if needs[0] else None,
            gw.reshape(weight.shape) if needs[1] else None,
            gy.sum((0, 2, 3)) if needs[2] else None)


def _pad(x, window):
    return np.pad(x, ((0, 0), (0, 0), (window.top, window.bottom), (window.left, window.right)))


def _split(x, groups):
    """(N, C, H, W) -> (N, G, C/G, H, W)"""
    return x.reshape(x.shape[0], groups, x.shape[1] // groups, *x.shape[2:])


def _tap(r, s, window, OH, OW):
    """The index of the padded pixels that tap (r, s) multiplies, one for each output position."""
    i, j = r * window.dilation_h, s * window.dilation_w
    rows = slice(i, i + (OH - 1) * window.stride_h + 1, window.stride_h)
    columns = slice(j, j + (OW - 1) * window.stride_w + 1, window.stride_w)
    return (..., rows, columns)
