"""The architectures, one paper a file: names() lists them, create(name) builds one, info(name) tells its figures.

A model may define `loss(output, labels, label_smoothing=0.0) -> Tensor` for training, as GoogLeNet does with its auxiliary
classifiers; for others the loss is ops.cross_entropy(model(x), labels, label_smoothing).
"""

from minicnn.models import (  # noqa: F401 (importing a family registers its presets)
    alexnet,
    alexnet_owt,
    resnet,
    resnet_cifar,
    vgg,
)
from minicnn.models import stochastic_depth as _stochastic_depth
from minicnn.models.classifier import fully_convolutional
from minicnn.models.recipe import Recipe
from minicnn.models.registry import ModelInfo, Published, create, info, names

stochastic_depth = _stochastic_depth.stochastic_depth

__all__ = ["ModelInfo", "Published", "Recipe", "create", "fully_convolutional", "info", "names", "stochastic_depth"]
