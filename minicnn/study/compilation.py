"""What Numba compiles while one measures, so that compile time and run time stay apart."""

import contextlib
import time


class Compilations:
    """compiled: how many functions were compiled; seconds: spent compiling, or loading compiled code from the cache. told(name)
    is called when the compilation of a function begins."""

    def __init__(self, told=None):
        self.compiled, self.seconds, self.told = 0, 0.0, told
        self._depth, self._since = 0, 0.0

    def notify(self, event):
        """Numba calls this at the start and the end of each event; a compilation may start another."""
        if event.kind == "numba:compile":
            self.compiled += event.is_start
            if event.is_start and self.told:
                function = event.data["dispatcher"].py_func
                self.told(f"{function.__module__}.{function.__qualname__}")
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
def watching(told=None):
    """Count the compilations inside this with-block -> Compilations, which see for `told`."""
    from numba.core import event
    seen = Compilations(told)

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
