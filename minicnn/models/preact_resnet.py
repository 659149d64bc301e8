"""Residual networks with identity mappings: He et al. 2016b. Batch norm and ReLU come before each convolution."""

from minicnn import nn, ops
from minicnn.errors import ModelError
from minicnn.models.recipe import Recipe
from minicnn.models.registry import Published, check_images, register
from minicnn.models.residual import make_stage, residual_sum, set_survival

RECIPE = Recipe(
    source="He et al. 2016, Identity mappings, appendix", batch_size=128, epochs=182, lr=0.1, weight_decay=1e-4,
    schedule="multistep", schedule_args={"milestones": [91, 136], "factor": 0.1}, warmup={"steps": 400, "start": 0.1},
    augmentation=(("pad_crop", 4), ("flip",), ("normalize",)), validation="none",
    notes="64k iterations, the rate divided at 32k and 48k; 1001 layers with batches of 64: 4.62")


class PreActBlock(nn.Module):
    """shortcut + conv(relu(bn(conv(relu(bn(x)))))): x (N, C, H, W) -> (N, channels, H/stride, W/stride).

    Where the shape changes, a 1x1 convolution of the activated x is the shortcut; else it is x itself (figure 4e).
    dropout: between the convolutions (Wide ResNet).
    """

    def __init__(self, in_channels, channels, stride=1, dropout=0.0):
        super().__init__()
        self.survival, self.out_channels = 1.0, channels
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.shortcut = projection(in_channels, channels, stride)

    def residual(self, x):
        x = x if self.shortcut is not None else nn.norm_relu(self.bn1, x)
        return self.conv2(self.dropout(nn.conv_norm_relu(self.conv1, self.bn2, x)))

    def forward(self, x):
        return preact_output(self, x)


class PreActBottleneck(nn.Module):
    """The same with 1x1, 3x3 and 1x1 convolutions: x (N, C, H, W) -> (N, 4·channels, H/stride, W/stride)."""

    def __init__(self, in_channels, channels, stride=1):
        super().__init__()
        self.survival, self.out_channels = 1.0, 4 * channels
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, 4 * channels, 1, bias=False)
        self.shortcut = projection(in_channels, 4 * channels, stride)

    def residual(self, x):
        x = x if self.shortcut is not None else nn.norm_relu(self.bn1, x)
        x = nn.conv_norm_relu(self.conv1, self.bn2, x)
        return self.conv3(nn.conv_norm_relu(self.conv2, self.bn3, x))

    def forward(self, x):
        return preact_output(self, x)


def projection(in_channels, out_channels, stride):
    """A 1x1 convolution where the shape changes, else None."""
    changes = stride != 1 or in_channels != out_channels
    return nn.Conv2d(in_channels, out_channels, 1, stride, bias=False) if changes else None


def preact_output(block, x):
    """shortcut + residual; a projecting block activates x once for both, so `residual` gets it activated."""
    if block.shortcut is None:
        return residual_sum(block, x, x)
    x = nn.norm_relu(block.bn1, x)
    return residual_sum(block, block.shortcut(x), x)


class PreActResNet(nn.Module):
    """conv 16; three stages of blocks, the image halved between; batch norm, ReLU, global average, linear.

    x (N, in_channels, H, W) -> logits (N, num_classes). make_block(in_channels, channels, stride) -> block.
    """

    def __init__(self, make_block, blocks, channels, num_classes, in_channels):
        super().__init__()
        self.in_channels = in_channels
        self.conv1 = nn.Conv2d(in_channels, 16, 3, padding=1, bias=False)
        self.layer1 = make_stage(make_block, 16, channels[0], blocks, stride=1)
        self.layer2 = make_stage(make_block, self.layer1[0].out_channels, channels[1], blocks, stride=2)
        self.layer3 = make_stage(make_block, self.layer2[0].out_channels, channels[2], blocks, stride=2)
        width = self.layer3[0].out_channels
        self.bn = nn.BatchNorm2d(width)
        self.fc = nn.Linear(width, num_classes)

    def forward(self, x):
        check_images(x, self, 1, "there is no pixel")
        x = self.layer3(self.layer2(self.layer1(self.conv1(x))))
        return self.fc(ops.global_avg_pool2d(nn.norm_relu(self.bn, x)))


FACTS = {"paper": "He et al. 2016, Identity mappings in deep residual networks", "year": 2016,
         "input_shape": (3, 32, 32), "smallest": 1, "recipes": {"paper": RECIPE}}


@register("preact_resnet110", {"depth": 110, "bottleneck": False}, **FACTS, depth=110,
          params=1_730_522, macs=253_149_824, published=(Published("CIFAR-10+", 6.37, source="table 2"),))
@register("preact_resnet164", {"depth": 164}, **FACTS, depth=164, params=1_703_258, macs=247_646_720,
          published=(Published("CIFAR-10+", 5.46, source="table 3"),))
@register("preact_resnet1001", {"depth": 1001}, **FACTS, depth=1001, params=10_327_706, macs=1_490_995_712,
          published=(Published("CIFAR-10+", 4.62, source="table 4, batches of 64"),))
def preact_resnet(depth, bottleneck=True, num_classes=10, survival=1.0, in_channels=3):
    """A pre-activation CIFAR ResNet: depth 9n+2 with bottlenecks, 6n+2 without. Raises ModelError for other depths."""
    layers = 9 if bottleneck else 6
    if depth < layers + 2 or depth % layers != 2:
        fits = max(layers + 2, depth // layers * layers + 2)
        raise ModelError(f"preact_resnet: depth {depth} is not {layers}n+2; choose for example {fits}")
    block = PreActBottleneck if bottleneck else PreActBlock
    model = PreActResNet(block, (depth - 2) // layers, (16, 32, 64), num_classes, in_channels)
    return model if survival == 1 else set_survival(model, survival)
