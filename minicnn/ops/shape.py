"""Shapes: reshape, transpose, pad, index; and the reductions sum and mean."""

import math

import numpy as np

from minicnn.autograd import Op, Tensor, apply, no_flops
from minicnn.errors import ShapeError


class Reshape(Op):
    """y has the values of x in another shape;  gx = gy in x's shape"""

    flops = no_flops

    def __init__(self, shape):
        self.to = shape

    def check(self, x):
        known = math.prod(side for side in self.to if side != -1)
        fits = (self.to.count(-1) == 0 and known == x.size) or (
            self.to.count(-1) == 1 and known > 0 and x.size % known == 0)
        if not fits:
            raise ShapeError(f"reshape: {x.shape} ({x.size} values) does not fit {self.to}; "
                             "the products must agree, and at most one side may be -1")

    def forward(self, x):
        self.shape = x.shape
        return x.reshape(self.to)

    def backward(self, gy):
        return gy.reshape(self.shape)


class Transpose(Op):
    """y's axis i is x's axis axes[i];  gx is the inverse permutation of gy"""

    flops = no_flops

    def __init__(self, axes):
        self.axes = axes

    def check(self, x):
        if self.axes is not None and sorted(a % max(1, x.ndim) for a in self.axes) != list(range(x.ndim)):
            raise ShapeError(f"transpose: axes {self.axes} are not a permutation of the {x.ndim} axes of {x.shape}")

    def forward(self, x):
        axes = range(x.ndim)[::-1] if self.axes is None else [a % x.ndim for a in self.axes]
        self.inverse = np.argsort(axes)
        return x.transpose(axes)

    def backward(self, gy):
        return gy.transpose(self.inverse)


class Pad(Op):
    """y is x with zeros around;  gx is the inside of gy"""

    flops = no_flops

    def __init__(self, padding):
        self.padding = padding

    def check(self, x):
        good = len(self.padding) == x.ndim and all(len(p) == 2 and min(p) >= 0 for p in self.padding)
        if not good:
            raise ShapeError(f"pad: padding {self.padding} is not one pair (before, after) of numbers >= 0 for each axis of "
                             f"{x.shape}; leave an axis alone with (0, 0)")

    def forward(self, x):
        self.inside = tuple(slice(before, before + side) for (before, _), side in zip(self.padding, x.shape))
        shape = [before + side + after for side, (before, after) in zip(x.shape, self.padding)]
        y = np.zeros_like(x, shape=shape)           # in x's order in memory
        y[self.inside] = x
        return y

    def backward(self, gy):
        return gy[self.inside]


class Index(Op):
    """y = x[key] by NumPy's rules;  gx is zero but for gx[key] += gy, where what was taken twice adds up"""

    flops = no_flops
    makes_gradients = "new"
    adds_gradients = True

    def __init__(self, key):
        self.key = key

    def forward(self, x):
        self.shape = x.shape
        return x[self.key]

    def backward(self, gy):
        gx = np.zeros_like(gy, shape=self.shape) if self.onto is None else self.onto
        if _is_basic(self.key):
            gx[self.key] += gy
        else:
            np.add.at(gx, self.key, gy)
        return gx


class Sum(Op):
    """y = Σ x over axes;  gx = gy, repeated along them"""

    def __init__(self, axis, keepdims):
        self.axis, self.keepdims = axis, keepdims

    def check(self, x):
        axes = _axes(self.axis, x.ndim)
        if any(not -x.ndim <= a < x.ndim for a in axes) or len({a % x.ndim for a in axes}) != len(axes):
            raise ShapeError(f"{type(self).__name__.lower()}: axis {self.axis} does not name different axes of {x.shape}; "
                             f"choose from {-x.ndim} to {x.ndim - 1}")

    def forward(self, x):
        self.shape = x.shape
        self.axes = tuple(a % x.ndim for a in _axes(self.axis, x.ndim))
        return x.sum(self.axes, keepdims=self.keepdims)

    def backward(self, gy):
        kept = [1 if i in self.axes else side for i, side in enumerate(self.shape)]
        return np.broadcast_to(gy.reshape(kept), self.shape).copy()

    def flops(self, output_shape, x_shape):
        return math.prod(x_shape)


class Mean(Sum):
    """y = Σ x / count over axes;  gx = gy / count, repeated along them"""

    def forward(self, x):
        y = super().forward(x)
        self.count = x.size // max(1, y.size)
        return y / self.count

    def backward(self, gy):
        return super().backward(gy / self.count)


def _axes(axis, ndim):
    if axis is None:
        return tuple(range(ndim))
    return tuple(axis) if isinstance(axis, tuple | list) else (axis,)


def _is_basic(key):
    parts = key if isinstance(key, tuple) else (key,)
    return all(part is None or part is Ellipsis or isinstance(part, slice | int | np.integer) for part in parts)


def reshape(x, shape):
    """x's values in `shape`; one side may be -1. Raises ShapeError."""
    shape = shape if isinstance(shape, tuple | list) else (shape,)
    return apply(Reshape(tuple(int(side) for side in shape)), x)


def flatten(x, start_axis=1):
    """All axes from start_axis on made one: (N, C, H, W) -> (N, C·H·W)."""
    shape = x.shape[:start_axis % max(1, len(x.shape))]
    return reshape(x, (*shape, math.prod(x.shape[len(shape):])))


def transpose(x, axes=None):
    """The axes in the order `axes`, reversed if None. Raises ShapeError."""
    return apply(Transpose(None if axes is None else tuple(axes)), x)


def pad(x, padding):
    """Zeros around x: one pair (before, after) for each axis, as numpy.pad. Raises ShapeError."""
    return apply(Pad(tuple(tuple(p) for p in padding)), x)


def index(x, key):
    """x[key] by NumPy's rules."""
    return apply(Index(key), x)


def sum(x, axis=None, keepdims=False):
    """The sum over `axis` (an int, several, or None for all). Raises ShapeError."""
    return apply(Sum(axis, keepdims), x)


def mean(x, axis=None, keepdims=False):
    """The mean over `axis` (an int, several, or None for all). Raises ShapeError."""
    return apply(Mean(axis, keepdims), x)


Tensor.__getitem__ = index
Tensor.reshape = lambda x, *shape: reshape(x, shape[0] if len(shape) == 1 else shape)
Tensor.transpose = lambda x, *axes: transpose(x, (axes[0] if len(axes) == 1 else axes) or None)
Tensor.T = property(transpose)
Tensor.sum = sum
Tensor.mean = mean
