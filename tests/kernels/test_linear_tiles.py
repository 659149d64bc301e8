"""The fully connected layer on the micro-kernel, where its tasks of weight rows end: more rows than one task has."""

import os
import subprocess
import sys

import numpy as np
import pytest
from support import close

import kernels
from kernels.gemm.micro import lanes


@pytest.mark.jit
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("vectors", [1, 2, 3, 4, 5, 7])
def test_tasks_end_with_whole_tiles_for_any_number_of_images(vectors, dtype, rng):
    """Tiles of another width have another height: one that does not divide a task's rows reads numbers behind its end. Images
    are the vectors of the forward product, features those of the gradients."""
    whole = vectors * lanes(np.dtype(dtype))
    N, C, K = whole - 1, whole + 1, 517
    x, weight, bias = (rng.standard_normal(shape).astype(dtype) for shape in ((N, C), (K, C), (K,)))
    gy = rng.standard_normal((N, K)).astype(dtype)
    tolerance = 1e-10 if dtype is np.float64 else 1e-5
    found = {}
    for rung in ("reference", "tiles"):
        with kernels.using(linear=rung):
            found[rung] = [kernels.linear.forward(x, weight, bias), *kernels.linear.backward(gy, x, weight)]
    for actual, expected in zip(found["tiles"], found["reference"]):
        close(actual, expected, tolerance)


@pytest.mark.jit
def test_rows_of_a_task_are_whole_tiles():
    from kernels.conv2d.implicit_gemm import _height
    from kernels.linear import tiles
    assert all(tiles.ROWS % _height(vectors) == 0 for vectors in (1, 2, 3, 4))


PRODUCT = """
import numpy as np
from kernels.conv2d.packing import panels
from kernels.linear import tiles
gy, weight = np.arange(10, dtype=np.float32).reshape(2, 5), np.ones((5, 16), np.float32)
gx = np.zeros((2, 16), np.float32)
tiles._input_gradient(gy, weight, panels(16, gy.dtype), gx)
assert (gx == gy.sum(1, keepdims=True)).all(), gx
"""


@pytest.mark.jit
@pytest.mark.slow
def test_a_single_tile_is_the_same_from_numbas_cache(tmp_path):
    """A constant number of tiles, put into the functions around it: LLVM once took what comes after the tile for unreachable,
    but only in the copy that goes to the cache, where the loop then had no end."""
    own_cache = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    for _ in ("compiled", "loaded"):
        subprocess.run([sys.executable, "-c", PRODUCT], check=True, timeout=300, env=own_cache)
