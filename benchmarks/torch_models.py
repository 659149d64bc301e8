"""The same networks in PyTorch, as its users write them: torchvision's structure and names, in-place ReLU included.

TWINS[name]() is a torch.nn.Module whose state_dict has the names and shapes of minicnn.models.create(name)'s. Written from the
papers' tables with torchvision's parameter names, so that only torch is needed. Nothing of minicnn is imported here.
"""

from functools import partial

import torch
from torch import nn
from torch.nn import functional as F


def relu():
    return nn.ReLU(inplace=True)


class AlexNet(nn.Module):
    """Krizhevsky 2014, one column."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 11, 4, 2), relu(), nn.MaxPool2d(3, 2),
            nn.Conv2d(64, 192, 5, padding=2), relu(), nn.MaxPool2d(3, 2),
            nn.Conv2d(192, 384, 3, padding=1), relu(), nn.Conv2d(384, 256, 3, padding=1), relu(),
            nn.Conv2d(256, 256, 3, padding=1), relu(), nn.MaxPool2d(3, 2))
        self.avgpool = nn.AdaptiveAvgPool2d((6, 6))
        self.classifier = nn.Sequential(nn.Dropout(), nn.Linear(9216, 4096), relu(), nn.Dropout(), nn.Linear(4096, 4096),
                                        relu(), nn.Linear(4096, 1000))

    def forward(self, x):
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


class VGG16(nn.Module):
    """Simonyan and Zisserman 2015, configuration D."""

    def __init__(self):
        super().__init__()
        layers, channels = [], 3
        for width, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
            for _ in range(count):
                layers += [nn.Conv2d(channels, width, 3, padding=1), relu()]
                channels = width
            layers.append(nn.MaxPool2d(2, 2))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d((7, 7))
        self.classifier = nn.Sequential(nn.Linear(25088, 4096), relu(), nn.Dropout(), nn.Linear(4096, 4096), relu(),
                                        nn.Dropout(), nn.Linear(4096, 1000))

    def forward(self, x):
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


class BasicConv2d(nn.Module):
    """GoogLeNet's convolution, batch norm and ReLU."""

    def __init__(self, in_channels, out_channels, kernel, stride=1, padding=0):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(out_channels, eps=0.001)

    def forward(self, x):
        return F.relu(self.bn(self.conv(x)), inplace=True)


class Inception(nn.Module):
    """Four branches side by side; torchvision's 3x3 in the place of 5x5."""

    def __init__(self, channels, c1, r3, c3, r5, c5, pool):
        super().__init__()
        self.branch1 = BasicConv2d(channels, c1, 1)
        self.branch2 = nn.Sequential(BasicConv2d(channels, r3, 1), BasicConv2d(r3, c3, 3, padding=1))
        self.branch3 = nn.Sequential(BasicConv2d(channels, r5, 1), BasicConv2d(r5, c5, 3, padding=1))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, 1, ceil_mode=True), BasicConv2d(channels, pool, 1))

    def forward(self, x):
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


class InceptionAux(nn.Module):
    """An auxiliary classifier."""

    def __init__(self, channels):
        super().__init__()
        self.conv = BasicConv2d(channels, 128, 1)
        self.fc1, self.fc2 = nn.Linear(2048, 1024), nn.Linear(1024, 1000)
        self.dropout = nn.Dropout(0.7)

    def forward(self, x):
        x = torch.flatten(self.conv(F.adaptive_avg_pool2d(x, (4, 4))), 1)
        return self.fc2(self.dropout(F.relu(self.fc1(x), inplace=True)))


class GoogLeNet(nn.Module):
    """Szegedy et al. 2015, with batch norm; in training (logits, second auxiliary, first auxiliary)."""

    MODULES = {"3a": (192, 64, 96, 128, 16, 32, 32), "3b": (256, 128, 128, 192, 32, 96, 64),
               "4a": (480, 192, 96, 208, 16, 48, 64), "4b": (512, 160, 112, 224, 24, 64, 64),
               "4c": (512, 128, 128, 256, 24, 64, 64), "4d": (512, 112, 144, 288, 32, 64, 64),
               "4e": (528, 256, 160, 320, 32, 128, 128), "5a": (832, 256, 160, 320, 32, 128, 128),
               "5b": (832, 384, 192, 384, 48, 128, 128)}

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = BasicConv2d(3, 64, 7, 2, 3), BasicConv2d(64, 64, 1)
        self.conv3 = BasicConv2d(64, 192, 3, padding=1)
        self.pool, self.maxpool4 = nn.MaxPool2d(3, 2, ceil_mode=True), nn.MaxPool2d(2, 2, ceil_mode=True)
        for name, row in self.MODULES.items():
            self.add_module(f"inception{name}", Inception(*row))
        self.aux1, self.aux2 = InceptionAux(512), InceptionAux(528)
        self.avgpool, self.dropout, self.fc = nn.AdaptiveAvgPool2d(1), nn.Dropout(0.2), nn.Linear(1024, 1000)

    def forward(self, x):
        x = self.pool(self.conv3(self.conv2(self.pool(self.conv1(x)))))
        x = self.inception4a(self.pool(self.inception3b(self.inception3a(x))))
        aux1 = self.aux1(x) if self.training else None
        x = self.inception4d(self.inception4c(self.inception4b(x)))
        aux2 = self.aux2(x) if self.training else None
        x = self.inception5b(self.inception5a(self.maxpool4(self.inception4e(x))))
        logits = self.fc(self.dropout(torch.flatten(self.avgpool(x), 1)))
        return (logits, aux2, aux1) if self.training else logits


class Bottleneck(nn.Module):
    """ResNet's 1x1, 3x3, 1x1 with the stride on the 3x3."""

    def __init__(self, in_channels, channels, stride, width, groups):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(in_channels, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, groups=groups, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, 4 * channels, 1, bias=False), nn.BatchNorm2d(4 * channels)
        self.relu, self.downsample = relu(), None
        if stride != 1 or in_channels != 4 * channels:
            self.downsample = nn.Sequential(nn.Conv2d(in_channels, 4 * channels, 1, stride, bias=False),
                                            nn.BatchNorm2d(4 * channels))

    def forward(self, x):
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn3(self.conv3(self.relu(self.bn2(self.conv2(y)))))
        y += x if self.downsample is None else self.downsample(x)
        return self.relu(y)


class ResNet(nn.Module):
    """He et al. 2016, 50 layers; width of the first stage's 3x3 and groups make it wide or a ResNeXt."""

    def __init__(self, width=64, groups=1):
        super().__init__()
        self.conv1, self.bn1, self.relu = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), relu()
        self.maxpool, channels = nn.MaxPool2d(3, 2, 1), 64
        for stage, count in enumerate((3, 4, 6, 3)):
            blocks = []
            for i in range(count):
                stride = 2 if stage and not i else 1
                blocks.append(Bottleneck(channels, 64 << stage, stride, width << stage, groups))
                channels = 256 << stage
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(2048, 1000)

    def forward(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(torch.flatten(self.avgpool(x), 1))


class DenseLayer(nn.Module):
    """BN-ReLU-1x1-BN-ReLU-3x3 on all features before it."""

    def __init__(self, channels, growth=32):
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(channels), nn.Conv2d(channels, 4 * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(4 * growth)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)
        self.relu = relu()

    def forward(self, features):
        x = self.conv1(self.relu(self.norm1(torch.cat(features, 1))))
        return self.conv2(self.relu(self.norm2(x)))


class DenseBlock(nn.Module):
    """Layers that each see what all before them made."""

    def __init__(self, layers, channels):
        super().__init__()
        for i in range(layers):
            self.add_module(f"denselayer{i + 1}", DenseLayer(channels + 32 * i))

    def forward(self, x):
        features = [x]
        for layer in self.children():
            features.append(layer(features))
        return torch.cat(features, 1)


class Transition(nn.Sequential):
    """Half the channels, half the image."""

    def __init__(self, channels):
        super().__init__()
        self.norm, self.relu = nn.BatchNorm2d(channels), relu()
        self.conv, self.pool = nn.Conv2d(channels, channels // 2, 1, bias=False), nn.AvgPool2d(2, 2)


class DenseNet121(nn.Module):
    """Huang et al. 2017, growth 32."""

    def __init__(self):
        super().__init__()
        self.features, channels = nn.Sequential(), 64
        for name, layer in (("conv0", nn.Conv2d(3, 64, 7, 2, 3, bias=False)), ("norm0", nn.BatchNorm2d(64)),
                            ("relu0", relu()), ("pool0", nn.MaxPool2d(3, 2, 1))):
            self.features.add_module(name, layer)
        for i, layers in enumerate((6, 12, 24, 16), start=1):
            self.features.add_module(f"denseblock{i}", DenseBlock(layers, channels))
            channels += 32 * layers
            if i < 4:
                self.features.add_module(f"transition{i}", Transition(channels))
                channels //= 2
        self.features.add_module("norm5", nn.BatchNorm2d(channels))
        self.classifier = nn.Linear(channels, 1000)

    def forward(self, x):
        x = F.relu(self.features(x), inplace=True)
        return self.classifier(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))


class Fire(nn.Module):
    """SqueezeNet's module."""

    def __init__(self, channels, squeeze, expand):
        super().__init__()
        self.squeeze = nn.Conv2d(channels, squeeze, 1)
        self.expand1x1, self.expand3x3 = nn.Conv2d(squeeze, expand, 1), nn.Conv2d(squeeze, expand, 3, padding=1)
        self.relu = relu()

    def forward(self, x):
        x = self.relu(self.squeeze(x))
        return torch.cat([self.relu(self.expand1x1(x)), self.relu(self.expand3x3(x))], 1)


class SqueezeNet(nn.Module):
    """Iandola et al. 2016, version 1.1."""

    def __init__(self):
        super().__init__()
        layers, channels = [nn.Conv2d(3, 64, 3, 2), relu(), self.pool()], 64
        for i, squeeze in enumerate((16, 16, 32, 32, 48, 48, 64, 64)):
            layers += [self.pool()] if i in (2, 4) else []
            layers.append(Fire(channels, squeeze, 4 * squeeze))
            channels = 8 * squeeze
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(), nn.Conv2d(512, 1000, 1), relu(), nn.AdaptiveAvgPool2d(1))

    @staticmethod
    def pool():
        return nn.MaxPool2d(3, 2, ceil_mode=True)

    def forward(self, x):
        return torch.flatten(self.classifier(self.features(x)), 1)


class BasicBlock(nn.Module):
    """CIFAR-ResNet's two 3x3 with shortcut A: every stride-th pixel, zero channels added."""

    def __init__(self, in_channels, channels):
        super().__init__()
        self.stride, self.more = 1 if in_channels == channels else 2, (channels - in_channels) // 2
        self.conv1 = nn.Conv2d(in_channels, channels, 3, self.stride, 1, bias=False)
        self.bn1, self.conv2 = nn.BatchNorm2d(channels), nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2, self.relu = nn.BatchNorm2d(channels), relu()

    def forward(self, x):
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        if self.more:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.more, self.more))
        y += x
        return self.relu(y)


class CifarResNet(nn.Module):
    """He et al. 2016, section 4.2: 6n + 2 layers."""

    def __init__(self, depth):
        super().__init__()
        self.conv1, self.bn1, self.relu = nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), relu()
        channels = 16
        for stage, width in enumerate((16, 32, 64), start=1):
            blocks = [BasicBlock(channels if i == 0 else width, width) for i in range((depth - 2) // 6)]
            self.add_module(f"layer{stage}", nn.Sequential(*blocks))
            channels = width
        self.avgpool, self.linear = nn.AdaptiveAvgPool2d(1), nn.Linear(64, 10)

    def forward(self, x):
        x = self.layer3(self.layer2(self.layer1(self.relu(self.bn1(self.conv1(x))))))
        return self.linear(torch.flatten(self.avgpool(x), 1))


TWINS = {
    "alexnet_owt": AlexNet,
    "vgg16": VGG16,
    "googlenet_bn": GoogLeNet,
    "resnet50": ResNet,
    "wide_resnet50_2": partial(ResNet, width=128),
    "resnext50_32x4d": partial(ResNet, width=128, groups=32),
    "densenet121": DenseNet121,
    "squeezenet1_1": SqueezeNet,
    "resnet20": partial(CifarResNet, 20),
    "resnet110": partial(CifarResNet, 110),
}


def loss(output, labels):
    """Cross-entropy; for GoogLeNet's three outputs that of the first and 0.3 of the others'."""
    if isinstance(output, tuple):
        main, aux2, aux1 = (F.cross_entropy(logits, labels) for logits in output)
        return main + 0.3 * (aux1 + aux2)
    return F.cross_entropy(output, labels)
