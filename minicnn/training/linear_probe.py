"""Features for other tasks: what a trained network sees at a layer, and a linear classifier on it.

    features, labels = layer_features(model, "fc7", loader)
    probe = fit_linear(features, labels, num_classes)
    probe(features)                                                 # (N, num_classes) scores

Source: Simonyan and Zisserman 2015, appendix B: L2-normalised features of the layer before the last, a linear classifier.
"""

import numpy as np

from minicnn import nn
from minicnn.autograd import Tensor, no_grad
from minicnn.errors import ArgumentError, ShapeError


def layer_features(model, layer, loader):
    """model.features_at(layer, images) of all batches -> (features (N, D), each row of L2 norm 1; labels (N,)).

    The model is left in evaluation mode. Raises ArgumentError for models without features_at, ModelError for other layers.
    """
    if not hasattr(model, "features_at"):
        raise ArgumentError(f"layer_features: {type(model).__name__} has no features_at; choose an AlexNet or VGG")
    model.eval()
    rows, labels, dtype = [], [], next(model.parameters()).dtype
    with no_grad():
        for images, of_batch in loader:
            rows.append(model.features_at(layer, Tensor(np.asarray(images, dtype))).data)
            labels.append(of_batch)
    return normalized(np.concatenate(rows)), np.concatenate(labels)


def normalized(features):
    """Each row divided by its L2 norm; rows of zeros stay."""
    norm = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.where(norm == 0, 1, norm)


def fit_linear(features, labels, num_classes, ridge=1e-3):
    """The least-squares linear classifier of features (N, D) with integer labels (N,) -> nn.Linear(D, num_classes).

    Minimises mean_n |W x_n + b - t_n|² + ridge · s · |W|² in float64; the targets t are 1 for the own class and 0 for others,
    s is the mean squared distance of the features from their mean, so that `ridge` has no unit.
    Source: Suykens and Vandewalle 1999, "Least squares support vector machine classifiers", with a linear kernel.
    Raises ShapeError, ArgumentError.
    """
    x, labels = np.asarray(features, np.float64), np.asarray(labels)
    if x.ndim != 2 or labels.shape != x.shape[:1] or not x.size:
        raise ShapeError(f"fit_linear: features {x.shape} and labels {labels.shape} are not (N, D) and (N,) with N, D > 0")
    if labels.min() < 0 or labels.max() >= num_classes:
        raise ArgumentError(f"fit_linear: labels from {labels.min()} to {labels.max()} do not fit {num_classes} classes; "
                            f"choose from 0 to {num_classes - 1}")
    if not ridge > 0:
        raise ArgumentError(f"fit_linear: ridge {ridge} is not above 0; pass for example 1e-3")
    targets = np.eye(num_classes)[labels]
    mean, share = x.mean(0), targets.mean(0)
    centred, wanted = x - mean, targets - share
    penalty = ridge * max(np.square(centred).sum(), 1e-300)
    if len(x) < x.shape[1]:         # the smaller of the two systems: (N, N), or below (D, D)
        weight = centred.T @ np.linalg.solve(centred @ centred.T + penalty * np.eye(len(x)), wanted)
    else:
        weight = np.linalg.solve(centred.T @ centred + penalty * np.eye(x.shape[1]), centred.T @ wanted)
    probe = nn.Linear(x.shape[1], num_classes)
    probe.weight.data[...], probe.bias.data[...] = weight.T, share - mean @ weight
    return probe
