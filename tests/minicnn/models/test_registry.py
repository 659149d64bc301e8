"""The registry: names, options, and the figures beside each model against the model itself."""

import re

import numpy as np
import pytest

import kernels
from minicnn import Tensor, autograd, models, no_grad
from minicnn.errors import ModelError, ShapeError
from minicnn.models.registry import check_images, register
from minicnn.nn import init

ISSUE_NAMES = """
alexnet alexnet_owt vgg11 vgg13 vgg16 vgg19 vgg11_lrn vgg16c vgg11_bn vgg13_bn vgg16_bn vgg19_bn googlenet
googlenet_bn resnet18 resnet34 resnet50 resnet101 resnet152 nin_cifar10 nin_imagenet resnet20 resnet32 resnet44
resnet56 resnet110 resnet1202 plain20 plain32 plain44 plain56 plain110 preact_resnet110 preact_resnet164
preact_resnet1001 wrn_16_8 wrn_40_4 wrn_28_10 wide_resnet50_2 wide_resnet101_2 resnext50_32x4d resnext101_32x8d
resnext101_64x4d resnext29_8x64d resnext29_16x64d stochastic_depth_resnet110 stochastic_depth_resnet1202 fractalnet20
fractalnet40 densenet121 densenet161 densenet169 densenet201 densenet_40_12 densenet_100_12 densenet_100_24
densenet_bc_100_12 densenet_bc_250_24 densenet_bc_190_40 squeezenet1_0 squeezenet1_1 squeezenet1_0_simple_bypass
squeezenet1_0_complex_bypass"""

# Exact counts that papers' followers or torchvision publish
PUBLISHED_PARAMS = {
    "alexnet": 60_965_224, "alexnet_owt": 61_100_840, "vgg11": 132_863_336, "vgg13": 133_047_848, "vgg16": 138_357_544,
    "vgg19": 143_667_240, "googlenet_bn": 13_004_888, "resnet18": 11_689_512, "resnet34": 21_797_672,
    "resnet50": 25_557_032, "resnet101": 44_549_160, "resnet152": 60_192_808, "nin_cifar10": 966_986,
    "nin_imagenet": 7_595_176, "wrn_28_10": 36_479_194, "wide_resnet50_2": 68_883_240, "wide_resnet101_2": 126_886_696,
    "resnext50_32x4d": 25_028_904, "resnext101_32x8d": 88_791_336, "resnext101_64x4d": 83_455_272,
    "densenet121": 7_978_856, "densenet161": 28_681_000, "densenet169": 14_149_480, "densenet201": 20_013_928,
    "squeezenet1_0": 1_248_424, "squeezenet1_1": 1_235_496, "resnet20": 269_722, "resnet32": 464_154, "resnet44": 658_586,
    "resnet56": 853_018, "resnet110": 1_727_962, "resnet1202": 19_421_274, "fractalnet20": 33_724_618}
# In millions, as the papers' tables round them
PUBLISHED_MILLIONS = {
    "densenet_40_12": 1.0, "densenet_100_12": 7.0, "densenet_100_24": 27.2, "densenet_bc_100_12": 0.8,
    "densenet_bc_250_24": 15.3, "densenet_bc_190_40": 25.6, "resnext29_8x64d": 34.4, "wrn_16_8": 11.0, "wrn_40_4": 8.9,
    "preact_resnet164": 1.7, "fractalnet40": 4.8, "resnext29_16x64d": 68.1}
# 10⁹ multiply-accumulates of one 224x224 image: torchvision's documentation of its weights (_ops)
PUBLISHED_GMACS = {
    "alexnet_owt": 0.714, "vgg11": 7.609, "vgg13": 11.308, "vgg16": 15.47, "vgg19": 19.632, "vgg11_bn": 7.609,
    "vgg13_bn": 11.308, "vgg16_bn": 15.47, "vgg19_bn": 19.632, "googlenet_bn": 1.498, "resnet18": 1.814, "resnet34": 3.664,
    "resnet50": 4.089, "resnet101": 7.801, "resnet152": 11.514, "wide_resnet50_2": 11.398, "wide_resnet101_2": 22.753,
    "resnext50_32x4d": 4.23, "resnext101_32x8d": 16.414, "resnext101_64x4d": 15.46, "densenet121": 2.834,
    "densenet161": 7.728, "densenet169": 3.36, "densenet201": 4.291, "squeezenet1_0": 0.819, "squeezenet1_1": 0.349}


class MacCounter:
    """Adds up the multiply-accumulates of the ops it sees."""

    def __init__(self):
        self.macs = 0

    def forward(self, op, inputs, output, seconds):
        self.macs += op.macs(output.shape, *[x.shape for x in inputs])


def conv_shape(x, weight, bias, window, groups, relu=False, out=None):
    """A convolution that computes its output's shape and no values."""
    y = np.zeros((len(x), len(weight), *window.output_size(*x.shape[2:])), x.dtype)
    if out is None:
        return y
    out[...] = y
    return out


@pytest.fixture
def shapes_only(monkeypatch):
    """Counting needs shapes, no values: weights are zeros, and the heavy kernels only pass shapes on."""
    monkeypatch.setattr(init, "normal", lambda shape, std, mean=0.0: np.zeros(shape, np.float32))
    monkeypatch.setattr(kernels.conv2d, "forward", conv_shape)
    monkeypatch.setattr(kernels.batch_norm, "normalize", lambda x, *_, **__: x)
    monkeypatch.setattr(kernels.activation, "relu_forward", lambda x: x)


def test_names_of_the_issue_are_there():
    assert set(ISSUE_NAMES.split()) <= set(models.names())
    assert models.names().index("resnet20") < models.names().index("resnet110")


@pytest.mark.parametrize("name", models.names())
def test_params_and_macs_are_the_models(name, shapes_only):
    info, model, counter = models.info(name), models.create(name).eval(), MacCounter()
    assert sum(p.size for p in model.parameters()) == info.params
    with no_grad(), autograd.observing(counter):
        logits = model(Tensor(np.zeros((1, *info.input_shape), np.float32)))
    assert counter.macs == info.macs
    assert logits.shape == (1, 1000 if max(info.input_shape) > 100 else 10)


def test_params_are_the_published():
    assert {name: models.info(name).params for name in PUBLISHED_PARAMS} == PUBLISHED_PARAMS
    for name, millions in PUBLISHED_MILLIONS.items():
        assert models.info(name).params / 1e6 == pytest.approx(millions, abs=0.06), name


def test_googlenet_without_auxiliary_classifiers(shapes_only):
    assert sum(p.size for p in models.create("googlenet", aux=False).parameters()) == 6_998_552
    assert sum(p.size for p in models.create("googlenet_bn", aux=False).parameters()) == 6_624_904


def test_macs_are_within_one_percent_of_the_published():
    for name, gmacs in PUBLISHED_GMACS.items():
        assert models.info(name).macs / 1e9 == pytest.approx(gmacs, rel=0.01), name
    assert models.info("alexnet").macs / 1e9 == pytest.approx(0.724, rel=0.01)      # the usual count of the paper's net


def test_papers_resnet50_with_stride_in_the_1x1(shapes_only):
    """He et al. 2016, table 1: 3.8·10⁹."""
    counter = MacCounter()
    with no_grad(), autograd.observing(counter):
        models.create("resnet50", stride_in="1x1").eval()(Tensor(np.zeros((1, 3, 224, 224), np.float32)))
    assert counter.macs / 1e9 == pytest.approx(3.8, rel=0.02)


@pytest.mark.parametrize("name", models.names())
def test_smallest_input(name, shapes_only):
    info, model = models.info(name), models.create(name)
    side = info.smallest
    with no_grad():
        model(Tensor(np.zeros((2, 3, side, side), np.float32)))
        with pytest.raises(ShapeError, match=rf"too small: .*smallest that works is {side}x{side}"):
            model(Tensor(np.zeros((2, 3, side + 1, side - 1), np.float32)))


def test_largest_input_of_alexnet(shapes_only):
    with pytest.raises(ShapeError, match=r"259x259 pixels is too large: .*largest that works is 258x258"):
        models.create("alexnet")(Tensor(np.zeros((1, 3, 259, 259), np.float32)))


@pytest.mark.slow
def test_every_model_takes_channels_and_classes(shapes_only):
    for name in models.names():
        side = models.info(name).smallest
        model = models.create(name, in_channels=1, num_classes=7).eval()
        with no_grad():
            assert model(Tensor(np.zeros((2, 1, side, side), np.float32))).shape == (2, 7), name


def test_wrong_channels():
    with pytest.raises(ShapeError, match=r"CifarResNet: .* \(2, 1, 8, 8\) are not \(N, 3, H, W\).*in_channels="):
        models.create("resnet20")(Tensor(np.zeros((2, 1, 8, 8), np.float32)))


def test_unknown_name_suggests_the_nearest():
    with pytest.raises(ModelError, match=r"no model 'resent20'; did you mean resnet20"):
        models.create("resent20")
    with pytest.raises(ModelError, match=r"no model 'VGG-16'; did you mean vgg16"):
        models.info("VGG-16")
    with pytest.raises(ModelError, match=r"no model 'zzz'; models.names\(\) lists all"):
        models.create("zzz")


def test_unknown_option_lists_the_options():
    with pytest.raises(ModelError, match=r"resnet20: there is no option 'widht'; choose from depth, num_classes"):
        models.create("resnet20", widht=2)


@pytest.mark.parametrize(("name", "options", "message"), [
    ("resnet20", {"depth": 21}, r"depth 21 is not 6n\+2; choose for example 20"),
    ("resnet20", {"option": "D"}, r"shortcut option 'D' is none of the paper's; choose from A, B, C, none"),
    ("resnet50", {"depth": 51}, r"resnet: depth 51 is none of the paper's; choose from 18, 34, 50"),
    ("resnet50", {"stride_in": "5x5"}, r"stride_in '5x5' is not '3x3' or '1x1'"),
    ("wide_resnet50_2", {"depth": 18}, r"depth 18 is none of the paper's; choose from 50, 101, 152"),
    ("wrn_16_8", {"depth": 20}, r"depth 20 is not 6n\+4; choose for example 22"),
    ("preact_resnet164", {"depth": 163}, r"depth 163 is not 9n\+2; choose for example 164"),
    ("resnext29_8x64d", {"depth": 30}, r"depth 30 is not 9n\+2; choose for example 29"),
    ("resnext50_32x4d", {"form": "d"}, r"form 'd' is none of figure 3's"),
    ("resnext50_32x4d", {"cardinality": 0}, r"cardinality 0 and width 4 must be at least 1"),
    ("densenet121", {"depth": 122}, r"depth 122 is none of table 1; choose from 121, 161"),
    ("densenet_40_12", {"depth": 41}, r"depth 41 is not 3n\+4; choose for example 40"),
    ("vgg11", {"configuration": "F"}, r"configuration 'F' is none of table 1"),
    ("squeezenet1_0", {"bypass": "full"}, r"bypass 'full' is none of the paper's"),
    ("fractalnet20", {"columns": 0}, r"columns 0 is less than 1"),
    ("fractalnet20", {"channels": (8, 8)}, r"2 channels and 5 dropouts"),
    ("resnet20", {"survival": 1.5}, r"survival 1.5 is not a probability"),
    ("plain20", {"survival": 0.5}, r"CifarResNet has no residual blocks; choose a residual network"),
])
def test_wrong_options(name, options, message):
    with pytest.raises((ModelError, ValueError), match=message):
        models.create(name, **options)


def test_register_refuses_a_name_twice():
    with pytest.raises(ModelError, match="'resnet20' is registered already"):
        register("resnet20", paper="", year=0, depth=0, params=0, macs=0, input_shape=(), smallest=1)(dict)


def test_check_images_wants_four_axes():
    model = models.create("resnet20", depth=8)
    with pytest.raises(ShapeError, match=r"images of shape \(3, 8, 8\) are not"):
        check_images(np.zeros((3, 8, 8)), model, 1, "")


@pytest.mark.parametrize("name", models.names())
def test_facts(name):
    info = models.info(name)
    assert re.match(r"[A-Z].* \d{4}, ", info.paper)
    assert str(info.year) in info.paper
    assert info.smallest <= min(info.input_shape[1:])
    assert info.recipe.source
    assert info.recipe is info.recipes["paper"]
    for published in info.published:
        assert published.source
        assert 0 < (published.top1 or published.top5) < 100


def test_published_reads_like_a_table():
    assert str(models.info("resnet50").published[0]) == "ImageNet 24.7/7.8 % (authors' repository, 1 crop)"
    assert str(models.info("googlenet").published[0]) == "ImageNet –/10.07 % (table 3, 1 model, 1 crop)"
    assert str(models.info("resnet20").published[0]) == "CIFAR-10+ 8.75 % (table 6)"


def test_lecture_recipes():
    alexnet, resnet = models.info("alexnet").recipes["lecture"], models.info("resnet50").recipes["lecture"]
    assert (alexnet.batch_size, alexnet.momentum, alexnet.lr, alexnet.weight_decay) == (128, 0.9, 0.01, 5e-4)
    assert (resnet.batch_size, resnet.lr, resnet.weight_decay, resnet.schedule) == (256, 0.1, 1e-5, "plateau")
    assert models.info("resnet50").recipe.weight_decay == 1e-4
