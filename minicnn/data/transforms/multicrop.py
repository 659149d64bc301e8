"""Several crops of one image, for testing: the network's probabilities are averaged over them."""

import numpy as np

from minicnn.data.transforms.compose import pair
from minicnn.data.transforms.geometry import CenterCrop, crop, resize, resize_shorter_side
from minicnn.data.transforms.values import to_chw
from minicnn.errors import ArgumentError, DataError

__all__ = ["MultiCrop", "TenCrop"]


class TenCrop:
    """The four corners and the centre, then their mirror images: (10, C, H, W).

    finish(crop) turns each crop (H, W, C) into (C, H, W): Normalize(mean, std), or to_chw. Raises DataError for an
    image smaller than `size`. Source: Krizhevsky et al. 2012, section 4.1.
    """

    def __init__(self, size, finish=to_chw):
        self.size, self.finish = pair(size, "TenCrop"), finish

    def __call__(self, image, rng=None):
        crops = five_crops(image, self.size)
        return np.stack([self.finish(part) for part in [*crops, *(part[:, ::-1] for part in crops)]])

    def __repr__(self):
        return f"TenCrop({self.size}, {self.finish})"


class MultiCrop:
    """GoogLeNet's 144 crops, (144, C, size, size): scales × 3 squares × 6 views × 2 mirrorings, in this order.

    For each scale the shorter side is resized to it; the squares are the left, centre and right one (top, centre,
    bottom of an upright image); the views of a square are its corners, its centre, and the whole of it resized.
    finish as in TenCrop. Source: Szegedy et al. 2015, section 7.
    """

    def __init__(self, size=224, scales=(256, 288, 320, 352), finish=to_chw):
        if not isinstance(size, int) or not scales or any(scale < size for scale in scales):
            raise ArgumentError(f"MultiCrop: scales {tuple(scales)} for size {size!r}; choose an integer size and "
                                "scales not below it")
        self.size, self.scales, self.finish = size, tuple(scales), finish

    def __call__(self, image, rng=None):
        out = []
        for scale in self.scales:
            for square in _squares(resize_shorter_side(image, scale)):
                for view in [*five_crops(square, (self.size, self.size)), resize(square, self.size, self.size)]:
                    out += [self.finish(view), self.finish(view[:, ::-1])]
        return np.stack(out)

    def __repr__(self):
        return f"MultiCrop({self.size}, {self.scales}, {self.finish})"


def five_crops(image, size):
    """Views: top left, top right, bottom left, bottom right, centre."""
    height, width = size
    bottom, right = image.shape[0] - height, image.shape[1] - width
    if bottom < 0 or right < 0:
        raise DataError(f"TenCrop: an image of {image.shape[0]}x{image.shape[1]} is smaller than the crops of "
                        f"{height}x{width}; put Resize before it")
    corners = [crop(image, top, left, height, width) for top in (0, bottom) for left in (0, right)]
    return [*corners, CenterCrop(size)(image)]


def _squares(image):
    side, longer = min(image.shape[:2]), max(image.shape[:2])
    starts = (0, round((longer - side) / 2), longer - side)
    if image.shape[1] == longer:
        return [crop(image, 0, start, side, side) for start in starts]
    return [crop(image, start, 0, side, side) for start in starts]
