"""Residual networks for CIFAR, and their plain twins: He et al. 2016, section 4.2."""

from dataclasses import replace
from functools import partial

from minicnn import nn, ops
from minicnn.errors import ModelError
from minicnn.models.recipe import Recipe
from minicnn.models.registry import Published, check_images, register
from minicnn.models.residual import check_option, make_stage, set_survival
from minicnn.models.resnet import BasicBlock

RECIPE = Recipe(
    source="He et al. 2016, section 4.2", batch_size=128, epochs=182, lr=0.1, weight_decay=1e-4,
    schedule="multistep", schedule_args={"milestones": [91, 136], "factor": 0.1},
    augmentation=(("pad_crop", 4), ("flip",), ("normalize",)), validation="5,000 of the 50,000 training images",
    notes="64k iterations, the rate divided at 32k and 48k, as epochs of 45,000 images")
RECIPE_110 = replace(
    RECIPE, warmup={"steps": 400, "start": 0.1},
    notes=RECIPE.notes + "; the rate is 0.01 until the training error is below 80 %, about 400 iterations")


class CifarResNet(nn.Module):
    """conv 16; n blocks each of 16, 32 and 64 channels, the image halved between; global average; linear: 6n+2 layers.

    x (N, in_channels, H, W) -> logits (N, num_classes). Source: He et al. 2016, section 4.2.
    """

    def __init__(self, blocks, num_classes, option, in_channels):
        super().__init__()
        self.in_channels = in_channels
        block = partial(BasicBlock, option=option)
        self.conv1 = nn.Conv2d(in_channels, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = make_stage(block, 16, 16, blocks, stride=1)
        self.layer2 = make_stage(block, 16, 32, blocks, stride=2)
        self.layer3 = make_stage(block, 32, 64, blocks, stride=2)
        self.linear = nn.Linear(64, num_classes)

    def forward(self, x):
        check_images(x, self, 1, "there is no pixel")
        x = nn.conv_norm_relu(self.conv1, self.bn1, x)
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(ops.global_avg_pool2d(x))


FACTS = {"paper": "He et al. 2016, Deep residual learning for image recognition", "year": 2016,
         "input_shape": (3, 32, 32), "smallest": 1, "recipes": {"paper": RECIPE}}
FACTS_110 = {**FACTS, "recipes": {"paper": RECIPE_110}}


def error(percent):
    """An error of He et al. 2016, table 6."""
    return (Published("CIFAR-10+", percent, source="table 6"),)


@register("resnet20", {"depth": 20}, **FACTS, depth=20, params=269_722, macs=40_551_040, published=error(8.75))
@register("resnet32", {"depth": 32}, **FACTS, depth=32, params=464_154, macs=68_862_592, published=error(7.51))
@register("resnet44", {"depth": 44}, **FACTS, depth=44, params=658_586, macs=97_174_144, published=error(7.17))
@register("resnet56", {"depth": 56}, **FACTS, depth=56, params=853_018, macs=125_485_696, published=error(6.97))
@register("resnet110", {"depth": 110}, **FACTS_110, depth=110, params=1_727_962, macs=252_887_680,
          published=error(6.43))
@register("resnet1202", {"depth": 1202}, **FACTS_110, depth=1202, params=19_421_274, macs=2_829_238_912,
          published=error(7.93))
@register("plain20", {"depth": 20, "option": "none"}, **FACTS, depth=20, params=269_722, macs=40_551_040)
@register("plain32", {"depth": 32, "option": "none"}, **FACTS, depth=32, params=464_154, macs=68_862_592)
@register("plain44", {"depth": 44, "option": "none"}, **FACTS, depth=44, params=658_586, macs=97_174_144)
@register("plain56", {"depth": 56, "option": "none"}, **FACTS, depth=56, params=853_018, macs=125_485_696)
@register("plain110", {"depth": 110, "option": "none"}, **FACTS_110, depth=110, params=1_727_962, macs=252_887_680)
def resnet_cifar(depth, num_classes=10, option="A", survival=1.0, in_channels=3):
    """A CIFAR ResNet of `depth` = 6n+2 layers.

    option: the shortcut where the shape changes: "A" subsamples and pads with zero channels, "B" projects, "C" projects
    in every block, "none" has no shortcuts (the plain networks). survival: of the last block, for stochastic depth.
    Raises ModelError for other depths and options.
    """
    if depth < 8 or depth % 6 != 2:
        raise ModelError(f"resnet_cifar: depth {depth} is not 6n+2; choose for example {max(8, depth // 6 * 6 + 2)}")
    check_option(option)
    model = CifarResNet((depth - 2) // 6, num_classes, option, in_channels)
    return model if survival == 1 else set_survival(model, survival)
