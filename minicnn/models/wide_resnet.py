"""Wide residual networks: Zagoruyko and Komodakis 2016. Fewer layers, k times the channels."""

from functools import partial

from minicnn.errors import ModelError
from minicnn.models.preact_resnet import PreActBlock, PreActResNet
from minicnn.models.recipe import Recipe
from minicnn.models.registry import Published, register
from minicnn.models.residual import set_survival
from minicnn.models.resnet import DEPTHS, LECTURE, Bottleneck, ResNet, check_depth
from minicnn.models.resnet import RECIPE as RESNET_RECIPE

RECIPE = Recipe(
    source="Zagoruyko and Komodakis 2016, section 3", batch_size=128, epochs=200, lr=0.1, weight_decay=5e-4,
    nesterov=True, schedule="multistep", schedule_args={"milestones": [60, 120, 160], "factor": 0.2},
    augmentation=(("pad_crop", 4), ("flip",), ("normalize",)), dropout="0.3 between the convolutions, where it is used",
    notes="the paper pads by reflection; 28-10 with dropout: 3.89 on CIFAR-10+, 18.85 on CIFAR-100+")

PAPER = {"paper": "Zagoruyko and Komodakis 2016, Wide residual networks", "year": 2016}
CIFAR = {**PAPER, "input_shape": (3, 32, 32), "smallest": 1, "recipes": {"paper": RECIPE}}
IMAGENET = {**PAPER, "input_shape": (3, 224, 224), "smallest": 1,
            "recipes": {"paper": RESNET_RECIPE, "lecture": LECTURE}}


def errors(cifar10, cifar100):
    """Published in table 4, without dropout."""
    return Published("CIFAR-10+", cifar10, source="table 4"), Published("CIFAR-100+", cifar100, source="table 4")


@register("wrn_40_4", {"depth": 40, "widen": 4}, **CIFAR, depth=40, params=8_949_210, macs=1_298_582_016,
          published=errors(4.53, 21.18))
@register("wrn_16_8", {"depth": 16, "widen": 8}, **CIFAR, depth=16, params=10_961_370, macs=1_548_145_664,
          published=errors(4.27, 20.43))
@register("wrn_28_10", {"depth": 28, "widen": 10}, **CIFAR, depth=28, params=36_479_194, macs=5_243_328_768,
          published=errors(4.00, 19.25))
def wide_resnet_cifar(depth, widen, num_classes=10, dropout=0.0, survival=1.0, in_channels=3):
    """WRN-depth-widen for CIFAR, depth 6n+4: pre-activation blocks of 16, 32, 64 times `widen` channels (table 1).

    dropout: between the convolutions of a block, 0.3 in the paper where it is used. Raises ModelError for other depths.
    """
    if depth < 10 or depth % 6 != 4:
        fits = max(10, depth // 6 * 6 + 4)
        raise ModelError(f"wide_resnet_cifar: depth {depth} is not 6n+4; choose for example {fits}")
    block = partial(PreActBlock, dropout=dropout)
    model = PreActResNet(block, (depth - 4) // 6, [width * widen for width in (16, 32, 64)], num_classes, in_channels)
    return model if survival == 1 else set_survival(model, survival)


def wide_bottleneck(in_channels, channels, stride, widen):
    """ResNet's bottleneck, `widen` times as wide between its 1x1 convolutions."""
    return Bottleneck(in_channels, channels, stride, width=widen * channels)


@register("wide_resnet50_2", {"depth": 50}, **IMAGENET, depth=50, params=68_883_240, macs=11_398_021_120,
          published=(Published("ImageNet", 21.9, 5.8, "table 8"),))
@register("wide_resnet101_2", {"depth": 101}, **IMAGENET, depth=101, params=126_886_696, macs=22_753_050_624,
          published=(Published("ImageNet", 21.15, 5.72, "torchvision, IMAGENET1K_V1"),))
def wide_resnet(depth, widen=2, num_classes=1000, survival=1.0, in_channels=3):
    """WRN-depth-widen-bottleneck for ImageNet, depth 50, 101 or 152, as torchvision. Raises ModelError otherwise."""
    check_depth("wide_resnet", depth, least=50)
    model = ResNet(partial(wide_bottleneck, widen=widen), DEPTHS[depth], num_classes, in_channels)
    return model if survival == 1 else set_survival(model, survival)
