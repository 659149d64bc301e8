"""What a data set is, data sets in memory, and parts of data sets.

A data set is any object with

* `len(dataset)`; `image(i)`: uint8 array (H, W, C); `label(i)`: int;
* `labels`: int64 array (N,); `classes`: list of str, `classes[label]` is the name of a label;
* `name`; `splits`: names of the parts that its source has; `source(i)`: where image i comes from, for messages;
* `mean`, `std`: tuples of floats, one a channel, of the pixels divided by 255;
* `mirrorable`: whether a mirrored image still belongs to its class (false for digits);
* optionally `images_at(indices)`: many images at once, an array (N, H, W, C) or a list of arrays.
"""

import numpy as np

from minicnn.data.streams import check_seed, sample_order
from minicnn.errors import ArgumentError, DataError

__all__ = ["ArrayDataset", "Subset", "split", "subset"]


class ArrayDataset:
    """Images held in memory: uint8 (N, H, W, C) with one label each. The arrays become read-only.

    mean and std are computed from the images unless given. Raises DataError for a wrong dtype or shape, no images,
    a number of labels that is not N, or a label outside 0..len(classes)-1.
    """

    def __init__(self, images, labels, classes, *, name="arrays", mean=None, std=None, splits=("all",),
                 mirrorable=True):
        images = np.asarray(images)
        if images.dtype != np.uint8 or images.ndim != 4 or images.size == 0:
            raise DataError(f"{name}: images are {images.dtype} of shape {images.shape}; pass a uint8 array "
                            "(N, H, W, C) with at least one image")
        labels = _checked_labels(labels, len(images), classes, name)
        images = np.ascontiguousarray(images).view()
        images.flags.writeable = labels.flags.writeable = False
        self.images, self.labels, self.classes = images, labels, list(classes)
        self.name, self.splits, self.mirrorable = name, tuple(splits), mirrorable
        if mean is None or std is None:
            mean, std = pixel_statistics(images)
        self.mean, self.std = tuple(mean), tuple(std)

    def __len__(self):
        return len(self.labels)

    def image(self, i):
        """Image i: uint8 (H, W, C), read-only."""
        return self.images[i]

    def label(self, i):
        return int(self.labels[i])

    def images_at(self, indices):
        """The images at `indices`: a new array (N, H, W, C)."""
        return self.images[indices]

    def source(self, i):
        return f"{self.name}, image {int(i)}"


class Subset:
    """The images of `dataset` at `indices`, in that order; everything else is as in `dataset`."""

    def __init__(self, dataset, indices):
        self.dataset = dataset
        self.indices = indices
        self.labels = dataset.labels[indices]
        self.labels.flags.writeable = False
        self.classes, self.name, self.splits = dataset.classes, dataset.name, dataset.splits
        self.mean, self.std, self.mirrorable = dataset.mean, dataset.std, dataset.mirrorable

    def __len__(self):
        return len(self.indices)

    def image(self, i):
        return self.dataset.image(int(self.indices[i]))

    def label(self, i):
        return int(self.labels[i])

    def images_at(self, indices):
        return fetch_images(self.dataset, self.indices[indices])

    def source(self, i):
        return describe_source(self.dataset, int(self.indices[i]))


def fetch_images(dataset, indices):
    """Images at `indices`, by the data set's own images_at where it has one."""
    if hasattr(dataset, "images_at"):
        return dataset.images_at(indices)
    images = []
    for i in indices:
        try:
            images.append(dataset.image(int(i)))
        except Exception as error:
            error.add_note(f"while reading {describe_source(dataset, int(i))}")
            raise
    return images


def describe_source(dataset, i):
    """Where image i comes from; also for a user's data set without `source`."""
    return dataset.source(i) if hasattr(dataset, "source") else f"image {i}"


def _checked_labels(labels, count, classes, name):
    labels = np.array(labels)
    if labels.shape != (count,) or labels.dtype.kind not in "iu":
        raise DataError(f"{name}: labels are {labels.dtype} of shape {labels.shape}; there are {count} images, "
                        f"so pass an integer array of shape ({count},)")
    wrong = np.flatnonzero((labels < 0) | (labels >= len(classes)))
    if len(wrong):
        i = int(wrong[0])
        raise DataError(f"{name}: label {labels[i]} of image {i} is outside 0..{len(classes) - 1} "
                        f"({len(classes)} classes); the file is damaged or is another data set")
    return labels.astype(np.int64)


def pixel_statistics(images):
    """Mean and standard deviation a channel of uint8 images (N, H, W, C), divided by 255; exact, from counts."""
    mean, std = [], []
    for channel in range(images.shape[-1]):
        counts = sum(np.bincount(image[..., channel].reshape(-1), minlength=256) for image in images)
        values = np.arange(256) / 255.0
        mean.append(float(counts @ values / counts.sum()))
        std.append(float(np.sqrt(counts @ (values - mean[-1]) ** 2 / counts.sum())))
    return tuple(mean), tuple(max(value, 1 / 255) for value in std)     # one flat colour must not divide by zero


def subset(dataset, indices):
    """The part of `dataset` at `indices` (a sequence of ints from 0, or a boolean mask of its length).

    Raises ArgumentError for an index outside the data set, a mask of another length, or nothing selected.
    """
    indices = np.asarray(indices)
    if indices.dtype == bool:
        if indices.shape != (len(dataset),):
            raise ArgumentError(f"subset: the mask has shape {indices.shape}; it needs one entry for each of the "
                                f"{len(dataset)} images")
        indices = np.flatnonzero(indices)
    if indices.ndim != 1 or indices.size == 0 or indices.dtype.kind not in "iu":
        raise ArgumentError(f"subset: indices are {indices.dtype} of shape {indices.shape}; pass at least one integer")
    wrong = indices[(indices < 0) | (indices >= len(dataset))]
    if len(wrong):
        raise ArgumentError(f"subset: index {wrong[0]} is outside the data set; choose from 0..{len(dataset) - 1}")
    return Subset(dataset, indices.astype(np.int64))


def split(dataset, fraction, seed=0):
    """Hold out `fraction` of the images: (rest, held_out), stratified, both in the order of `dataset`.

    round(fraction · N) images are held out; each class gives its share, rounded down or up. The choice depends on the
    labels, fraction and seed alone: split(cifar_train, 0.1) are the 45,000 and 5,000 images of He et al. 2016,
    section 4.2 (in size: their choice is not published). Raises ArgumentError unless both parts have an image.
    """
    count = len(dataset)
    held = round(fraction * count) if 0 < fraction < 1 else 0
    if not 0 < held < count:
        raise ArgumentError(f"split: fraction {fraction} of {count} images leaves a part without any; choose it "
                            "between 0 and 1 so that both parts have an image")
    mask = stratified_mask(dataset.labels, held, check_seed(seed))
    return subset(dataset, ~mask), subset(dataset, mask)


def stratified_mask(labels, held, seed):
    """A mask (N,) of `held` images with each class's share; the largest remainders are rounded up."""
    values, members = np.unique(labels, return_counts=True)
    share = members * held / len(labels)
    take = np.floor(share).astype(np.int64)
    remainder = np.argsort(-(share - take), kind="stable")[: held - take.sum()]
    take[remainder] += 1
    mask = np.zeros(len(labels), dtype=bool)
    order = sample_order(seed, 0, len(labels))
    for value, number in zip(values, take):
        mask[order[labels[order] == value][:number]] = True
    return mask
