"""Numba's CUDA simulator, made safe for the Python threads that play a block's threads.

As it comes, it allots a block's shared array at the first call, and two threads may both be first; and it puts a kernel's own
`cuda` into the globals of a device function for the time of a call, which another thread may be inside of. Here `cuda` stays
one object that asks which kernel is running, and shared arrays are allotted under a lock.
"""

import ctypes
import sys
import threading

import numpy as np
from numba import cuda as simulator
from numba.cuda.simulator import kernel as running


class _Shared:
    """cuda.shared within a kernel: one array for each line of code that asks for one."""

    def __init__(self, allotted):
        self.allotted = allotted

    def array(self, shape, dtype, alignment=None):
        frame = sys._getframe(1)
        line = frame.f_code.co_filename, frame.f_lineno
        with _lock:
            if line not in self.allotted:
                self.allotted[line] = np.empty(shape, dtype)
        return self.allotted[line]


class _Cuda:
    """The module numba.cuda of the simulator, or within a kernel what that kernel sees of it."""

    def __getattr__(self, name):
        kernel = running._get_kernel_context()
        if kernel is None:
            return getattr(simulator, name)
        return _Shared(kernel.shared._allocations) if name == "shared" else getattr(kernel, name)


def address(block):
    """Where a block lies."""
    return block._ary.ctypes.data


def pointer(place, like):
    """What lies at an address, of the dtype of `like`; as in C, nobody knows how much."""
    number = ctypes.POINTER(np.ctypeslib.as_ctypes_type(like.dtype))
    return np.ctypeslib.as_array(ctypes.cast(int(place), number), shape=(2 ** 31,))


_lock = threading.Lock()
cuda = _Cuda()
