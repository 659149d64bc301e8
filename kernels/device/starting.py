"""Starting a kernel without asking anew what it is given.

Numba asks at every launch what each argument is, and makes a C number of each by the name of its type: some 20 microseconds for
a few arrays, 80 for a convolution with its twenty sizes, which is longer than most kernels run. The answers are the same at
every step. So they are kept: a kernel is found by the kinds of its arguments, and only their values are passed on, as Numba
passes them. What is of another kind than those below goes Numba's way.
"""

import ctypes
import functools

import numpy as np
from cuda.core import LaunchConfig
from cuda.core import launch as start_kernel

# How Numba passes a number of each type. A Python int is passed as it is, as 64 bits.
NUMBERS = {int: int, bool: bool, float: ctypes.c_double, np.float32: ctypes.c_float, np.float64: ctypes.c_double,
           np.int64: ctypes.c_int64, np.int32: ctypes.c_int32, np.uint64: ctypes.c_uint64}

_compiled = {}      # (kernel, kinds of its arguments): what the driver starts


def start(function, grid, block, stream, args):
    """function[grid, block, stream](*args) of flat blocks of the device, numbers, and tuples of these."""
    kinds, values = [], []
    if not all([_sort(arg, kinds, values) for arg in args]):
        function[grid, block, stream](*args)
        return
    key = function, tuple(kinds)
    if key not in _compiled:
        _compiled[key] = function._compile_for_args(*args)._codelibrary.get_cufunc().kernel
    config, stream = _configured(function, grid, block, stream)
    start_kernel(stream, config, _compiled[key], *values)


def _sort(arg, kinds, values):
    """Append what `arg` is to `kinds` and what the driver gets of it to `values`; whether that is known here."""
    number = NUMBERS.get(type(arg))
    if number is not None:
        kinds.append(type(arg))
        values.append(number(arg))
        return True
    if isinstance(arg, tuple):
        kinds.append((type(arg), len(arg)))
        return all([_sort(part, kinds, values) for part in arg])
    if getattr(arg, "ndim", 0) != 1 or not hasattr(arg, "device_ctypes_pointer"):
        return False
    size, itemsize = arg.size, arg.dtype.itemsize
    kinds.append(arg.dtype)
    values += (0, 0, size, itemsize, arg.device_ctypes_pointer.value, size, itemsize)   # no owner, …, shape, strides
    return True


@functools.lru_cache(maxsize=4096)
def _configured(function, grid, block, stream):
    """The grid and the stream as the driver wants them."""
    numba = function[grid, block, stream]
    return LaunchConfig(grid=numba.griddim, block=numba.blockdim), numba.stream
