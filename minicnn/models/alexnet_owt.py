"""AlexNet in one column, without groups and normalisation: Krizhevsky 2014, section 5. Names are torchvision's."""

from minicnn import nn, ops
from minicnn.models.classifier import features_at
from minicnn.models.recipe import Recipe
from minicnn.models.registry import Published, check_images, register

RECIPE = Recipe(
    source="Krizhevsky 2014, section 5", batch_size=128, epochs=90, lr=0.01, weight_decay=5e-4,
    schedule="multistep", schedule_args={"milestones": [23, 45, 68], "factor": 250 ** (-1 / 3)},
    augmentation=(("resize", 256), ("random_crop", 224), ("flip",), ("normalize",)),
    dropout="0.5 in front of the two hidden fully connected layers",
    notes="the paper divides the rate by 250^(1/3) at 25, 50 and 75 % of training")


class AlexNetOWT(nn.Module):
    """Five convolutions and three fully connected layers: x (N, in_channels, H, W) -> logits (N, num_classes)."""

    side = 6

    def __init__(self, num_classes, dropout, in_channels):
        super().__init__()
        self.in_channels = in_channels
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, 64, 11, 4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(),
            nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2))
        self.avgpool = nn.AdaptiveAvgPool2d((6, 6))
        self.classifier = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(256 * 6 * 6, 4096), nn.ReLU(),
            nn.Dropout(dropout), nn.Linear(4096, 4096), nn.ReLU(),
            nn.Linear(4096, num_classes))

    def pooled(self, x):
        """What the fully connected layers see: (N, 9216)"""
        check_images(x, self, 63, "its third pooling window finds fewer than 3 pixels")
        return ops.flatten(self.avgpool(self.features(x)))

    def forward(self, x):
        return self.classifier(self.pooled(x))

    def features_at(self, layer, x):
        """(N, features) at "pool5", "fc6", "fc7" or "fc8"; see classifier.features_at."""
        return features_at(self, layer, x)


@register("alexnet_owt", paper="Krizhevsky 2014, One weird trick for parallelizing convolutional neural networks",
          year=2014, input_shape=(3, 224, 224), smallest=63, depth=8, params=61_100_840, macs=714_188_480,
          published=(Published("ImageNet", 43.48, 20.93, "torchvision, IMAGENET1K_V1"),), recipes={"paper": RECIPE})
def alexnet_owt(num_classes=1000, dropout=0.5, in_channels=3):
    """torchvision's AlexNet."""
    return AlexNetOWT(num_classes, dropout, in_channels)
