"""The random masks: known outputs of SplitMix64, the right share, the same in forward and backward."""

import numpy as np
import pytest
from support import rungs_above_reference

import kernels
from kernels import layout
from kernels.dropout.reference import uniform

RUNGS = ("reference", *rungs_above_reference("dropout"))


def splitmix64(seed):
    """The published generator (Steele, Lea and Flood 2014; Vigna's splitmix64.c) in Python integers."""
    mask = (1 << 64) - 1
    while True:
        seed = (seed + 0x9E3779B97F4A7C15) & mask
        z = seed
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        yield z ^ (z >> 31)


def test_the_oracle_gives_the_published_numbers():
    """First outputs for seed 1234567, as published with Vigna's code."""
    numbers = splitmix64(1234567)
    assert [next(numbers) for _ in range(3)] == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@pytest.mark.parametrize("rung", RUNGS)
@pytest.mark.parametrize("key", [0, 1234567, 2 ** 64 - 1])
def test_mask_is_splitmix64(rung, key):
    x = np.ones((2, 3, 4))
    numbers = splitmix64(key)
    u = np.array([(next(numbers) >> 40) / 2 ** 24 for _ in range(24)]).reshape(x.shape)
    with kernels.using(dropout=rung):
        np.testing.assert_allclose(kernels.dropout.forward(x, 0.3, key), (u >= 0.3) / 0.7, rtol=1e-15)
        paths = (u.ravel()[:2] >= 0.3) / 0.7
        np.testing.assert_allclose(kernels.dropout.path_forward(x, 0.3, key), x * paths[:, None, None], rtol=1e-15)


@pytest.mark.parametrize("rung", RUNGS)
@pytest.mark.parametrize("draw", [kernels.dropout.forward, kernels.dropout.path_forward])
def test_the_order_in_memory_changes_no_draw(rung, draw, rng):
    x = rng.standard_normal((3, 5, 4, 2))
    wide = layout.channels_last(rng.standard_normal((3, 7, 4, 2)))
    wide[:, 1:6] = x
    with kernels.using(dropout=rung):
        for other in (layout.channels_last(x), wide[:, 1:6]):
            np.testing.assert_array_equal(draw(other, 0.4, 11), draw(x, 0.4, 11))


def test_share_and_independence():
    u = uniform(7, 10 ** 6)
    assert abs(u.mean() - 0.5) < 0.002
    assert abs(np.corrcoef(u[:-1], u[1:])[0, 1]) < 0.005
    assert abs(np.corrcoef(u, uniform(8, 10 ** 6))[0, 1]) < 0.005


@pytest.mark.parametrize("rung", RUNGS)
def test_p_one_drops_everything(rung):
    with kernels.using(dropout=rung):
        assert not kernels.dropout.forward(np.ones(100), 1.0, 3).any()
