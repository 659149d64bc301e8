"""The limits are measured by doing what they say: the products are right, the arrays are copied."""

import numpy as np
import pytest

from benchmarks import limits


@pytest.mark.jit
def test_the_micro_kernel_computes_what_is_counted():
    work, c = limits.tiles(2, "float64", 4, 2)
    c[...] = np.nan
    work(2)
    assert np.all(c == limits.DEPTH), "a row of ones times a column of ones"


def test_copying_is_positive(monkeypatch):
    monkeypatch.setattr(limits, "COPY_BYTES", 1 << 16)
    assert limits.copying(2) > 0
