"""Contenders in processes of their own, so that none pays for another's threads, memory or settings.

Two OpenMP libraries in one process take cores from each other: idle threads of the one spin while the other computes. So
every contender lives in a fresh process with its own environment; the parent tells one at a time to run, and sleeps.
"""

import importlib
import os
import socket
import subprocess
import sys
import traceback
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks import ENVIRONMENT

ROOT = Path(__file__).resolve().parents[1]


class BenchmarkError(Exception):
    """A contender failed, disagrees with the others, or compiled something while the clock ran."""


class Worker:
    """A process that holds one object, `module:Class`(**arguments), and calls its methods when asked.

    threads: for OpenMP and Numba in that process; its environment is otherwise the one this program was started with, not
    what an imported engine has made of it. Raises BenchmarkError with the worker's own message where it fails.
    """

    def __init__(self, name, target, arguments, threads):
        self.name = name
        mine, theirs = socket.socketpair()
        variables = {**ENVIRONMENT, "OMP_NUM_THREADS": str(threads), "NUMBA_NUM_THREADS": str(threads),
                     "TORCHINDUCTOR_COMPILE_THREADS": "1"}
        self.process = subprocess.Popen([sys.executable, "-m", "benchmarks.workers", str(theirs.fileno())], cwd=ROOT,
                                        env=variables, pass_fds=[theirs.fileno()])
        theirs.close()
        self.connection = Connection(mine.detach())
        try:
            self._ask(target, arguments)
        except BenchmarkError:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def call(self, method, *args):
        """What the method of the object returns."""
        return self._ask(method, args)

    def _ask(self, *request):
        try:
            self.connection.send(request)
            worked, answer = self.connection.recv()
        except (EOFError, OSError):
            raise BenchmarkError(f"{self.name}: its process ended with status {self.process.wait()}") from None
        if not worked:
            raise BenchmarkError(f"{self.name}: {answer}")
        return answer

    def close(self):
        """End the process."""
        self.connection.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def serve(connection):
    """The child's side: make the object, then answer calls until the parent is gone."""
    target, made = None, None
    while True:
        try:
            name, args = connection.recv()
        except EOFError:
            return
        try:
            if target is None:
                module, made = name.split(":")
                target, answer = getattr(importlib.import_module(module), made)(**args), None
            else:
                answer = getattr(target, name)(*args)
        except Exception as error:      # whatever it is, the parent says it
            if os.environ.get("BENCHMARKS_DEBUG"):
                traceback.print_exc()
            connection.send((False, f"{type(error).__name__}: {error}".strip().splitlines()[0]))
        else:
            connection.send((True, answer))


if __name__ == "__main__":
    serve(Connection(int(sys.argv[1])))
