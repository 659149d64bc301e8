"""Pooling as its definition, in NumPy: one window position after the other, all images and channels at once."""

import numpy as np


def max_forward(x, window):
    """y = max over the window's pixels inside the image; places = the tap of the first of them in row-major order."""
    N, C, H, W = x.shape
    OH, OW = window.output_size(H, W)
    y, places = np.empty((N, C, OH, OW), x.dtype), np.empty((N, C, OH, OW), window.tap_dtype)
    for i in range(OH):
        for j in range(OW):
            rows, columns = _pixels(i, j, window, H, W)
            seen = x[:, :, rows][:, :, :, columns].reshape(N, C, -1)
            first = seen.argmax(-1)             # NumPy: the first maximum, and NaN counts as the maximum
            y[:, :, i, j] = np.take_along_axis(seen, first[..., None], -1)[..., 0]
            h, w = rows[first // len(columns)], columns[first % len(columns)]
            r, s = (h + window.top - i * window.stride_h, w + window.left - j * window.stride_w)
            places[:, :, i, j] = r // window.dilation_h * window.kernel_w + s // window.dilation_w
    return y, places


def max_backward(gy, places, window, height, width):
    """gx[n, c, h, w] += gy[n, c, i, j] at the pixel (h, w) that is the place's tap of window (i, j)"""
    n, c, i, j = np.indices(gy.shape)
    r, s = np.divmod(places.astype(np.int64), window.kernel_w)
    h, w = (i * window.stride_h - window.top + r * window.dilation_h,
            j * window.stride_w - window.left + s * window.dilation_w)
    gx, seen = np.zeros((*gy.shape[:2], height, width), gy.dtype), (h >= 0) & (h < height) & (w >= 0) & (w < width)
    np.add.at(gx, (n[seen], c[seen], h[seen], w[seen]), gy[seen])
    return gx


def avg_forward(x, window, count_include_pad=True):
    """y = the sum over the window's pixels inside the image / count"""
    N, C, H, W = x.shape
    OH, OW = window.output_size(H, W)
    y = np.empty((N, C, OH, OW), x.dtype)
    for i in range(OH):
        for j in range(OW):
            rows, columns = _pixels(i, j, window, H, W)
            count = _count(i, j, window, H, W, count_include_pad)
            y[:, :, i, j] = x[:, :, rows][:, :, :, columns].sum((2, 3)) / count
    return y


def avg_backward(gy, window, height, width, count_include_pad=True):
    """gx[the window's pixels] += gy / count"""
    N, C, OH, OW = gy.shape
    gx = np.zeros((N, C, height, width), gy.dtype)
    for i in range(OH):
        for j in range(OW):
            rows, columns = _pixels(i, j, window, height, width)
            count = _count(i, j, window, height, width, count_include_pad)
            gx[:, :, rows[:, None], columns] += gy[:, :, i, j, None, None] / count
    return gx


def adaptive_avg_forward(x, out_h, out_w):
    """y = the mean of each cell"""
    N, C, H, W = x.shape
    y = np.empty((N, C, out_h, out_w), x.dtype)
    for i in range(out_h):
        for j in range(out_w):
            y[:, :, i, j] = x[:, :, _cell(i, out_h, H), _cell(j, out_w, W)].mean((2, 3))
    return y


def adaptive_avg_backward(gy, height, width):
    """gx[cell] += gy / count; cells overlap where the sizes do not divide"""
    N, C, out_h, out_w = gy.shape
    gx = np.zeros((N, C, height, width), gy.dtype)
    for i in range(out_h):
        for j in range(out_w):
            cell = gx[:, :, _cell(i, out_h, height), _cell(j, out_w, width)]
            cell += gy[:, :, i, j, None, None] / (cell.shape[2] * cell.shape[3])
    return gx


def global_avg_forward(x):
    """y = mean over h, w"""
    return x.mean((2, 3))


def global_avg_backward(gy, height, width):
    """gx = gy / (height·width)"""
    return np.repeat(gy / (height * width), height * width, axis=1).reshape(*gy.shape, height, width)


def _pixels(i, j, window, H, W):
    """The rows and the columns of the image that window (i, j) covers, padding left out."""
    rows = i * window.stride_h - window.top + np.arange(window.kernel_h) * window.dilation_h
    columns = j * window.stride_w - window.left + np.arange(window.kernel_w) * window.dilation_w
    return rows[(rows >= 0) & (rows < H)], columns[(columns >= 0) & (columns < W)]


def _count(i, j, window, H, W, count_include_pad):
    rows, columns = _pixels(i, j, window, H, W)
    if not count_include_pad:
        return rows.size * columns.size
    top, left = i * window.stride_h - window.top, j * window.stride_w - window.left
    return ((min(top + window.kernel_h, H + window.bottom) - top)
            * (min(left + window.kernel_w, W + window.right) - left))


def _cell(i, out, size):
    return slice(i * size // out, -(-(i + 1) * size // out))
