"""The benchmark on the GPU measures what it says: in the simulator its times mean nothing, its path is the same."""

import math

import numpy as np
import pytest

from kernels import device
from minicnn import models, nn, ops

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not device.available(), reason=f"no GPU: {device.why_not()}")]
LAYERS = [
    {"op": "conv2d", "shape": (1, 2, 3, 3), "weight": (2, 2, 2, 2), "stride": 1, "padding": 0, "groups": 1, "models": {"m": 1}},
    {"op": "relu", "shape": (1, 2, 3, 3), "models": {"m": 1}},
]


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer["op"])
def test_a_layer_is_timed_in_every_pass(layer):
    from benchmarks import cuda, layers, shapes
    row = layers.with_limits(cuda.time_layer(layer, None, 2), {"fma": 1e9, "copy": 1e9})
    assert set(row["passes"]) == set(shapes.passes(layer["op"]))
    for found in row["passes"].values():
        assert found["contenders"]["minicnn"]["runs"] == 2
        assert math.isfinite(found["of_limit"])
        assert found["ratio"] is found["ratio_tf32"] is None        # without PyTorch
    columns, lines = layers.table([row], layer["op"])
    assert len(lines[0]) == len(columns)


def test_limits_are_measured_and_said():
    from benchmarks import cuda
    measured = cuda.limits(2)
    assert all(math.isfinite(value) for value in measured.values())
    assert "GB/s copying; a launch takes" in cuda.conclusions([], measured)[0]


EVERY = [
    {"op": "conv2d", "shape": (1, 2, 4, 4), "weight": (2, 1, 3, 3), "stride": 2, "padding": 1, "groups": 2},
    {"op": "batch_norm", "shape": (2, 2, 2, 2)}, {"op": "batch_norm_relu", "shape": (2, 2, 2, 2)},
    {"op": "batch_norm_add_relu", "shape": (2, 2, 2, 2)}, {"op": "relu", "shape": (1, 2, 3, 3)},
    {"op": "max_pool", "shape": (1, 2, 5, 5), "kernel": 3, "stride": 2, "padding": 1, "ceil_mode": False},
    {"op": "avg_pool", "shape": (1, 2, 4, 4), "kernel": 2, "stride": 2}, {"op": "global_avg_pool", "shape": (1, 2, 3, 3)},
    {"op": "concat", "shapes": ((1, 2, 2, 2), (1, 1, 2, 2))},
    {"op": "lrn", "size": 3, "shape": (1, 4, 2, 2)}, {"op": "sgd", "model": "m", "parameters": ((3, 2), (3,))},
]


@pytest.fixture
def stand_in(monkeypatch):
    """PyTorch on the CPU in the place of PyTorch on a GPU: its results are right, its times mean nothing."""
    torch = pytest.importorskip("torch")
    from benchmarks import cuda
    for kind in (torch.Tensor, torch.nn.Module):
        monkeypatch.setattr(kind, "cuda", lambda self: self)

    class Clock:
        def time(self, run, given):
            run(given)
            return 1e-3
    monkeypatch.setattr(cuda, "TorchClock", Clock)
    return torch


@pytest.mark.parametrize("op", sorted({layer["op"] for layer in EVERY}))
def test_every_layer_is_compared_with_pytorch(op, stand_in):
    """Both engines compute the same on the shape before they are timed, or this raises."""
    from benchmarks import cuda, minicnn_layers
    assert {layer["op"] for layer in EVERY} == set(minicnn_layers.LAYERS)
    layer, = (layer for layer in EVERY if layer["op"] == op)
    for found in cuda.time_layer({**layer, "models": {"m": 1}}, None, 1, stand_in)["passes"].values():
        assert set(found["contenders"]) == {"minicnn", "torch TF32 off", "torch TF32 on"}
        assert found["ratio"] is not None


def test_a_training_step_is_compared_with_pytorch(stand_in, monkeypatch):
    """Losses without dropout, whose masks differ; times with it."""
    from benchmarks import cuda, peers, torch_models

    def network(kind, flatten):
        class Net(kind.Module):
            def __init__(self):
                super().__init__()
                self.conv, self.bn = kind.Conv2d(1, 2, 3, stride=2, padding=1, bias=False), kind.BatchNorm2d(2)
                self.relu, self.fc, self.dropout = kind.ReLU(), kind.Linear(8, 3), kind.Dropout(0.5)

            def forward(self, x):
                return self.fc(self.dropout(flatten(self.relu(self.bn(self.conv(x))), 1)))
        return Net
    net, Twin = network(nn, ops.flatten)(), network(stand_in.nn, stand_in.flatten)
    monkeypatch.setattr(models, "create", lambda name, num_classes: net)
    monkeypatch.setattr(peers, "shape_and_classes", lambda name, batch: ((batch, 1, 4, 4), 3))
    monkeypatch.setitem(torch_models.TWINS, "tiny", Twin)
    monkeypatch.setattr(cuda, "LEAST_RUNS", 1)
    row = cuda.time_step("tiny", 4, 1, stand_in)
    assert set(row["contenders"]) == {"minicnn", "torch TF32 off", "torch TF32 on"}
    (columns, lines), (alone, _) = cuda.steps_table([row]), cuda.steps_table([cuda.time_step("tiny", 4, 1)])
    assert len(lines[0]) == len(columns) == len(alone)
    assert np.isfinite(row["ours"])
    assert net.dropout.p == 0.5
