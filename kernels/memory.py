"""Fresh pages cost as much as arithmetic: keep those that arrays give back.

glibc returns every array above a threshold to the system when it dies, and the next one is zeroed and mapped page by page
while a kernel writes it. `keep_pages` tells glibc to keep up to KEEP bytes for the next array; `release` returns them.
Other C libraries are left as they are.

Gradients of weights outlive what is computed between them. Made anew at each step they lie elsewhere each time and cut what is
free in pieces, so that the heap grows: `gradient_of` gives the place of the last one again.
"""

import ctypes
import sys
import weakref

from kernels import layout

KEEP = 1 << 30          # bytes: the activations of a training step fit
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4         # malloc.h
_state = {"kept": False}
_gradients = {}         # id of weights -> {"last": the array of their last gradient}


def keep_pages():
    """Keep freed pages for the next arrays of this process, at most KEEP bytes of them. Returns whether the C library can."""
    if not _state["kept"]:
        mallopt = _function("mallopt")
        _state["kept"] = bool(mallopt and mallopt(_M_TRIM_THRESHOLD, KEEP) and mallopt(_M_MMAP_MAX, 0))
    return _state["kept"]


def beside(array, registry):
    """The dict of an array in a registry {id: dict}, which leaves the registry when the array goes."""
    own = registry.get(id(array))
    if own is None:
        own = registry[id(array)] = {}
        weakref.finalize(array, registry.pop, id(array), None)
    return own


def gradient_of(weight):
    """An uninitialised array, C order, for the gradient of some weights: where the last one was, if nobody holds that any more.
    It is kept until the weights go, or until `release`."""
    own = beside(weight, _gradients)
    array = own.pop("last", None)       # another thread finds none, and makes its own
    if array is None or _holders(array) > _ALONE or (array.shape, array.dtype) != (weight.shape, weight.dtype):
        array = layout.aligned(weight.shape, weight.dtype)
    own["last"] = array
    return array[...]                   # a view, whose holders are those of array.base


def _holders(array):
    return sys.getrefcount(array.base)


_ALONE = _holders(layout.aligned((1,), "float32"))


def release():
    """Give kept pages back to the system now. Returns whether any were."""
    _gradients.clear()
    trim = _function("malloc_trim")
    return bool(trim and trim(0))


def _function(name):
    try:
        return getattr(ctypes.CDLL(None), name, None)
    except OSError:             # no C library under that name on this system
        return None
