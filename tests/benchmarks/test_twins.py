"""The twins compute what minicnn computes: small images, float64, forward, backward and update."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install -e .[peers]")

from benchmarks import engines, layers, peers, session, shapes  # noqa: E402

SIDE = {"alexnet_owt": 63, "vgg16": 32, "googlenet_bn": 64, "densenet121": 32, "squeezenet1_1": 32, "resnet110": 8}
LIGHT = ("googlenet_bn", "densenet121", "squeezenet1_1", "resnet20", "resnext50_32x4d")


def test_every_network_of_the_table_has_a_twin():
    from benchmarks.torch_models import TWINS
    assert set(TWINS) == set(peers.WANTED)


@pytest.mark.parametrize("model", LIGHT)
def test_twin_trains_alike(model, tmp_path):
    """Two losses: the second has gone through the gradients and the update."""
    path = tmp_path / "weights.safetensors"
    peers.save_weights(model, "float64", path)
    shape, classes = peers.shape_and_classes(model, 2)
    shape = (*shape[:2], SIDE.get(model, 16), SIDE.get(model, 16))
    arguments = {"model": model, "weights": str(path), "dtype": "float64", "training": True}
    found = []
    for engine, more in (("Minicnn", {}), ("Torch", {"threads": 1})):
        one = session.Session(engine, {**arguments, **more}, shape, classes, "float64")
        found.append(one.losses(2, learning_rate=0.1))
    assert found[0][0] != found[0][1]
    assert found[0] == pytest.approx(found[1], rel=1e-9)
