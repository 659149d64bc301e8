"""The random numbers of augmentation."""

import numpy as np
import pytest

from minicnn.data.streams import sample_order, sample_streams, uniforms
from minicnn.errors import ArgumentError


def test_a_batch_draws_what_each_stream_draws_alone():
    together, alone = sample_streams(3, 2, np.arange(5)), sample_streams(3, 2, np.arange(5))
    first, second = together.random(2), together.random(3)
    for i in range(5):
        np.testing.assert_array_equal(first[i], alone[i].random(2))
        np.testing.assert_array_equal(second[i, 0], alone[i].random())
        np.testing.assert_array_equal(second[i, 1:], alone[i].random(2))


def test_a_sample_draws_the_same_in_any_company():
    some = sample_streams(1, 4, np.array([9, 2, 7])).random(4)
    other = sample_streams(1, 4, np.array([2])).random(4)
    np.testing.assert_array_equal(some[1], other[0])


@pytest.mark.parametrize("change", [(1, 0, 0), (0, 1, 0), (0, 0, 1)])
def test_seed_epoch_and_sample_all_matter(change):
    base = sample_streams(0, 0, np.array([0])).random(8)
    seed, epoch, index = change
    assert not np.any(base == sample_streams(seed, epoch, np.array([index])).random(8))


def test_values_are_those_of_splitmix64():
    # The published outputs of SplitMix64 from state 1234567.
    from minicnn.data.streams import Streams
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    drawn = Streams(np.array([1234567], dtype=np.uint64)).random(3)[0]
    np.testing.assert_array_equal(drawn, [(value >> 11) * 2.0**-53 for value in expected])


def test_uniform_and_normal_moments():
    drawn = sample_streams(0, 0, np.arange(2000)).random(50)
    assert drawn.min() >= 0
    assert drawn.max() < 1
    np.testing.assert_allclose([drawn.mean(), drawn.var()], [1 / 2, 1 / 12], atol=3e-3)
    assert abs(np.corrcoef(drawn[:-1, 0], drawn[1:, 0])[0, 1]) < 0.06       # neighbouring samples
    stream = sample_streams(0, 0, np.array([5]))[0]
    normal = stream.standard_normal(4000)
    np.testing.assert_allclose([normal.mean(), normal.std()], [0, 1], atol=0.05)
    assert isinstance(stream.standard_normal(), float)


def test_order_is_a_permutation_that_changes_with_seed_and_epoch():
    orders = [sample_order(seed, epoch, 1000) for seed, epoch in ((0, 0), (0, 1), (1, 0))]
    for order in orders:
        assert order.dtype == np.int64
        np.testing.assert_array_equal(np.sort(order), np.arange(1000))
    assert len({tuple(order[:10]) for order in orders}) == 3
    np.testing.assert_array_equal(orders[1], sample_order(0, 1, 1000))


def test_uniforms_takes_a_list_of_generators():
    drawn = uniforms([np.random.default_rng(i) for i in range(3)], 2)
    np.testing.assert_array_equal(drawn[2], np.random.default_rng(2).random(2))


@pytest.mark.parametrize("seed", [-1, 1.5, 2**64, True, "0"])
def test_seeds_out_of_range(seed):
    from minicnn.data.streams import check_seed
    with pytest.raises(ArgumentError, match=r"is not an integer from 0 to 2\*\*64 - 1"):
        check_seed(seed)
