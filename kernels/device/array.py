"""An array on the GPU that NumPy's functions and operators work on, where they have a CUDA twin.

`a + b`, numpy.exp(a), numpy.zeros_like(a), a.sum(1) and a[1:, ::2] do what they do on the host, through NumPy's protocols
__array_ufunc__ and __array_function__; whatever has no twin raises BackendError by name. So the engine and its ops are written
once. Values lie in C order without gaps: reshape shares memory, every other change of layout is a copy by a kernel.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.lib.stride_tricks import as_strided

from kernels.device import pool
from kernels.errors import BackendError, DTypeError

BINARY = {"add": 0, "subtract": 1, "multiply": 2, "divide": 3, "power": 4, "maximum": 5}
UNARY = {"negative": 0, "exp": 1, "log": 2, "sqrt": 3, "square": 4, "absolute": 5}
REMEDY = "compute it on the host, from numpy.asarray(array) or tensor.to('cpu')"


class Flags(NamedTuple):
    """What of numpy.ndarray.flags is asked for."""

    c_contiguous: bool
    writeable: bool


class DeviceArray(NDArrayOperatorsMixin):
    """shape, dtype and a block of GPU memory with the values in C order. Made by kernels.device.to_device."""

    __slots__ = ("dtype", "shape", "storage")
    device = "cuda"
    flags = Flags(c_contiguous=True, writeable=True)

    def __init__(self, shape, dtype, storage=None):
        self.shape = shape = tuple(map(int, shape))
        self.dtype = dtype = np.dtype(dtype)
        self.storage = storage or pool.new_storage(math.prod(shape), dtype)

    @classmethod
    def of(cls, array):
        """A copy of a host array."""
        new = cls(array.shape, array.dtype)
        new._upload(array)
        return new

    flat = property(lambda self: self.storage.block)        # what kernels get
    size = property(lambda self: math.prod(self.shape))
    ndim = property(lambda self: len(self.shape))
    nbytes = property(lambda self: self.size * self.dtype.itemsize)
    itemsize = property(lambda self: self.dtype.itemsize)
    T = property(lambda self: self.transpose())

    def __len__(self):
        return self.shape[0]

    def __repr__(self):
        return f"DeviceArray(shape={self.shape}, dtype={self.dtype}, device={self.device!r})"

    # From and to the host.

    def __array__(self, dtype=None, copy=None):
        if copy is False:
            raise BackendError(f"{self!r} cannot be seen from the host without a copy; leave copy=False out")
        host = _host(self.flat)[:self.size].reshape(self.shape)
        return np.array(host, dtype=dtype) if dtype is not None else host

    def item(self):
        """The one value as a Python number; waits for the GPU."""
        return np.asarray(self).item()

    __float__ = item

    def __bool__(self):
        return bool(self.item())

    def _upload(self, array):
        if array.size:
            filled = np.ascontiguousarray(array, self.dtype).reshape(-1)
            _fill_block(self.flat, filled)

    # Another shape, the same memory.

    def reshape(self, *shape):
        """As numpy.reshape; shares memory."""
        shape = shape[0] if len(shape) == 1 and isinstance(shape[0], tuple | list) else shape
        known = math.prod(side for side in shape if side != -1)
        sides = [self.size // max(known, 1) if side == -1 else side for side in shape]
        if math.prod(sides) != self.size:
            raise ValueError(f"cannot reshape {self.shape} into {tuple(shape)}")
        return DeviceArray(sides, self.dtype, self.storage)

    def ravel(self):
        """One axis; shares memory."""
        return self.reshape(-1)

    # Another layout: NumPy says where each value lies, on a picture of this array that has no memory; a kernel copies.

    def view_copy(self, look):
        """A copy of look(array), where `look` is any NumPy expression that gives a view: slices, transposes, broadcasts."""
        from kernels.device import copies
        shadow = self.shadow()
        view = look(shadow)
        new = DeviceArray(view.shape, self.dtype)
        copies.strided_copy(self, _offset(view, shadow), view.strides, new, 0, new.shadow().strides, view.shape)
        return new

    def shadow(self):
        """A host array of this shape, one byte a value, whose strides count values; never read it."""
        strides, step = [], 1
        for side in reversed(self.shape):
            strides.append(step)
            step *= max(side, 1)
        return as_strided(np.zeros(1, np.int8), self.shape, strides[::-1])

    def copy(self):
        """A copy."""
        return self.view_copy(lambda a: a)

    def transpose(self, *axes):
        """As numpy.transpose, copied."""
        return self.view_copy(lambda a: a.transpose(*axes))

    def swapaxes(self, one, two):
        """As numpy.swapaxes, copied."""
        return self.view_copy(lambda a: a.swapaxes(one, two))

    def astype(self, dtype, copy=True):
        """The values in another dtype."""
        from kernels.device import copies
        dtype = np.dtype(dtype)
        return (self.copy() if copy else self) if dtype == self.dtype else copies.convert(self, dtype)

    def __getitem__(self, key):
        from kernels.device import copies
        return self.view_copy(lambda a: a[key]) if _is_basic(key) else copies.take(self, key)

    def __setitem__(self, key, value):
        from kernels.device import copies
        if not _is_basic(key):
            raise BackendError(f"device arrays take values at slices and whole numbers, not at {type(key).__name__}; {REMEDY}")
        shadow = self.shadow()
        view = shadow[key]
        if isinstance(value, DeviceArray):
            value = value if value.dtype == self.dtype else value.astype(self.dtype)
            source, strides = value, np.broadcast_to(value.shadow(), view.shape).strides
        elif isinstance(value, np.ndarray) and value.ndim:
            if view.shape == self.shape == value.shape:
                self._upload(value)
                return
            source = DeviceArray.of(np.asarray(value, self.dtype))
            strides = np.broadcast_to(source.shadow(), view.shape).strides
        else:
            source, strides = full((1,), value, self.dtype), (0,) * view.ndim
        copies.strided_copy(source, 0, strides, self, _offset(view, shadow), view.strides, view.shape)

    # Sums.

    def sum(self, axis=None, dtype=None, out=None, keepdims=False):
        """As numpy.sum; axis an int, several or None. Added up in float64, in the same order every time."""
        from kernels.device import sums
        return sums.over_axes(self, axis, keepdims)

    def mean(self, axis=None, dtype=None, out=None, keepdims=False):
        """As numpy.mean."""
        total = self.sum(axis, keepdims=keepdims)
        return total / (self.size / max(total.size, 1))

    # NumPy's protocols.

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **kwargs):
        from kernels.device import elementwise
        name = ufunc.__name__
        if method == "at" and name == "add":
            from kernels.device import copies
            return copies.add_at(*inputs)
        if method != "__call__" or kwargs:
            raise BackendError(f"numpy.{name}.{method} has no CUDA version with these arguments; {REMEDY}")
        into = out[0] if out else None
        if name == "matmul":
            from kernels.gemm import cuda as gemm
            return _into(into, gemm.matmul(*inputs))
        if name in BINARY:
            return elementwise.binary(name, BINARY[name], *inputs, into)
        if name in UNARY:
            return elementwise.unary(UNARY[name], *inputs, into)
        raise BackendError(f"numpy.{name} has no CUDA version; {REMEDY}")

    def __array_function__(self, function, types, args, kwargs):
        twin = FUNCTIONS.get(function.__name__)
        if twin is None:
            raise BackendError(f"numpy.{function.__name__} has no CUDA version; {REMEDY}")
        return twin(*args, **kwargs)


def full(shape, value, dtype):
    """A new array of one value."""
    from kernels.device import copies
    new = DeviceArray(shape, dtype)
    copies.fill(new, value)
    return new


def _full_like(value):
    return lambda a, dtype=None, shape=None: full(_shape(a.shape if shape is None else shape), value, dtype or a.dtype)


def _shape(shape):
    return shape if isinstance(shape, tuple | list) else (shape,)


def _pad(a, padding):
    """Zeros around."""
    new = full([before + side + after for (before, after), side in zip(padding, a.shape)], 0, a.dtype)
    new[tuple(slice(before, before + side) for (before, _), side in zip(padding, a.shape))] = a
    return new


def _share_memory(a, b, max_work=None):
    return isinstance(a, DeviceArray) and isinstance(b, DeviceArray) and a.storage is b.storage


FUNCTIONS = {
    "zeros_like": _full_like(0), "ones_like": _full_like(1), "pad": _pad,
    "empty_like": lambda a, dtype=None, shape=None: DeviceArray(_shape(a.shape if shape is None else shape), dtype or a.dtype),
    "may_share_memory": _share_memory, "shares_memory": _share_memory,
    "broadcast_to": lambda a, shape: a.view_copy(lambda view: np.broadcast_to(view, shape)),
    "moveaxis": lambda a, source, to: a.view_copy(lambda view: np.moveaxis(view, source, to)),
    "transpose": lambda a, axes=None: a.transpose(axes), "swapaxes": lambda a, one, two: a.swapaxes(one, two),
    "reshape": lambda a, shape: a.reshape(shape), "ravel": lambda a: a.ravel(), "copy": lambda a: a.copy(),
    "sum": lambda a, axis=None, **kw: a.sum(axis, **kw), "mean": lambda a, axis=None, **kw: a.mean(axis, **kw),
    "shape": lambda a: a.shape, "ndim": lambda a: a.ndim, "size": lambda a: a.size,
}


def _into(out, result):
    if out is None:
        return result
    out[...] = result
    return out


def _offset(view, shadow):
    return view.__array_interface__["data"][0] - shadow.__array_interface__["data"][0]


def _is_basic(key):
    parts = key if isinstance(key, tuple) else (key,)
    return all(part is None or part is Ellipsis or isinstance(part, slice | int | np.integer) for part in parts)


def _host(block):
    from kernels.device import shim
    return block if isinstance(block, np.ndarray) else shim.to_host(block)


def _fill_block(block, values):
    """values, flat, into the first places of the block"""
    if isinstance(block, np.ndarray):
        block[:values.size] = values
    else:
        from kernels.device import shim
        shim.to_block(block, values)


def same_dtype(what, *arrays):
    """Raises DTypeError unless all arrays have one dtype."""
    found = sorted({str(a.dtype) for a in arrays})
    if len(found) > 1:
        raise DTypeError(f"{what}: dtypes {' and '.join(found)} differ; convert one with .astype")
