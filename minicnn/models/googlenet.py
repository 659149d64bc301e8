"""GoogLeNet: Szegedy et al. 2015, table 1 and figure 3. Names of parameters are torchvision's, for both forms.

`googlenet` is the paper's: response normalisation, 5x5 branches, biases. `googlenet_bn` is torchvision's: batch norm,
and 3x3 in the place of 5x5.
"""

from collections import namedtuple

import numpy as np

from minicnn import nn, ops
from minicnn.autograd import as_tensor
from minicnn.models.recipe import Recipe
from minicnn.models.registry import Published, check_images, register

RECIPE = Recipe(
    source="Szegedy et al. 2015, section 6", batch_size=32, epochs=250, lr=0.01, weight_decay=2e-4,
    schedule="step", schedule_args={"size": 8, "factor": 0.96},
    augmentation=(("random_resized_crop", 224), ("flip",), ("photometric",), ("normalize",)), auxiliary_weight=0.3,
    dropout="0.4 before the last layer, 0.7 in the auxiliary classifiers",
    notes="the paper gives the schedule, momentum and augmentation; batch size, epochs, rate and weight decay are not "
          "in it, but those of BVLC's replication in Caffe; it averages the weights over training (Polyak) for the final model")

GoogLeNetOutputs = namedtuple("GoogLeNetOutputs", ["logits", "aux_logits2", "aux_logits1"])
AUXILIARY_WEIGHT = 0.3          # section 5


class BasicConv2d(nn.Module):
    """Convolution and ReLU, with batch norm between (and no bias) where asked."""

    def __init__(self, in_channels, out_channels, batch_norm, kernel_size, stride=1, padding=0):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, bias=not batch_norm)
        self.bn = nn.BatchNorm2d(out_channels, eps=0.001) if batch_norm else None

    def forward(self, x, buffer=None):
        """buffer: an ops.ChannelBuffer whose next channels the result may be written to."""
        if self.bn is None:
            return nn.conv_relu(self.conv, x, buffer)
        return nn.conv_norm_relu(self.conv, self.bn, x, buffer)


class Branch(nn.Sequential):
    """Two layers, the second of which may write to a buffer that all branches share."""

    def forward(self, x, buffer=None):
        first, second = self
        return second(first(x), buffer)


class Inception(nn.Module):
    """The inception module (figure 2b): 1x1, 3x3 and 5x5 convolutions and 3x3 pooling side by side, concatenated.

    x (N, C, H, W) -> (N, c1 + c3 + c5 + pool, H, W). 1x1 convolutions to r3 and r5 channels go before the large ones,
    and one behind the pooling: the bottleneck. Table 1 has the numbers in this order: c1, r3, c3, r5, c5, pool.
    """

    def __init__(self, in_channels, c1, r3, c3, r5, c5, pool, batch_norm):
        super().__init__()
        large = 3 if batch_norm else 5
        self.branch1 = BasicConv2d(in_channels, c1, batch_norm, 1)
        self.branch2 = Branch(BasicConv2d(in_channels, r3, batch_norm, 1), BasicConv2d(r3, c3, batch_norm, 3, padding=1))
        self.branch3 = Branch(BasicConv2d(in_channels, r5, batch_norm, 1),
                              BasicConv2d(r5, c5, batch_norm, large, padding=large // 2))
        self.branch4 = Branch(nn.MaxPool2d(3, 1, padding=1), BasicConv2d(in_channels, pool, batch_norm, 1))
        self.out_channels = c1 + c3 + c5 + pool

    def forward(self, x):
        buffer = ops.ChannelBuffer(self.out_channels)
        return ops.concat([self.branch1(x, buffer), self.branch2(x, buffer), self.branch3(x, buffer), self.branch4(x, buffer)])


class NaiveInception(nn.Module):
    """The module without 1x1 bottlenecks (figure 2a), to show what they save: pooling keeps all channels.

    x (N, C, H, W) -> (N, c1 + c3 + c5 + C, H, W).
    """

    def __init__(self, in_channels, c1, c3, c5):
        super().__init__()
        self.branch1 = BasicConv2d(in_channels, c1, False, 1)
        self.branch2 = BasicConv2d(in_channels, c3, False, 3, padding=1)
        self.branch3 = BasicConv2d(in_channels, c5, False, 5, padding=2)
        self.branch4 = nn.MaxPool2d(3, 1, padding=1)
        self.out_channels = c1 + c3 + c5 + in_channels

    def forward(self, x):
        return ops.concat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)])


class InceptionAux(nn.Module):
    """An auxiliary classifier: average pooling to 4x4, 1x1 convolution, two fully connected layers (section 5).

    The paper pools 5x5 with stride 3, which makes 4x4 of its 14x14; maps of other sizes are then averaged to 4x4, as
    torchvision does without the 5x5.
    """

    def __init__(self, in_channels, num_classes, batch_norm, dropout):
        super().__init__()
        self.avgpool = None if batch_norm else nn.AvgPool2d(5, 3)
        self.conv = BasicConv2d(in_channels, 128, batch_norm, 1)
        self.fc1 = nn.Linear(128 * 4 * 4, 1024)
        self.fc2 = nn.Linear(1024, num_classes)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x):
        if self.avgpool is not None:
            x = self.avgpool(x)
        x = self.conv(ops.adaptive_avg_pool2d(x, (4, 4)))
        return self.fc2(self.dropout(ops.relu(self.fc1(ops.flatten(x)))))


# Table 1: c1, r3, c3, r5, c5, pool
TABLE_1 = {"3a": (64, 96, 128, 16, 32, 32), "3b": (128, 128, 192, 32, 96, 64),
           "4a": (192, 96, 208, 16, 48, 64), "4b": (160, 112, 224, 24, 64, 64), "4c": (128, 128, 256, 24, 64, 64),
           "4d": (112, 144, 288, 32, 64, 64), "4e": (256, 160, 320, 32, 128, 128),
           "5a": (256, 160, 320, 32, 128, 128), "5b": (384, 192, 384, 48, 128, 128)}


class GoogLeNet(nn.Module):
    """Three convolutions, nine inception modules, global average, one linear layer; 22 layers deep.

    x (N, in_channels, H, W) -> logits (N, num_classes); in training with auxiliary classifiers, behind 4a and 4d, a
    GoogLeNetOutputs (logits, aux_logits2, aux_logits1), which `loss` takes.
    """

    def __init__(self, num_classes, batch_norm, aux, dropout, aux_dropout, transform_input, in_channels):
        super().__init__()
        self.in_channels, self.batch_norm, self.transform_input = in_channels, batch_norm, transform_input
        self.conv1 = BasicConv2d(in_channels, 64, batch_norm, 7, stride=2, padding=3)
        self.maxpool1 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv2 = BasicConv2d(64, 64, batch_norm, 1)
        self.conv3 = BasicConv2d(64, 192, batch_norm, 3, padding=1)
        self.maxpool2 = nn.MaxPool2d(3, 2, ceil_mode=True)
        channels = 192
        for name, row in TABLE_1.items():
            module = Inception(channels, *row, batch_norm)
            self.add_module(f"inception{name}", module)
            channels = module.out_channels
        self.maxpool3 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.maxpool4 = nn.MaxPool2d(2 if batch_norm else 3, 2, ceil_mode=True)
        self.lrn = nn.Identity() if batch_norm else nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0)
        self.aux1 = InceptionAux(512, num_classes, batch_norm, aux_dropout) if aux else None
        self.aux2 = InceptionAux(528, num_classes, batch_norm, aux_dropout) if aux else None
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(1024, num_classes)

    def forward(self, x):
        with_aux = self.training and self.aux1 is not None
        if with_aux and not self.batch_norm:
            check_images(x, self, 79, "its auxiliary classifiers pool 5x5 after four halvings")
        check_images(x, self, 31 if self.batch_norm else 47, "its last pooling window finds too few pixels")
        x = self._stem(_to_unit_range(x) if self.transform_input else as_tensor(x))
        x = self.maxpool3(self.inception3b(self.inception3a(x)))
        x = self.inception4a(x)
        aux1 = self.aux1(x) if with_aux else None
        x = self.inception4d(self.inception4c(self.inception4b(x)))
        aux2 = self.aux2(x) if with_aux else None
        x = self.maxpool4(self.inception4e(x))
        x = self.inception5b(self.inception5a(x))
        logits = self.fc(self.dropout(ops.global_avg_pool2d(x)))
        return GoogLeNetOutputs(logits, aux2, aux1) if with_aux else logits

    def _stem(self, x):
        """Table 1 down to the first inception module: (N, C, H, W) -> (N, 192, ~H/8, ~W/8)"""
        x = self.lrn(self.maxpool1(self.conv1(x)))
        x = self.lrn(self.conv3(self.conv2(x)))
        return self.maxpool2(x)

    def loss(self, output, labels, label_smoothing=0.0):
        """Cross-entropy of the logits, plus 0.3 of each auxiliary classifier's in training."""
        if not isinstance(output, GoogLeNetOutputs):
            return ops.cross_entropy(output, labels, label_smoothing)
        main, aux2, aux1 = (ops.cross_entropy(logits, labels, label_smoothing) for logits in output)
        return main + AUXILIARY_WEIGHT * (aux1 + aux2)


def _to_unit_range(x):
    """From torchvision's ImageNet normalisation to (RGB - 0.5)/0.5, which its pre-trained GoogLeNet was made with."""
    mean, std = np.array([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]]).reshape(2, 1, 3, 1, 1)
    x = as_tensor(x)
    return x * (std / 0.5).astype(x.dtype) + ((mean - 0.5) / 0.5).astype(x.dtype)


FACTS = {"paper": "Szegedy et al. 2015, Going deeper with convolutions", "year": 2015, "input_shape": (3, 224, 224),
         "depth": 22, "recipes": {"paper": RECIPE}}


@register("googlenet", **FACTS, smallest=79, params=13_378_280, macs=1_582_671_872,
          published=(Published("ImageNet", None, 10.07, "table 3, 1 model, 1 crop"),
                     Published("ImageNet", None, 9.15, "table 3, 1 model, 10 crops"),
                     Published("ImageNet", None, 6.67, "table 3, 7 models, 144 crops")))
def googlenet(num_classes=1000, aux=True, dropout=0.4, aux_dropout=0.7, in_channels=3):
    """The paper's network; aux=False leaves out the auxiliary classifiers."""
    return GoogLeNet(num_classes, False, aux, dropout, aux_dropout, False, in_channels)


@register("googlenet_bn", **FACTS, smallest=31, params=13_004_888, macs=1_498_376_192,
          published=(Published("ImageNet", 30.22, 10.47, "torchvision, IMAGENET1K_V1"),))
def googlenet_bn(num_classes=1000, aux=True, dropout=0.2, aux_dropout=0.7, transform_input=False, in_channels=3):
    """torchvision's network; its pre-trained weights need transform_input=True."""
    return GoogLeNet(num_classes, True, aux, dropout, aux_dropout, transform_input, in_channels)
