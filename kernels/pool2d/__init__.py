"""Pooling over windows of each channel: maximum, average, adaptive average, and the average of the whole plane.

x (N, C, H, W) -> y (N, C, OH, OW). Padding never wins a maximum. Window positions follow kernels.geometry.Window2d,
with PyTorch's rule for ceil_mode. Sources: max pooling Krizhevsky et al. 2012, section 3.4; global average pooling
Lin, Chen and Yan 2014, section 3.2.
"""

import numpy as np

from kernels import threads
from kernels.dispatch import FEW, Room, by_order, expect_rank, expect_shape
from kernels.errors import ShapeError


def _best(function, *args):
    """What spreads a plane's one value has no order to follow: convolutions read channels-last."""
    return "channels_last" if function == "global_avg_backward" else by_order(function, *args)


room = Room("pool2d", ["reference", "cpu", "channels_last"], _best)


def max_forward(x, window):
    """(y, places): the maximum of each window and where it is: on the CPU the window's tap r·S + s, as uint8 or, where a window
    has more than 256 taps, int32; on a GPU the flat index h·W + w, as int32.

    Ties go to the first maximum in row-major order; a NaN in a window is its maximum. Raises ShapeError if a window
    would see padding alone.
    """
    expect_rank("max_pool2d: x", x, "(N, C, H, W)")
    window.check_sees_pixels(*x.shape[2:])
    return room.call("max_forward", x, window)


def max_backward(gy, places, window, height, width):
    """gx (N, C, height, width): each gy goes to the pixel its maximum came from, overlapping windows add up."""
    expect_rank("max_pool2d: gy", gy, "(N, C, OH, OW)")
    expect_shape("max_pool2d: places", places, gy.shape)
    expect_shape("max_pool2d: gy", gy, (*gy.shape[:2], *window.output_size(height, width)))
    on_cpu = places.device == "cpu"
    what, dtype, count = (("taps", window.tap_dtype, window.kernel_h * window.kernel_w) if on_cpu
                          else ("indices", np.dtype(np.int32), height * width))
    if places.dtype != dtype or (on_cpu and places.size and _outside(places, count)):
        raise ShapeError(f"max_pool2d: places ({places.dtype}) are not {what} of {dtype} below {count}; "
                         "pass what max_forward returned for this window and input size")
    return room.call("max_backward", gy, places, window, height, width)


def _outside(places, count):
    """Whether a place is none of `count` taps."""
    from kernels.pool2d.cpu import outside
    return bool(threads.call(outside, places.ravel(order="K"), count, alone=places.size < FEW))


def avg_forward(x, window, count_include_pad=True):
    """y: the sum of each window over its number of pixels. With count_include_pad padding pixels count as zeros, but
    what ceil_mode adds beyond the padding does not count (as in PyTorch). No dilation."""
    _check_average(x.shape, window, count_include_pad)
    return room.call("avg_forward", x, window, bool(count_include_pad))


def avg_backward(gy, window, height, width, count_include_pad=True):
    """gx (N, C, height, width): each gy over its window's count, spread over that window."""
    _check_average((*gy.shape[:2], height, width), window, count_include_pad)
    expect_shape("avg_pool2d: gy", gy, (*gy.shape[:2], *window.output_size(height, width)))
    return room.call("avg_backward", gy, window, height, width, bool(count_include_pad))


def adaptive_avg_forward(x, out_h, out_w):
    """y (N, C, out_h, out_w): output i averages rows floor(i·H/out_h) to ceil((i+1)·H/out_h) - 1; columns alike."""
    expect_rank("adaptive_avg_pool2d: x", x, "(N, C, H, W)")
    _check_cells(out_h, out_w, *x.shape[2:])
    return room.call("adaptive_avg_forward", x, out_h, out_w)


def adaptive_avg_backward(gy, height, width):
    """gx (N, C, height, width): each gy over its cell's count, spread over that cell."""
    expect_rank("adaptive_avg_pool2d: gy", gy, "(N, C, OH, OW)")
    _check_cells(*gy.shape[2:], height, width)
    return room.call("adaptive_avg_backward", gy, height, width)


def global_avg_forward(x):
    """y (N, C): the mean of each plane."""
    expect_rank("global_avg_pool2d: x", x, "(N, C, H, W)")
    _check_cells(1, 1, *x.shape[2:])
    return room.call("global_avg_forward", x)


def global_avg_backward(gy, height, width):
    """gx (N, C, height, width): gy / (height·width) everywhere."""
    expect_rank("global_avg_pool2d: gy", gy, "(N, C)")
    return room.call("global_avg_backward", gy, height, width)


def _check_average(shape, window, count_include_pad):
    if len(shape) != 4:
        raise ShapeError(f"avg_pool2d: x has shape {shape}, not (N, C, H, W); reshape it to 4 axes")
    if (window.dilation_h, window.dilation_w) != (1, 1):
        raise ShapeError(f"avg_pool2d: dilation {window.dilation_h, window.dilation_w} is not 1; average pooling has none")
    if not count_include_pad:
        window.check_sees_pixels(*shape[2:])


def _check_cells(out_h, out_w, height, width):
    if min(out_h, out_w, height, width) < 1:
        raise ShapeError(f"adaptive pooling from {height} x {width} to {out_h} x {out_w} pixels; every side must be at least 1")
