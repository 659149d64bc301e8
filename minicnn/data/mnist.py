"""MNIST and Fashion-MNIST from their idx files, packed (.gz) or not.

Format: LeCun, Cortes, Burges, http://yann.lecun.com/exdb/mnist: big-endian int32 magic (0x0803 images, 0x0801 labels),
one int32 a dimension, then the bytes. Fashion-MNIST (Xiao, Rasul, Vollgraf 2017) uses the same format and file names.
"""

from pathlib import Path

import numpy as np

from minicnn.data.dataset import ArrayDataset
from minicnn.data.files import open_binary, read_rest
from minicnn.errors import DataError

__all__ = ["load_fashion_mnist", "load_mnist", "mnist_kind", "mnist_splits"]

_FOLDERS = {"mnist": ("", "raw", "MNIST/raw"), "fashion_mnist": ("", "raw", "FashionMNIST/raw")}
_PREFIX = {"train": "train", "test": "t10k"}
_MAX_BYTES = 1 << 30            # MNIST has 47 million; a header that declares more is damaged or hostile
_FASHION = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]


def load_mnist(path, split="train"):
    """MNIST from the folder `path`: uint8 (28, 28, 1), labels 0..9. split: "train" (60,000) or "test" (10,000).

    The folder, or `raw` or `MNIST/raw` in it, holds train-images-idx3-ubyte, train-labels-idx1-ubyte and t10k-…, each
    with or without .gz. Raises DataError for a missing, damaged or oversized file, naming it.
    """
    # mean and std of the 60,000 training images, as commonly published
    return _load(path, split, "mnist", [str(digit) for digit in range(10)], (0.1307,), (0.3081,), mirrorable=False)


def load_fashion_mnist(path, split="train"):
    """Fashion-MNIST from the folder `path` (or `raw`, `FashionMNIST/raw` in it); everything else as in load_mnist."""
    return _load(path, split, "fashion_mnist", _FASHION, (0.2860,), (0.3530,), mirrorable=True)


def mnist_kind(path):
    """ "mnist", "fashion_mnist", or None: what the folder `path` holds.

    The two have the same file names, so the folder's own name decides: Fashion-MNIST where it (or the folder around
    raw) has "fashion" in it, or is FashionMNIST/ inside. DataError where MNIST/ and FashionMNIST/ are both inside.
    """
    kinds = [kind for kind in _FOLDERS if mnist_splits(path, kind)]
    inside = [kind for kind, folders in _FOLDERS.items() if Path(path, folders[-1]).is_dir()]
    if len(kinds) < 2:
        return kinds[0] if kinds else None
    if len(inside) == 2:
        raise DataError(f"{path}: has both MNIST/ and FashionMNIST/; give the path of one of them")
    named = Path(path).absolute()
    named = named.parent if named.name == "raw" else named
    return "fashion_mnist" if "fashion" in named.name.lower() else "mnist"


def mnist_splits(path, kind):
    """The splits whose image file is in the folder `path`: () where there is no idx file."""
    return tuple(split for split in _PREFIX if _find(path, split, kind, "images", 3) is not None)


def _load(path, split, name, classes, mean, std, mirrorable):
    if split not in _PREFIX:
        raise DataError(f"{name}: there is no split {split!r}; choose from 'train', 'test'")
    image_file, label_file = _require(path, split, name, "images", 3), _require(path, split, name, "labels", 1)
    images, labels = _read_idx(image_file, 3), _read_idx(label_file, 1)
    if len(images) != len(labels):
        raise DataError(f"{label_file}: has {len(labels):,} labels for the {len(images):,} images of "
                        f"{image_file.name}; the two files belong to different data: download both again")
    if labels.max() >= len(classes):
        i = int(labels.argmax())
        raise DataError(f"{label_file}: label {labels[i]} of image {i} is outside 0..{len(classes) - 1}; "
                        "the file is damaged or is another data set")
    return ArrayDataset(images[..., None], labels, classes, name=name, mean=mean, std=std, splits=("train", "test"),
                        mirrorable=mirrorable)


def _find(path, split, name, kind, dimensions):
    stems = [f"{_PREFIX[split]}-{kind}{mark}idx{dimensions}-ubyte" for mark in "-."]
    for folder in _FOLDERS[name]:
        for stem in stems:
            for ending in ("", ".gz"):
                file = Path(path, folder, stem + ending)
                if file.is_file():
                    return file
    return None


def _require(path, split, name, kind, dimensions):
    file = _find(path, split, name, kind, dimensions)
    if file is None:
        raise DataError(f"{path}: has no {_PREFIX[split]}-{kind}-idx{dimensions}-ubyte (or .gz), neither in it nor in "
                        f"raw/; get the four idx files with `minicnn data get {name.replace('_', '-')}`")
    return file


def _read_idx(file, dimensions):
    """A uint8 array from an idx file of so many dimensions."""
    magic = 0x0800 + dimensions
    with open_binary(file) as stream:
        header = stream.read(4 + 4 * dimensions)
        if len(header) < 4 + 4 * dimensions:
            raise DataError(f"{file}: has {len(header)} bytes, too few for an idx header; "
                            "it is empty or cut short: download it again")
        found, *shape = (int(number) for number in np.frombuffer(header, ">u4"))
        if found != magic:
            raise DataError(f"{file}: begins with 0x{found:08x}, an idx file of uint8 with {dimensions} dimension(s) "
                            f"begins with 0x{magic:08x}; it is another kind of file: download it again")
        size = int(np.prod(shape, dtype=object))
        if not 0 < size <= _MAX_BYTES:
            raise DataError(f"{file}: declares the shape {tuple(shape)}, {size:,} bytes; 1 to {_MAX_BYTES:,} are "
                            "possible: the file is damaged, download it again")
        return np.frombuffer(read_rest(stream, size, file, f"the shape {tuple(shape)}"), np.uint8).reshape(shape)
