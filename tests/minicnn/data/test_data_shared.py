"""Real images, where they are beside the repository."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from minicnn.data import Loader, available_splits, default_transforms, open_dataset
from minicnn.data.cifar import CIFAR10_CLASSES

SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "data"


def shared(name):
    if not (SHARED / name).is_file():
        pytest.skip(f"shared data not found: {SHARED / name}")
    return SHARED / name


def test_cifar10_as_jpeg():
    path = shared("cifar10-jpeg.zip")
    assert available_splits(path) == ("train", "test")
    test = open_dataset(path, "test")
    assert test.classes == CIFAR10_CLASSES
    np.testing.assert_array_equal(test.labels, np.repeat(np.arange(10), 500))
    assert test.mean == (0.4914, 0.4822, 0.4465)
    loader = Loader(test, 250, default_transforms(test, (3, 32, 32), train=False), workers=2)
    total, count = 0.0, 0
    for images, _ in loader:
        assert images.shape == (250, 3, 32, 32)
        total, count = total + images.mean(axis=(0, 2, 3)), count + 1
    np.testing.assert_allclose(total / count, 0, atol=0.05)       # normalised by statistics of the training images


def test_100_images_of_imagenet():
    dataset = open_dataset(shared("imagenet100.zip"))
    assert (len(dataset), len(dataset.classes)) == (100, 1000)
    np.testing.assert_array_equal(dataset.labels, np.arange(0, 1000, 10))
    assert dataset.classes[980] == "volcano"
    loader = Loader(dataset, 25, default_transforms(dataset, (3, 224, 224), train=False), workers=2)
    for (images, labels), first in zip(loader, range(0, 1000, 250)):
        assert images.shape == (25, 3, 224, 224)
        assert labels[0] == first


def test_importing_data_does_not_import_pillow():
    code = "import sys, minicnn.data; sys.exit('PIL' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).resolve().parents[3]).returncode == 0
