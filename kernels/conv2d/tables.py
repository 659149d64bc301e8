"""Where the numbers of an implicit matrix product lie: one line (offset, row, column, weight) for each index q of its sum.

The window at row h and column w of an image multiplies image[h·W + w + offset], which is its pixel (h + row, w + column) and
counts as 0 if that is outside, with weight[filter's start + weight].
"""

import numpy as np

FAR = -2 ** 30      # a row that is outside of every image


def padded(table, lines):
    """The table with lines behind it that see no pixel: up to a multiple of `lines`, and so many once more."""
    more = -len(table) % lines + lines
    return np.concatenate([table, np.tile(np.array([[0, FAR, 0, 0]], np.int32), (more, 1))])


def forward_taps(window, channels, height, width):
    """int32 (C/groups·R·S, 4) of a forward pass, q = (c, r, s): the taps of the filter."""
    R, S = window.kernel_h, window.kernel_w
    c, r, s = (axis.ravel() for axis in np.indices((channels, R, S)))
    h, w = r * window.dilation_h - window.top, s * window.dilation_w - window.left
    return np.stack((c * height * width + h * width + w, h, w, np.arange(c.size)), 1).astype(np.int32)


def backward_phases(window, channels, filters, out_h, out_w):
    """For each phase of the stride, row-major, the int32 (·, 4) of a gradient's pass over gy, q = (k, r, s).

    Pixel (phase + stride·i) is seen through tap r by output i + (phase + top - r·dilation) / stride, if that is whole.
    channels and filters are those of one group; no line where a phase is seen through no tap.
    """
    R, S = window.kernel_h, window.kernel_w
    k, r, s = (axis.ravel() for axis in np.indices((filters, R, S)))
    weights = k * channels * R * S + r * S + s
    tables = []
    for top, left in np.ndindex(window.stride_h, window.stride_w):
        h, rest_h = np.divmod(top + window.top - r * window.dilation_h, window.stride_h)
        w, rest_w = np.divmod(left + window.left - s * window.dilation_w, window.stride_w)
        seen = (rest_h == 0) & (rest_w == 0)
        lines = (k * out_h * out_w + h * out_w + w, h, w, weights)
        tables.append(np.stack([line[seen] for line in lines], 1).astype(np.int32))
    return tables
