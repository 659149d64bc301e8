"""What every transform has in common, and how they are chained."""

import numpy as np

from minicnn.errors import ArgumentError, DataError

__all__ = ["Compose", "apply_batch", "check_image", "stack_if_alike"]


class Compose:
    """Apply transforms one after the other: Compose([PadCrop(32), HorizontalFlip(), Normalize(mean, std)]).

    A transform is any callable `transform(image, rng) -> image` on arrays (H, W, C), uint8 in 0..255 or float in 0..1,
    that leaves its input as it is; rng is a numpy.random.Generator or anything with its `random(size)` and
    `standard_normal(size)`. One that also has `batch(images, rngs)` for an array (N, H, W, C) is called once a batch.
    """

    def __init__(self, transforms):
        self.transforms = list(transforms)

    def __call__(self, image, rng=None):
        for transform in self.transforms:
            image = transform(image, rng)
        return image

    def batch(self, images, rngs):
        """The same for many images, an array (N, H, W, C) or a list, with one generator each (see sample_streams)."""
        for transform in self.transforms:
            images = apply_batch(transform, images, rngs)
        return images

    def __repr__(self):
        return "Compose([" + ", ".join(repr(transform) for transform in self.transforms) + "])"


def apply_batch(transform, images, rngs):
    """`transform` on each of the images: at once if it can and they are one array, else one by one."""
    if isinstance(transform, Compose) or (hasattr(transform, "batch") and isinstance(images, np.ndarray)):
        return transform.batch(images, rngs)
    return stack_if_alike([transform(image, rngs[i]) for i, image in enumerate(images)])


def stack_if_alike(images):
    """One array (N, …) of images of equal shape and dtype; otherwise the list itself."""
    if len({(image.shape, image.dtype) for image in images}) == 1:
        return np.stack(images)
    return images


def check_image(image, what):
    """DataError unless image is an array (H, W, C), uint8 or float."""
    if not isinstance(image, np.ndarray) or image.ndim != 3 or not (image.dtype == np.uint8 or image.dtype.kind == "f"):
        found = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise DataError(f"{what}: the image is {found}; it takes arrays (H, W, C), uint8 or float")


def pair(size, what):
    """(height, width) from one positive int or two; ArgumentError otherwise."""
    values = tuple(size) if isinstance(size, (tuple, list)) else (size, size)
    if len(values) != 2 or not all(isinstance(v, (int, np.integer)) and v > 0 for v in values):
        raise ArgumentError(f"{what}: size {size!r} is not a positive integer or a (height, width) of two")
    return int(values[0]), int(values[1])
