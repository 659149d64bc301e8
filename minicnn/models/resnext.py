"""ResNeXt: Xie et al. 2017, aggregated residual transformations. ImageNet names are torchvision's."""

from dataclasses import replace
from functools import partial

from minicnn import nn, ops
from minicnn.errors import ModelError
from minicnn.models.recipe import Recipe
from minicnn.models.registry import Published, check_images, register
from minicnn.models.residual import make_stage, set_survival
from minicnn.models.resnet import DEPTHS, Bottleneck, ResNet, check_depth

RECIPE = Recipe(
    source="Xie et al. 2017, section 4", batch_size=256, epochs=100, lr=0.1, weight_decay=1e-4,
    schedule="multistep", schedule_args={"milestones": [30, 60, 90], "factor": 0.1},
    augmentation=(("random_resized_crop", 224), ("flip",), ("photometric",), ("color_pca", 0.1), ("normalize",)),
    notes="the paper divides the rate by 10 three times; when, and how many epochs, is in the authors' repository, whose "
          "momentum is Nesterov's")
CIFAR_RECIPE = replace(
    RECIPE, source="Xie et al. 2017, section 5.3", batch_size=128, epochs=300, weight_decay=5e-4,
    schedule_args={"milestones": [150, 225], "factor": 0.1}, augmentation=(("pad_crop", 4), ("flip",), ("normalize",)),
    notes="batches of 128 are the authors' repository's; the preprint has 256 and pre-activation blocks")
FORMS = ("grouped", "concatenated", "aggregated")


class ResNeXtBlock(Bottleneck):
    """A bottleneck of `cardinality` paths, each `d` channels wide, in one of three equivalent forms (figure 3).

    "aggregated" (a): each path 1x1, 3x3, 1x1 on its own, and the sum of all; "concatenated" (b): the paths' 3x3 outputs
    concatenated in front of one 1x1; "grouped" (c): 1x1, grouped 3x3, 1x1. The parameters are the same in all three.
    x (N, C, H, W) -> (N, 4·channels, H/stride, W/stride).
    """

    def __init__(self, in_channels, channels, stride, cardinality, width, form="grouped"):
        super().__init__(in_channels, channels, stride, width=width, groups=cardinality)
        self.cardinality, self.d, self.form = cardinality, width // cardinality, form

    def inner(self, x):
        if self.form == "grouped":
            return super().inner(x)
        slices = [slice(i * self.d, (i + 1) * self.d) for i in range(self.cardinality)]
        paths = [self._path(x, s) for s in slices]
        if self.form == "concatenated":
            return self.conv3(ops.concat(paths))
        y = ops.conv2d(paths[0], self.conv3.weight[:, slices[0]])
        for path, s in zip(paths[1:], slices[1:]):
            y = y + ops.conv2d(path, self.conv3.weight[:, s])
        return y

    def _path(self, x, s):
        """1x1 and 3x3 of one path, with its slice s of the parameters: (N, C, H, W) -> (N, d, H/stride, W/stride)"""
        x = ops.relu(_normalize(self.bn1, ops.conv2d(x, self.conv1.weight[s]), s))
        x = ops.conv2d(x, self.conv2.weight[s], stride=self.conv2.stride, padding=1)
        return ops.relu(_normalize(self.bn2, x, s))


def _normalize(bn, x, s):
    """The channels s of a BatchNorm2d, whose running statistics it moves."""
    return ops.batch_norm(x, bn.running_mean[s], bn.running_var[s], bn.weight[s], bn.bias[s], bn.training, bn.momentum,
                          bn.eps)


class CifarResNeXt(nn.Module):
    """conv 64; three stages of blocks with 256, 512 and 1024 channels out; global average; linear (section 5.3).

    x (N, in_channels, H, W) -> logits (N, num_classes).
    """

    def __init__(self, make_block, blocks, num_classes, in_channels):
        super().__init__()
        self.in_channels = in_channels
        self.conv1 = nn.Conv2d(in_channels, 64, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = make_stage(make_block, 64, 64, blocks, stride=1)
        self.layer2 = make_stage(make_block, 256, 128, blocks, stride=2)
        self.layer3 = make_stage(make_block, 512, 256, blocks, stride=2)
        self.fc = nn.Linear(1024, num_classes)

    def forward(self, x):
        check_images(x, self, 1, "there is no pixel")
        x = nn.conv_norm_relu(self.conv1, self.bn1, x)
        return self.fc(ops.global_avg_pool2d(self.layer3(self.layer2(self.layer1(x)))))


def _block(in_channels, channels, stride, cardinality, width, form):
    """width: of one path in the first stage, where `channels` is 64; it grows with the channels."""
    return ResNeXtBlock(in_channels, channels, stride, cardinality, cardinality * width * channels // 64, form)


def _check(cardinality, width, form):
    if form not in FORMS:
        raise ModelError(f"resnext: form {form!r} is none of figure 3's; choose from {', '.join(FORMS)}")
    if cardinality < 1 or width < 1:
        raise ModelError(f"resnext: cardinality {cardinality} and width {width} must be at least 1; choose e.g. 32, 4")


FACTS = {"paper": "Xie et al. 2017, Aggregated residual transformations for deep neural networks", "year": 2017,
         "smallest": 1}
IMAGENET = {**FACTS, "input_shape": (3, 224, 224), "recipes": {"paper": RECIPE}}
CIFAR = {**FACTS, "input_shape": (3, 32, 32), "recipes": {"paper": CIFAR_RECIPE}}


def preset(depth, cardinality, width):
    """A network's size: depth, number of paths C, and channels d of a path in the first stage."""
    return {"depth": depth, "cardinality": cardinality, "width": width}


@register("resnext50_32x4d", preset(50, 32, 4), **IMAGENET, depth=50, params=25_028_904, macs=4_230_479_872,
          published=(Published("ImageNet", 22.2, source="table 3, 1 crop"),))
@register("resnext101_32x8d", preset(101, 32, 8), **IMAGENET, depth=101, params=88_791_336, macs=16_414_015_488,
          published=(Published("ImageNet", 20.69, 5.47, "torchvision, IMAGENET1K_V1"),))
@register("resnext101_64x4d", preset(101, 64, 4), **IMAGENET, depth=101, params=83_455_272, macs=15_460_270_080,
          published=(Published("ImageNet", 20.4, source="table 4, 1 crop"),))
def resnext(depth, cardinality, width, num_classes=1000, form="grouped", survival=1.0, in_channels=3):
    """An ImageNet ResNeXt of depth 50, 101 or 152, with `cardinality` paths of `width` channels.

    form: "grouped", "concatenated" or "aggregated", which compute the same. survival: of the last block, for stochastic
    depth. Raises ModelError for other values.
    """
    check_depth("resnext", depth, least=50)
    _check(cardinality, width, form)
    block = partial(_block, cardinality=cardinality, width=width, form=form)
    model = ResNet(block, DEPTHS[depth], num_classes, in_channels)
    return model if survival == 1 else set_survival(model, survival)


@register("resnext29_8x64d", preset(29, 8, 64), **CIFAR, depth=29, params=34_426_698, macs=5_387_266_048, published=(
    Published("CIFAR-10+", 3.65, source="table 7"), Published("CIFAR-100+", 17.77, source="table 7")))
@register("resnext29_16x64d", preset(29, 16, 64), **CIFAR, depth=29, params=68_155_210, macs=10_688_866_304, published=(
    Published("CIFAR-10+", 3.58, source="table 7"), Published("CIFAR-100+", 17.31, source="table 7")))
def resnext_cifar(depth, cardinality, width, num_classes=10, form="grouped", survival=1.0, in_channels=3):
    """A CIFAR ResNeXt of depth 9n+2. Raises ModelError for other values."""
    if depth < 11 or depth % 9 != 2:
        raise ModelError(f"resnext_cifar: depth {depth} is not 9n+2; choose for example {max(11, depth // 9 * 9 + 2)}")
    _check(cardinality, width, form)
    block = partial(_block, cardinality=cardinality, width=width, form=form)
    model = CifarResNeXt(block, (depth - 2) // 9, num_classes, in_channels)
    return model if survival == 1 else set_survival(model, survival)
