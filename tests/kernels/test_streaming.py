"""Stores past the caches put every value where it belongs, and nothing beside it, wherever the lines begin."""

import numpy as np
import pytest
from numba import njit

from kernels import layout, streaming
from kernels.streaming import fetch, finish, near, put


@njit
def _put(target, at, source, from_, count, past):
    row = near(count, source)
    for i in range(count):
        row[i] = source[from_ + i]
    fetch(source.ctypes.data + 4096, count, source)
    put(target.ctypes.data + at * target.itemsize, row.ctypes.data, count, past, target)
    finish()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("past", [True, False])
def test_put_copies_the_values_and_leaves_their_neighbours_alone(dtype, past):
    source = np.random.default_rng(0).standard_normal(300).astype(dtype)
    for at in range(20):
        for count in (0, 1, 7, 8, 15, 16, 17, 40, 100):
            target = layout.aligned((160,), dtype)
            target[:] = -1
            expected = target.copy()
            expected[at:at + count] = source[5:5 + count]
            _put(target, at, source, 5, count, past)
            np.testing.assert_array_equal(target, expected)


def test_tiles_are_streamed_only_to_rows_that_start_on_lines():
    large = streaming.LARGE // 4
    lines = layout.aligned((large // 16, 16), "float32")
    assert streaming.fits(lines, streaming.LINE)
    assert not streaming.fits(lines, streaming.LINE // 2)                          # a vector is not a whole line
    assert not streaming.fits(lines[:8], streaming.LINE)                            # too small to be worth it
    assert not streaming.fits(layout.aligned((large // 24 + 1, 24), "float32"), streaming.LINE)
    assert not streaming.fits(layout.aligned((large + 16,), "float32")[1:1 + large].reshape(-1, 16), streaming.LINE)
