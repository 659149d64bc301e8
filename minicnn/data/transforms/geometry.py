"""Crops, flips and sizes: what changes where a pixel is."""

import math

import numpy as np

from minicnn.data.streams import uniforms
from minicnn.data.transforms.compose import check_image, pair
from minicnn.errors import ArgumentError, DataError

__all__ = ["CenterCrop", "HorizontalFlip", "PadCrop", "RandomCrop", "RandomResizedCrop", "RandomScale", "Resize",
           "crop", "resize"]

_MAX_PIXELS = 64 << 20      # a strip of 1 x 100,000 with its shorter side enlarged to 256 would take 20 GB


def crop(image, top, left, height, width):
    """A view of image (H, W, C)."""
    return image[top : top + height, left : left + width]


def resize(image, height, width):
    """uint8 image (H, W, 1 or 3) to (height, width): bilinear, antialiased when it shrinks, as Pillow does it."""
    from PIL import Image

    check_image(image, "Resize")
    if image.dtype != np.uint8 or image.shape[2] not in (1, 3):
        raise DataError(f"Resize: the image is {image.dtype} {image.shape}; it takes uint8 with 1 or 3 channels: "
                        "put Resize before Normalize and other transforms that give floats")
    if image.shape[:2] == (height, width):
        return image
    if height * width > _MAX_PIXELS:
        raise DataError(f"Resize: an image of {image.shape[0]}x{image.shape[1]} would become {height}x{width}, more "
                        f"than {_MAX_PIXELS:,} pixels; crop it or leave it out")
    picture = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
    resized = np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR))
    return resized[..., None] if image.shape[2] == 1 else resized


def resize_shorter_side(image, size):
    """The shorter side becomes `size`, the longer one int(size · longer / shorter), as in torchvision."""
    height, width = image.shape[:2]
    if height <= width:
        return resize(image, size, int(size * width / height))
    return resize(image, int(size * height / width), size)


class Resize:
    """Resize(256): the shorter side becomes 256. Resize((224, 224)): height and width. For uint8 images."""

    def __init__(self, size):
        self.size = size if isinstance(size, (int, np.integer)) else pair(size, "Resize")
        pair(size, "Resize")

    def __call__(self, image, rng=None):
        if isinstance(self.size, tuple):
            return resize(image, *self.size)
        return resize_shorter_side(image, self.size)

    def __repr__(self):
        return f"Resize({self.size})"


class RandomScale:
    """Scale jitter: the shorter side becomes a random integer of minimum..maximum.

    Source: Simonyan, Zisserman 2015, section 3.1 (S in 256..512); He et al. 2016, section 3.4 (256..480).
    """

    def __init__(self, minimum=256, maximum=512):
        if not 0 < minimum <= maximum:
            raise ArgumentError(f"RandomScale: minimum {minimum} and maximum {maximum}; choose 0 < minimum <= maximum")
        self.minimum, self.maximum = minimum, maximum

    def __call__(self, image, rng):
        return resize_shorter_side(image, _integer(rng.random(), self.minimum, self.maximum))

    def __repr__(self):
        return f"RandomScale({self.minimum}, {self.maximum})"


class CenterCrop:
    """The middle (height, width) of an image that is at least as large. An odd margin is rounded half to even."""

    def __init__(self, size):
        self.size = pair(size, "CenterCrop")

    def __call__(self, image, rng=None):
        _check_fits(image.shape[:2], self.size, "CenterCrop")
        top, left = (round((have - want) / 2) for have, want in zip(image.shape[:2], self.size))
        return crop(image, top, left, *self.size)

    def batch(self, images, rngs):
        _check_fits(images.shape[1:3], self.size, "CenterCrop")
        top, left = (round((have - want) / 2) for have, want in zip(images.shape[1:3], self.size))
        return images[:, top : top + self.size[0], left : left + self.size[1]]

    def __repr__(self):
        return f"CenterCrop({self.size})"


class PadCrop:
    """Pad by `padding` zeros (black) on every side, then take a random crop of `size`.

    Source: He et al. 2016, section 4.2 (padding 4 for CIFAR); Lee et al. 2015 before it.
    """

    def __init__(self, size, padding=4):
        self.size = pair(size, "PadCrop")
        if not isinstance(padding, (int, np.integer)) or padding < 0:
            raise ArgumentError(f"PadCrop: padding {padding!r} is not an integer from 0; the papers take 4")
        self.padding = int(padding)

    def __call__(self, image, rng):
        check_image(image, type(self).__name__)
        return self._crop(image[None], rng.random(2)[None])[0]

    def batch(self, images, rngs):
        return self._crop(images, uniforms(rngs, 2))

    def _crop(self, images, uniform):
        height, width = self.size
        pad = self.padding
        room = np.array([images.shape[1] + 2 * pad - height, images.shape[2] + 2 * pad - width])
        _check_fits(images.shape[1:3], (height - 2 * pad, width - 2 * pad), type(self).__name__)
        corners = np.floor(uniform * (room + 1)).astype(np.int64).tolist()
        if pad:
            images = np.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
        out = np.empty((len(images), height, width, images.shape[3]), dtype=images.dtype)
        for i, (top, left) in enumerate(corners):
            out[i] = images[i, top : top + height, left : left + width]
        return out

    def __repr__(self):
        return f"{type(self).__name__}({self.size}, padding={self.padding})"


class RandomCrop(PadCrop):
    """A random crop of `size`, without padding. Source: Krizhevsky et al. 2012, section 4.1 (224 of 256)."""

    def __init__(self, size):
        super().__init__(size, padding=0)

    def __repr__(self):
        return f"RandomCrop({self.size})"


class HorizontalFlip:
    """Mirror left and right with probability p."""

    def __init__(self, p=0.5):
        if not 0 <= p <= 1:
            raise ArgumentError(f"HorizontalFlip: p {p} is not a probability; choose it from 0 to 1")
        self.p = p

    def __call__(self, image, rng):
        return image[:, ::-1] if rng.random() < self.p else image

    def batch(self, images, rngs):
        mirrored = np.flatnonzero(uniforms(rngs, 1)[:, 0] < self.p)
        out = images.copy()
        out[mirrored] = images[mirrored, :, ::-1]
        return out

    def __repr__(self):
        return f"HorizontalFlip(p={self.p})"


class RandomResizedCrop:
    """A crop of a random share of the area and a random aspect ratio (width / height), resized to `size`.

    The share is uniform in `scale`, the ratio log-uniform in `ratio`; after ten that do not fit, the largest centred
    crop within `ratio`. Source: Szegedy et al. 2015, section 6 (8–100 % of the area, aspect 3/4 to 4/3).
    """

    def __init__(self, size, scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3)):
        self.size = pair(size, "RandomResizedCrop")
        if not (0 < scale[0] <= scale[1] <= 1 and 0 < ratio[0] <= ratio[1]):
            raise ArgumentError(f"RandomResizedCrop: scale {scale} and ratio {ratio}; choose 0 < low <= high, and "
                                "scale up to 1")
        self.scale, self.ratio = tuple(scale), tuple(ratio)

    def __call__(self, image, rng):
        return resize(crop(image, *self.region(*image.shape[:2], rng)), *self.size)

    def region(self, height, width, rng):
        """(top, left, height, width) of a random crop."""
        low, high = math.log(self.ratio[0]), math.log(self.ratio[1])
        for _ in range(10):
            share, shape, down, right = rng.random(4)
            area = height * width * (self.scale[0] + share * (self.scale[1] - self.scale[0]))
            aspect = math.exp(low + shape * (high - low))
            w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < w <= width and 0 < h <= height:
                return _integer(down, 0, height - h), _integer(right, 0, width - w), h, w
        w, h = min(width, round(height * self.ratio[1])), min(height, round(width / self.ratio[0]))
        return (height - h) // 2, (width - w) // 2, max(h, 1), max(w, 1)

    def __repr__(self):
        return f"RandomResizedCrop({self.size}, scale={self.scale}, ratio={self.ratio})"


def _integer(uniform, low, high):
    """A uniform number in [0, 1) to an integer of low..high."""
    return low + int(uniform * (high - low + 1))


def _check_fits(have, want, what):
    if have[0] < want[0] or have[1] < want[1]:
        raise DataError(f"{what}: an image of {have[0]}x{have[1]} is smaller than the {want[0]}x{want[1]} it has to "
                        "give; put Resize before it")
