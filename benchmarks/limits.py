"""The limits of a machine that kernels are measured by: multiply-adds on data in the first cache, copying large arrays."""

import threading
import time

import numpy as np
from numba import njit, prange

from kernels.gemm.micro import lanes, registers, rows_tile

DEPTH, CALLS, ROUNDS = 128, 20_000, 7           # rows of B: 24 KiB at most, in any first cache; calls a round: some 10 ms
COPY_BYTES = 256 << 20
TILES = [(8, 3), (6, 4), (10, 2)] if registers()[1] == 32 else [(4, 3), (6, 2)]     # rows x vectors; all are tried


class Limits:
    """Lives in a worker, with as many threads as the contenders."""

    def __init__(self, threads):
        self.threads = threads

    def measure(self, dtype="float32"):
        """{"fma": FLOP/s, "copy": bytes read and written a second}, the best of several rounds."""
        return {"fma": max(multiply_adds(self.threads, dtype, *tile) for tile in TILES), "copy": copying(self.threads)}


def multiply_adds(threads, dtype, rows, vectors):
    """FLOP/s (2 a multiply-add) of the micro-kernel on all threads, each with its own operands in its first cache."""
    work, c = tiles(threads, dtype, rows, vectors)
    work(1)
    return 2 * c.size * DEPTH * CALLS / _least(lambda: work(CALLS))


def tiles(threads, dtype, rows, vectors):
    """(work, c): work(calls) multiplies ones, rows x DEPTH by DEPTH x width, on each thread again and again, into c."""
    tile, width = rows_tile(rows, vectors, registers()[0]), vectors * lanes(dtype)

    @njit(parallel=True)
    def work(a, b, c, tables, calls):
        for t in prange(a.shape[0]):
            for _ in range(calls):
                tile((a[t].ctypes.data, tables[0].ctypes.data, 1), (tables[2].ctypes.data, 1), (b[t].ctypes.data, width),
                     (c[t].ctypes.data, tables[1].ctypes.data, 0, 0, 0, 0), c)
    a, b = np.ones((threads, rows * DEPTH), dtype), np.ones((threads, DEPTH * width), dtype)
    c, tables = np.empty((threads, rows * width), dtype), np.zeros((3, max(rows, 3)), np.int64)
    tables[0, :rows], tables[1, :rows] = np.arange(rows) * DEPTH, np.arange(rows) * width
    tables[2, :3] = 0, DEPTH, 0         # one run: shift, length, first row of B
    return lambda calls: work(a, b, c, tables, calls), c


def copying(threads):
    """Bytes a second, read and written both counted, of NumPy's copy of a large array on all threads."""
    source, target = np.ones(COPY_BYTES // 8), np.zeros(COPY_BYTES // 8)
    parts = list(zip(np.array_split(target, threads), np.array_split(source, threads)))

    def copy():
        running = [threading.Thread(target=np.copyto, args=part) for part in parts]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()
    copy()
    return 2 * COPY_BYTES / _least(copy)


def _least(run):
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)
