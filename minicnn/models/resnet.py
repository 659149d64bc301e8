"""Residual networks for ImageNet: He et al. 2016, table 1 and figure 5. Names of parameters are torchvision's."""

from dataclasses import replace
from functools import partial

from minicnn import nn, ops
from minicnn.errors import ModelError
from minicnn.models.recipe import Recipe
from minicnn.models.registry import Published, check_images, register
from minicnn.models.residual import check_option, make_shortcut, make_stage, residual_sum, set_survival, survives

RECIPE = Recipe(
    source="He et al. 2016, section 3.4", batch_size=256, epochs=120, lr=0.1, weight_decay=1e-4,
    schedule="plateau", schedule_args={"factor": 0.1, "patience": 10, "mode": "min"},
    augmentation=(("scale_jitter", 256, 480), ("random_crop", 224), ("flip",), ("color_pca", 0.1), ("normalize",)),
    validation="the rate is divided by 10 when the error plateaus",
    notes="600,000 iterations; batch norm statistics recomputed over the training set at the end; test: 10 crops")
LECTURE = replace(RECIPE, source="CNN architectures lecture, slide on ResNet training", weight_decay=1e-5,
                  notes="the lecture's weight decay is 1e-5, the paper's 1e-4")


class BasicBlock(nn.Module):
    """relu(shortcut(x) + bn(conv(relu(bn(conv(x)))))): x (N, C, H, W) -> (N, channels, H/stride, W/stride).

    Source: He et al. 2016, figure 2. option: the shortcut, see residual.make_shortcut; "none" leaves it out.
    """

    def __init__(self, in_channels, channels, stride=1, option="B"):
        super().__init__()
        self.option, self.out_channels = option, channels
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = make_shortcut(option, in_channels, channels, stride)
        if option != "none":
            self.survival = 1.0

    def inner(self, x):
        """All layers but the last batch norm."""
        return self.conv2(nn.conv_norm_relu(self.conv1, self.bn1, x))

    def residual(self, x):
        return self.bn2(self.inner(x))

    def forward(self, x):
        return block_output(self, self.bn2, x)


class Bottleneck(nn.Module):
    """1x1 down to `width`, 3x3, 1x1 up to 4·channels, added to the shortcut: (N, C, H, W) -> (N, 4·channels, H/s, W/s).

    Source: He et al. 2016, figure 5. stride_in: "3x3" as torchvision, "1x1" as the paper. width (default `channels`)
    and groups make it a Wide ResNet's or ResNeXt's block.
    """

    def __init__(self, in_channels, channels, stride=1, option="B", stride_in="3x3", width=None, groups=1):
        super().__init__()
        self.option, self.out_channels = option, 4 * channels
        width = channels if width is None else width
        strides = (stride, 1) if stride_in == "1x1" else (1, stride)
        self.conv1 = nn.Conv2d(in_channels, width, 1, strides[0], bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, strides[1], padding=1, groups=groups, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * channels)
        self.downsample = make_shortcut(option, in_channels, 4 * channels, stride)
        if option != "none":
            self.survival = 1.0

    def inner(self, x):
        """All layers but the last batch norm."""
        x = nn.conv_norm_relu(self.conv1, self.bn1, x)
        return self.conv3(nn.conv_norm_relu(self.conv2, self.bn2, x))

    def residual(self, x):
        return self.bn3(self.inner(x))

    def forward(self, x):
        return block_output(self, self.bn3, x)


def block_output(block, last_norm, x):
    """relu(shortcut + residual), or relu(residual) in a plain network; residual(x) = last_norm(inner(x))."""
    if block.option == "none":
        return nn.norm_relu(last_norm, block.inner(x))
    shortcut = x if block.downsample is None else block.downsample(x)
    if block.training or block.survival == 1:
        return nn.norm_relu(last_norm, block.inner(x), shortcut) if survives(block) else ops.relu(shortcut)
    return ops.relu(residual_sum(block, shortcut, x))


class ResNet(nn.Module):
    """7x7/2 convolution, 3x3/2 pooling, four stages of blocks, global average, linear.

    x (N, in_channels, H, W) -> logits (N, num_classes). make_block(in_channels, channels, stride) -> block; `blocks`:
    how many in each stage. Source: He et al. 2016, table 1.
    """

    def __init__(self, make_block, blocks, num_classes, in_channels):
        super().__init__()
        self.in_channels = in_channels
        self.conv1 = nn.Conv2d(in_channels, 64, 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        channels = 64
        for stage, count in enumerate(blocks):
            layer = make_stage(make_block, channels, 64 * 2 ** stage, count, 1 if stage == 0 else 2)
            self.add_module(f"layer{stage + 1}", layer)
            channels = layer[0].out_channels
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, x):
        check_images(x, self, 1, "there is no pixel")
        x = self.maxpool(nn.conv_norm_relu(self.conv1, self.bn1, x))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(ops.global_avg_pool2d(x))


FACTS = {"paper": "He et al. 2016, Deep residual learning for image recognition", "year": 2016,
         "input_shape": (3, 224, 224), "smallest": 1, "recipes": {"paper": RECIPE, "lecture": LECTURE}}
DEPTHS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


def errors(ten_crop, table, one_crop=None):
    """Published top-1 and top-5: one crop (the authors' repository) first, then the paper's 10-crop."""
    paper = Published("ImageNet", *ten_crop, source=f"{table}, 10-crop")
    return (Published("ImageNet", *one_crop, source="authors' repository, 1 crop"), paper) if one_crop else (paper,)


@register("resnet18", {"depth": 18}, **FACTS, depth=18, params=11_689_512, macs=1_814_073_344,
          published=errors((27.88,), "table 2"))
@register("resnet34", {"depth": 34}, **FACTS, depth=34, params=21_797_672, macs=3_663_761_408,
          published=errors((24.52,), "table 3, B"))
@register("resnet50", {"depth": 50}, **FACTS, depth=50, params=25_557_032, macs=4_089_184_256,
          published=errors((22.85, 6.71), "table 3", (24.7, 7.8)))
@register("resnet101", {"depth": 101}, **FACTS, depth=101, params=44_549_160, macs=7_801_405_440,
          published=errors((21.75, 6.05), "table 3", (23.6, 7.1)))
@register("resnet152", {"depth": 152}, **FACTS, depth=152, params=60_192_808, macs=11_513_626_624,
          published=errors((21.43, 5.71), "table 3", (23.0, 6.7)))
@register("plain18", {"depth": 18, "option": "none"}, **FACTS, depth=18, params=11_515_688, macs=1_794_805_760,
          published=errors((27.94,), "table 2"))
@register("plain34", {"depth": 34, "option": "none"}, **FACTS, depth=34, params=21_623_848, macs=3_644_493_824,
          published=errors((28.54,), "table 2"))
def resnet(depth, num_classes=1000, option="B", stride_in="3x3", survival=1.0, in_channels=3):
    """An ImageNet ResNet of depth 18, 34 (basic blocks), 50, 101 or 152 (bottlenecks).

    option: the shortcuts "A", "B", "C" of section 4.1, or "none" for a plain network. stride_in: where a bottleneck
    halves the image: "3x3" as torchvision, "1x1" as the paper. survival: of the last block, for stochastic depth.
    Raises ModelError for other values.
    """
    check_depth("resnet", depth)
    check_option(option)
    if stride_in not in ("3x3", "1x1"):
        raise ModelError(f"resnet: stride_in {stride_in!r} is not '3x3' or '1x1'; choose one")
    bottleneck = partial(Bottleneck, option=option, stride_in=stride_in)
    block = bottleneck if depth >= 50 else partial(BasicBlock, option=option)
    model = ResNet(block, DEPTHS[depth], num_classes, in_channels)
    return model if survival == 1 else set_survival(model, survival)


def check_depth(name, depth, least=18):
    """Raise ModelError unless table 1 has a network of this depth, at least `least` layers."""
    if depth not in DEPTHS or depth < least:
        fits = ", ".join(str(d) for d in DEPTHS if d >= least)
        raise ModelError(f"{name}: depth {depth} is none of the paper's; choose from {fits}")
