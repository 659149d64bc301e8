"""The one module that imports numba.cuda for a GPU: a successor is swapped in by changing that line.

SIMULATED is true under NUMBA_ENABLE_CUDASIM=1, where Python threads play the threads of a block, one block after the other:
slow, so the blocks are small there. Everything that depends on the size of a block reads it from here.
"""

import functools
import os

os.environ.setdefault("NUMBA_CUDA_LOW_OCCUPANCY_WARNINGS", "0")     # small arrays are no mistake

from numba import config

SIMULATED = bool(config.ENABLE_CUDASIM)
if SIMULATED:
    from kernels.device.simulated import cuda
else:
    from numba import cuda

THREADS = 8 if SIMULATED else 256       # of a block; a power of two, for the trees of sums
kernel = cuda.jit if SIMULATED else cuda.jit(cache=True)
# Into the kernel itself: no call, and one compilation. The simulator calls it as the Python function that it is.
device_function = (lambda function: function) if SIMULATED else cuda.jit(device=True, inline="always")

_tracing = []       # a list of (kernel, arguments) inside `Tracing`, the last one counts


def why_not():
    """None if kernels can run here, else a sentence that says why not."""
    if SIMULATED or _tracing:
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
def stream():
    """The stream of all kernels. Copies from and to the host on the default stream wait for it, and it for them."""
    return cuda.stream()


def launch(function, grid, block, *args):
    """Start a kernel on the stream of all kernels. An empty grid starts nothing."""
    if isinstance(grid, int):
        grid = (grid,)
    if 0 in grid:
        return
    flat = [_argument(a) for a in args]
    if _tracing:
        _tracing[-1].append((function, flat))
    else:
        function[grid, block, stream()](*flat)


def _argument(value):
    """What Numba takes for an argument: device arrays as flat blocks, also those within a plain tuple."""
    if type(value) is tuple:
        return tuple(_argument(v) for v in value)
    return value.storage.block if hasattr(value, "storage") else value


def launch_flat(function, count, *args):
    """One thread for each of `count` elements."""
    launch(function, -(-count // THREADS), THREADS, *args)


def launch_planes(function, planes, pixels, *args):
    """One thread for each pixel of each plane: threads along x walk pixels, along y planes.

    Small planes share a block, so that few of its threads idle: 7 x 7 pixels take 64 threads by 4 planes.
    """
    wide = min(THREADS, 1 << max(0, pixels - 1).bit_length())
    high = THREADS // wide
    launch(function, (-(-planes // high), -(-pixels // wide)) if pixels else 0, (wide, high), *args)


class Tracing:
    """Inside this with-block nothing runs: kernels that would be launched are listed with their arguments.

    Arrays then lie in host memory, so that this needs no GPU: it is how every kernel is found for compilation to PTX.
    """

    def __enter__(self):
        _tracing.append([])
        return _tracing[-1]

    def __exit__(self, *_):
        _tracing.pop()


def is_tracing():
    """Whether launches are only listed."""
    return bool(_tracing)
