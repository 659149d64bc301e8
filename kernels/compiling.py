"""numba.njit for the kernels, at the level of optimisation that they need, and without what nobody calls.

At LLVM's first level all that ResNet-50 needs is compiled in five sixths of the time of its third (Numba's), and networks train
as fast: where speed counts, the kernels say themselves which vectors and how much unrolling they want (gemm/micro.py,
streaming.py), and plain loops become vectors at either level. Functions of other packages keep Numba's level, and a level set
with NUMBA_OPT holds for these, too.

A function is compiled once for each mixture of its arguments' types, and to Numba a literal number, such as 0 in a tuple, is a
type of its own: to functions that take long kernels pass np.int64(0).
"""

import os

import numba
from numba import config
from numba.core import event as events

LEVEL = 1
_outer = []         # the levels of the functions around the one that is being compiled


def njit(*function, **options):
    """numba.njit without the entry for callers from C, which took a twentieth of all compiling."""
    return numba.njit(*function, no_cfunc_wrapper=True, **options)


class _Level(events.Listener):
    """Numba tells when it begins and ends to compile a function, under its lock. What a kernel calls, it compiles within."""

    def on_start(self, event):
        _outer.append(config.OPT)
        if event.data["dispatcher"].py_func.__module__.startswith("kernels."):
            config.OPT = type(config.OPT)(LEVEL)

    def on_end(self, event):
        config.OPT = _outer.pop()


if "NUMBA_OPT" not in os.environ:
    events.register("numba:compile", _Level())

__all__ = ["njit"]
