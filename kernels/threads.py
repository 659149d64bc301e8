"""Threads of the compiled kernels: how many, and what keeps two known hazards from taking the process down.

Numba's parallel loops run on one of three layers. `workqueue` aborts the process when two Python threads call
into it at once, so calls take a lock there. GNU OpenMP (`omp`) kills a child that was forked after the first
parallel loop, so such a child gets a BackendError instead. Every sum in the kernels is cut in the same way for
any number of threads: results do not depend on it.
"""

import contextlib
import os
import threading

from kernels.errors import BackendError

# Idle OpenMP threads sleep instead of spinning: spinning ones take the cores from NumPy's BLAS and from other processes,
# and ResNet-20 then trains several times slower. A program that sets OMP_WAIT_POLICY itself keeps its choice.
# But they spin for a tenth of a millisecond first: kernels follow each other within that, and waking a sleeper costs as much.
if os.environ.setdefault("OMP_WAIT_POLICY", "passive") == "passive":
    os.environ.setdefault("GOMP_SPINCOUNT", "30000")

_lock = threading.RLock()
_state = {"layer": None, "forked": False}


def get_num_threads():
    """How many threads a kernel called from this Python thread uses."""
    import numba
    return numba.get_num_threads()


def most():
    """How many threads there can be: NUMBA_NUM_THREADS, or else the cores."""
    import numba
    return numba.config.NUMBA_NUM_THREADS


def set_num_threads(count):
    """Use `count` threads for kernels called from this Python thread; raises BackendError outside 1..cores."""
    import numba
    if not 1 <= count <= most():
        raise BackendError(f"{count} threads asked for, 1 to {most()} can be had; "
                           "set NUMBA_NUM_THREADS before the start to raise the limit")
    numba.set_num_threads(count)


@contextlib.contextmanager
def num_threads(count):
    """Use `count` threads inside a with-block."""
    before = get_num_threads()
    set_num_threads(count)
    try:
        yield
    finally:
        set_num_threads(before)


def layer():
    """The threading layer in use: "omp", "tbb" or "workqueue"; None before the first parallel loop."""
    if _state["layer"] is None:
        import numba
        with contextlib.suppress(ValueError):
            _state["layer"] = numba.threading_layer()
    return _state["layer"]


def call(function, *args, alone=False):
    """function(*args), made safe on the threading layer in use; with `alone` on one thread."""
    if _state["forked"]:
        raise BackendError("this process was forked after GNU OpenMP had started, and a parallel kernel would kill it; "
                           "start processes with multiprocessing's 'spawn' or 'forkserver' method, or use threads")
    if layer() in (None, "workqueue"):      # None: the first call starts the layer, one thread at a time
        with _lock:
            return _run(function, args, alone)
    return _run(function, args, alone)


def _run(function, args, alone):
    if not alone or _state["layer"] is None:
        return function(*args)
    with num_threads(1):
        return function(*args)


def _after_fork():
    global _lock
    _lock = threading.RLock()               # another thread may have held it
    _state["forked"] = _state["layer"] == "omp"


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
