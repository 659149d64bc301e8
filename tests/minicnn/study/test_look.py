"""One image's way through a network: gradients of the score, silent channels, the pictures; and the numbers kept of it."""

import json
import re

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, nn, ops
from minicnn.errors import DataError, ModelError, ShapeError
from minicnn.study import explain, look
from minicnn.study.images import as_picture, class_names, fit, read_image
from minicnn.study.page import read_module, subject_of, target_of


class Net(nn.Module):
    """Convolution, ReLU, pooling, a shortcut, two classes; channel 1 is always silent."""

    def __init__(self):
        super().__init__()
        self.conv, self.more, self.last = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 1), nn.Linear(4, 3)
        self.conv.bias.data[1] = -1e3

    def forward(self, x):
        x = ops.max_pool2d(ops.relu(self.conv(x)), 2)
        x = ops.relu(self.more(x)) + x
        return self.last(ops.global_avg_pool2d(x))


@pytest.fixture
def net():
    minicnn.seed(3)
    return Net().astype("float64")


@pytest.fixture
def x(rng):
    return rng.standard_normal((2, 6, 8))


def score(net, x, index):
    return net.eval()(Tensor(x[None])).data[0, index]


def differences(function, x, step=1e-6):
    """The gradient of function(x) by central differences."""
    gradient = np.zeros_like(x)
    for at in np.ndindex(x.shape):
        moved = [x.copy(), x.copy()]
        moved[0][at] += step
        moved[1][at] -= step
        gradient[at] = (function(moved[0]) - function(moved[1])) / (2 * step)
    return gradient


def test_saliency_is_the_size_of_the_scores_gradient(net, x):
    found = look(net, x, as_picture(x), target=2)
    assert found.answers[0].index == 2
    for answer in found.answers:
        expected = np.abs(differences(lambda moved, i=answer.index: score(net, moved, i), x)).max(axis=0)
        np.testing.assert_allclose(answer.saliency, expected, atol=1e-7)
        assert answer.score == pytest.approx(score(net, x, answer.index))
    assert sum(answer.probability for answer in found.answers) == pytest.approx(1)


def test_guided_backpropagation_stops_what_lowers_the_score():
    """y = w · relu(x) as 1x1 convolutions: the plain gradient is w where x > 0, the guided one only where w > 0 too."""
    net = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.ReLU(), nn.Conv2d(2, 1, 1, bias=False))
    net[0].weight.data[:] = np.array([[[[1.0]]], [[[2.0]]]])
    net[2].weight.data[:] = np.array([[[[3.0]], [[-5.0]]]])
    x = np.array([[[1.0, -1.0]]])
    (answer,) = look(net, x, as_picture(x)).answers
    np.testing.assert_allclose(answer.saliency, [[abs(3 - 10) / 2, 0]])         # the score is the mean of two pixels
    np.testing.assert_allclose(answer.guided[..., 0], [[3 / 2, 0]])


def test_grad_cam_weighs_the_last_maps_by_their_mean_gradient(net, x):
    found = look(net, x, as_picture(x))
    node = found.nodes[found.cam_node]
    assert (node.kind, node.shape) == ("Add", (4, 3, 4))
    index = found.answers[0].index
    weights = net.last.weight.data[index] / 12                                  # through the global average of 3x4 pixels
    expected = np.maximum(sum(w * y for w, y in zip(weights, node.y[0])), 0)
    np.testing.assert_allclose(found.answers[0].cam, expected, atol=1e-12)


def test_nodes_know_their_inputs_and_gradients(net, x):
    nodes = look(net, x, as_picture(x)).nodes
    kinds = ["Conv2d", "ReLU", "MaxPool2d", "Conv2d", "ReLU", "Add", "GlobalAvgPool2d", "Linear"]
    assert [node.kind for node in nodes] == kinds
    assert nodes[0].inputs == (-1, None, None)
    assert nodes[5].inputs == (4, 2)
    assert nodes[7].gy.sum() == 1
    assert all(node.gy.shape == node.y.shape for node in nodes)
    np.testing.assert_array_equal(np.flatnonzero(nodes[1].silent), [1])
    assert nodes[0].silent is None


def test_a_channel_is_silent_only_if_it_is_so_on_all_images(net, x, rng):
    net.conv.bias.data[1] = 0
    net.conv.weight.data[1] = 1
    dark = np.full_like(x, -1.0)
    assert 1 in np.flatnonzero(look(net, dark, as_picture(x)).nodes[1].silent)
    found = look(net, dark, as_picture(x), others=np.abs(rng.standard_normal((9, *x.shape))))
    assert found.images == 10
    assert 1 not in np.flatnonzero(found.nodes[1].silent)


def test_the_model_stays_as_it_was(x):
    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Dropout(0.5))
    net.train()
    before = {name: array.copy() for name, array in net.state_dict().items()}
    look(net, x, as_picture(x))
    assert all(module.training for module in net.modules())
    assert all(parameter.grad is None for parameter in net.parameters())
    for name, array in net.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize("target", [-1, 3])
def test_a_class_that_is_not_there(net, x, target):
    with pytest.raises(ShapeError, match=f"there is no class {target}; the network has 3, counted from 0"):
        look(net, x, as_picture(x), target=target)


def test_an_output_without_classes(x):
    class Odd(nn.Module):
        def forward(self, x):
            return ops.sum(x)
    with pytest.raises(ShapeError, match=r"the network made \(\) of one image; its output must be \(1, classes\)"):
        look(Odd(), x, as_picture(x))


@pytest.mark.parametrize("budget", [1 << 20, 6000])
def test_the_numbers_kept_are_the_networks_own(net, x, budget):
    nodes = look(net, x, as_picture(x)).nodes
    blocks = explain.blocks(nodes, budget)
    size = sum(array.nbytes for block in blocks.values() for array in block.arrays.values())
    assert size <= budget
    for i, block in blocks.items():
        y = nodes[i].y[0][block.channels]
        y = y[:, None, None] if y.ndim == 1 else y[:, block.rows][:, :, block.columns]
        np.testing.assert_array_equal(block.arrays["y"], y)
    whole = blocks[0].arrays["x"].shape == (2, 6, 8)
    assert whole == (budget > 6000)


def test_each_takes_what_it_needs_and_the_large_share_the_rest():
    shares = explain.share_out({"small": (10, 1), "large": (1000, 1), "weighty": (1000, 3)}, 410)
    assert shares == {"small": 10, "large": 100, "weighty": 300}
    assert explain.share_out({}, 10) == {}
    assert explain.spread(3, 9) == [0, 4, 8]
    assert explain.spread(1, 9) == [4]
    assert explain.spread(9, 3) == [0, 1, 2]


def test_read_image(tmp_path):
    from PIL import Image
    Image.fromarray(np.full((5, 7, 3), 9, np.uint8)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").shape == (5, 7, 3)
    with pytest.raises(DataError, match="there is no such image; give the path of a photograph"):
        read_image(tmp_path / "b.png")
    (tmp_path / "c.jpg").write_text("no image")
    with pytest.raises(DataError, match="is not an image that can be read"):
        read_image(tmp_path / "c.jpg")


def test_fit_and_subject():
    image = np.arange(300 * 400 * 3, dtype=np.uint32).astype(np.uint8).reshape(300, 400, 3)
    assert fit(image, (3, 224, 224)).shape == (224, 224, 3)
    assert fit(image, (1, 32, 32)).shape == (32, 32, 1)
    assert fit(image, (3, 300, 400)) is image
    with pytest.raises(ShapeError, match="a photograph has 1 or 3 channels, the network takes 4"):
        fit(image, (4, 32, 32))
    with pytest.raises(ShapeError, match="pass a photograph"):
        subject_of(image[0])
    assert subject_of(image).x.shape == (3, 300, 400)
    floats = np.linspace(-1, 1, 2 * 3 * 4).reshape(2, 3, 4)
    assert subject_of(floats).picture.shape == (3, 4, 1)


def test_class_names():
    assert class_names(1000)[258] == "Samoyed"
    assert class_names(10) is None
    assert class_names(10, minicnn.models.info("resnet20"))[3] == "cat"
    assert target_of("cat", ["dog", "cat"]) == target_of("1", None) == 1
    assert target_of(None, None) is None
    with pytest.raises(minicnn.errors.ArgumentError, match="there is no class 'ca'; did you mean cat, cattle"):
        target_of("ca", ["cat", "dog", "cattle"])


@pytest.mark.parametrize("given", ["photograph", "input"])
def test_page_of_any_module(net, rng, tmp_path, capsys, given):
    net.astype("float32")
    image = rng.standard_normal((2, 12, 10)).astype(np.float32)
    if given == "photograph":
        net = nn.Sequential(nn.Conv2d(3, 2, 1), net)
        image = rng.integers(0, 256, (12, 10, 3), np.uint8)
    path = minicnn.study.page(net, image, tmp_path / "page", names=["red", "green", "blue"], target=1, quick=True)
    text = path.read_text(encoding="utf-8")
    assert path == tmp_path / "page" / "index.html"
    found = json.loads(re.search(r'id="inside-data">(.*?)</script>', text, re.DOTALL).group(1))
    assert found["classes"][0]["name"] == "green"
    assert (found["height"], found["width"]) == (12, 10)
    assert "Kernels" in capsys.readouterr().err


def test_a_module_from_a_file(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("from minicnn import nn\nclass Net(nn.Sequential):\n    pass\nready = Net(nn.ReLU())\nother = list\n")
    assert isinstance(read_module(f"{file}:Net"), nn.Module)
    assert len(read_module(f"{file}:ready")) == 1
    for spec, message in ((f"{file}:Nett", "has no 'Nett'; choose from"), (f"{file}:other", "is a list, not an nn.Module"),
                          (f"{tmp_path}/none.py:Net", "there is no file")):
        with pytest.raises(ModelError, match=message):
            read_module(spec)
