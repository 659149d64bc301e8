"""The usual transforms for a data set and a network input."""

import numpy as np

from minicnn.data.transforms import (
    CenterCrop,
    Compose,
    GrayToRGB,
    HorizontalFlip,
    Normalize,
    PadCrop,
    RandomResizedCrop,
    Resize,
)
from minicnn.errors import ArgumentError

__all__ = ["default_transforms"]

_SMALL = 96     # sides up to this (CIFAR 32, Tiny ImageNet 64, STL-10 96) count as small images


def default_transforms(dataset, input_shape, train):
    """A Compose from images of `dataset` to a network input (C, H, W).

    Small images (sides up to 96): to train, pad by an eighth of the side (4 for 32x32) and crop, and mirror unless
    mirrored images change their class (digits); then resize to (H, W) where that is not their size. Photographs: to
    train, RandomResizedCrop and mirror (Szegedy et al. 2015, section 6); to test, the centre after resizing the shorter
    side to 256 for inputs of 224 to 256, and in that proportion for others. Grey becomes RGB for three channels. Always
    normalised by the data set's mean and std. Raises ArgumentError for channels that cannot be had.
    """
    channels, height, width = input_shape
    shapes = {dataset.image(i).shape for i in np.linspace(0, len(dataset) - 1, 8).astype(int)}
    have = next(iter(shapes))[2]
    if have != channels and (have, channels) != (1, 3):
        raise ArgumentError(f"default_transforms: {dataset.name} has images of {have} channel(s), the network takes "
                            f"{channels}; choose a network with in_channels {have}" + (" or 3" if have == 1 else ""))
    small = max(max(shape[:2]) for shape in shapes) <= _SMALL
    steps = _small_steps(shapes, (height, width), train) if small else _photograph_steps((height, width), train)
    if train and dataset.mirrorable:
        steps.append(HorizontalFlip())
    if have != channels:
        steps.append(GrayToRGB())
    return Compose([*steps, Normalize(dataset.mean, dataset.std)])


def _small_steps(shapes, size, train):
    native = next(iter(shapes))[:2] if len(shapes) == 1 else None
    resizing = [] if native == size else [Resize(size)]
    if not train:
        return resizing
    crop = PadCrop(native or size, padding=max(1, round(min(native or size) / 8)))
    return [crop, *resizing] if native else [*resizing, crop]      # cropping first costs less: images are enlarged


def _photograph_steps(size, train):
    if train:
        return [RandomResizedCrop(size)]
    if size[0] != size[1]:
        return [Resize(tuple(round(side * 256 / 224) for side in size)), CenterCrop(size)]
    shorter = 256 if 224 <= size[0] <= 256 else round(size[0] * 256 / 224)
    return [Resize(shorter), CenterCrop(size)]
