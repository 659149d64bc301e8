"""AlexNet as its paper has it: Krizhevsky, Sutskever, Hinton 2012, figure 2."""

from dataclasses import replace

from minicnn import nn, ops
from minicnn.models.classifier import features_at, set_std
from minicnn.models.recipe import Recipe
from minicnn.models.registry import Published, check_images, register

RECIPE = Recipe(
    source="Krizhevsky et al. 2012, section 5", batch_size=128, epochs=90, lr=0.01, weight_decay=5e-4,
    schedule="plateau", schedule_args={"factor": 0.1, "patience": 5, "mode": "min"},
    augmentation=(("resize", 256), ("random_crop", 227), ("flip",), ("color_pca", 0.1), ("normalize",)),
    initial="N(0, 0.01); bias 1 in conv2, conv4, conv5 and the hidden fully connected layers, else 0",
    dropout="0.5 behind the two hidden fully connected layers", validation="the rate is divided by 10 three times",
    notes="the paper's update has the learning rate inside the velocity; crops of 224 in the text, 227 by arithmetic; "
          "the paper subtracts the mean image; test: 5 crops and their mirror images, softmax averaged")
LECTURE = replace(RECIPE, source="CNN architectures lecture, slide on AlexNet",
                  schedule_args={"factor": 0.1, "patience": 5, "mode": "max"},
                  validation="the rate is divided by 10 by hand when validation accuracy stalls",
                  notes="the lecture counts 7 networks, 18.2 % -> 15.4 % top-5")


def normalization():
    """Response normalisation with k 2, n 5, alpha 1e-4, beta 0.75; our alpha is divided by n, the paper's is not."""
    return nn.LocalResponseNorm(5, alpha=5 * 1e-4, beta=0.75, k=2.0)


class AlexNet(nn.Module):
    """Five convolutions, in two groups where the paper's two GPUs did not talk, and three fully connected layers.

    x (N, in_channels, 227, 227) -> logits (N, num_classes); sides up to 258 give the same 6x6 map. The biases of 1
    feed the ReLUs positive inputs from the start (section 5).
    """

    side = 6

    def __init__(self, num_classes, dropout, in_channels):
        super().__init__()
        self.in_channels = in_channels
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, 96, 11, 4), nn.ReLU(), normalization(), nn.MaxPool2d(3, 2),
            nn.Conv2d(96, 256, 5, padding=2, groups=2), nn.ReLU(), normalization(), nn.MaxPool2d(3, 2),
            nn.Conv2d(256, 384, 3, padding=1), nn.ReLU(),
            nn.Conv2d(384, 384, 3, padding=1, groups=2), nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1, groups=2), nn.ReLU(), nn.MaxPool2d(3, 2))
        self.classifier = nn.Sequential(
            nn.Linear(256 * 6 * 6, 4096), nn.ReLU(), nn.Dropout(dropout),
            nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout(dropout),
            nn.Linear(4096, num_classes))
        for layer in (*self.features, *self.classifier):
            if isinstance(layer, nn.Conv2d | nn.Linear):
                set_std(layer, 0.01)
        for layer in (self.features[4], self.features[10], self.features[12], self.classifier[0], self.classifier[3]):
            layer.bias.data += 1

    def pooled(self, x):
        """What the fully connected layers see: (N, 9216)"""
        check_images(x, self, 227, "its fully connected layers need a map of 6x6", largest=258)
        return ops.flatten(self.features(x))

    def forward(self, x):
        return self.classifier(self.pooled(x))

    def features_at(self, layer, x):
        """(N, features) at "pool5", "fc6", "fc7" or "fc8"; see classifier.features_at."""
        return features_at(self, layer, x)


@register("alexnet", paper="Krizhevsky et al. 2012, ImageNet classification with deep convolutional neural networks",
          year=2012, input_shape=(3, 227, 227), smallest=227, depth=8, params=60_965_224, macs=724_406_816,
          published=(Published("ImageNet", 40.7, 18.2, "table 2, 1 CNN, 10-crop"),
                     Published("ImageNet", 38.1, 16.4, "table 2, 5 CNNs"),
                     Published("ImageNet", 36.7, 15.4, "table 2, 7 CNNs, pre-trained on all of ImageNet")),
          recipes={"paper": RECIPE, "lecture": LECTURE})
def alexnet(num_classes=1000, dropout=0.5, in_channels=3):
    """The paper's network, both halves in one."""
    return AlexNet(num_classes, dropout, in_channels)
