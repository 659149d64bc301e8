"""What Numba compiles while one measures, so that compile time and run time stay apart."""

import contextlib
import time


class Compilations:
    """compiled: how many functions were compiled; seconds: spent compiling, or loading compiled code from the cache."""

    def __init__(self):
        self.compiled, self.seconds = 0, 0.0
        self._depth, self._since = 0, 0.0

    def notify(self, event):
        """Numba calls this at the start and the end of each event; a compilation may start another."""
        if event.kind == "numba:compile":
            self.compiled += event.is_start
            return
        if event.is_start:
            if self._depth == 0:
                self._since = time.perf_counter()
            self._depth += 1
        else:
            self._depth -= 1
            if self._depth == 0:
                self.seconds += time.perf_counter() - self._since


@contextlib.contextmanager
def watching():
    """Count the compilations inside this with-block -> Compilations."""
    from numba.core import event
    seen = Compilations()

    class Listener(event.Listener):
        notify = staticmethod(seen.notify)
        on_start = on_end = None

    listener = Listener()
    kinds = ("numba:compile", "numba:compiler_lock")
    for kind in kinds:
        event.register(kind, listener)
    try:
        yield seen
    finally:
        for kind in kinds:
            event.unregister(kind, listener)
