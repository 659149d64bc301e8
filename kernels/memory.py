"""Fresh pages cost as much as arithmetic: keep those that arrays give back.

glibc returns every array above a threshold to the system when it dies, and the next one is zeroed and mapped page by page
while a kernel writes it. `keep_pages` tells glibc to keep up to KEEP bytes for the next array; `release` returns them.
Other C libraries are left as they are.
"""

import ctypes

KEEP = 1 << 30          # bytes: the activations of a training step fit
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4         # malloc.h
_state = {"kept": False}


def keep_pages():
    """Keep freed pages for the next arrays of this process, at most KEEP bytes of them. Returns whether the C library can."""
    if not _state["kept"]:
        mallopt = _function("mallopt")
        _state["kept"] = bool(mallopt and mallopt(_M_TRIM_THRESHOLD, KEEP) and mallopt(_M_MMAP_MAX, 0))
    return _state["kept"]


def release():
    """Give kept pages back to the system now. Returns whether any were."""
    trim = _function("malloc_trim")
    return bool(trim and trim(0))


def _function(name):
    try:
        return getattr(ctypes.CDLL(None), name, None)
    except OSError:             # no C library under that name on this system
        return None
