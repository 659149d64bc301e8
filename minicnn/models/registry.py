"""The list of architectures: each builder registers its presets, with the paper's figures beside the code."""

import difflib
import inspect
from dataclasses import dataclass, field

from minicnn.errors import ModelError, ShapeError

__all__ = ["ModelInfo", "Published", "check_images", "create", "info", "names", "register"]


@dataclass(frozen=True)
class Published:
    """One error that a paper reports for a network: percent on a data set's test or validation images.

    A "+" behind the data set means standard augmentation (pad 4, crop, flip), as the papers write it.
    """

    dataset: str                    # "ImageNet", "CIFAR-10", "CIFAR-10+", "CIFAR-100+", …
    top1: float | None
    top5: float | None = None
    source: str = ""                # "table 4, 10-crop"

    def __str__(self):
        errors = [self.top1] if self.top5 is None else [self.top1, self.top5]
        errors = "/".join("–" if error is None else str(float(error)) for error in errors)
        return f"{self.dataset} {errors} % ({self.source})" if self.source else f"{self.dataset} {errors} %"


@dataclass(frozen=True)
class ModelInfo:
    """What is known of one preset without building it."""

    name: str
    paper: str                      # "He et al. 2016, Deep residual learning for image recognition"
    year: int
    depth: int                      # convolutions and fully connected layers on the longest path, as the papers count
    params: int                     # trained numbers, auxiliary heads included
    macs: int                       # multiply-accumulates of one image of input_shape in evaluation mode
    input_shape: tuple              # (channels, height, width) of the paper's images
    smallest: int                   # the smallest height and width that the network takes
    published: tuple = ()           # of Published, the headline figure first
    recipes: dict = field(default_factory=dict)     # {"paper": Recipe}; where the lecture differs, "lecture" too

    @property
    def recipe(self):
        """The paper's training Recipe, or None."""
        return self.recipes.get("paper")


_builders = {}
_infos = {}


def register(name, /, preset=None, **facts):
    """Decorator of a builder: `name` becomes builder(**preset), with `facts` as the other fields of ModelInfo.

    Decorators stack, one for each preset, so that they read as a table above the builder.
    """
    def add(builder):
        if name in _builders:
            raise ModelError(f"register: {name!r} is registered already; choose another name")
        _infos[name] = ModelInfo(name, **facts)
        _builders[name] = builder, preset or {}
        return builder
    return add


def names():
    """The names that `create` takes, sorted, numbers by their value."""
    return sorted(_builders, key=_natural)


def create(name, **options):
    """A new model with random initial weights, in training mode and float32.

    options: the arguments of the model's builder, such as num_classes and in_channels; they override the preset's.
    Raises ModelError for an unknown name (with the nearest one) or option (with those there are).
    """
    info(name)
    builder, preset = _builders[name]
    known = inspect.signature(builder).parameters
    for option in options:
        if option not in known:
            raise ModelError(f"{name}: there is no option {option!r}; choose from {', '.join(known)}")
    return builder(**{**preset, **options})


def info(name):
    """The ModelInfo of a name. Raises ModelError for an unknown one, with the nearest."""
    if name not in _infos:
        near = difflib.get_close_matches(str(name).lower(), _infos, n=3, cutoff=0.5)
        remedy = f"did you mean {' or '.join(near)}?" if near else "models.names() lists all"
        raise ModelError(f"there is no model {name!r}; {remedy}")
    return _infos[name]


def check_images(x, model, smallest, why, largest=None):
    """Raise ShapeError unless x is (N, model.in_channels, H, W), H and W from `smallest` to `largest` pixels.

    why: completes "… do not fit:" with the reason, for people.
    """
    name, channels, shape = type(model).__name__, model.in_channels, tuple(x.shape)
    if len(shape) != 4 or shape[1] != channels:
        raise ShapeError(f"{name}: images of shape {shape} are not (N, {channels}, H, W); convert them, or create the "
                         "model with in_channels=")
    if min(shape[2:]) < smallest:
        raise ShapeError(f"{name}: an image of {shape[2]}x{shape[3]} pixels is too small: {why}; the smallest that "
                         f"works is {smallest}x{smallest}, resize the images")
    if largest is not None and max(shape[2:]) > largest:
        raise ShapeError(f"{name}: an image of {shape[2]}x{shape[3]} pixels is too large: {why}; the largest that "
                         f"works is {largest}x{largest}, resize the images or use models.fully_convolutional(model)")


def _natural(name):
    """resnet20 before resnet110"""
    digits = "".join(c if c.isdigit() else " " for c in name).split()
    letters = "".join("0" if c.isdigit() else c for c in name)
    while "00" in letters:
        letters = letters.replace("00", "0")
    return letters, [int(d) for d in digits]
