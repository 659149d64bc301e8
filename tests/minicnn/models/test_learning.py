"""Every family learns: its smallest preset tells handwritten digits apart after a few epochs, 95 % of those held out at least.

The networks are the registered ones with all their layers; what is small is the image. Those that take any size get the digits
as they are, 8x8; those that do not get them enlarged to what their layers need, about the smallest size that they take.
"""

from dataclasses import dataclass, field

import numpy as np
import pytest

from minicnn import data, models, optim
from minicnn.training import Trainer, fit_linear, layer_features
from minicnn.training.linear_probe import normalized


@dataclass(frozen=True)
class Lesson:
    """How one preset learns: `side` pixels, a cosine schedule from `lr` after 20 warm-up steps, gradients of norm `clip` at
    most, at the end batch norm's statistics over the training set where `recompute` is set."""

    name: str
    side: int
    epochs: int
    lr: float
    batch: int = 64
    clip: float | None = None
    options: dict = field(default_factory=dict)
    recompute: bool = False


# Without batch norm learning is slow to start: small batches make more steps, and dropout, which is for long runs, is off.
PLAIN = {"batch": 16, "clip": 1.0, "options": {"dropout": 0.0}}
LESSONS = {
    "AlexNet": Lesson("alexnet_owt", 63, 5, 0.01, **{**PLAIN, "batch": 32}),
    "VGG": Lesson("vgg11", 32, 4, 0.01, **{**PLAIN, "batch": 32}),
    "GoogLeNet": Lesson("googlenet_bn", 31, 5, 0.05, 32),
    "ResNet": Lesson("resnet20", 8, 5, 0.1),
    "NiN": Lesson("nin_cifar10", 8, 8, 0.05, **PLAIN),
    "Wide ResNet": Lesson("wrn_40_4", 8, 2, 0.05, 32),
    "ResNeXt": Lesson("resnext50_32x4d", 32, 7, 0.01, 32),
    "Stochastic Depth": Lesson("stochastic_depth_resnet110", 8, 4, 0.02, 16),
    # Drop-path shows the joins of training other means than the whole network has: batch norm's statistics are taken anew.
    "FractalNet": Lesson("fractalnet40", 32, 12, 0.1, 32, 1.0, {"dropouts": (0.0,) * 5}, recompute=True),
    "DenseNet": Lesson("densenet_40_12", 8, 3, 0.1),
    "SqueezeNet": Lesson("squeezenet1_1", 48, 14, 0.02, **PLAIN),
}


def digits(split):
    return data.open_dataset("digits", split)


def loader(images, side, batch=100, shuffle=False):
    """The digits at the network's size, as they are: a few epochs need no augmentation."""
    return data.Loader(images, batch, data.default_transforms(images, (3, side, side), train=False), shuffle=shuffle)


def learnt(lesson):
    """(the trained network, the share of the held-out digits that it gets right in the end)"""
    model = models.create(lesson.name, num_classes=10, **lesson.options)
    batches = loader(digits("train"), lesson.side, lesson.batch, shuffle=True)
    optimizer = optim.SGD(model.parameters(), lesson.lr, 0.9, 1e-4, nesterov=True)
    schedule = optim.Cosine(optimizer, lesson.epochs * len(batches))
    trainer = Trainer(model, batches, loader(digits("test"), lesson.side), optimizer, schedule,
                      warmup=optim.WarmUp(optimizer, 20, 0.1), schedule_unit="iteration", epochs=lesson.epochs,
                      clip_norm=lesson.clip, recompute_batch_norm=lesson.recompute)
    return model, trainer.run()[-1]["test_accuracy"]


@pytest.mark.parametrize("family", [family if family == "ResNet" else pytest.param(family, marks=pytest.mark.slow)
                                    for family in LESSONS if family != "VGG"])
def test_the_smallest_preset_learns_the_digits(family):
    assert learnt(LESSONS[family])[1] >= 0.95


@pytest.mark.slow
def test_a_vgg_learns_the_digits_and_a_linear_classifier_on_its_fc7_another_task():
    """Even and odd digits, from 20 images: far better on FC7 of the network that knows digits than on the pixels."""
    lesson = LESSONS["VGG"]
    model, accuracy = learnt(lesson)
    assert accuracy >= 0.95
    few = data.subset(digits("train"), np.arange(20))
    right = {}
    for what in ("fc7", "pixels"):
        (x, labels), (others, truth) = (seen(what, model, loader(images, lesson.side)) for images in (few, digits("test")))
        probe = fit_linear(x, labels % 2, 2)
        right[what] = (probe(others).data.argmax(1) == truth % 2).mean()
    assert right["fc7"] > 0.9 > right["pixels"], right


def seen(what, model, batches):
    """(features (N, D), labels (N,)) of all images of a loader."""
    if what == "fc7":
        return layer_features(model, "fc7", batches)
    images, labels = zip(*batches)
    return normalized(np.concatenate(images).reshape(sum(map(len, labels)), -1)), np.concatenate(labels)
