"""What the device's memory and launches do on the host; needs no GPU."""

import ctypes
import gc
import importlib.util
import os
import weakref

import numpy as np
import pytest

from kernels.device.pool import Pool, Storage

without_numba_cuda = importlib.util.find_spec("numba_cuda") is None or os.environ.get("NUMBA_ENABLE_CUDASIM") == "1"


class Block:
    """Memory that is let go of with the last reference to it, as Numba's is."""


def test_a_block_outlives_the_cycle_that_held_it():
    """An autograd graph is a cycle. Its collection clears weak references before __del__ gives the block back, so that a block
    that the cycle alone holds would lose its memory."""
    pool, gone = Pool(lambda count, dtype: Block()), []
    storage = Storage(pool, 3, "float32")
    weakref.finalize(storage.block, gone.append, True).atexit = False
    alive = weakref.ref(storage.block)
    cycle = [storage]
    cycle.append(cycle)
    del storage, cycle
    gc.collect()
    assert gone == []
    assert alive() is not None
    assert pool.take(3, "float32") is alive()
    assert pool.allocations == 1


@pytest.mark.skipif(without_numba_cuda, reason="needs numba-cuda, and not the simulator: pip install -e .[cuda]")
def test_a_kernel_is_started_with_what_numba_would_pass():
    """Numbers and tuples of every kind, beside Numba's own conversion."""
    from types import SimpleNamespace

    from numba.cuda.dispatcher import _Kernel
    from numba.cuda.typing.typeof import Purpose, typeof

    from kernels.conv2d.cuda import Gather
    from kernels.device.starting import NUMBERS, _sort
    args = (5, -1, True, 0.5, np.float32(1.5), np.float64(2.5), np.int64(-3), np.int32(-4), np.uint64(2 ** 63),
            (1, (False, np.float32(2))), Gather(*range(len(Gather._fields))))
    numba, expected = SimpleNamespace(extensions=[]), []
    numba._prepare_args = lambda *rest: _Kernel._prepare_args(numba, *rest)
    for arg in args:
        numba._prepare_args(typeof(arg, Purpose.argument), arg, 0, [], expected)
    kinds, values = [], []
    assert _sort(args, kinds, values)
    assert set(NUMBERS) <= {kind for kind in kinds if isinstance(kind, type)}
    assert [_as_bytes(v) for v in values] == [_as_bytes(v) for v in expected]


def _as_bytes(value):
    """What the driver reads: a Python int counts as 64 bits, a bool as one byte."""
    number = {int: ctypes.c_int64, bool: ctypes.c_bool}.get(type(value))
    return bytes(number(value) if number else value)


@pytest.mark.skipif(without_numba_cuda, reason="needs numba-cuda, and not the simulator: pip install -e .[cuda]")
def test_what_is_not_known_goes_numbas_way():
    from kernels.device import starting
    seen = []

    class Kernel:
        def __getitem__(self, place):
            return lambda *args: seen.append((place, args))
    starting.start(Kernel(), (2,), 256, "stream", (1, np.complex64(1)), list)
    assert seen == [(((2,), 256, "stream"), (1, np.complex64(1)))]
