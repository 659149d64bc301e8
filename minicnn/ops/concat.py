"""Concatenation."""

import numpy as np

import kernels
import kernels.concat as kernel
from kernels import batch_norm
from minicnn.autograd import Op, apply, no_flops
from minicnn.errors import ShapeError


class Concat(Op):
    """y = the inputs one after the other along an axis;  the gradients are gy, split there."""

    flops = no_flops
    makes_gradients = "parts of gy"

    def __init__(self, axis):
        self.axis = axis

    def forward(self, *xs):
        y = kernel.forward(xs, self.axis)
        self.sizes = [x.shape[self.axis] for x in xs]
        return y

    def backward(self, gy):
        return tuple(kernel.backward(gy, self.sizes, self.axis))


class Append(Op):
    """y = x with the channels `new` behind its own: x (N, C, H, W), new (N, K, H, W) -> (N, C + K, H, W).

    The numbers of concat([x, new]), but x is not copied where it is the filled part of `buffer`, an array with room for all
    that a block will append: new goes into the room behind, y is the longer part. What was handed out before stays as it was.
    gx and gnew are parts of gy. Source: the shared storage of Pleiss et al. 2017, section 4.
    """

    flops = no_flops
    makes_gradients = "parts of gy"

    def __init__(self, buffer):
        self.buffer = buffer

    def forward(self, x, new):
        self.channels = x.shape[1]
        return self.buffer.append(x, new)

    def backward(self, gy):
        return gy[:, :self.channels], gy[:, self.channels:]


class ChannelBuffer:
    """Room for `channels` channels, filled from the front; each array handed out is a part of it.

    Convolutions that are given the buffer write their results side by side in it, and `concat` of these copies nothing. Batch
    norms that are given it take each channel's statistics once, however many of them see the channel.
    """

    def __init__(self, channels):
        self.channels, self.filled, self.room = channels, 0, None
        self.known = None           # (mean, var) of the first channels, as far as they were asked for

    def part(self, shape, dtype):
        """The next channels, an array of `shape` (N, K, H, W) to be written to, or None where they do not fit."""
        N, K, H, W = shape
        if self.room is None and self.channels >= K:
            self.room = kernels.layout.empty((N, self.channels, H, W), dtype)
        if (self.room is None or self.filled + K > self.channels or self.room.dtype != dtype
                or self.room.shape[:1] + self.room.shape[2:] != (N, H, W)):
            return None
        self.filled += K
        return self.room[:, self.filled - K:self.filled]

    def append(self, x, new):
        """x with `new` behind it, in the room where x is what fills it. Raises ShapeError where they do not fit together."""
        C, K = x.shape[1], new.shape[1]
        if x.shape[:1] + x.shape[2:] != new.shape[:1] + new.shape[2:]:
            raise ShapeError(f"append: x has shape {x.shape}, new {new.shape}; all sides but axis 1 must be equal")
        if x.device != "cpu":           # there one kernel copies both, and arrays have no parts that share memory
            return kernel.forward([x, new], 1)
        if self.room is None and self.channels >= C + K:
            self.room = kernels.layout.empty((len(x), self.channels, *x.shape[2:]), x.dtype)
            kernel.copy_into(self.room[:, :C], x)
            self.filled = C
        elif self.room is not None and self.filled == C + K and self._is(x, 0) and self._is(new, C):
            return self.room[:, :C + K]                 # new was written there already
        elif self.filled != C or self.channels < C + K or not self._is(x, 0):
            return kernel.forward([x, new], 1)
        kernel.copy_into(self.room[:, C:C + K], new)
        self.filled = C + K
        return self.room[:, :C + K]

    def statistics(self, x):
        """kernels.batch_norm.statistics(x), of which only channels that no earlier call saw are computed."""
        if self.room is None or x.shape[1] > self.filled or x.device != "cpu" or not self._is(x, 0):
            return batch_norm.statistics(x)
        C, seen = x.shape[1], 0 if self.known is None else self.known[0].size
        if seen < C:
            new = batch_norm.statistics(x[:, seen:])
            self.known = new if seen == 0 else tuple(np.concatenate(pair) for pair in zip(self.known, new))
        return tuple(values[:C].copy() for values in self.known)

    def _is(self, array, first):
        """Whether an array is the room's channels from `first` on."""
        return array.strides == self.room.strides and array.ctypes.data == self.room[:, first:].ctypes.data


def append(x, new, buffer):
    """concat([x, new]) without copying what is in the buffer already; see Append. Raises ShapeError, DTypeError."""
    return apply(Append(buffer), x, new)


def concat(tensors, axis=1):
    """One tensor: `tensors` one after the other along `axis`. Raises ShapeError, DTypeError."""
    return apply(Concat(axis), *tensors)
