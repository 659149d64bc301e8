"""numba.njit for the kernels, at the level of optimisation that they need, and without what nobody calls.

At LLVM's first level all that ResNet-50 needs is compiled in five sixths of the time of its third (Numba's), and networks train
as fast: where speed counts, the kernels say themselves which vectors and how much unrolling they want (gemm/micro.py,
streaming.py), and plain loops become vectors at either level. Functions of other packages keep Numba's level, and a level set
with NUMBA_OPT holds for these, too.

A function is compiled once for each mixture of its arguments' types, and to Numba a literal number, such as 0 in a tuple, is a
type of its own: to functions that take long kernels pass np.int64(0).
"""

import functools
import hashlib
import os
import re
from pathlib import Path

import numba
from numba import config
from numba.core import event as events

LEVEL = 1
IMPORT = re.compile(r"^from (kernels[\w.]*) import (\([^)]*\)|.*)$", re.MULTILINE)
ROOT = Path(__file__).parents[1]
_outer = []         # the levels of the functions around the one that is being compiled


def njit(*function, **options):
    """numba.njit without the entry for callers from C, which took a twentieth of all compiling. What is cached is used as long
    as no source changes that the function's module imports: machine code of what it calls is a part of its own."""
    compiled = numba.njit(*function, no_cfunc_wrapper=True, **options)
    if not function:
        return lambda function: _stamped(compiled(function))
    return _stamped(compiled)


def _stamped(dispatcher):
    """The dispatcher, its cache with the stamp of all sources in the place of its own file's."""
    index = getattr(getattr(dispatcher, "_cache", None), "_cache_file", None)       # neither without cache=True nor without JIT
    if index is not None and Path(dispatcher.py_func.__code__.co_filename).exists():        # not so in an archive
        index._source_stamp = stamp(dispatcher.py_func.__code__.co_filename)
    return dispatcher


@functools.cache
def stamp(path):
    """A hash of a source file and of all of kernels that it imports, directly or through others."""
    found, new = set(), {Path(path)}
    while new:
        found |= new
        new = {source for file in new for source in _imported(file)} - found
    return hashlib.sha256(b"".join(_text(file) for file in sorted(found))).digest()


@functools.cache
def _text(file):
    return file.read_bytes()


@functools.cache
def _imported(file):
    """The modules of kernels that a file imports; packages themselves hold nothing that is compiled."""
    modules = {module + end for module, names in IMPORT.findall(_text(file).decode())
               for end in ("", *("." + name for name in re.findall(r"\w+", names)))}
    files = {ROOT / (module.replace(".", "/") + ".py") for module in modules}
    return {file for file in files if file.exists()}


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
