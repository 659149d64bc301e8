"""SqueezeNet: Iandola et al. 2016, figure 2 and table 1. Names of parameters are torchvision's."""

from minicnn import nn, ops
from minicnn.errors import ModelError
from minicnn.models.classifier import set_std
from minicnn.models.recipe import Recipe
from minicnn.models.registry import Published, check_images, register

RECIPE = Recipe(
    source="Iandola et al. 2016, section 3.3 and the authors' solver", batch_size=512, epochs=68, lr=0.04,
    weight_decay=2e-4, schedule="linear",
    augmentation=(("resize", 256), ("random_crop", 227), ("flip",), ("normalize",)),
    initial="He et al. 2015 (the authors: Xavier); N(0, 0.01) in the last convolution, whose biases are 1 (the authors: 0)",
    dropout="0.5 behind fire9",
    notes="170,000 iterations, each of 16 batches of 32 images added up: 68 epochs")


class Fire(nn.Module):
    """Squeeze with 1x1 convolutions, expand with 1x1 and 3x3 side by side: x (N, C, H, W) -> (N, e1 + e3, H, W).

    Source: figure 1.
    """

    def __init__(self, in_channels, squeeze, e1, e3):
        super().__init__()
        self.squeeze = nn.Conv2d(in_channels, squeeze, 1)
        self.expand1x1 = nn.Conv2d(squeeze, e1, 1)
        self.expand3x3 = nn.Conv2d(squeeze, e3, 3, padding=1)
        self.in_channels, self.out_channels = in_channels, e1 + e3

    def forward(self, x):
        return nn.expand_relu([self.expand1x1, self.expand3x3], nn.conv_relu(self.squeeze, x))


class BypassFire(nn.Module):
    """A fire module with a shortcut around it: the identity, or a 1x1 convolution where channels change (section 6)."""

    def __init__(self, fire):
        super().__init__()
        self.fire = fire
        changes = fire.in_channels != fire.out_channels
        self.bypass = nn.Conv2d(fire.in_channels, fire.out_channels, 1) if changes else nn.Identity()

    def forward(self, x):
        return self.fire(x) + self.bypass(x)


def fires(bypass):
    """fire2 to fire9 of table 1: squeeze 16, 16, 32, 32, 48, 48, 64, 64, and four times as many for each expand."""
    modules, channels = [], 96
    for i, squeeze in enumerate((16, 16, 32, 32, 48, 48, 64, 64)):
        fire = Fire(channels, squeeze, 4 * squeeze, 4 * squeeze)
        channels = fire.out_channels
        bypassed = bypass == "complex" or (bypass == "simple" and i % 2)
        modules.append(BypassFire(fire) if bypassed else fire)
    return modules


class SqueezeNet(nn.Module):
    """A convolution, eight fire modules with pooling between, a 1x1 convolution to the classes, global average.

    x (N, in_channels, H, W) -> logits (N, num_classes).
    """

    def __init__(self, features, num_classes, dropout, classifier_padding, smallest):
        super().__init__()
        self.in_channels, self.smallest = features[0].in_channels, smallest
        self.features = nn.Sequential(*features)
        self.classifier = nn.Sequential(
            nn.Dropout(dropout), nn.Conv2d(512, num_classes, 1, padding=classifier_padding), nn.ReLU())
        set_std(self.classifier[1], 0.01)
        self.classifier[1].bias.data += 1       # else half of the classes start behind a ReLU that no image opens

    def forward(self, x):
        check_images(x, self, self.smallest, "a pooling window of 3x3 does not fit the map before it")
        return ops.global_avg_pool2d(self.classifier(self.features(x)))


FACTS = {"paper": "Iandola et al. 2016, SqueezeNet: AlexNet-level accuracy with 50x fewer parameters", "year": 2016,
         "depth": 18, "input_shape": (3, 224, 224), "recipes": {"paper": RECIPE}}


# Table 3 gives the complex bypass 7.7 MB. 1x1 convolutions around the four modules whose channels change, as section 6 has
# it, make 6.1 MiB (4.8 MiB without); around all eight 7.9 MiB.
@register("squeezenet1_0", **FACTS, smallest=29, params=1_248_424, macs=818_924_576,
          published=(Published("ImageNet", 42.5, 19.7, "table 2"),))
@register("squeezenet1_0_simple_bypass", {"bypass": "simple"}, **FACTS, smallest=29, params=1_248_424, macs=818_924_576,
          published=(Published("ImageNet", 39.6, 17.5, "table 3"),))
@register("squeezenet1_0_complex_bypass", {"bypass": "complex"}, **FACTS, smallest=29,
          params=1_589_672, macs=1_165_298_720, published=(Published("ImageNet", 41.2, 18.0, "table 3"),))
def squeezenet1_0(num_classes=1000, bypass="none", dropout=0.5, classifier_padding=0, in_channels=3):
    """SqueezeNet v1.0. bypass: "none", "simple" (around fire3, 5, 7, 9) or "complex" (convolutions around the others).

    classifier_padding: 0 as torchvision; the authors' Caffe weights (Deep Compression) were trained with 1.
    Raises ModelError for other kinds of bypass.
    """
    if bypass not in ("none", "simple", "complex"):
        raise ModelError(f"squeezenet1_0: bypass {bypass!r} is none of the paper's; choose from none, simple, complex")
    f = fires(bypass)
    features = [nn.Conv2d(in_channels, 96, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True), *f[:3],
                nn.MaxPool2d(3, 2, ceil_mode=True), *f[3:7], nn.MaxPool2d(3, 2, ceil_mode=True), f[7]]
    return SqueezeNet(features, num_classes, dropout, classifier_padding, smallest=29)


@register("squeezenet1_1", **FACTS, smallest=25, params=1_235_496, macs=349_151_936,
          published=(Published("ImageNet", 41.82, 19.38, "torchvision, IMAGENET1K_V1"),))
def squeezenet1_1(num_classes=1000, dropout=0.5, in_channels=3):
    """SqueezeNet v1.1 of the authors' repository: the same accuracy with 2.4 times less computation."""
    f = fires("none")
    f[0] = Fire(64, 16, 64, 64)
    pools = [nn.MaxPool2d(3, 2, ceil_mode=True) for _ in range(3)]
    features = [nn.Conv2d(in_channels, 64, 3, 2), nn.ReLU(), pools[0], *f[:2], pools[1], *f[2:4], pools[2], *f[4:]]
    return SqueezeNet(features, num_classes, dropout, 0, smallest=25)
