import numpy as np
import pytest

import minicnn
from minicnn import Tensor, autograd, nn, ops
from minicnn.study import record


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.skip = nn.Identity()

    def forward(self, x):
        y = self.conv(x)
        self.side = ops.mean(y)         # the last op that runs in here is not what it returns
        return y


@pytest.fixture
def net():
    return nn.Sequential({"block": Block(), "relu": nn.ReLU(), "flatten": nn.Flatten(), "fc": nn.Linear(48, 2)})


def image():
    return Tensor(np.random.default_rng(0).standard_normal((2, 3, 4, 4)).astype(np.float32))


def test_activations_and_gradients_by_name(net):
    x = image()
    with minicnn.record(net) as r:
        y = net(x)
        y.backward(np.ones((2, 2), np.float32))
    assert set(r.activations) == {"block", "block.conv", "relu", "flatten", "fc", ""}
    np.testing.assert_array_equal(r.activations[""], y.data)
    expected = ops.conv2d(x, net.block.conv.weight, net.block.conv.bias, padding=1)
    np.testing.assert_array_equal(r.activations["block"], expected.data)
    np.testing.assert_array_equal(r.gradients["fc"], np.ones((2, 2)))
    gflat = np.ones((2, 2), np.float32) @ net.fc.weight.data
    np.testing.assert_allclose(r.gradients["flatten"], gflat)
    np.testing.assert_allclose(r.gradients["block.conv"], gflat.reshape(2, 3, 4, 4) * (expected.data > 0))


def test_arrays_are_detached(net):
    with record(net) as r:
        net(image())
    assert all(type(a) is np.ndarray for a in r.activations.values())
    assert r.gradients == {}


@pytest.mark.parametrize("fail", [False, True])
def test_nothing_stays_behind(net, fail):
    before = {id(m): dict(m.__dict__) for m in net.modules()}
    try:
        with record(net) as r:
            net.relu(image())
            if fail:
                raise KeyError("stop")
    except KeyError:
        pass
    assert "relu" in r.activations
    for module in net.modules():
        assert module.__dict__.keys() - {"side"} == before[id(module)].keys()
    assert not autograd.observed()
    net(image())
    assert set(r.activations) == {"relu"}


def test_an_error_inside_the_network_cleans_up_too(net):
    with pytest.raises(minicnn.errors.ShapeError), record(net):
        net(Tensor(np.zeros((2, 5, 4, 4), np.float32)))
    assert "forward" not in net.__dict__
    assert not autograd.observed()


def test_recordings_nest(net):
    with record(net) as outer:
        with record(net) as inner:
            net(image())
        net.relu(image())
    assert set(inner.activations) == set(outer.activations)
    assert "forward" not in net.relu.__dict__


def test_the_last_run_of_a_layer_counts():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 3)

        def forward(self, x):
            return self.fc(self.fc(x) * 2)
    net = Twice()
    with record(net) as r:
        y = net(Tensor(np.ones((1, 3), np.float32)))
        y.backward(np.full((1, 3), 5, np.float32))
    np.testing.assert_array_equal(r.activations["fc"], y.data)
    np.testing.assert_array_equal(r.gradients["fc"], np.full((1, 3), 5))


def test_gradients_add_up_over_branches():
    class Fork(nn.Module):
        def __init__(self):
            super().__init__()
            self.relu = nn.ReLU()

        def forward(self, x):
            y = self.relu(x)
            return y + y * 3
    x = Tensor(np.ones((2, 2), np.float32), requires_grad=True)
    net = Fork()
    with record(net) as r:
        ops.sum(net(x)).backward()
    np.testing.assert_array_equal(r.gradients["relu"], np.full((2, 2), 4))


def test_several_outputs_have_numbers():
    class Heads(nn.Module):
        def forward(self, x):
            return ops.relu(x), (ops.exp(x), x)
    with record(Heads()) as r:
        Heads()(image())
    assert r.activations == {}
    heads = Heads()
    with record(heads) as r:
        heads(image())
    assert set(r.activations) == {"[0]", "[1][0]", "[1][1]"}
