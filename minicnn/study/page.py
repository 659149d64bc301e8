"""study.page: the page of any module, yours among them."""

import importlib.util
import sys
from pathlib import Path

import numpy as np

from minicnn import models
from minicnn.errors import ArgumentError, ModelError, ShapeError
from minicnn.nn import Module
from minicnn.study.images import Subject, as_picture, fit, read_image
from minicnn.study.report import write_report
from minicnn.study.run import study_model
from minicnn.training.preprocessing import value_transform

BATCH, BATCH_LARGE = 32, 8      # images when timing without data; of more than 96 pixels a side


def page(model, image, out="page", *, input_shape=None, names=None, target=None, title=None, preprocessing="imagenet",
         mean=None, std=None, quick=False, listener=None):
    """Write the page of one network and one image -> Path of the file out/index.html. The model stays as it was.

    model: an nn.Module or a registered name (with random weights). image: the path of a photograph, uint8 (H, W, C), or the
    network's input itself, floats (C, H, W). input_shape: (C, H, W) that photographs are cut to (default: a registered
    model's own; else the photograph's size). names: of the classes; target: the number of the class to look at (default: the
    likeliest). preprocessing: "imagenet" or "caffe"; mean, std: of each channel, for pixels in 0..1. quick: short timings.
    listener: as in study_model (default: one that tells stderr how it goes on). Raises ModelError, DataError, ShapeError,
    ArgumentError, whatever the layers raise, and OSError for a folder that cannot be made.
    """
    info = models.info(model) if isinstance(model, str) else models.info(title) if title in models.names() else None
    title = model if isinstance(model, str) else title
    model = models.create(model) if isinstance(model, str) else model
    picture = read_image(image) if isinstance(image, str | Path) else np.asarray(image)
    subject = subject_of(picture, input_shape or (info and info.input_shape), preprocessing, mean, std)
    subject.names, subject.target = names, target
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)       # that it cannot be made is told before the work
    if listener is None:
        from minicnn.cli.study import Console  # the command's own voice; only where it is wanted
        listener = Console(stderr=True)
    batch = BATCH if max(subject.x.shape[1:]) <= 96 else BATCH_LARGE
    study = study_model(model, subject.x.shape, None, title, batch=batch, quick=quick, listener=listener, subject=subject)
    return write_report(study, folder)


def subject_of(image, input_shape=None, preprocessing="imagenet", mean=None, std=None):
    """The Subject of a photograph, uint8 (H, W, C), or of a network's input, floats (C, H, W). Raises ShapeError."""
    if image.ndim != 3:
        raise ShapeError(f"image has shape {image.shape}; pass a photograph (H, W, C) of uint8 or an input (C, H, W) of floats")
    if image.dtype != np.uint8:
        return Subject(image, as_picture(image))
    input_shape = input_shape or (image.shape[2], *image.shape[:2])
    picture = fit(image, input_shape)
    if input_shape[0] == 1 and mean is None and preprocessing == "imagenet":
        mean, std = [0.449], [0.226]                # the means of ImageNet's three
    return Subject(value_transform(preprocessing, None, mean, std)(picture), picture)


def read_module(spec):
    """The nn.Module of "path/to/file.py:Name": Name is an nn.Module, or what makes one when it is called without arguments.

    The file is run. Raises ModelError for a file or a name that is not there, or that makes no Module.
    """
    path, _, name = str(spec).rpartition(":")
    if not Path(path).is_file():
        raise ModelError(f"{spec}: there is no file {path or spec!r}; name a registered model, or FILE.py:CLASS for your own")
    found = importlib.util.spec_from_file_location(f"study_of_{Path(path).stem}", path)
    module = importlib.util.module_from_spec(found)
    sys.modules[found.name] = module            # where inspect looks for the source of a class
    found.loader.exec_module(module)
    found = getattr(module, name, None)
    if found is None:
        raise ModelError(f"{path}: has no {name!r}; choose from {', '.join(n for n in vars(module) if not n.startswith('_'))}")
    found = found if isinstance(found, Module) else found()
    if not isinstance(found, Module):
        raise ModelError(f"{spec}: is a {type(found).__name__}, not an nn.Module; name a class of yours that is one")
    return found


def target_of(text, names):
    """The number of the class that a user names, by number or by name; None for None. Raises ArgumentError."""
    if text is None or text.isdecimal():
        return text and int(text)
    if names and text in names:
        return list(names).index(text)
    near = [name for name in names or () if text.lower() in name.lower()][:5]
    raise ArgumentError(f"there is no class {text!r}; " + (f"did you mean {', '.join(near)}?" if near else "give its number"))
