"""The rung for few channels: the data gradient against the reference, where strides, dilation and padding leave pixels out."""

import numpy as np
import pytest
from support import close

import kernels
from kernels import Window2d, threads
from kernels.conv2d import folding

CASES = [  # N, C, H, W, K, window
    (2, 3, 13, 11, 20, Window2d.of(3, 1, 1)), (1, 3, 23, 17, 33, Window2d.of((7, 5), 2, 3)),
    (3, 1, 9, 12, 5, Window2d.of((3, 2), 1, 0, 2)), (1, 2, 30, 27, 6, Window2d.of(5, (4, 7), 2)),
    (2, 3, 8, 9, 6, Window2d.of(3, (1, 2), ((0, 2), (1, 0))))]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case[:5]))
def test_agrees_with_the_definition_for_any_threads(case, dtype, rng, monkeypatch):
    """By itself, and added to a slice of channels, whose neighbours stay as they are."""
    monkeypatch.setattr("kernels.dispatch.FEW", 0)
    N, C, H, W, K, window = case
    x, w, gy = (rng.standard_normal(s).astype(dtype) for s in (
        (N, C, H, W), (K, C, *window[:2]), (N, K, *window.output_size(H, W))))
    if not folding.fits(w.shape, w.dtype, window, 1):
        pytest.skip(f"{C} channels leave no more than half of this machine's vectors of {dtype} empty")
    with kernels.using(conv2d="reference"):
        expected = kernels.conv2d.backward(gy.astype("float64"), x.astype("float64"), w.astype("float64"), window)
    with kernels.using(conv2d="folding"):
        gx, gw, _ = kernels.conv2d.backward(gy, x, w, window)
        with threads.num_threads(1):
            alone = kernels.conv2d.backward(gy, x, w, window, needs=(True, False, False))[0]
        around = rng.standard_normal((N, H, W, C + 3)).astype(dtype)
        before, onto = around.copy(), around.transpose(0, 3, 1, 2)[:, 1:1 + C]
        assert kernels.conv2d.backward(gy, x, w, window, needs=(True, False, False), onto=onto)[0] is onto
    tolerance = 1e-10 if dtype == "float64" else 1e-5
    assert gx.dtype == dtype
    close(gx, expected[0], tolerance)
    close(gw, expected[1], tolerance)
    np.testing.assert_array_equal(alone, gx)
    close(around[..., 1:1 + C], before[..., 1:1 + C] + expected[0].transpose(0, 2, 3, 1), tolerance)
    np.testing.assert_array_equal(around[..., [0, C + 1, C + 2]], before[..., [0, C + 1, C + 2]])


def test_the_room_folds_few_channels_and_no_others(rng):
    few, window = rng.standard_normal((4, 1, 3, 3)).astype("float32"), Window2d.of(3)
    assert folding.fits(few.shape, few.dtype, window, 1)
    for shape, groups, of in (((4, 64, 3, 3), 1, window), ((4, 1, 3, 3), 2, window), ((4, 1, 1, 1), 1, Window2d.of(1, 2))):
        assert not folding.fits(shape, few.dtype, of, groups)
    x, gy = np.ones((1, 1, 6, 5), "float32"), np.ones((1, 4, 4, 3), "float32")
    assert kernels.conv2d._best("backward", gy, x, few, window, 1) == "folding"
    assert kernels.conv2d._best("forward", x, few, None, window, 1) == "implicit_gemm"
