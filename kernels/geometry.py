"""The geometry of a sliding window: the only copy of this arithmetic.

Source: Dumoulin and Visin 2016, "A guide to convolution arithmetic for deep learning", relationship 6;
the rule for ceil_mode is PyTorch's.
"""

import functools
from typing import NamedTuple

import numpy as np

from kernels.errors import ShapeError


class Window2d(NamedTuple):
    """A 2-d window in input pixels. A named tuple of integers, so that compiled kernels take it as it is."""

    kernel_h: int
    kernel_w: int
    stride_h: int = 1
    stride_w: int = 1
    top: int = 0
    bottom: int = 0
    left: int = 0
    right: int = 0
    dilation_h: int = 1
    dilation_w: int = 1
    ceil_mode: int = 0

    @classmethod
    def of(cls, kernel_size, stride=1, padding=0, dilation=1, ceil_mode=False):
        """A window from what users write: an int or a pair each; padding also ((top, bottom), (left, right)),
        "valid" or "same" (stride 1 only, the odd pixel goes to the bottom and right, as in PyTorch).

        Raises ShapeError for anything else.
        """
        kernel = pair("kernel_size", kernel_size, least=1)
        steps = pair("stride", stride, least=1)
        spread = pair("dilation", dilation, least=1)
        (top, bottom), (left, right) = _padding(padding, kernel, steps, spread)
        return cls(*kernel, *steps, top, bottom, left, right, *spread, int(bool(ceil_mode)))

    @property
    def extent(self):
        """(height, width) in input pixels that the window spans, holes included."""
        return self.dilation_h * (self.kernel_h - 1) + 1, self.dilation_w * (self.kernel_w - 1) + 1

    @property
    def tap_dtype(self):
        """The smaller one of uint8 and int32 that holds the number r·S + s of each tap."""
        return np.dtype(np.uint8 if self.kernel_h * self.kernel_w <= 256 else np.int32)

    @property
    def one_pixel(self):
        """True for a 1x1 window, of any stride, over an unpadded input: what it shows is one of the input's pixels."""
        return self[:2] == (1, 1) and self[4:8] == (0, 0, 0, 0)

    @property
    def pointwise(self):
        """True for such a window that moves by one pixel."""
        return self.one_pixel and self[2:4] == (1, 1)

    def output_size(self, height, width):
        """(OH, OW) for an input of height x width pixels; raises ShapeError where no window fits."""
        return _output_size(self, height, width)

    def check_sees_pixels(self, height, width):
        """Raises ShapeError if some window position covers padding alone: it would have no maximum and no mean."""
        outputs = self.output_size(height, width)
        for side, size, count, stride, before, spread, kernel in (
                ("height", height, outputs[0], self.stride_h, self.top, self.dilation_h, self.kernel_h),
                ("width", width, outputs[1], self.stride_w, self.left, self.dilation_w, self.kernel_w)):
            for position in range(count):
                start = position * stride - before
                if not any(0 <= start + tap * spread < size for tap in range(kernel)):
                    raise ShapeError(f"window {position} along the {side} (input {size}, padding {before}) covers padding "
                                     "alone; use less padding or a smaller dilation")


def pair(name, value, least):
    """(h, w) from an int or a pair of ints that are at least `least`; raises ShapeError otherwise."""
    if type(value) is int and value >= least:
        return value, value
    values = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(values) != 2 or not all(_is_int(v) and v >= least for v in values):
        raise ShapeError(f"{name} {value!r} is not an integer of at least {least} or a pair (height, width) of them; "
                         f"pass for example {max(3, least)} or ({max(3, least)}, {max(3, least)})")
    return int(values[0]), int(values[1])


def _is_int(value):
    return hasattr(value, "__index__") and not isinstance(value, bool)


def _padding(padding, kernel, stride, dilation):
    if isinstance(padding, str):
        return _named_padding(padding, kernel, stride, dilation)
    sides = padding if isinstance(padding, (tuple, list)) else (padding, padding)
    if len(sides) != 2:
        raise ShapeError(f"padding {padding!r} is not an int, (h, w), ((top, bottom), (left, right)), 'same' or 'valid'; "
                         "pass one of these")
    return tuple(pair("padding", side, least=0) for side in sides)


def _named_padding(padding, kernel, stride, dilation):
    if padding == "valid":
        return (0, 0), (0, 0)
    if padding != "same":
        raise ShapeError(f"padding {padding!r} is not 'same' or 'valid'; pass one of these, or numbers of pixels")
    if stride != (1, 1):
        raise ShapeError(f"padding 'same' needs stride 1, not {stride}; pass the padding in pixels")
    totals = [d * (k - 1) for k, d in zip(kernel, dilation)]
    return tuple((total // 2, total - total // 2) for total in totals)


@functools.lru_cache(1024)
def _output_size(window, height, width):
    high, wide = window.extent
    return (_positions("height", height, high, window.stride_h, window.top, window.bottom, window.ceil_mode),
            _positions("width", width, wide, window.stride_w, window.left, window.right, window.ceil_mode))


def _positions(side, size, extent, stride, before, after, ceil_mode):
    """How many window positions fit along one side."""
    free = size + before + after - extent
    if free < 0:
        raise ShapeError(f"a window of {extent} pixels does not fit the input {side} {size} with padding {before} + "
                         f"{after}; use a {side} of at least {max(extent - before - after, 1)}, "
                         "a smaller kernel or more padding")
    count = free // stride + 1
    # PyTorch: with ceil_mode the last window must start inside the input or its leading padding.
    if ceil_mode and free % stride and count * stride < size + before:
        count += 1
    return count
