"""Very deep networks of 3x3 convolutions: Simonyan and Zisserman 2015, table 1. Names are torchvision's."""

from minicnn import nn, ops
from minicnn.errors import ModelError
from minicnn.models.alexnet import normalization
from minicnn.models.classifier import features_at, set_std
from minicnn.models.recipe import Recipe
from minicnn.models.registry import Published, check_images, register

RECIPE = Recipe(
    source="Simonyan and Zisserman 2015, section 3.1", batch_size=256, epochs=74, lr=0.01, weight_decay=5e-4,
    schedule="plateau", schedule_args={"factor": 0.1, "patience": 5, "mode": "min"},
    augmentation=(("scale_jitter", 256, 512), ("random_crop", 224), ("flip",), ("color_pca", 0.1), ("normalize",)),
    initial="He et al. 2015; the paper starts from N(0, 0.01) and from A's first four convolutions and its classifier",
    dropout="0.5 behind the two hidden fully connected layers", validation="the rate is divided by 10 three times",
    notes="370,000 iterations; test: dense evaluation (fully_convolutional) and multi-crop")

# Table 1: channels of 3x3 convolutions, "1x1" for a 1x1 convolution that keeps them, "M" for 2x2/2 pooling
CONFIGURATIONS = {
    "A": (64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"),
    "A-LRN": (64, "LRN", "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"),
    "B": (64, 64, "M", 128, 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"),
    "C": (64, 64, "M", 128, 128, "M", 256, 256, "1x1", "M", 512, 512, "1x1", "M", 512, 512, "1x1", "M"),
    "D": (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M"),
    "E": (64, 64, "M", 128, 128, "M", *[256] * 4, "M", *[512] * 4, "M", *[512] * 4, "M"),
}


def convolutions(configuration, batch_norm, in_channels):
    """The layers of one column of table 1, as a Sequential."""
    layers, channels = nn.Sequential(), in_channels
    for item in CONFIGURATIONS[configuration]:
        if item == "M":
            layers.append(nn.MaxPool2d(2))
            continue
        if item == "LRN":
            layers.append(normalization())
            continue
        kernel, width = (1, channels) if item == "1x1" else (3, item)
        layers.append(nn.Conv2d(channels, width, kernel, padding=kernel // 2))
        if batch_norm:
            layers.append(nn.BatchNorm2d(width))
        layers.append(nn.ReLU())
        channels = width
    return layers


class VGG(nn.Module):
    """3x3 convolutions and 2x2 pooling, then three fully connected layers over a 7x7 map.

    x (N, in_channels, H, W) -> logits (N, num_classes); the map of images that are not 224x224 is averaged to 7x7.
    """

    side = 7

    def __init__(self, configuration, batch_norm, num_classes, dropout, in_channels):
        super().__init__()
        self.in_channels = in_channels
        self.features = convolutions(configuration, batch_norm, in_channels)
        self.avgpool = nn.AdaptiveAvgPool2d((7, 7))
        self.classifier = nn.Sequential(
            nn.Linear(512 * 7 * 7, 4096), nn.ReLU(), nn.Dropout(dropout),
            nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout(dropout),
            nn.Linear(4096, num_classes))
        for layer in (self.classifier[0], self.classifier[3], self.classifier[6]):
            set_std(layer, 0.01)

    def pooled(self, x):
        """What the fully connected layers see: (N, 25088)"""
        check_images(x, self, 32, "five poolings halve it to less than one pixel")
        return ops.flatten(self.avgpool(self.features(x)))

    def forward(self, x):
        return self.classifier(self.pooled(x))

    def features_at(self, layer, x):
        """(N, features) at "pool5", "fc6", "fc7" or "fc8"; see classifier.features_at."""
        return features_at(self, layer, x)


def errors(single, *more):
    """Published top-1 and top-5: table 3 (single scale), and further tables for D and E."""
    return (Published("ImageNet", *single, source="table 3, one scale"), *more)


def batch_norm_errors(top1, top5):
    """The paper has no batch norm; torchvision's figures for its weights."""
    return (Published("ImageNet", top1, top5, "torchvision, IMAGENET1K_V1"),)


FACTS = {"paper": "Simonyan and Zisserman 2015, Very deep convolutional networks for large-scale image recognition",
         "year": 2015, "input_shape": (3, 224, 224), "smallest": 32, "recipes": {"paper": RECIPE}}


def preset(configuration, batch_norm=False):
    """The arguments of a column of table 1."""
    return {"configuration": configuration, "batch_norm": batch_norm}


@register("vgg11", preset("A"), **FACTS, depth=11, params=132_863_336, macs=7_609_090_048,
          published=errors((29.6, 10.4)))
@register("vgg11_lrn", preset("A-LRN"), **FACTS, depth=11, params=132_863_336, macs=7_609_090_048,
          published=errors((29.7, 10.5)))
@register("vgg13", preset("B"), **FACTS, depth=13, params=133_047_848, macs=11_308_466_176,
          published=errors((28.7, 9.9)))
@register("vgg16c", preset("C"), **FACTS, depth=16, params=133_638_952, macs=11_770_888_192,
          published=errors((27.3, 8.8)))
@register("vgg16", preset("D"), **FACTS, depth=16, params=138_357_544, macs=15_470_264_320, published=errors(
    (25.6, 8.1), Published("ImageNet", 24.8, 7.5, "table 4, several scales"),
    Published("ImageNet", 24.4, None, "table 5, dense and multi-crop")))
@register("vgg19", preset("E"), **FACTS, depth=19, params=143_667_240, macs=19_632_062_464, published=errors(
    (25.5, 8.0), Published("ImageNet", 24.8, 7.5, "table 4, several scales"),
    Published("ImageNet", 24.4, 7.1, "table 5, dense and multi-crop")))
@register("vgg11_bn", preset("A", True), **FACTS, depth=11, params=132_868_840, macs=7_609_090_048,
          published=batch_norm_errors(29.63, 10.19))
@register("vgg13_bn", preset("B", True), **FACTS, depth=13, params=133_053_736, macs=11_308_466_176,
          published=batch_norm_errors(28.41, 9.63))
@register("vgg16_bn", preset("D", True), **FACTS, depth=16, params=138_365_992, macs=15_470_264_320,
          published=batch_norm_errors(26.64, 8.48))
@register("vgg19_bn", preset("E", True), **FACTS, depth=19, params=143_678_248, macs=19_632_062_464,
          published=batch_norm_errors(25.78, 8.16))
def vgg(configuration, num_classes=1000, batch_norm=False, dropout=0.5, in_channels=3):
    """A column of table 1: configuration "A", "A-LRN", "B", "C", "D" or "E". Raises ModelError for others."""
    if configuration not in CONFIGURATIONS:
        raise ModelError(f"vgg: configuration {configuration!r} is none of table 1; choose from "
                         f"{', '.join(CONFIGURATIONS)}")
    return VGG(configuration, batch_norm, num_classes, dropout, in_channels)
