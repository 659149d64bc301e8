"""Whole models: the layer is named, the chain is tested, nothing is left changed."""

import numpy as np
import pytest

from minicnn import Tensor, gradcheck, models, nn, ops, random
from minicnn.autograd import Op, apply
from minicnn.errors import ArgumentError


class HalfSlope(nn.Module):
    """A ReLU whose gradient is halved."""

    class Rectify(Op):
        def forward(self, x):
            self.mask = x > 0
            return x * self.mask

        def backward(self, gy):
            return 0.5 * gy * self.mask

    def forward(self, x):
        return apply(self.Rectify(), x)


class Detached(nn.Module):
    """A layer that leaves the graph and comes back."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(np.full((3, 1, 1), 2.0))

    def forward(self, x):
        return x * Tensor(self.scale.data) + x.detach()


def network(middle):
    return nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3), middle, nn.MaxPool2d(2), nn.Dropout(0.3),
                         nn.Flatten(), nn.Linear(12, 4))


@pytest.fixture
def x(rng):
    return rng.standard_normal((2, 2, 4, 5)).astype("float32")


def test_every_layer_is_checked_at_its_place(x):
    report = gradcheck.check_model(network(nn.ReLU()), x)
    assert report, report
    where = [result.where for result in report.results]
    assert where[:6] == ["0.Conv2d input", "0.weight", "0.bias", "1.BatchNorm input", "1.weight", "1.bias"]
    assert where[-1] == "whole model"


def test_a_loss_and_evaluation_mode(x):
    model = network(nn.ReLU()).eval()
    report = gradcheck.check_model(model, x, loss=lambda y: ops.cross_entropy(y, np.array([1, 3])))
    assert report, report
    assert not model.training


def test_the_wrong_layer_is_named(x):
    report = gradcheck.check_model(network(HalfSlope()), x)
    failure, = report.failures
    assert failure.where == "2.Rectify input"
    assert failure.kind == "constant factor"
    assert "0.5 times" in failure.diagnosis
    assert "the model as a whole was not checked" in str(report)


def test_a_cut_graph_is_seen_in_the_chain(x):
    report = gradcheck.check_model(network(Detached()), x)
    assert not report
    assert {"2.scale"} <= {failure.name for failure in report.failures}
    assert "every layer alone is right, but not the chain" in str(report)


class Leaky(nn.Module):
    """A layer that gives back only 99 % of the gradient: the graph is cut for a hundredth of its output."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        y = self.layer(x)
        return y * 0.99 + y.detach() * 0.01


def test_the_chain_of_a_deep_network_is_sure_among_its_kinks(rng):
    """Thousands of ReLUs: only steps so small that no kink is crossed show an error of one hundredth."""
    model, x = models.create("resnet20", depth=14), rng.standard_normal((2, 3, 16, 16))
    report = gradcheck.check_model(model, x, seconds=0.5)
    assert report, report
    assert str(report.results[-1]) == ("whole model: right, the input and all parameters, 2 projections of 20 of 20 outputs")
    model.layer2[0].conv2 = Leaky(model.layer2[0].conv2)
    report = gradcheck.check_model(model, x, seconds=0.5)
    assert "every layer alone is right, but not the chain" in str(report)
    assert "layer2.0.conv2.layer.weight" in {failure.name for failure in report.failures}


def test_a_chain_of_kinks_alone_proves_nothing():
    report = gradcheck.check_model(nn.ReLU(), np.zeros((2, 3)))
    assert "whole model" not in {result.name for result in report.results}
    assert "the model as a whole: cannot tell" in str(report)


def test_nothing_is_left_changed(x):
    model = network(nn.ReLU())
    model[0].weight.grad = np.ones_like(model[0].weight.data)
    state = {name: (array, array.copy()) for name, array in model.state_dict().items()}
    before = random.get_state()
    gradcheck.check_model(model, x)
    assert random.get_state() == before
    assert model.training
    assert np.array_equal(model[0].weight.grad, np.ones_like(model[0].weight.data))
    assert model[6].weight.grad is None
    for name, array in model.state_dict().items():
        assert array is state[name][0], name
        assert np.array_equal(array, state[name][1]), name


def test_a_function_is_not_a_model(x):
    with pytest.raises(ArgumentError, match="function is not a Module; use check"):
        gradcheck.check_model(lambda x: x, x)
