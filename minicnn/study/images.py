"""Photographs for `minicnn study`: from a file to a network's input, and the names of the classes it knows."""

from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np

from minicnn.data import CenterCrop, Loader, Resize, subset
from minicnn.data.cifar import CIFAR10_CLASSES, CIFAR100_CLASSES
from minicnn.data.decode import MAX_FILE_BYTES, decode_image
from minicnn.errors import DataError, ShapeError

OTHERS, OTHERS_LARGE = 31, 7        # further test images that decide which channels are silent; of more than 96 pixels a side


@dataclass
class Subject:
    """The image that a network is looked at with: its input x (C, H, W), the picture (H, W, C) of uint8, and if they are
    known the names of the classes, the number of the class to look at, the image's own class, and further inputs."""

    x: np.ndarray
    picture: np.ndarray
    names: list | None = None
    target: int | None = None
    label: str | None = None
    others: np.ndarray | None = None


def of_dataset(dataset, transform, input_shape, index=0):
    """The Subject of one image of a data set, with the images after it as further inputs. Raises DataError for an index
    outside."""
    if not 0 <= index < len(dataset):
        raise DataError(f"{dataset.name} has no image {index}; choose from 0 to {len(dataset) - 1}")
    count = 1 + (OTHERS if max(input_shape[1:]) <= 96 else OTHERS_LARGE)
    chosen = [(index + i) % len(dataset) for i in range(min(count, len(dataset)))]
    images, labels = next(iter(Loader(subset(dataset, chosen), len(chosen), transform)))
    label = int(labels[0])
    return Subject(images[0], fit(np.asarray(dataset.image(index)), input_shape), list(dataset.classes), label,
                   str(dataset.classes[label]), images[1:])


def read_image(path):
    """An image file as RGB (H, W, 3) of uint8. Raises DataError for a file that is missing or is no image."""
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: there is no such image; give the path of a photograph such as photo.jpg")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise DataError(f"{path}: has {path.stat().st_size:,} bytes, more than {MAX_FILE_BYTES:,}; make the image smaller")
    return decode_image(path.read_bytes(), path)


def fit(image, input_shape):
    """The part of an image (H, W, C) of uint8 that a network of input_shape (C, H, W) sees, as uint8 (H, W, C).

    Small inputs (sides up to 96) take the whole middle square; larger ones the centre of the image with its shorter side at
    256 for 224 to 256 and in that proportion for others, as data.default_transforms does. Raises ShapeError for channels
    other than 1 and 3.
    """
    channels, height, width = input_shape
    if channels not in (1, 3):
        raise ShapeError(f"a photograph has 1 or 3 channels, the network takes {channels}; pass its input as an array of "
                         f"floats {tuple(input_shape)} to study.page instead")
    if image.shape[:2] != (height, width):
        largest = max(height, width)
        shorter = largest if largest <= 96 else 256 if 224 <= largest <= 256 else round(largest * 256 / 224)
        image = CenterCrop((height, width))(Resize(shorter)(image))
    if channels == image.shape[2]:
        return image
    if channels == 3:
        return np.repeat(image, 3, axis=2)
    return np.rint(image @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)[..., None]     # ITU-R BT.601


def as_picture(x):
    """A network's input (C, H, W) as an image (H, W, 1 or 3) of uint8, its values stretched to 0..255."""
    shown = x[:3] if len(x) >= 3 else x[:1]
    low, high = float(shown.min()), float(shown.max())
    return np.rint(255 * (shown - low) / ((high - low) or 1)).astype(np.uint8).transpose(1, 2, 0)


def class_names(count, info=None):
    """The names of `count` classes: ImageNet's for 1,000; CIFAR's where a model's paper is about CIFAR; else None."""
    if count == 1000:
        text = (resources.files("minicnn.data") / "imagenet_classes.txt").read_text(encoding="utf-8")
        return text.splitlines()
    about_cifar = info is not None and any(result.dataset.startswith("CIFAR") for result in info.published)
    return {10: CIFAR10_CLASSES, 100: CIFAR100_CLASSES}.get(count) if about_cifar else None
