"""Evaluation: how many of a data set's images a network, or several together, get right."""

import itertools
from dataclasses import asdict, dataclass

import numpy as np

from minicnn.autograd import Tensor, no_grad
from minicnn.errors import ArgumentError, ShapeError
from minicnn.training.batches import on_device_of


@dataclass
class Score:
    """Counts of right answers: top1 and top5 of n images; loss is the mean cross-entropy."""

    top1: int
    top5: int
    n: int
    loss: float

    accuracy = property(lambda self: self.top1 / self.n)
    top5_accuracy = property(lambda self: self.top5 / self.n)

    def as_dict(self):
        """{"top1", "top5", "n", "loss", "accuracy", "top5_accuracy"}"""
        return {**asdict(self), "accuracy": self.accuracy, "top5_accuracy": self.top5_accuracy}


def evaluate(models, loader, *other_views, limit_batches=None, advance=None):
    """The Score of a model, or of several that vote by the mean of their softmax outputs, over a loader's batches.

    Batches hold images (N, C, H, W), or crops (N, crops, C, H, W) whose softmax outputs are averaged as well (Krizhevsky
    et al. 2012, section 4.1; ensembles: section 6). other_views: loaders that show the same images in other ways, for example
    at other scales; they are averaged too. A model that gives several outputs counts by its first. advance(images) is
    called after each batch. Models are left in evaluation mode. Raises ShapeError where outputs and classes do not fit.
    """
    models = list(models) if isinstance(models, list | tuple) else [models]
    if not models:
        raise ArgumentError("evaluate: no model given; pass one or a list of them")
    for model in models:
        model.eval()
    top1 = top5 = n = 0
    loss = 0.0
    for views in itertools.islice(zip(loader, *other_views, strict=True), limit_batches):
        labels = views[0][1]
        p = np.mean([probabilities(model, images) for model in models for images, _ in views], axis=0)
        _check_classes(p, loader)
        place = ranks(p, labels)
        top1, top5, n = top1 + int((place < 1).sum()), top5 + int((place < 5).sum()), n + len(labels)
        loss -= float(np.log(np.maximum(p[np.arange(len(p)), labels], 1e-300)).sum())
        if advance:
            advance(len(labels))
    if not n:
        raise ArgumentError("evaluate: the loader gave no images; pass one with at least one batch")
    return Score(top1, top5, n, loss / n)


def _check_classes(p, loader):
    classes = len(loader.dataset.classes) if hasattr(loader, "dataset") else p.shape[1]
    if p.shape[1] != classes:
        raise ShapeError(f"evaluate: the network gives {p.shape[1]} classes, the data set has {classes}; choose weights "
                         "and data with the same classes")


def probabilities(model, images):
    """Softmax outputs (N, classes) in float64, of images (N, C, H, W) or averaged over crops (N, crops, C, H, W)."""
    crops = images.shape[1] if images.ndim == 5 else 1
    with no_grad():
        output = model(Tensor(on_device_of(images.reshape(-1, *images.shape[-3:]), model)))
    logits = np.asarray(first_output(output).data, np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    p = np.exp(logits)
    p /= p.sum(axis=1, keepdims=True)
    return p.reshape(-1, crops, p.shape[1]).mean(axis=1)


def first_output(output):
    """The main logits of a model's output: itself, or the first where auxiliary classifiers give more."""
    return output[0] if isinstance(output, tuple | list) else output


def ranks(scores, labels):
    """How many classes come before the right one in `scores` (N, K): 0 is a top-1 hit.

    Ties go to the lower class; where the right one's score is not a number, all come before it.
    """
    own = scores[np.arange(len(scores)), labels][:, None]
    earlier = np.arange(scores.shape[1]) < np.asarray(labels)[:, None]
    return (~(scores <= own) | ((scores == own) & earlier)).sum(axis=1)
