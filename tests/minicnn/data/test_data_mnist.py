"""idx files, made byte by byte."""

import gzip
import struct

import numpy as np
import pytest

from minicnn.data import load_fashion_mnist, load_mnist
from minicnn.errors import DataError

IMAGES = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5)


def idx(array, magic=None, shape=None):
    shape = array.shape if shape is None else shape
    return struct.pack(f">{1 + len(shape)}I", magic or 0x0800 + len(shape), *shape) + array.tobytes()


def write(folder, split="train", images=None, labels=None, ending=""):
    pack = gzip.compress if ending else bytes
    folder.mkdir(parents=True, exist_ok=True)
    images = idx(IMAGES) if images is None else images
    labels = idx(np.array([3, 0, 9], np.uint8)) if labels is None else labels
    (folder / f"{split}-images-idx3-ubyte{ending}").write_bytes(pack(images))
    (folder / f"{split}-labels-idx1-ubyte{ending}").write_bytes(pack(labels))
    return folder


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("inside", ["", "raw", "MNIST/raw"])
def test_reads_both_splits(tmp_path, ending, inside):
    write(tmp_path / inside, "train", ending=ending)
    write(tmp_path / inside, "t10k", labels=idx(np.array([1, 2, 3], np.uint8)), ending=ending)
    train, test = load_mnist(tmp_path), load_mnist(tmp_path, "test")
    np.testing.assert_array_equal(train.images, IMAGES[..., None])
    np.testing.assert_array_equal(train.labels, [3, 0, 9])
    np.testing.assert_array_equal(test.labels, [1, 2, 3])
    assert (train.mean, train.std, train.mirrorable) == ((0.1307,), (0.3081,), False)


def test_reads_names_with_a_dot_and_gzip_without_its_ending(tmp_path):
    (tmp_path / "train-images.idx3-ubyte").write_bytes(gzip.compress(idx(IMAGES)))
    (tmp_path / "train-labels.idx1-ubyte").write_bytes(idx(np.array([1, 1, 1], np.uint8)))
    assert len(load_mnist(tmp_path)) == 3


def test_fashion_mnist(tmp_path):
    dataset = load_fashion_mnist(write(tmp_path))
    assert (dataset.classes[9], dataset.name, dataset.mirrorable) == ("Ankle boot", "fashion_mnist", True)


@pytest.mark.parametrize(("images", "message"), [
    (b"", "train-images-idx3-ubyte: has 0 bytes, too few for an idx header"),
    (b"\0\0\x08\x03\0", "too few for an idx header"),
    (idx(IMAGES, magic=0x0D03), "begins with 0x00000d03, an idx file of uint8 with 3 .* 0x00000803"),
    (idx(IMAGES)[:-1], r"takes 60 bytes, the file has 59 bytes; it is damaged or cut short"),
    (idx(IMAGES) + b"x", "takes 60 bytes, the file has more than 60 bytes"),
    (idx(IMAGES, shape=(0, 4, 5)), r"declares the shape \(0, 4, 5\), 0 bytes"),
    (idx(IMAGES, shape=(2**32 - 1,) * 3), r"declares the shape \(4294967295, 4294967295, 4294967295\)"),
    (idx(IMAGES[:2]), "has 3 labels for the 2 images of train-images-idx3-ubyte"),
])
def test_damaged_images(tmp_path, images, message):
    with pytest.raises(DataError, match=message):
        load_mnist(write(tmp_path, images=images))


def test_labels_out_of_range(tmp_path):
    with pytest.raises(DataError, match=r"train-labels-idx1-ubyte: label 10 of image 1 is outside 0\.\.9"):
        load_mnist(write(tmp_path, labels=idx(np.array([0, 10, 1], np.uint8))))


def test_missing_files_are_named(tmp_path):
    with pytest.raises(DataError, match=r"has no train-images-idx3-ubyte \(or \.gz\)"):
        load_mnist(tmp_path)
    write(tmp_path)
    with pytest.raises(DataError, match="has no t10k-images-idx3-ubyte"):
        load_mnist(tmp_path, "test")
    with pytest.raises(DataError, match="there is no split 'val'"):
        load_mnist(tmp_path, "val")


@pytest.mark.parametrize("damage", [lambda data: data[:-9], lambda data: data[:40] + b"\xff" * 40])
def test_damaged_gzip(tmp_path, damage):
    folder = write(tmp_path, ending=".gz")
    file = folder / "train-images-idx3-ubyte.gz"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz: (the gzip data is damaged|the shape|declares)"):
        load_mnist(folder)


def test_a_gzip_bomb_is_read_no_further_than_expected(tmp_path, monkeypatch):
    asked = []
    original = gzip.GzipFile.read

    def spy(self, size=-1):
        asked.append(size)
        return original(self, size)
    monkeypatch.setattr(gzip.GzipFile, "read", spy)
    folder = write(tmp_path, images=idx(IMAGES) + bytes(50_000_000), ending=".gz")
    asked.clear()
    with pytest.raises(DataError, match="more than 60 bytes"):
        load_mnist(folder)
    assert asked == [16, 61]
