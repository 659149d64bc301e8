"""Trained networks from files, with what their images have to go through."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from minicnn import models
from minicnn.errors import ArgumentError, CheckpointError
from minicnn.io import load_safetensors, load_weights
from minicnn.io.deep_compression import is_deep_compression
from minicnn.training.checkpoint import FORMAT, load_checkpoint, model_weights

_CAFFE_SIDE = 227


@dataclass
class Trained:
    """A file of weights: the arrays, the configuration they were trained by ({} where the file has none), the kind of
    preprocessing that they expect and the input's side if it is not the model's usual one."""

    weights: dict
    preprocessing: str
    configuration: dict = field(default_factory=dict)
    side: int | None = None


def read_trained(path):
    """The Trained in a file: minicnn's own weights and checkpoints, or whatever io.load_weights reads.

    Files of minicnn say themselves what they were trained by; SqueezeNet's .net is preprocessed as its authors did
    ("caffe", crops of 227); weights from elsewhere are taken to expect ImageNet's mean and std, as torchvision's models
    and most that are published for PyTorch do. Raises CheckpointError.
    """
    path = Path(path)
    if path.is_file():
        with open(path, "rb") as file:
            head = file.read(512)
        if head[8:9] == b"{":
            return _read_own(path)
        if is_deep_compression(head, path.stat().st_size):
            return Trained(load_weights(path), "caffe", side=_CAFFE_SIDE)
    return Trained(load_weights(path), "imagenet")


def _read_own(path):
    arrays, metadata = load_safetensors(path)
    if metadata.get("format") == FORMAT:
        arrays, state = load_checkpoint(path)
        return Trained(model_weights(arrays), "data", _as_dict(state.get("configuration")))
    if "configuration" not in metadata:
        return Trained(arrays, "imagenet")
    try:
        configuration = json.loads(metadata["configuration"])
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: its configuration is not JSON ({str(error)[:80]}); the file is damaged") from error
    return Trained(arrays, "data", _as_dict(configuration))


def _as_dict(configuration):
    return configuration if isinstance(configuration, dict) else {}


def build_model(trained, name, classes, path):
    """The model `name` (None: the file's own) with the weights of `trained`, for so many classes, in evaluation mode.

    Raises CheckpointError where weights do not fit the model or the number of classes; ModelError; ArgumentError.
    """
    own = trained.configuration.get("model")
    if name is None and own is None:
        raise ArgumentError(f"{path}: does not say which model it is for; name the model, for example `minicnn eval resnet20`")
    model = models.create(name or own, num_classes=classes)
    last = list(model.state_dict())[-1]
    found = trained.weights.get(last)
    if found is not None and found.ndim and len(found) != classes:
        raise CheckpointError(f"{path}: the weights are for {len(found)} classes ({last}), the data set has {classes}; choose "
                              "weights and data with the same classes")
    try:
        model.load_state_dict(trained.weights)
    except CheckpointError as error:
        hint = f" (the file says it was trained as {own})" if own and name and own != name else ""
        raise CheckpointError(f"{path}: {error}{hint}") from error
    return model.eval()
