"""Concatenation and split by NumPy."""

import numpy as np


def forward(axis, *arrays):
    """See the room."""
    return np.concatenate(arrays, axis)


def copy_into(part, x):
    """See the room."""
    part[...] = x


def backward(gy, sizes, axis):
    """See the room."""
    return [piece.copy() for piece in np.split(gy, np.cumsum(sizes)[:-1], axis)]
