"""A caching allocator: memory that dead arrays give back is kept by size for the next ones.

An allocation on a GPU waits for everything that runs there. A training step asks for the same sizes as the step before, so
that after the first step every array is one that a dead array gave back. All kernels run on one stream in the order of their
launch: what is still queued on a block has read it before the next owner writes. `release` returns the free blocks.

The pool keeps hold of the blocks that it lent, too. An array of an autograd graph dies in a cycle, and Python's collector
clears the weak references to all that such a cycle alone holds before it calls `Storage.__del__`: Numba would have let go of
the memory of a block that is given back here.
"""

import numpy as np

from kernels.errors import BackendError

MOST = 2 ** 31      # values of one array: kernels divide indices as 32-bit numbers


class Pool:
    """Blocks by (number of values, dtype). allocate(count, dtype) -> a flat device array; may raise for want of memory."""

    def __init__(self, allocate):
        self.allocate, self.free, self.lent = allocate, {}, {}
        self.allocations = self.held = 0        # blocks and bytes asked of the driver, and not released

    def take(self, count, dtype):
        """A block of `count` values, its content undefined. Raises BackendError where memory is short."""
        blocks = self.free.get((count, dtype))
        block = blocks.pop() if blocks else self._allocate(count, dtype)
        self.lent[id(block)] = block
        return block

    def give(self, block, count, dtype):
        """A block that nobody uses any more."""
        del self.lent[id(block)]
        self.free.setdefault((count, dtype), []).append(block)

    def release(self):
        """Let go of every free block."""
        for (count, dtype), blocks in self.free.items():
            self.held -= len(blocks) * count * np.dtype(dtype).itemsize
        self.free.clear()

    def _allocate(self, count, dtype):
        size = count * np.dtype(dtype).itemsize
        if count >= MOST:
            raise BackendError(f"an array of {count} values is too large for the GPU kernels, which index less than 2^31; "
                               "use a smaller batch or image")
        block = self._try(count, dtype)
        if block is None:
            self.release()
            block = self._try(count, dtype)
        if block is None:
            raise BackendError(f"GPU memory is short: {size >> 20} MiB asked for while {self.held >> 20} MiB are in use; "
                               "use a smaller batch")
        self.allocations, self.held = self.allocations + 1, self.held + size
        return block

    def _try(self, count, dtype):
        try:
            return self.allocate(count, dtype)
        except Exception as error:
            if not _out_of_memory(error):
                raise
            return None


def _out_of_memory(error):
    return isinstance(error, MemoryError) or "OUT_OF_MEMORY" in str(error).upper().replace(" ", "_")


class Storage:
    """A block while somebody uses it; several arrays of other shapes may share it."""

    __slots__ = ("block", "count", "dtype", "pool")

    def __init__(self, pool, count, dtype):
        self.pool, self.count, self.dtype = pool, max(1, count), dtype
        self.block = pool.take(self.count, dtype)

    def __del__(self):
        block = getattr(self, "block", None)
        if block is not None:
            self.pool.give(block, self.count, self.dtype)


def new_storage(count, dtype):
    """Uninitialised memory from the pool of the GPU; from the host's while kernels are only traced."""
    return Storage(_HOST if tracing else _pool, count, dtype)


def _device_memory(count, dtype):
    from kernels.device.shim import cuda
    return cuda.device_array(count, dtype)


_pool, _HOST = Pool(_device_memory), Pool(np.zeros)
tracing = []        # lists of (kernel, arguments), one for each shim.Tracing that is open; the last one counts


def release():
    """Give the memory of dead arrays back to the driver."""
    _pool.release()


def forget_traced():
    """Let go of the host memory that traced arrays left behind."""
    _HOST.release()


def figures():
    """{"allocations", "bytes"}: what the driver was asked for since the start, and what is held of it."""
    return {"allocations": _pool.allocations, "bytes": _pool.held}
