"""Concatenation along one axis, and its gradient, which is a split."""

from kernels.dispatch import Room, by_order, expect_shape
from kernels.errors import ShapeError

room = Room("concat", ["reference", "cpu", "channels_last"], by_order)


def forward(arrays, axis=1):
    """One array: `arrays` one after the other along `axis`; all other sides must agree. Raises ShapeError, DTypeError."""
    if not arrays:
        raise ShapeError("concat: no arrays given; pass at least one")
    axis = _axis(axis, arrays[0].ndim)
    first = arrays[0].shape
    for i, array in enumerate(arrays):
        if array.shape[:axis] + array.shape[axis + 1:] != first[:axis] + first[axis + 1:] or array.ndim != len(first):
            raise ShapeError(f"concat: array {i} has shape {array.shape}, array 0 has {first}; "
                             f"all sides but axis {axis} must be equal")
    return room.call("forward", axis, *arrays)


def copy_into(part, x):
    """part[...] = x, where part (N, C, H, W) is some channels of a channels-last array."""
    expect_shape("concat: x", x, part.shape)
    room.call_as_is("copy_into", part, x)


def backward(gy, sizes, axis=1):
    """A list of arrays: gy cut along `axis` into pieces of `sizes`."""
    axis = _axis(axis, gy.ndim)
    if sum(sizes) != gy.shape[axis]:
        raise ShapeError(f"concat: sizes {tuple(sizes)} add up to {sum(sizes)}, gy has {gy.shape[axis]} along axis {axis}; "
                         "pass the sizes of the concatenated arrays")
    return room.call("backward", gy, tuple(sizes), axis)


def _axis(axis, ndim):
    if not -ndim <= axis < ndim:
        raise ShapeError(f"concat: axis {axis} is outside arrays of {ndim} axes; choose from {-ndim} to {ndim - 1}")
    return axis % ndim
