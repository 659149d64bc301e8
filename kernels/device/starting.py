"""Starting a kernel without asking anew what it is given.

Numba asks at every launch what each argument is, and makes a C number of each by the name of its type, which takes longer than
most kernels run. The answers are the same at every step. So they are kept: a kernel is found by the kinds of its arguments, and
only their values are passed on, as Numba passes them. What is of another kind goes Numba's way.
"""

import ctypes
import functools

import numpy as np
from cuda.core import LaunchConfig
from cuda.core import launch as start_kernel

from kernels.device.array import DeviceArray

# How Numba passes a number of each type. A Python int is passed as it is, as 64 bits.
NUMBERS = {int: int, bool: bool, float: ctypes.c_double, np.float32: ctypes.c_float, np.float64: ctypes.c_double,
           np.int64: ctypes.c_int64, np.int32: ctypes.c_int32, np.uint64: ctypes.c_uint64}

_compiled = {}      # (kernel, the kinds of its arguments): what the driver starts


def start(function, grid, block, stream, args, flatten):
    """function[grid, block, stream](*args) of DeviceArrays, numbers, and tuples of these. flatten: args -> what Numba takes."""
    kinds, values = [function], []
    if not _sort(args, kinds, values):
        function[grid, block, stream](*flatten(args))
        return
    key = tuple(kinds)
    kernel = _compiled.get(key)
    if kernel is None:
        compiled = function._compile_for_args(*flatten(args))
        kernel = _compiled[key] = compiled._codelibrary.get_cufunc().kernel
    config, stream = _configured(function, grid, block, stream)
    start_kernel(stream, config, kernel, *values)


def _sort(args, kinds, values):
    """Append what each of `args` is to `kinds` and what the driver gets of it to `values`; whether all are known here."""
    for arg in args:
        kind = type(arg)
        if kind is DeviceArray:
            kinds.append(arg.dtype)
            values.extend(passed(arg.storage.block))
        elif kind in NUMBERS:
            kinds.append(kind)
            values.append(NUMBERS[kind](arg))
        elif kind is tuple:
            kinds.append(len(arg))
            if not _sort(arg, kinds, values):
                return False
        elif issubclass(kind, tuple):       # a kernel's sizes, named: whole numbers all
            kinds.append(kind)
            values.extend(arg)
        else:
            return False
    return True


def passed(block):
    """A flat array as a kernel gets it: no owner, the number of its values, their bytes, the address, its side and its step."""
    try:
        return block.passed
    except AttributeError:
        size, itemsize = block.size, block.dtype.itemsize
        block.passed = 0, 0, size, itemsize, block.device_ctypes_pointer.value, size, itemsize
        return block.passed


@functools.lru_cache(maxsize=4096)
def _configured(function, grid, block, stream):
    """The grid and the stream as the driver wants them."""
    numba = function[grid, block, stream]
    return LaunchConfig(grid=numba.griddim, block=numba.blockdim), numba.stream
