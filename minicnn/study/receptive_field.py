"""Receptive fields: which pixels of the image one unit of a layer can see.

Along one axis unit u of a layer sees the pixels start + u·jump ... start + u·jump + size - 1. The image itself has
start 0, size 1, jump 1. A window of extent e (holes of a dilation included), stride s and padding p before the first
pixel turns this into

    start' = start - p·jump      size' = size + (e - 1)·jump      jump' = jump·s

Where branches meet, a unit sees what it sees through any of them: from the least start to the greatest end. A layer
without a spatial order (flattened, linear, globally pooled) sees what all units before it see together; its jump is 0.
Pixels before 0 and past the image's end are padding. Batch statistics connect all pixels; these are the fields in
evaluation mode, where they are constants.

Source: Araujo, Norris and Sim 2019, "Computing receptive fields of convolutional neural networks", Distill, equations
1 and 2 (size and stride) and the sections on the region's place and on arbitrary graphs. There start is -P, size r, jump S.
"""

import weakref
from typing import NamedTuple

from minicnn.ops.arithmetic import MatMul
from minicnn.ops.loss import LogSoftmax
from minicnn.ops.pool import AdaptiveAvgPool2d
from minicnn.ops.shape import Index, Pad, Transpose


class Span(NamedTuple):
    """What units see along one axis: unit u the pixels from start + u·jump on, `size` of them."""

    start: int = 0
    size: int = 1
    jump: int = 1

    def through(self, extent, stride, before):
        """The span behind a window of `extent` pixels that starts `before` pixels outside."""
        return Span(self.start - before * self.jump, self.size + (extent - 1) * self.jump, self.jump * stride)

    def together(self, positions):
        """What `positions` neighbouring units see together."""
        return Span(self.start, self.size + (positions - 1) * self.jump, 0)

    def pixels(self, unit, length):
        """The range of pixels of an axis of `length` that one unit sees, padding cut off."""
        first = self.start + unit * self.jump
        return range(max(0, first), min(length, first + self.size))


class ReceptiveField(NamedTuple):
    """The spans of a layer's units along the height and the width of the image."""

    height: Span = Span()
    width: Span = Span()

    @property
    def size(self):
        """(height, width) in pixels, padding included."""
        return self.height.size, self.width.size

    @property
    def stride(self):
        """(vertical, horizontal) pixels between the fields of neighbouring units; 0 where there is no neighbour."""
        return self.height.jump, self.width.jump

    def __str__(self):
        return f"{self.height.size}" if self.height.size == self.width.size else f"{self.height.size}x{self.width.size}"


class FieldObserver:
    """An observer of autograd that carries the receptive field from each op's inputs to its output."""

    def __init__(self, image):
        self._fields = weakref.WeakKeyDictionary({image: ReceptiveField()})

    def forward(self, op, inputs, output, seconds):
        """Give the output its field; tensors that do not come from the image have none."""
        seen = [(self._fields[x], x.shape) for x in inputs if x in self._fields]
        if seen:
            self._fields[output] = propagate(op, seen, output.shape)

    def of(self, tensor):
        """The ReceptiveField of a tensor, or None."""
        return self._fields.get(tensor)


def propagate(op, inputs, output_shape):
    """The ReceptiveField of an op's output from its inputs, a list of (ReceptiveField, shape)."""
    axes = []
    for axis in (0, 1):
        moved = [_along(op, axis, field[axis], shape, output_shape) for field, shape in inputs]
        axes.append(_union(moved, output_shape[axis - 2] if _is_map(output_shape) else 1))
    return ReceptiveField(*axes)


def _is_map(shape):
    """Maps have batch, channels, and height and width as their last axes."""
    return len(shape) >= 4


def _along(op, axis, span, shape, output_shape):
    """The span behind one op along the height (0) or the width (1)."""
    if not _is_map(shape):
        return span
    here = axis - 2
    if not _is_map(output_shape) or _mixes(op, shape):
        return span.together(shape[here])
    if hasattr(op, "window"):
        window = op.window
        return span.through(window.extent[axis], (window.stride_h, window.stride_w)[axis], (window.top, window.left)[axis])
    if isinstance(op, AdaptiveAvgPool2d) and shape[here] % output_shape[here] == 0:
        cell = shape[here] // output_shape[here]
        return span.through(cell, cell, 0)
    if isinstance(op, Pad):
        return span.through(1, 1, op.padding[here][0])
    step = _slice_of(op.key, len(shape), here) if isinstance(op, Index) else None
    if step is not None:
        first, _, stride = step.indices(shape[here])
        return span.through(1, stride, -first) if stride > 0 else span.together(shape[here])
    return span if shape[here] == output_shape[here] else span.together(shape[here])


def _mixes(op, shape):
    """Ops whose outputs see other places of the map although its sides may stay the same."""
    if isinstance(op, Transpose):
        axes = range(len(shape))[::-1] if op.axes is None else [a % len(shape) for a in op.axes]
        return list(axes[-2:]) != [len(shape) - 2, len(shape) - 1]
    return isinstance(op, MatMul) or (isinstance(op, LogSoftmax) and op.axis % len(shape) >= len(shape) - 2)


def _slice_of(key, ndim, axis):
    """The slice that an index takes along an axis counted from the end, or None if the index is not made of slices."""
    parts = list(key) if isinstance(key, tuple) else [key]
    if not all(part is Ellipsis or isinstance(part, slice) for part in parts):
        return None
    if Ellipsis not in parts:
        parts.append(Ellipsis)
    hole = parts.index(Ellipsis)
    parts[hole:hole + 1] = [slice(None)] * (ndim - len(parts) + 1)
    return parts[axis]


def _union(spans, positions):
    """What a unit sees through several branches: the hull; all positions together where their jumps differ."""
    if len({span.jump for span in spans}) > 1:
        spans = [span.together(positions) for span in spans]
    start = min(span.start for span in spans)
    return Span(start, max(span.start + span.size for span in spans) - start, spans[0].jump)
