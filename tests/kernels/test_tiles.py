"""The micro-kernel's tiles in every width of vectors that the processor has, against NumPy in float64."""

import numpy as np
import pytest
from support import close

from kernels.gemm.micro import product_tile, registers, rows_tile

ROWS, VECTORS = 3, 2             # of a tile, of a row
STEP, PITCH = 9, 37             # values from pixel to pixel, from row to row of B
RUNS = np.array([(4, 5, 0), (90, 7, 5)])        # shift in A, length, first row of B
WIDTHS = pytest.mark.parametrize("vector_bytes", [16, 32, 64])
DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def lanes_of(vector_bytes, dtype):
    if vector_bytes > registers()[0]:
        pytest.skip(f"this processor's vectors have {registers()[0]} bytes")
    return vector_bytes // np.dtype(dtype).itemsize


@WIDTHS
@DTYPES
def test_product_in_every_width(vector_bytes, dtype, rng):
    """Rows of B that lie anywhere; in the place of C and added to it."""
    from numba import njit
    width = VECTORS * lanes_of(vector_bytes, dtype)
    tile = product_tile(ROWS, VECTORS, vector_bytes)

    @njit
    def run(a, b, offsets, c, adds):
        tile(a.ctypes.data, b.ctypes.data, offsets.ctypes.data, offsets.size, c.ctypes.data, c.shape[1], adds, a)

    a, b = rng.standard_normal((11, ROWS)).astype(dtype), rng.standard_normal(11 * 40 + width).astype(dtype)
    offsets = rng.permutation(11) * 40
    product = a.T.astype(np.float64) @ b[offsets[:, None] + np.arange(width)]
    for adds in (0, 1):
        there = rng.standard_normal((ROWS, width + 3)).astype(dtype)
        c = there.copy()
        run(a, b, offsets, c, adds)
        close(c[:, :width], product + adds * there[:, :width], 1e-5 if dtype is np.float32 else 1e-12)
        np.testing.assert_array_equal(c[:, width:], there[:, width:])


@WIDTHS
@DTYPES
@pytest.mark.parametrize("sign", [1, -1, 0])
def test_rows_in_every_width_and_form(vector_bytes, dtype, sign, rng):
    """Pixels of two runs; what a tile packs on its way is what it has read, and nothing is written beside it."""
    from numba import njit
    width = VECTORS * lanes_of(vector_bytes, dtype)
    tile = rows_tile(ROWS, VECTORS, vector_bytes)

    @njit
    def run(form, x, b, other, sign, runs, places, kept, c):
        i64, zero, none = np.int64, np.int64(0), np.int64(x.ctypes.data)
        a = i64(x.ctypes.data), i64(places.ctypes.data), i64(STEP)
        q, asks = (i64(runs.ctypes.data), i64(len(runs))), (none, zero, none, zero)
        to = i64(c.ctypes.data), i64(places[ROWS:].ctypes.data), zero, zero, zero, zero
        rows, packed = (i64(b.ctypes.data), i64(PITCH)), (i64(kept.ctypes.data),)
        if form == 0:
            tile(a, q, rows, to, x)
        elif form == 1:
            tile(a + asks, q, rows, to + (i64(c.ctypes.data),), x)
        elif form == 2:
            tile(a + asks, q, rows + packed, to, x)
        else:
            tile(a + asks, q, rows + packed + (i64(other.ctypes.data), sign), to, x)
        return places[0] + runs[0, 0]

    x, b, other = (rng.standard_normal(size).astype(dtype) for size in (200 + ROWS, 12 * PITCH + width, 12 * PITCH + width))
    pixels = np.concatenate([shift + np.arange(length) * STEP for shift, length, _ in RUNS])
    places = np.concatenate([np.arange(ROWS), np.arange(ROWS) * (width + 5)])
    A = x[pixels[:, None] + np.arange(ROWS)]
    rows = np.arange(12)[:, None] * PITCH + np.arange(width)
    for form in range(4):
        B = b[rows] + dtype(sign) * other[rows] if form == 3 else b[rows]
        kept, c = (np.full(shape, 7, dtype) for shape in (12 * width + 1, (ROWS, width + 5)))
        run(form, x, b, other, np.int64(sign), RUNS, places, kept, c)
        close(c[:, :width], A.T.astype(np.float64) @ B, 1e-5 if dtype is np.float32 else 1e-12)
        assert (c[:, width:] == 7).all()
        np.testing.assert_array_equal(kept, np.append(B, dtype(7)) if form >= 2 else np.full_like(kept, 7))
