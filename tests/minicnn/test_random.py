"""One seed, one state of two numbers, the same draws."""

import numpy as np

import minicnn
from minicnn import Tensor, ops, random


def test_state_is_all_there_is():
    minicnn.seed(5)
    random.next_key()
    state = random.get_state()
    first = ops.dropout(Tensor(np.ones(50)), 0.5).data
    weights = random.generator().standard_normal(4)
    random.set_state(state)
    np.testing.assert_array_equal(ops.dropout(Tensor(np.ones(50)), 0.5).data, first)
    np.testing.assert_array_equal(random.generator().standard_normal(4), weights)


def test_seeds_and_draws_differ():
    keys = set()
    for value in range(20):
        minicnn.seed(value)
        keys.update(random.next_key() for _ in range(20))
    assert len(keys) == 400
    assert all(0 <= key < 2 ** 64 for key in keys)


def test_dropout_backward_uses_the_forward_mask():
    x = Tensor(np.ones(1000), requires_grad=True)
    y = ops.dropout(x, 0.3)
    y.backward(np.ones(1000))
    np.testing.assert_array_equal(x.grad, y.data)
    assert 600 < (y.data > 0).sum() < 800


def test_dropout_is_the_identity_in_evaluation():
    x = Tensor(np.ones(5))
    assert ops.dropout(x, 0.5, training=False) is x
    assert ops.drop_path(x, 0.5, training=False) is x
