"""Data: data sets, transforms of images, and the loader that makes batches of them.

    train = data.open_dataset("digits", "train")
    transform = data.default_transforms(train, (3, 32, 32), train=True)
    for images, labels in data.Loader(train, 128, transform, shuffle=True): ...

What a data set is stands in minicnn.data.dataset, what a transform is in minicnn.data.transforms.Compose.
"""

from minicnn.data import transforms
from minicnn.data.cifar import load_cifar10, load_cifar100
from minicnn.data.dataset import ArrayDataset, Subset, split, subset
from minicnn.data.defaults import default_transforms
from minicnn.data.digits import load_digits
from minicnn.data.image_folder import IMAGENET_MEAN, IMAGENET_STD, ImageFolder
from minicnn.data.loader import Loader
from minicnn.data.mnist import load_fashion_mnist, load_mnist
from minicnn.data.open import available_splits, open_dataset
from minicnn.data.streams import sample_streams
from minicnn.data.transforms import *  # noqa: F403

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "ArrayDataset", "ImageFolder", "Loader", "Subset", "available_splits",
           "default_transforms", "load_cifar10", "load_cifar100", "load_digits", "load_fashion_mnist", "load_mnist",
           "open_dataset", "sample_streams", "split", "subset", "transforms", *transforms.__all__]
