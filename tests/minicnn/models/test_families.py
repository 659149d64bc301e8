"""What each paper introduced, beyond the shapes of its layers."""

import numpy as np
import pytest

from minicnn import Tensor, autograd, models, nn, no_grad, ops, random
from minicnn.errors import ModelError, ShapeError
from minicnn.models.googlenet import GoogLeNetOutputs, Inception, NaiveInception
from minicnn.models.residual import PadShortcut
from minicnn.models.resnext import FORMS, ResNeXtBlock
from minicnn.models.stochastic_depth import expected_blocks
from minicnn.nn import init


def images(rng, side, count=2, channels=3):
    return rng.standard_normal((count, channels, side, side)).astype("float32")


class OpCounter:
    """Counts ops by the name of their class, and MACs."""

    def __init__(self):
        self.ops, self.macs = {}, 0

    def forward(self, op, inputs, output, seconds):
        name = type(op).__name__
        self.ops[name] = self.ops.get(name, 0) + 1
        self.macs += op.macs(output.shape, *[x.shape for x in inputs])


def count(model, x):
    counter = OpCounter()
    with autograd.observing(counter):
        model(Tensor(x))
    return counter


def test_alexnet_starts_as_the_paper_says(rng):
    model = models.create("alexnet")
    convs = [layer for layer in model.features if isinstance(layer, nn.Conv2d)]
    assert [conv.groups for conv in convs] == [1, 2, 1, 2, 2]
    assert [float(conv.bias.data.mean()) for conv in convs] == [0, 1, 0, 1, 1]
    linears = [layer for layer in model.classifier if isinstance(layer, nn.Linear)]
    assert [float(linear.bias.data.mean()) for linear in linears] == [1, 1, 0]
    for layer in (*convs, *linears):
        assert layer.weight.data.std() == pytest.approx(0.01, rel=0.02)


@pytest.fixture
def small_vgg(monkeypatch):
    """VGG A with a classifier of 16 units; the real one's 10⁸ random numbers are not drawn."""
    normal = init.normal
    monkeypatch.setattr(init, "normal", lambda shape, std, mean=0.0: (
        np.zeros(shape, np.float32) if np.prod(shape) > 10 ** 7 else normal(shape, std, mean)))
    model = models.create("vgg11", num_classes=5).eval()
    model.classifier = nn.Sequential(nn.Linear(25088, 16), nn.ReLU(), nn.Dropout(), nn.Linear(16, 16), nn.ReLU(),
                                     nn.Dropout(), nn.Linear(16, 5))
    return model.eval()


def test_dense_evaluation_of_vgg(rng, small_vgg):
    model = small_vgg
    dense = models.fully_convolutional(model)
    x = images(rng, 224, count=1)
    with no_grad():
        np.testing.assert_allclose(dense(x).data, model(x).data, rtol=1e-3, atol=1e-5)
        wide = np.concatenate([x, x[..., :32]], axis=3)
        score_map = dense.score_map(Tensor(wide)).data
        assert score_map.shape == (1, 5, 1, 2)
        np.testing.assert_allclose(dense(wide).data, score_map.mean((2, 3)), rtol=1e-5)
        with pytest.raises(ShapeError, match=r"100x224 pixels leaves a map of 3x7, and the first .* covers 7x7"):
            dense(x[:, :, :100])
    assert {id(p) for p in dense.parameters()} == {id(p) for p in model.parameters()}


def test_dense_evaluation_needs_fully_connected_layers():
    with pytest.raises(ModelError, match="CifarResNet has no fully connected layers"):
        models.fully_convolutional(models.create("resnet20", depth=8))


def test_features_at_layers(rng, small_vgg):
    model, x = small_vgg, images(rng, 32)
    with no_grad():
        features = {layer: model.features_at(layer, x).data for layer in ("pool5", "fc6", "fc7", "fc8")}
        np.testing.assert_array_equal(features["fc8"], model(x).data)
        np.testing.assert_allclose(model.classifier[6](features["fc7"]).data, features["fc8"], rtol=1e-5)
    assert [f.shape for f in features.values()] == [(2, 25088), (2, 16), (2, 16), (2, 5)]
    assert features["fc6"].min() == 0 == features["fc7"].min()
    with pytest.raises(ModelError, match=r"VGG has no layer 'fc9'; choose from pool5, fc6, fc7, fc8"):
        model.features_at("fc9", x)


def test_googlenet_outputs_and_loss(rng):
    model, x, labels = models.create("googlenet_bn", num_classes=4), images(rng, 32), np.array([0, 3])
    output = model(x)
    assert isinstance(output, GoogLeNetOutputs)
    parts = [ops.cross_entropy(logits, labels, 0.1).item() for logits in output]
    assert model.loss(output, labels, 0.1).item() == pytest.approx(parts[0] + 0.3 * (parts[1] + parts[2]), rel=1e-6)
    logits = model.eval()(x)
    assert logits.shape == (2, 4)
    assert model.loss(logits, labels).item() == pytest.approx(ops.cross_entropy(logits, labels).item())
    assert models.create("googlenet_bn", aux=False)(x).shape == (2, 1000)


def test_googlenet_transform_input(rng):
    rgb = rng.uniform(0, 1, (2, 3, 31, 31)).astype("float32")
    mean, std = (np.array(v, "float32").reshape(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    random.seed(0)
    plain = models.create("googlenet_bn", aux=False).eval()
    random.seed(0)
    transforming = models.create("googlenet_bn", aux=False, transform_input=True).eval()
    with no_grad():
        np.testing.assert_allclose(transforming((rgb - mean) / std).data, plain((rgb - 0.5) / 0.5).data, atol=1e-4)


def test_bottleneck_of_inception_saves_two_thirds():
    """The lecture's 28x28x256 to 128 1x1, 192 3x3 and 96 5x5: 854 M MACs; 271 M with 1x1 convolutions to 64.

    (The lecture's 358 M for the second is the sum of its own terms with the 3x3 convolution counted twice.)
    """
    x = np.zeros((1, 256, 28, 28), np.float32)
    naive, inception = NaiveInception(256, 128, 192, 96), Inception(256, 128, 64, 192, 64, 96, 64, batch_norm=False)
    assert naive.out_channels == 672
    assert inception.out_channels == 480
    assert round(count(naive, x).macs / 1e6) == 854
    assert round(count(inception, x).macs / 1e6) == 271


def test_shortcut_a_pads_both_sides(rng):
    x = images(rng, 5, channels=2)
    y = PadShortcut(2, 6, stride=2)(Tensor(x)).data
    assert y.shape == (2, 6, 3, 3)
    np.testing.assert_array_equal(y[:, 2:4], x[:, :, ::2, ::2])
    assert not y[:, :2].any()
    assert not y[:, 4:].any()


def test_shortcut_options_differ_in_parameters():
    params = {option: sum(p.size for p in models.create("resnet20", option=option).parameters()) for option in "ABC"}
    assert params["A"] == 269_722 < params["B"] < params["C"]


def test_plain_network_has_no_additions(rng):
    assert "Add" not in count(models.create("plain20", depth=8), images(rng, 8)).ops
    assert count(models.create("resnet20", depth=8), images(rng, 8)).ops["Add"] == 3


def test_resnext_forms_compute_the_same(rng):
    """Figure 3: aggregated, concatenated and grouped, from the same weights: outputs, gradients, running statistics."""
    results = {}
    for form in FORMS:
        random.seed(0)
        block = ResNeXtBlock(8, 4, 2, cardinality=4, width=12, form=form).astype("float64")
        x = Tensor(np.random.default_rng(1).standard_normal((3, 8, 6, 6)), requires_grad=True)
        y = block(x)
        y.backward(np.random.default_rng(2).standard_normal(y.shape))
        state = {key: array for key, array in block.state_dict().items() if "running" in key}
        results[form] = [y.data, x.grad, *(p.grad for p in block.parameters()), *state.values()]
    for form in FORMS[1:]:
        for actual, expected in zip(results[form], results["grouped"], strict=True):
            np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-10 * max(1, np.abs(expected).max()))


def test_stochastic_depth_survival_is_linear():
    blocks = [m.survival for m in models.create("stochastic_depth_resnet110").modules() if hasattr(m, "survival")]
    assert len(blocks) == 54
    np.testing.assert_allclose(blocks, 1 - np.arange(1, 55) / 54 * 0.5)
    assert expected_blocks(models.create("stochastic_depth_resnet110")) == pytest.approx((3 * 54 - 1) / 4)


def test_dropped_blocks_are_not_computed(rng):
    """Convolutions run follow the draws: one a block and mini-batch, whatever the number of images."""
    model, convs = models.create("stochastic_depth_resnet110", depth=20), []
    for _ in range(40):
        convs.append(count(model, images(rng, 4)).ops["Conv2d"])
    blocks = (np.array(convs) - 1) / 2              # two convolutions a block, one before
    assert np.all(blocks == np.round(blocks))
    assert abs(blocks.mean() - expected_blocks(model)) < 3 * np.sqrt(9 * 0.25 / 40)
    assert count(model.eval(), images(rng, 4)).ops["Conv2d"] == 1 + 2 * 9


def test_stochastic_depth_scales_at_test_time(rng):
    model = models.create("resnet20", depth=8, survival=0.5).eval()
    block, x = model.layer1[0], Tensor(np.abs(images(rng, 6, channels=16)))
    assert block.survival == pytest.approx(1 - 0.5 / 3)
    expected = np.maximum(x.data + block.survival * block.residual(x).data, 0)
    np.testing.assert_allclose(block(x).data, expected, rtol=1e-5)


@pytest.mark.parametrize(("name", "options"), [
    ("resnet20", {"depth": 8}), ("resnet18", {}), ("preact_resnet164", {"depth": 20}), ("wrn_16_8", {"widen": 1}),
    ("resnext29_8x64d", {"cardinality": 2, "width": 4})])
def test_stochastic_depth_works_on_every_residual_family(name, options, rng):
    full = count(models.create(name, **options), images(rng, 8)).ops["Conv2d"]
    model = models.with_stochastic_depth(models.create(name, **options), survival=0.0)
    assert min(count(model, images(rng, 8)).ops["Conv2d"] for _ in range(5)) < full
    assert models.create(name, **options, survival=0.5)(images(rng, 8)).shape[0] == 2


def small_fractalnet(**options):
    return models.create("fractalnet20", channels=(4, 6), dropouts=(0.0, 0.0), columns=3, **options)


def test_fractalnet_columns_are_plain_networks_that_share_the_weights(rng):
    model = small_fractalnet().eval()
    for c in range(3):
        column = model.column(c)
        assert count(column, images(rng, 8)).ops["Conv2d"] == 2 * 2 ** c
        assert {id(p) for p in column.parameters()} < {id(p) for p in model.parameters()}
        assert column.training is False
    with pytest.raises(ModelError, match=r"no column 3; choose from 0 \(shallowest\) to 2"):
        model.column(3)


def test_fractalnet_joins_by_mean(rng):
    """Two columns: the mean of conv(z) and conv(conv(z))."""
    model = models.create("fractalnet20", channels=(4,), dropouts=(0.0,), columns=2).eval()
    fractal, x = model.blocks[0], Tensor(images(rng, 4))
    expected = (fractal.conv(x).data + fractal.second.conv(fractal.first.conv(x)).data) / 2
    np.testing.assert_allclose(fractal(x).data, expected, rtol=1e-5)


def test_fractalnet_drop_path_is_local_and_global(rng):
    """Convolutions run: a global mini-batch runs one column through (2, 4 or 8), a local one most of the 14."""
    model = small_fractalnet()
    convs = [count(model, images(rng, 8)).ops["Conv2d"] for _ in range(100)]
    share = np.mean([n in (2, 4) for n in convs])           # two of three columns of the global half, few local ones
    assert 0.2 < share < 0.5
    assert max(convs) == 14
    assert min(convs) == 2
    assert count(model.eval(), images(rng, 8)).ops["Conv2d"] == 14


def test_densenet_layers_see_all_before_them():
    block = models.create("densenet_40_12").features[1]
    assert [layer.conv1.in_channels for layer in block.children()] == [16 + 12 * i for i in range(12)]


def test_squeezenet_bypasses():
    def kinds(name):
        fires = [m for m in models.create(name).features if hasattr(m, "squeeze") or hasattr(m, "fire")]
        return [type(m.bypass).__name__ if hasattr(m, "fire") else "" for m in fires]
    assert kinds("squeezenet1_0") == [""] * 8
    assert kinds("squeezenet1_0_simple_bypass") == ["", "Identity"] * 4
    assert kinds("squeezenet1_0_complex_bypass") == ["Conv2d", "Identity"] * 4
