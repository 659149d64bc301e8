"""Network in Network: Lin, Chen, Yan 2014. Convolutions followed by 1x1 convolutions (mlpconv), and no linear layer."""

from minicnn import nn, ops
from minicnn.models.classifier import set_std
from minicnn.models.recipe import Recipe
from minicnn.models.registry import Published, check_images, register

RECIPE = Recipe(
    source="Lin et al. 2014, section 4", batch_size=128, epochs=307, lr=0.1, weight_decay=1e-4,
    schedule="plateau", schedule_args={"factor": 0.1, "patience": 5, "mode": "max"},
    augmentation=(("gcn",), ("zca",), ("pad_crop", 4), ("flip",)), dropout="0.5 between the mlpconv blocks",
    initial="N(0, 0.05) as in the authors' model, unverified; the last convolution's biases are 1 here",
    validation="the rate is divided by 10 when the training accuracy stops improving, twice",
    notes="the paper follows Goodfellow et al. 2013 and tunes rate and weight decay by hand; rate, weight decay and "
          "epochs here are those of the authors' Caffe model, 120,000 iterations, which divides the rate at 100,000")
IMAGENET_RECIPE = Recipe(
    source="authors' ImageNet model (Caffe model zoo), unverified", batch_size=64, epochs=22, lr=0.01,
    weight_decay=5e-4, schedule="step", schedule_args={"size": 10, "factor": 0.1},
    augmentation=(("resize", 256), ("random_crop", 224), ("flip",), ("normalize",)),
    dropout="0.5 before the last block")


class MLPConv(nn.Module):
    """A convolution and two 1x1 convolutions, each with ReLU: a small multilayer perceptron slid over the image.

    x (N, C, H, W) -> (N, channels[2], H', W'). Source: figure 1b and equation 2.
    """

    def __init__(self, in_channels, channels, kernel_size, stride=1, padding=0):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels[0], kernel_size, stride, padding)
        self.mlp1 = nn.Conv2d(channels[0], channels[1], 1)
        self.mlp2 = nn.Conv2d(channels[1], channels[2], 1)

    def forward(self, x):
        x = nn.conv_relu(self.conv, x)
        x = nn.conv_relu(self.mlp1, x)
        return nn.conv_relu(self.mlp2, x)


class NIN(nn.Module):
    """mlpconv blocks with pooling and dropout between; global average pooling makes the last maps the logits.

    x (N, in_channels, H, W) -> logits (N, num_classes). Source: figure 2 and section 3.2.
    """

    def __init__(self, features, in_channels, smallest):
        super().__init__()
        self.in_channels, self.smallest = in_channels, smallest
        self.features = features

    def forward(self, x):
        check_images(x, self, self.smallest, "a pooling window of 3x3 does not fit the map it leaves")
        return ops.global_avg_pool2d(self.features(x))


PAPER = {"paper": "Lin, Chen, Yan 2014, Network in network", "year": 2014}


@register("nin_cifar10", **PAPER, input_shape=(3, 32, 32), smallest=6, depth=9, params=966_986, macs=222_486_528,
          recipes={"paper": RECIPE},
          published=(Published("CIFAR-10+", 8.81, source="table 1"), Published("CIFAR-10", 10.41, source="table 1"),
                     Published("CIFAR-100", 35.68, source="table 2"), Published("SVHN", 2.35, source="table 3")))
def nin_cifar10(num_classes=10, dropout=0.5, in_channels=3):
    """The network for CIFAR and SVHN."""
    model = NIN(nn.Sequential(
        MLPConv(in_channels, (192, 160, 96), 5, padding=2), nn.MaxPool2d(3, 2, ceil_mode=True), nn.Dropout(dropout),
        MLPConv(96, (192, 192, 192), 5, padding=2), nn.MaxPool2d(3, 2, ceil_mode=True), nn.Dropout(dropout),
        MLPConv(192, (192, 192, num_classes), 3, padding=1)), in_channels, smallest=6)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            set_std(layer, 0.05)
    model.features[-1].mlp2.bias.data += 1      # else half of the classes start behind a ReLU that no image opens
    return model


@register("nin_imagenet", **PAPER, input_shape=(3, 224, 224), smallest=67, depth=12, params=7_595_176, macs=969_460_864,
          recipes={"paper": IMAGENET_RECIPE},
          published=(Published("ImageNet", 40.64, source="authors' Caffe model"),))
def nin_imagenet(num_classes=1000, dropout=0.5, in_channels=3):
    """The authors' network for ImageNet."""
    return NIN(nn.Sequential(
        MLPConv(in_channels, (96, 96, 96), 11, stride=4), nn.MaxPool2d(3, 2),
        MLPConv(96, (256, 256, 256), 5, padding=2), nn.MaxPool2d(3, 2),
        MLPConv(256, (384, 384, 384), 3, padding=1), nn.MaxPool2d(3, 2), nn.Dropout(dropout),
        MLPConv(384, (1024, 1024, num_classes), 3, padding=1)), in_channels, smallest=67)
