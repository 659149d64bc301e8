"""Densely connected networks: Huang et al. 2017. Names of parameters are torchvision's."""

from minicnn import nn, ops
from minicnn.errors import ModelError
from minicnn.models.recipe import Recipe
from minicnn.models.registry import Published, check_images, register

RECIPE = Recipe(
    source="Huang et al. 2017, section 4.2", batch_size=64, epochs=300, lr=0.1, weight_decay=1e-4, nesterov=True,
    schedule="multistep", schedule_args={"milestones": [150, 225], "factor": 0.1},
    augmentation=(("pad_crop", 4), ("flip",), ("normalize",)),
    dropout="0.2 behind each convolution, without augmentation")
IMAGENET_RECIPE = Recipe(
    source="Huang et al. 2017, section 4.2", batch_size=256, epochs=90, lr=0.1, weight_decay=1e-4, nesterov=True,
    schedule="multistep", schedule_args={"milestones": [30, 60], "factor": 0.1},
    augmentation=(("random_resized_crop", 224), ("flip",), ("photometric",), ("color_pca", 0.1), ("normalize",)))


class DenseLayer(nn.Module):
    """BN-ReLU-conv(1x1, bottleneck·growth)-BN-ReLU-conv(3x3, growth), or BN-ReLU-conv(3x3, growth) with bottleneck 0.

    x (N, C, H, W), in one array or several -> the new channels (N, growth, H, W). Source: section 3, "bottleneck layers".
    memory_efficient: keep neither the concatenated input nor what the first batch norm and ReLU make of it, but compute
    them again for the backward pass: the same numbers in less memory and more time (Pleiss et al. 2017).
    """

    def __init__(self, in_channels, growth, bottleneck, dropout, memory_efficient=False):
        super().__init__()
        self.memory_efficient = memory_efficient
        self.norm1 = nn.BatchNorm2d(in_channels)
        if bottleneck:
            self.conv1 = nn.Conv2d(in_channels, bottleneck * growth, 1, bias=False)
            self.norm2 = nn.BatchNorm2d(bottleneck * growth)
            self.conv2 = nn.Conv2d(bottleneck * growth, growth, 3, padding=1, bias=False)
        else:
            self.conv1 = nn.Conv2d(in_channels, growth, 3, padding=1, bias=False)
            self.norm2 = None
        self.dropout = nn.Dropout(dropout)

    def forward(self, *features, buffer=None):
        """buffer: an ops.ChannelBuffer whose next channels the result may be written to."""
        if self.memory_efficient and self.training:
            return self.rest(ops.recompute(self.first, *features))
        if self.norm2 is not None and len(features) == 1:
            x = nn.conv_norm_relu(self.conv1, self.norm2, nn.norm_relu(self.norm1, features[0], buffer=buffer))
            return self.dropout(nn.conv_into(self.conv2, x, None if self.dropout.p and self.training else buffer))
        return self.rest(self.first(*features))

    def first(self, *features, again=False):
        """Concatenation, batch norm, ReLU and the first convolution; `again` leaves the running statistics alone."""
        x = ops.concat(features) if len(features) > 1 else features[0]
        if again:
            return self.conv1(ops.batch_norm_relu(x, None, None, self.norm1.weight, self.norm1.bias, True, eps=self.norm1.eps))
        return self.conv1(nn.norm_relu(self.norm1, x))

    def rest(self, x):
        """What comes behind the first convolution."""
        if self.norm2 is not None:
            x = self.conv2(nn.norm_relu(self.norm2, x))
        return self.dropout(x)


class DenseBlock(nn.Module):
    """Layers that each see all channels before them: x (N, C, H, W) -> (N, C + layers·growth, H, W).

    Source: equation 2.
    """

    def __init__(self, layers, in_channels, growth, bottleneck, dropout, memory_efficient=False):
        super().__init__()
        for i in range(layers):
            self.add_module(f"denselayer{i + 1}", DenseLayer(in_channels + i * growth, growth, bottleneck, dropout,
                                                             memory_efficient))
        self.out_channels, self.memory_efficient = in_channels + layers * growth, memory_efficient

    def forward(self, x):
        if self.memory_efficient and self.training:
            features = [x]
            for layer in self.children():
                features.append(layer(*features))
            return ops.concat(features)
        buffer = ops.ChannelBuffer(self.out_channels)
        for layer in self.children():
            x = ops.append(x, layer(x, buffer=buffer if buffer.filled else None), buffer)
        return x


class Transition(nn.Module):
    """BN-ReLU-conv(1x1)-average pooling 2x2 between the blocks: x (N, C, H, W) -> (N, out_channels, H/2, W/2)"""

    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.norm = nn.BatchNorm2d(in_channels)
        self.conv = nn.Conv2d(in_channels, out_channels, 1, bias=False)

    def forward(self, x):
        return ops.avg_pool2d(self.conv(nn.norm_relu(self.norm, x)), 2)


class DenseNet(nn.Module):
    """A first convolution, dense blocks with transitions between, batch norm, ReLU, global average, linear.

    x (N, in_channels, H, W) -> logits (N, num_classes). stem: the layers before the first block, which give `channels`;
    blocks: the layers of each block; compression: the share of channels that a transition keeps. Source: table 1.
    """

    def __init__(self, stem, channels, blocks, growth, bottleneck, compression, dropout, num_classes, smallest,
                 memory_efficient=False):
        super().__init__()
        self.in_channels, self.smallest = stem["conv0"].in_channels, smallest
        self.features = nn.Sequential(stem)
        for i, layers in enumerate(blocks, start=1):
            block = DenseBlock(layers, channels, growth, bottleneck, dropout, memory_efficient)
            self.features.add_module(f"denseblock{i}", block)
            channels = block.out_channels
            if i < len(blocks):
                self.features.add_module(f"transition{i}", Transition(channels, int(channels * compression)))
                channels = int(channels * compression)
        self.features.add_module(f"norm{len(blocks) + 1}", nn.BatchNorm2d(channels))
        self.classifier = nn.Linear(channels, num_classes)

    def forward(self, x):
        check_images(x, self, self.smallest, "the transitions halve it to less than one pixel")
        return self.classifier(ops.global_avg_pool2d(ops.relu(self.features(x))))


PAPER = {"paper": "Huang et al. 2017, Densely connected convolutional networks", "year": 2017}
IMAGENET = {**PAPER, "input_shape": (3, 224, 224), "smallest": 29, "recipes": {"paper": IMAGENET_RECIPE}}
CIFAR = {**PAPER, "input_shape": (3, 32, 32), "smallest": 4, "recipes": {"paper": RECIPE}}
BLOCKS = {121: (6, 12, 24, 16), 161: (6, 12, 36, 24), 169: (6, 12, 32, 32), 201: (6, 12, 48, 32)}


def table3(top1, top5):
    """Published: ImageNet, one crop."""
    return (Published("ImageNet", top1, top5, "table 3, 1 crop"),)


@register("densenet121", {"depth": 121}, **IMAGENET, depth=121, params=7_978_856, macs=2_834_161_664,
          published=table3(25.02, 7.71))
@register("densenet161", {"depth": 161, "growth": 48}, **IMAGENET, depth=161, params=28_681_000, macs=7_727_907_072,
          published=(Published("ImageNet", 22.86, 6.44, "torchvision, IMAGENET1K_V1"),))
@register("densenet169", {"depth": 169}, **IMAGENET, depth=169, params=14_149_480, macs=3_359_843_328,
          published=table3(23.80, 6.85))
@register("densenet201", {"depth": 201}, **IMAGENET, depth=201, params=20_013_928, macs=4_291_365_888,
          published=table3(22.58, 6.34))
def densenet(depth, growth=32, num_classes=1000, dropout=0.0, in_channels=3, memory_efficient=False):
    """DenseNet-BC of table 1 for ImageNet, depth 121, 161, 169 or 201; memory_efficient: see DenseLayer.

    Raises ModelError for other depths.
    """
    if depth not in BLOCKS:
        raise ModelError(f"densenet: depth {depth} is none of table 1; choose from {', '.join(map(str, BLOCKS))}")
    stem = {"conv0": nn.Conv2d(in_channels, 2 * growth, 7, 2, padding=3, bias=False),
            "norm0": nn.BatchNorm2d(2 * growth), "relu0": nn.ReLU(), "pool0": nn.MaxPool2d(3, 2, padding=1)}
    return DenseNet(stem, 2 * growth, BLOCKS[depth], growth, 4, 0.5, dropout, num_classes, 29, memory_efficient)


def table2(cifar10, cifar100):
    """Published: CIFAR with augmentation."""
    return Published("CIFAR-10+", cifar10, source="table 2"), Published("CIFAR-100+", cifar100, source="table 2")


@register("densenet_40_12", {"depth": 40, "growth": 12}, **CIFAR, depth=40, params=1_019_722, macs=264_812_928,
          published=table2(5.24, 24.42))
@register("densenet_100_12", {"depth": 100, "growth": 12}, **CIFAR, depth=100, params=6_979_642, macs=1_769_516_448,
          published=table2(4.10, 20.20))
@register("densenet_100_24", {"depth": 100, "growth": 24}, **CIFAR, depth=100, params=27_249_082, macs=6_889_347_744,
          published=table2(3.74, 19.25))
@register("densenet_bc_100_12", {"depth": 100, "growth": 12, "bc": True}, **CIFAR, depth=100,
          params=769_162, macs=287_929_692,
          published=table2(4.51, 22.27))
@register("densenet_bc_250_24", {"depth": 250, "growth": 24, "bc": True}, **CIFAR, depth=250,
          params=15_324_406, macs=5_418_785_724,
          published=table2(3.62, 17.60))
@register("densenet_bc_190_40", {"depth": 190, "growth": 40, "bc": True}, **CIFAR, depth=190,
          params=25_624_430, macs=9_301_945_740,
          published=table2(3.46, 17.18))
def densenet_cifar(depth, growth, bc=False, num_classes=10, dropout=0.0, in_channels=3, memory_efficient=False):
    """Three dense blocks for CIFAR, depth 3n+4; bc: bottlenecks and compression 0.5, depth 6n+4.

    dropout: behind each convolution block, 0.2 in the paper without augmentation. memory_efficient: see DenseLayer.
    Raises ModelError for other depths.
    """
    layers = 6 if bc else 3
    if depth < layers + 4 or (depth - 4) % layers:
        fits = max(layers + 4, (depth - 4) // layers * layers + 4)
        raise ModelError(f"densenet_cifar: depth {depth} is not {layers}n+4; choose for example {fits}")
    channels = 2 * growth if bc else 16
    stem = {"conv0": nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)}
    return DenseNet(stem, channels, [(depth - 4) // layers] * 3, growth, 4 if bc else 0, 0.5 if bc else 1.0, dropout,
                    num_classes, 4, memory_efficient)
