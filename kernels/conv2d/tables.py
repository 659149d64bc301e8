"""Where the numbers of an implicit matrix product lie: one line (channel, row, column, weight) for each index q of its sum.

The pixel is image[channel + (i·step + row)·W + j·step + column], the number of the filter weight[filter's start + weight].
"""

import numpy as np


def forward_taps(window, channels, height, width):
    """int32 (C/groups·R·S, 4) of a forward pass, q = (c, r, s): the taps of the filter."""
    R, S = window.kernel_h, window.kernel_w
    c, r, s = (axis.ravel() for axis in np.indices((channels, R, S)))
    lines = (c * height * width, r * window.dilation_h - window.top, s * window.dilation_w - window.left, np.arange(c.size))
    return np.stack(lines, 1).astype(np.int32)


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
        h = top + window.top - r * window.dilation_h
        w = left + window.left - s * window.dilation_w
        seen = (h % window.stride_h == 0) & (w % window.stride_w == 0)
        lines = (k * out_h * out_w, h // window.stride_h, w // window.stride_w, weights)
        tables.append(np.stack([line[seen] for line in lines], 1).astype(np.int32))
    return tables
