"""The backward pass: order, fan-out, memory, depth, and every message it can give."""

import gc
import weakref

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, autograd, no_grad, ops
from minicnn.autograd import Op, apply
from minicnn.errors import DTypeError, GraphError, ShapeError


def leaf(*values):
    return Tensor(np.array(values, float), requires_grad=True)


def test_python_numbers_become_float32_and_arrays_keep_their_dtype():
    assert Tensor([1, 2]).dtype == np.float32
    assert Tensor(3).shape == ()
    assert Tensor(np.zeros(2)).dtype == np.float64
    for bad in (np.arange(3), np.zeros(2, np.float16), np.array([True])):
        with pytest.raises(DTypeError, match=f"dtype {bad.dtype} is neither float32 nor float64; convert"):
            Tensor(bad)


def test_numbers_take_the_tensors_dtype():
    for x in (Tensor(np.ones(2, np.float32)), Tensor(np.ones(2))):
        for y in (x * 2, 2 * x, x + np.float64(1), 1 - x, x / 3, 2 / x, x ** 2, 2 ** x, -x):
            assert y.dtype == x.dtype


def test_asarray_and_repr():
    x = Tensor([1.5, 2])
    assert np.asarray(x) is x.data
    assert np.asarray(x, np.float64).dtype == np.float64
    assert repr(x) == "Tensor([1.5, 2. ], dtype=float32)"
    assert "requires_grad=True" in repr(leaf(1))
    assert len(x) == 2


def test_array_and_tensor_meet_in_the_tensors_method():
    y = np.ones((3, 2)) + leaf(1, 2)
    assert isinstance(y, Tensor)
    assert isinstance(np.ones((2, 2)) @ Tensor(np.ones((2, 2))), Tensor)


def test_fan_out_adds_up():
    x = leaf(2, 3)
    y = x * x + x * 4 + x
    y.backward(np.array([1.0, 10.0]))
    np.testing.assert_allclose(x.grad, [(2 * 2 + 5) * 1, (2 * 3 + 5) * 10])


def test_diamonds_are_visited_once():
    """2^60 paths: a walk over paths instead of nodes would never end."""
    x = y = leaf(1.0)
    for _ in range(60):
        y = y + y
    y.backward(np.array([1.0]))
    assert x.grad[0] == 2.0 ** 60


def test_gradients_accumulate_over_passes():
    x = leaf(1, 2)
    for _ in range(3):
        ops.sum(x * 2).backward()
    np.testing.assert_allclose(x.grad, [6, 6])


def test_depth_does_not_matter():
    """ResNet-1202 records about six thousand ops in a row."""
    x = y = leaf(1.0)
    for _ in range(20_000):
        y = y + 0.001
    y.backward(np.array([1.0]))
    assert x.grad[0] == 1
    for _ in range(20_000):
        y = y + x
    del y           # a graph that nobody walked is freed without recursion


def test_no_grad_records_nothing():
    x = leaf(1, 2)
    with no_grad():
        y = x * 2
    assert not y.requires_grad
    with pytest.raises(GraphError, match="computed without gradients; set requires_grad=True"):
        y.backward(np.ones(2))


def test_detach_cuts():
    x = leaf(3)
    (x * x.detach()).backward(np.ones(1))
    np.testing.assert_allclose(x.grad, [3])


def test_second_backward_is_an_error():
    x = leaf(1, 2)
    y = ops.sum(x * x)
    y.backward()
    with pytest.raises(GraphError, match="used by an earlier backward pass.*run the forward pass again"):
        y.backward()


def test_shared_graph_cannot_be_walked_twice_either():
    x = leaf(1, 2)
    shared = x * x
    ops.sum(shared).backward()
    with pytest.raises(GraphError, match="earlier backward"):
        ops.sum(shared * 2).backward()


def test_upstream_gradient_is_checked():
    y = leaf(1, 2) * 2
    with pytest.raises(ShapeError, match=r"shape \(2,\) is not one value; pass gradient="):
        y.backward()
    with pytest.raises(ShapeError, match=r"gradient has shape \(3,\), the tensor \(2,\)"):
        y.backward(np.ones(3))
    with pytest.raises(DTypeError, match="gradient has dtype float32, the tensor float64"):
        y.backward(np.ones(2, np.float32))


def test_what_backward_kept_is_dropped():
    class Keep(Op):
        def forward(self, x):
            self.big = np.ones(1000)
            kept.append(weakref.ref(self.big))
            return x * 1

        def backward(self, gy):
            return gy * 1
    kept = []
    x = leaf(1, 2)
    y = apply(Keep(), apply(Keep(), x))
    y.backward(np.ones(2))
    gc.collect()
    assert [ref() for ref in kept] == [None, None]
    with no_grad():
        apply(Keep(), x)
    assert kept[-1]() is None


def test_what_no_op_keeps_is_free_before_the_backward_pass():
    seen = []

    def passing(x):
        seen.append(weakref.ref(x.data))
        return x
    a = leaf(1, -2, 3)
    y = ops.relu(passing(passing(a * 2.0) + 1.0))       # ReLU keeps its output; a product with a number, and a sum, nothing
    gc.collect()
    assert [ref() for ref in seen] == [None, None]
    y.backward(np.array([1.0, 10.0, 100.0]))
    np.testing.assert_array_equal(a.grad, [2, 0, 200])


def test_leaf_gradients_share_no_memory():
    a, b, g = leaf(1, 2), leaf(3, 4), np.ones(2)
    (a + b).backward(g)
    assert not np.shares_memory(a.grad, b.grad)
    assert not np.shares_memory(a.grad, g)
    c = leaf(1, 2, 3, 4)
    y = ops.concat([ops.reshape(c, (2, 2)), ops.reshape(c, (2, 2))])
    y.backward(np.ones((2, 4)))
    np.testing.assert_array_equal(c.grad, [2, 2, 2, 2])


class Returns(Op):
    def __init__(self, result):
        self.result = result

    def forward(self, x):
        return x * 1

    def backward(self, gy):
        return self.result


@pytest.mark.parametrize(("result", "error", "message"), [
    (None, GraphError, "gradient 0 is None, but this input needs one"),
    ((np.ones(2), np.ones(2)), GraphError, "returned 2 gradients for 1 inputs"),
    (np.ones(3), ShapeError, r"gradient 0 has shape \(3,\), its input \(2,\)"),
    (np.ones(2, np.float32), DTypeError, "gradient 0 has dtype float32, its input float64"),
])
def test_wrong_gradients_of_an_op_are_named(result, error, message):
    y = apply(Returns(result), leaf(1, 2))
    with pytest.raises(error, match=f"Returns.backward.*{message}"):
        y.backward(np.ones(2))


def test_an_op_object_is_used_once():
    op = Returns(None)
    apply(op, leaf(1))
    with pytest.raises(GraphError, match="Returns object applied twice"):
        apply(op, leaf(1))


def test_needs_tells_which_gradients_are_asked_for():
    seen = []

    class Two(Op):
        def forward(self, a, b):
            seen.append(self.needs)
            return a + b

        def backward(self, gy):
            return gy, None
    y = apply(Two(), leaf(1), Tensor(np.ones(1)))
    y.backward(np.ones(1))
    assert seen == [(True, False)]


def test_observers_see_modules_ops_and_gradients():
    events = []

    class Watch:
        def forward(self, op, inputs, output, seconds):
            events.append(("forward", type(op).__name__, output.shape))

        def backward(self, op, gy, gradients, seconds):
            events.append(("backward", type(op).__name__, gy.shape))

        def enter(self, module):
            events.append(("enter", type(module).__name__))

        def leave(self, module):
            events.append(("leave", type(module).__name__))
    with autograd.observing(Watch()):
        y = minicnn.nn.ReLU()(leaf(1, -2))
        y.backward(np.ones(2))
    assert events == [("enter", "ReLU"), ("forward", "ReLU", (2,)), ("leave", "ReLU"), ("backward", "ReLU", (2,))]


@pytest.mark.parametrize(("call", "message"), [
    (lambda x: x + np.ones((4, 5)), r"add: shapes \(2, 3\) and \(4, 5\) do not broadcast"),
    (lambda x: ops.matmul(x, x), r"matmul: shapes \(2, 3\) and \(2, 3\) are not"),
    (lambda x: ops.reshape(x, (4, 2)), r"reshape: \(2, 3\) \(6 values\) does not fit \(4, 2\)"),
    (lambda x: ops.reshape(x, (-1, -1)), "at most one side may be -1"),
    (lambda x: ops.transpose(x, (0, 0)), r"axes \(0, 0\) are not a permutation"),
    (lambda x: ops.pad(x, ((1, 1),)), "one pair .before, after. of numbers >= 0 for each axis"),
    (lambda x: ops.sum(x, 2), r"sum: axis 2 does not name different axes of \(2, 3\); choose from -2 to 1"),
    (lambda x: ops.mean(x, (0, 0)), "mean: axis"),
    (lambda x: ops.softmax(x, 5), "softmax: axis 5 is outside"),
])
def test_shape_messages(call, message):
    with pytest.raises(ShapeError, match=message):
        call(Tensor(np.ones((2, 3))))


@pytest.mark.parametrize(("call", "message"), [
    (lambda x: ops.dropout(x, 1.5), "dropout: p 1.5 is not a probability"),
    (lambda x: ops.drop_path(x, -0.1), "drop_path: p -0.1 is not a probability"),
    (lambda x: ops.cross_entropy(x, [0, 1], 2), "label_smoothing 2 is outside"),
    (lambda x: minicnn.seed("a"), "seed: 'a' is not an integer"),
])
def test_argument_messages(call, message):
    with pytest.raises(minicnn.errors.ArgumentError, match=message):
        call(Tensor(np.ones((2, 3))))


def _entangled(x, w):
    """Every way in which gradients meet: parts of one array, the same array twice, and several consumers of one tensor."""
    a = ops.relu(x)
    buffer = ops.ChannelBuffer(7)
    joined = ops.append(ops.append(a, ops.relu(w), buffer), ops.max_pool2d(a, 3, 1, 1), buffer)
    again = ops.relu(joined) + joined
    norm = ops.batch_norm_relu(again, None, None, Tensor(np.full(7, 2.0), True), Tensor(np.ones(7), True), add=ops.relu(again))
    again = ops.batch_norm(norm, None, None) + norm
    both = ops.concat([a, w]) + ops.concat([w, a]) * 2.0
    return ops.sum(again * again) + ops.sum(both * both) + ops.sum((a + a) * a) + ops.sum(ops.relu(joined[:, 1:4]) * a)


def test_gradients_added_in_place_are_those_added_in_new_arrays(rng):
    """While anyone watches nothing is added in place: both ways must agree, and the arrays handed out stay as they were."""
    arrays = [rng.standard_normal((2, 3, 4, 5)), rng.standard_normal((2, 1, 4, 5))]
    x, w = (Tensor(a, requires_grad=True) for a in arrays)
    _entangled(x, w).backward()
    in_place = x.grad, w.grad

    class Watching:
        def __init__(self):
            self.seen = []

        def backward(self, op, gy, gradients, seconds):
            self.seen.extend((g, g.copy()) for g in (gy, *gradients) if g is not None)

    x, w = (Tensor(a, requires_grad=True) for a in arrays)
    with autograd.observing(Watching()) as watching:
        _entangled(x, w).backward()
    for actual, expected in zip((x.grad, w.grad), in_place):
        np.testing.assert_allclose(actual, expected, rtol=1e-13, atol=1e-13)
    for array, copy in watching.seen:
        np.testing.assert_array_equal(array, copy)


def test_an_op_that_keeps_its_gradient_is_left_alone(rng):
    """What an op of unknown manners returns may be its own: it is never added to in place."""
    kept = rng.standard_normal((2, 3))

    class Stubborn(Op):
        def forward(self, x):
            return x * 1.0

        def backward(self, gy):
            return kept

    before, x = kept.copy(), Tensor(rng.standard_normal((2, 3)), requires_grad=True)
    h = ops.relu(x)
    ops.sum(autograd.apply(Stubborn(), h) + autograd.apply(Stubborn(), h) + h).backward()
    np.testing.assert_array_equal(kept, before)


@pytest.mark.parametrize("key", [(slice(None), slice(1, None, 2)), (2,), ([0, 3, 0, 0],)], ids=str)
@pytest.mark.parametrize("first", [False, True], ids=["slice last", "slice first"])
def test_a_slices_gradient_adds_to_what_is_there(key, first, rng):
    """One gradient of the two is an array of the engine's own, which the other is added to in place."""
    x = Tensor(rng.standard_normal((4, 5)), requires_grad=True)
    hidden = x * 3
    parts = [hidden[key], hidden[:]] if first else [hidden[:], hidden[key]]
    weights = [rng.standard_normal(part.shape) for part in parts]
    before = [w.copy() for w in weights]
    (ops.sum(parts[0] * Tensor(weights[0])) + ops.sum(parts[1] * Tensor(weights[1]))).backward()
    whole, some = (weights[1], weights[0]) if first else weights
    expected = whole.copy()
    np.add.at(expected, key, some)
    np.testing.assert_allclose(x.grad, 3 * expected, rtol=1e-14, atol=1e-14)
    for weight, kept in zip(weights, before):
        np.testing.assert_array_equal(weight, kept)
