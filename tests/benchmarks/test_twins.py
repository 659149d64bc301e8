"""The twins compute what minicnn computes: small images, float64, forward, backward and update."""

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install -e .[peers]")

from benchmarks import layers, peers, session, shapes  # noqa: E402

HEAVY = ("googlenet_bn", "densenet121", "resnext50_32x4d")
TRAINED = ("squeezenet1_1", "resnet20", *[pytest.param(model, marks=pytest.mark.slow) for model in HEAVY])


@pytest.fixture(autouse=True)
def threads_as_they_were():
    """The sessions set PyTorch's thread count for their process, which is this one here."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_every_network_of_the_table_has_a_twin():
    from benchmarks.torch_models import TWINS
    assert set(TWINS) == set(peers.WANTED)


@pytest.mark.parametrize("model", TRAINED)
def test_twin_trains_alike(model, tmp_path):
    """Two losses: the second has gone through the gradients and the update. Batch norm over fewer values amplifies rounding."""
    path = tmp_path / "weights.safetensors"
    peers.save_weights(model, "float64", path)
    classes = peers.shape_and_classes(model, 1)[1]
    arguments = {"model": model, "weights": str(path), "dtype": "float64", "training": True}
    found = []
    for engine, more in (("Minicnn", {}), ("Torch", {"threads": 1})):
        one = session.Session(engine, {**arguments, **more}, (4, 3, 64, 64), classes, "float64")
        found.append(one.losses(2, learning_rate=0.01))
    assert found[0][0] != found[0][1]
    assert found[0] == pytest.approx(found[1], rel=1e-9)


@pytest.mark.parametrize("op", shapes.OPS)
def test_layers_compute_alike(op):
    """Each op's smallest kind of layer, every pass and layout of both engines, in float64."""
    image = {"shape": (2, 6, 9, 7)}
    sizes = {"conv2d": {**image, "weight": (4, 3, 3, 3), "stride": 1, "padding": 1, "groups": 2},
             "max_pool": {**image, "kernel": 3, "stride": 2, "padding": 1, "ceil_mode": True},
             "avg_pool": {**image, "kernel": 2, "stride": 2}, "lrn": {**image, "size": 5},
             "concat": {"shapes": ((2, 3, 5, 4), (2, 6, 5, 4))}, "sgd": {"parameters": [(5, 4), (7,)]}}
    layer = {"op": op, **sizes.get(op, image)}
    found = [layers.LayerSession(engine, 1).prepare(layer, "float64")[0] for engine in ("torch_layers", "minicnn_layers")]
    assert {key for _, key in found[0]} == {key for _, key in found[1]} == set(shapes.passes(op))
    for key in shapes.passes(op):
        expected = next(values for (_, of), values in found[0].items() if of == key)
        for results in found:
            for (_, of), values in results.items():
                assert of != key or layers.disagreement(values, expected) < 1e-10


def test_distinct_layers_of_a_network():
    found = shapes.layers(["resnet20"], lambda model: 2)
    convolutions = {layer["shape"]: layer["models"] for layer in found if layer["op"] == "conv2d" and layer["stride"] == 1}
    assert convolutions == {(2, 3, 32, 32): {"resnet20": 1}, (2, 16, 32, 32): {"resnet20": 6}, (2, 32, 16, 16): {"resnet20": 5},
                            (2, 64, 8, 8): {"resnet20": 5}}
    assert sum(sum(layer["models"].values()) for layer in found if layer["op"] == "batch_norm") == 19
