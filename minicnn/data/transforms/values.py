"""Pixel values to network input: scaling, normalising, grey to colour, channel order."""

import numpy as np

from minicnn.data.transforms.compose import check_image
from minicnn.errors import ArgumentError, DataError

__all__ = ["GrayToRGB", "Normalize", "to_chw"]


class Normalize:
    """(pixel − mean) / std a channel, to float32 (C, H, W); uint8 is divided by 255 first, floats are taken as 0..1.

    mean, std: one number, or one for each channel.
    """

    def __init__(self, mean, std):
        self.mean = tuple(float(value) for value in np.atleast_1d(mean))
        self.std = tuple(float(value) for value in np.atleast_1d(std))
        if len(self.mean) != len(self.std) or not all(0 < value < np.inf for value in self.std):
            raise ArgumentError(f"Normalize: mean {self.mean} and std {self.std}; pass as many of each, std above 0")

    def __call__(self, image, rng=None):
        check_image(image, "Normalize")
        return self.batch(image[None], None)[0]

    def batch(self, images, rngs):
        channels = images.shape[3]
        if len(self.mean) not in (1, channels):
            remedy = "put GrayToRGB before it" if channels == 1 else "give one number for each channel"
            raise DataError(f"Normalize: the image has {channels} channel(s), mean and std have {len(self.mean)}; "
                            f"{remedy}")
        unit = 255.0 if images.dtype == np.uint8 else 1.0
        out = np.empty((len(images), channels, *images.shape[1:3]), dtype=np.float32)
        for c in range(channels):
            mean, std = self.mean[c % len(self.mean)], self.std[c % len(self.std)]
            np.multiply(images[..., c], np.float32(1 / (unit * std)), out=out[:, c], casting="unsafe")
            out[:, c] -= np.float32(mean / std)
        return out

    def __repr__(self):
        return f"Normalize({self.mean}, {self.std})"


class _ToChw:
    """image (H, W, C) to float32 (C, H, W): uint8 divided by 255, floats as they are."""

    def __call__(self, image, rng=None):
        check_image(image, "to_chw")
        return self.batch(image[None], None)[0]

    def batch(self, images, rngs):
        out = np.ascontiguousarray(images.transpose(0, 3, 1, 2), dtype=np.float32)
        return out / np.float32(255) if images.dtype == np.uint8 else out

    def __repr__(self):
        return "to_chw"


to_chw = _ToChw()


class GrayToRGB:
    """(H, W, 1) to (H, W, 3) with three equal channels; three channels stay as they are."""

    def __call__(self, image, rng=None):
        check_image(image, "GrayToRGB")
        return self.batch(image[None], None)[0]

    def batch(self, images, rngs):
        if images.shape[3] not in (1, 3):
            raise DataError(f"GrayToRGB: the image has {images.shape[3]} channels; it takes 1 or 3")
        return np.repeat(images, 3, axis=3) if images.shape[3] == 1 else images

    def __repr__(self):
        return "GrayToRGB()"
