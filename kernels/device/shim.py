"""The one module that imports numba.cuda for a GPU: a successor is swapped in here, and in starting.py, which calls what lies
below numba.cuda.

SIMULATED is true under NUMBA_ENABLE_CUDASIM=1, where Python threads play the threads of a block, one block after the other:
slow, so the blocks are small there. Everything that depends on the size of a block reads it from here.
"""

import functools
import os

os.environ.setdefault("NUMBA_CUDA_LOW_OCCUPANCY_WARNINGS", "0")     # small arrays are no mistake

import numpy as np
from numba import config

from kernels.device import pool
from kernels.errors import BackendError

SIMULATED = bool(config.ENABLE_CUDASIM)
if SIMULATED:
    from kernels.device.simulated import address as simulated_address
    from kernels.device.simulated import cuda, pointer
else:
    from numba import cuda
    from numba.cuda.extending import intrinsic
    from numba.cuda.types import CPointer

    from kernels.device.starting import passed, start

    @intrinsic
    def pointer(_, place, like):
        """In a kernel: what lies at an address, of the dtype of the array `like`."""
        def address(context, builder, signature, args):
            return builder.inttoptr(args[0], context.get_value_type(signature.return_type))
        return CPointer(like.dtype)(place, like), address


THREADS = 8 if SIMULATED else 256       # of a block; a power of two, for the trees of sums
ITEMS = 2 if SIMULATED else 4           # elements of a thread in kernels that wait for memory and for nothing else
LIMIT_YZ = 65535                        # blocks of a grid along its second and third axis; along the first 2^31 - 1
kernel = cuda.jit if SIMULATED else cuda.jit(cache=True, launch_bounds=THREADS)
# Into the kernel itself: no call, and one compilation. The simulator calls it as the Python function that it is.
device_function = (lambda function: function) if SIMULATED else cuda.jit(device=True, inline="always")


def address(block):
    """Where a flat block lies, for a table from which kernels take `pointer`s."""
    if isinstance(block, np.ndarray):                   # while kernels are only traced
        return block.ctypes.data
    return simulated_address(block) if SIMULATED else passed(block)[4]


def tile(blocks):
    """kernel, with no more registers than leave room for `blocks` blocks on a multiprocessor."""
    return cuda.jit if SIMULATED else cuda.jit(cache=True, launch_bounds=(THREADS, blocks))


def why_not():
    """None if kernels can run here, else a sentence that says why not."""
    if SIMULATED or pool.tracing:
        return None
    if cuda.is_available():
        return None
    error = " ".join(str(cuda.cuda_error() or "numba.cuda sees no device").split())
    return f"no NVIDIA GPU or driver was found ({error}); install NVIDIA's driver"


def name():
    """What the device is called."""
    if SIMULATED:
        return "Numba's CUDA simulator"
    found = cuda.get_current_device().name
    return found.decode() if isinstance(found, bytes) else str(found)


@functools.cache
def _processors():
    return cuda.get_current_device().MULTIPROCESSOR_COUNT


def processors():
    """Multiprocessors of the device; those of a large one where none is asked, since nothing runs."""
    return 2 if SIMULATED else 132 if pool.tracing else _processors()


@functools.cache
def stream():
    """The stream of all kernels, and of the copies from and to the host that come between them."""
    return cuda.stream()


def to_block(block, values):
    """Copy a flat host array to a block of its size, after what is queued. The host may change `values` at once: memory that
    is not pinned is read before the driver returns."""
    block.copy_to_device(values, stream=stream())


def to_host(block):
    """A host copy of a block; waits for what is queued, and for the copy."""
    values = block.copy_to_host(stream=stream())
    stream().synchronize()
    return values


def launch(function, grid, block, *args):
    """Start a kernel on the stream of all kernels. An empty grid starts nothing. Raises BackendError if it is too large."""
    if isinstance(grid, int):
        grid = (grid,)
    if 0 in grid:
        return
    if len(grid) > 1 and max(grid[1:]) > LIMIT_YZ:
        name = getattr(function, "py_func", function).__name__.strip("_")
        raise BackendError(f"{name}: the arrays need a grid of {' x '.join(map(str, grid))} blocks, "
                           f"a GPU takes {LIMIT_YZ} along the last two axes; use a smaller batch, or fewer channels or groups")
    if pool.tracing:
        pool.tracing[-1].append((function, _flatten(args)))
    elif SIMULATED:
        function[grid, block, stream()](*_flatten(args))
    else:
        start(function, grid, block, stream(), args, _flatten)


def _flatten(args):
    """What Numba takes for arguments: device arrays as flat blocks, also those within a plain tuple."""
    return [_argument(a) for a in args]


def _argument(value):
    if type(value) is tuple:
        return tuple(_argument(v) for v in value)
    return value.storage.block if hasattr(value, "storage") else value


def launch_flat(function, count, *args):
    """One thread for each of `count` elements."""
    launch(function, -(-count // THREADS), THREADS, *args)


def launch_items(function, count, *args):
    """One thread for every ITEMS of `count` elements; see launching.first_item."""
    launch(function, -(-count // (THREADS * ITEMS)), THREADS, *args)


def launch_planes(function, planes, pixels, *args, images=1):
    """One thread for each pixel of each plane, and for every ITEMS images: threads along x walk pixels, along y planes.

    Small planes share a block, so that few of its threads idle: 7 x 7 pixels take 64 threads by 4 planes. The blocks of one
    image lie along the grid's first axis, which has room for 2^31: launching.plane_and_pixel finds a thread's place.
    """
    wide = min(THREADS, 1 << max(0, pixels - 1).bit_length())
    high = THREADS // wide
    blocks = -(-planes // high) * -(-pixels // wide)
    launch(function, (blocks, -(-images // ITEMS)), (wide, high), *args)


class Tracing:
    """Inside this with-block nothing runs: kernels that would be launched are listed with their arguments.

    Arrays then lie in host memory, so that this needs no GPU: it is how every kernel is found for compilation to PTX.
    """

    def __enter__(self):
        pool.tracing.append([])
        return pool.tracing[-1]

    def __exit__(self, *_):
        pool.tracing.pop()


def is_tracing():
    """Whether launches are only listed."""
    return bool(pool.tracing)
