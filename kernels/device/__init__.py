"""Arrays on a GPU: where they live, how they are moved, and how the rooms find their CUDA twins.

    x = device.to_device(numpy_array)       x.device == "cuda"
    kernels.conv2d.forward(x, ...)          runs kernels/conv2d/cuda.py, because x lives there
    numpy.asarray(x)                        a copy on the host

Importing this package imports NumPy alone: numba.cuda is loaded by kernels.device.shim when the first array is moved.
"""

import functools
import importlib
import importlib.util
import sys

import numpy as np

from kernels.device.array import DeviceArray
from kernels.errors import BackendError

__all__ = ["DeviceArray", "available", "call_room", "is_on_device", "norm", "place", "require", "to", "to_device", "why_not"]
REMEDY = "move one of them with .to('cuda') or .to('cpu')"


def why_not():
    """None where device arrays work (a GPU, or Numba's CUDA simulator), else a sentence that says why not and the remedy."""
    if importlib.util.find_spec("numba_cuda") is None:
        return "the package numba-cuda is not installed; pip install 'minicnn[cuda]'"
    from kernels.device import shim
    return shim.why_not()


def available():
    """Whether device arrays work here."""
    return why_not() is None


def is_on_device(array):
    """Whether an array lives on a GPU."""
    return isinstance(array, DeviceArray)


def to(array, device):
    """The array on "cpu" or "cuda": itself if it is there, else a copy. Raises BackendError for another name, or no GPU."""
    require(device)
    if device == "cuda":
        return array if is_on_device(array) else DeviceArray.of(np.asarray(array))
    return np.asarray(array)


def to_device(array):
    """A copy of a host array on the GPU. Raises BackendError where there is none."""
    return to(array, "cuda")


def require(device):
    """Raises BackendError unless `device` is "cpu", or "cuda" where that works."""
    if device not in ("cpu", "cuda"):
        raise BackendError(f"device {device!r} is not 'cpu' or 'cuda'; choose one of them")
    reason = why_not() if device == "cuda" else None
    if reason:
        raise BackendError(f"there is no GPU to use: {reason}, or stay on the CPU with device 'cpu'")


def norm(arrays):
    """The L2 norm of all device arrays together, as a Python float: one number comes to the host."""
    from kernels.device import sums
    return sums.norm(arrays)


def place(what, arrays):
    """"cpu" or "cuda": where all floating arrays live. Host arrays of shape () are numbers and go anywhere.

    Raises BackendError that names two arrays that live apart. Integer arrays (labels) are moved by whoever needs them.
    """
    if DeviceArray not in map(type, arrays):
        return "cpu"
    on = {"cpu": [], "cuda": []}
    for i, array in enumerate(arrays):
        if is_on_device(array):
            on["cuda"].append((i, array))
        elif isinstance(array, np.ndarray | np.generic) and array.ndim and array.dtype.kind == "f":
            on["cpu"].append((i, array))
    if on["cpu"] and on["cuda"]:
        (i, host), (j, device) = on["cpu"][0], on["cuda"][0]
        raise BackendError(f"{what}: argument {i} (shape {host.shape}) is on cpu and argument {j} (shape {device.shape}) on "
                           f"cuda; {REMEDY}")
    return "cuda" if on["cuda"] else "cpu"


def call_room(room, function, args):
    """Run `function` of the room's CUDA twin. Raises BackendError where the room has none."""
    twin = getattr(_twins(room), function, None)
    if twin is None:
        raise BackendError(f"{room}.{function} has no CUDA version; run it on the CPU: model.to('cpu'), or .to('cpu') on its "
                           "inputs")
    return twin(*args)


@functools.cache
def _twins(room):
    """The module of a room's CUDA kernels, None where it has none."""
    name = f"kernels.{room}.cuda"
    there = name in sys.modules or importlib.util.find_spec(name) is not None
    return importlib.import_module(name) if there else None
