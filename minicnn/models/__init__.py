"""The architectures, one paper a file: names() lists them, create(name) builds one, info(name) tells its figures.

A model may define `loss(output, labels, label_smoothing=0.0) -> Tensor` for training, as GoogLeNet does with its
auxiliary classifiers; for others the loss is ops.cross_entropy(model(x), labels, label_smoothing).
"""

from minicnn.models import (  # noqa: F401 (importing a family registers its presets)
    alexnet,
    alexnet_owt,
    densenet,
    fractalnet,
    googlenet,
    nin,
    preact_resnet,
    resnet,
    resnet_cifar,
    resnext,
    squeezenet,
    vgg,
    wide_resnet,
)
from minicnn.models.classifier import fully_convolutional
from minicnn.models.recipe import Recipe
from minicnn.models.registry import ModelInfo, Published, create, info, names
from minicnn.models.stochastic_depth import with_stochastic_depth

__all__ = ["ModelInfo", "Published", "Recipe", "create", "fully_convolutional", "info", "names",
           "with_stochastic_depth"]
