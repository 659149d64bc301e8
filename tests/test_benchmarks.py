"""The measuring scripts measure what they say; how long that takes is nobody's business here."""

import time

import numpy as np

import kernels
from benchmarks import between, stochastic_depth
from minicnn import Tensor, autograd, models


class Convolutions:
    count = 0

    def forward(self, op, *_):
        self.count += "Conv2d" in type(op).__name__


def test_stochastic_depth_knows_which_blocks_are_computed():
    model = models.create("stochastic_depth_resnet110", depth=20)
    for _ in range(5):
        expected = stochastic_depth.computed_blocks(model)
        with autograd.observing(Convolutions()) as convolutions:
            model(Tensor(np.zeros((2, 3, 8, 8), np.float32)))
        assert convolutions.count == 1 + 2 * expected


def test_stochastic_depth_takes_turns_and_adds_up(monkeypatch):
    """Steps of known length in the place of real ones: the full network's 1 s, the other's 1/54 s a block."""
    def step(model, optimizer, images, labels):
        return 1.0 if model.name == stochastic_depth.FULL else stochastic_depth.computed_blocks(model) / 54

    def create(name):
        model = real(name)
        model.name = name
        return model

    real = models.create
    monkeypatch.setattr(stochastic_depth, "step", step)
    monkeypatch.setattr(models, "create", create)
    found = stochastic_depth.measure(steps=4, batch=1, side=4)
    assert [len(times) for times in found["seconds"].values()] == [4, 4]
    assert abs(found["reduction"] - found["drawn"]) < 1e-12
    assert abs(found["predicted"] - (1 - 40.25 / 54)) < 1e-12


def test_time_between_kernels_is_the_step_less_its_kernels(monkeypatch):
    """A step of one kernel and of work that is none of it; what stood in for the kernel is gone afterwards."""
    x, compiled = np.ones((2, 4, 4, 4), np.float32), kernels.ROOMS["activation"].rung("cpu")._relu
    def step(model, optimizer, images, labels):
        start = time.perf_counter()
        kernels.activation.relu_forward(x)
        np.linalg.inv(np.eye(200))
        return time.perf_counter() - start

    monkeypatch.setattr(between, "step", step)
    found = between.measure("resnet20", 1, 8, 3)
    assert found["calls"] == 1
    assert list(found["by_kernel"]) == ["activation.cpu._relu"]
    assert 0 < found["kernels"] < found["step"]
    assert found["kernels"] == found["by_kernel"]["activation.cpu._relu"][0]
    assert kernels.ROOMS["activation"].rung("cpu")._relu is compiled
