"""The rung for small groups: all three passes against the reference, where strides, dilation and padding leave pixels out."""

import numpy as np
import pytest
from support import close

import kernels
from kernels import Window2d, threads
from kernels.conv2d import grouped

CASES = [  # N, channels, H, W, size of a group, window
    (2, 32, 9, 7, 4, Window2d.of(3, 1, 1)), (3, 32, 8, 12, 8, Window2d.of(3, 2, 1)),
    (2, 48, 7, 5, 16, Window2d.of(3, 1, 1)), (2, 32, 9, 6, 16, Window2d.of((3, 2), (2, 1), 1, (1, 2))),
    (2, 16, 6, 5, 2, Window2d.of((2, 3), (1, 2), ((0, 1), (2, 1)), (1, 2))), (5, 16, 4, 3, 4, Window2d.of(1, 2))]


def both_passes(rung, x, w, b, gy, window, groups):
    with kernels.using(conv2d=rung):
        return (kernels.conv2d.forward(x, w, b, window, groups, True),
                *kernels.conv2d.backward(gy, x, w, window, groups))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case[:5]))
def test_agrees_with_the_definition_for_any_threads(case, dtype, rng, monkeypatch):
    monkeypatch.setattr("kernels.dispatch.FEW", 0)
    N, C, H, W, size, window = case
    x, w, b, gy = (rng.standard_normal(s).astype(dtype) for s in (
        (N, C, H, W), (C, size, *window[:2]), (C,), (N, C, *window.output_size(H, W))))
    if not grouped.fits(w.shape, w.dtype, C // size):
        pytest.skip(f"a vector of this machine holds no group of {size} in {dtype}")
    exact = both_passes("reference", *(a.astype(np.float64) for a in (x, w, b, gy)), window, C // size)
    results = both_passes("grouped", x, w, b, gy, window, C // size)
    for actual, expected in zip(results, exact):
        assert actual.dtype == dtype
        close(actual, expected, 1e-10 if dtype == "float64" else 1e-5)
    with threads.num_threads(1):
        for one, many in zip(both_passes("grouped", x, w, b, gy, window, C // size), results):
            np.testing.assert_array_equal(one, many)


@pytest.mark.parametrize(("shape", "groups"), [((32, 4, 3, 3), 1), ((30, 3, 3, 3), 10), ((64, 4, 3, 3), 8), ((8, 1, 3, 3), 8),
                                               ((64, 32, 3, 3), 2)])
def test_leaves_other_groups_to_the_rung_below(shape, groups, rng):
    weight = rng.standard_normal(shape).astype(np.float32)
    assert not grouped.fits(weight.shape, weight.dtype, groups)
    x = rng.standard_normal((1, shape[1] * groups, 6, 5)).astype(np.float32)
    with kernels.using(conv2d="grouped"):
        y = kernels.conv2d.forward(x, weight, None, Window2d.of(3, 1, 1), groups)
    with kernels.using(conv2d="implicit_gemm"):
        np.testing.assert_array_equal(y, kernels.conv2d.forward(x, weight, None, Window2d.of(3, 1, 1), groups))
