"""Which implementation of an operation runs, and the door through which arrays reach it.

Each operation has a room (a package) with a ladder of rungs (modules) in it, lowest first. All rungs of a room
have the same functions. `using` pins a rung; otherwise the room picks one. Rungs are imported at first use, so that
importing `kernels` loads no compiler.
"""

import contextlib
import contextvars
import importlib
import types

import numpy as np

from kernels import device, layout, memory, threads
from kernels.errors import BackendError, DTypeError, ShapeError

_NOTHING = types.MappingProxyType({})
_pinned = contextvars.ContextVar("pinned", default=_NOTHING)
ROOMS = {}
FLOATS = np.dtype(np.float32), np.dtype(np.float64)
FEW = 16384         # values: below this, waking a second thread takes longer than it saves


def by_order(function, *args):
    """The rung for rooms that have one for each order: "channels_last" if one of the images is in that order, else "cpu"."""
    for a in args:
        if isinstance(a, np.ndarray) and layout.prefers_channels_last(a):
            return "channels_last"
    return "cpu"


class Room:
    """The ladder of one operation. `best(function, *args)` names the rung for a call; by default the highest."""

    def __init__(self, name, rungs, best=None):
        self.name, self.rungs, self._modules = name, tuple(rungs), {}
        self.best = best or (lambda function, *args: self.rungs[-1])
        ROOMS[name] = self

    def call(self, function, *args):
        """Run `function` on the pinned or the best rung. Arrays are copied to C order here if they are not in it, unless the
        rung says with ANY_ORDER that it puts them in the order it wants itself."""
        if self._is_on_device(function, args):
            return device.call_room(self.name, function, args)
        name = self.pinned() or self.best(function, *args)
        rung = self.rung(name)
        if not getattr(rung, "ANY_ORDER", False):
            args = [layout.c_order(a) if isinstance(a, np.ndarray) else a for a in args]
        memory.keep_pages()
        return threads.call(getattr(rung, function), *args, alone=_few(args))

    def call_as_is(self, function, *args):
        """As call, but without copies into another order: for functions that change their first array in place."""
        if self._is_on_device(function, args):
            return device.call_room(self.name, function, args)
        rung = self.rung(self.pinned() or self.best(function, *args))
        memory.keep_pages()
        return threads.call(getattr(rung, function), *args, alone=args[0].size < FEW)

    def _is_on_device(self, function, args):
        """Whether the arrays live on a GPU. Raises BackendError where they live apart, DTypeError where dtypes do not go."""
        kind = _kind(args)
        if kind is not None:
            return kind is device.DeviceArray
        _check_dtypes(f"{self.name}.{function}", args)
        return device.place(f"{self.name}.{function}", args) == "cuda"

    def pinned(self):
        """The rung that `using` has pinned, or None."""
        return _pinned.get().get(self.name)

    def rung(self, name):
        """The module of one rung."""
        if name not in self._modules:
            self._modules[name] = importlib.import_module(f"kernels.{self.name}.{name}")
        return self._modules[name]


def _few(args):
    """Whether all arrays together hold fewer than FEW values."""
    left = FEW
    for a in args:
        if isinstance(a, np.ndarray):
            left -= a.size
            if left <= 0:
                return False
    return True


def _kind(args):
    """NumPy's arrays or the device's, if all floating ones are of that kind and of one of the two dtypes; None where it takes a
    closer look to tell. Quick."""
    found, kind = None, np.ndarray
    for a in args:
        here = type(a)
        if here is np.ndarray or here is device.DeviceArray:
            dtype = a.dtype
            if found is None and dtype in FLOATS:          # not by `is`: Numba makes dtypes of its own
                found, kind = dtype, here
            elif (here is not kind or dtype != found) and (here is not np.ndarray or dtype.kind not in "iub"):
                return None
    return kind


def _check_dtypes(what, args):
    found = {a.dtype.name for a in args if isinstance(a, np.ndarray | device.DeviceArray) and a.dtype.kind not in "iub"}
    if len(found) > 1:
        raise DTypeError(f"{what}: the arrays have dtypes {', '.join(sorted(found))}; convert them to one dtype first")
    if not found <= {"float32", "float64"}:
        raise DTypeError(f"{what}: dtype {found.pop()} is neither float32 nor float64; convert with .astype('float32')")


def expect_shape(what, array, shape):
    """Raises ShapeError unless array (None passes) has `shape`. Compiled loops do not check: this is their door."""
    if array is not None and array.shape != tuple(shape):
        raise misfit(what, array.shape, tuple(shape))


def misfit(what, shape, expected):
    """The ShapeError for an array of `shape` where the other arguments require another."""
    return ShapeError(f"{what} has shape {shape}, not {expected} as the other arguments require; reshape it or change them")


def expect_rank(what, array, layout):
    """Raises ShapeError unless array has as many axes as `layout`, for example "(N, C, H, W)"."""
    if array.ndim != layout.count(",") + 1:
        raise ShapeError(f"{what} has shape {array.shape}, not {layout}; reshape it to {layout.count(',') + 1} axes")


def rungs(op):
    """The rungs of an operation, lowest first: rungs("conv2d") -> ("reference", "im2col", ...)."""
    return _room(op).rungs


def _room(op):
    if op not in ROOMS:
        raise BackendError(f"no operation named {op!r}; choose from {', '.join(sorted(ROOMS))}")
    return ROOMS[op]


@contextlib.contextmanager
def using(**choices):
    """Pin rungs inside a with-block: using(conv2d="im2col", pool2d="reference"). Blocks nest.

    Raises BackendError for an operation or a rung that is not there. Pins hold for the calling thread alone.
    """
    for op, name in choices.items():
        if name not in rungs(op):
            raise BackendError(f"{op} has no rung {name!r}; choose from {', '.join(rungs(op))}")
    token = _pinned.set({**_pinned.get(), **choices})
    try:
        yield
    finally:
        _pinned.reset(token)
