"""The architectures, one paper a file: names() lists them, create(name) builds one, info(name) tells its figures."""

from minicnn.models import resnet_cifar  # noqa: F401 (importing a family registers its presets)
from minicnn.models.recipe import Recipe
from minicnn.models.registry import ModelInfo, Published, create, info, names

__all__ = ["ModelInfo", "Published", "Recipe", "create", "info", "names"]
