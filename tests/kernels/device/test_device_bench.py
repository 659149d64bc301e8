"""The benchmark on the GPU measures what it says: in the simulator its times mean nothing, its path is the same."""

import math

import pytest

from kernels import device

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
