"""open_dataset finds out what a path holds."""

import gzip
import io
import tarfile
import zipfile

import numpy as np
import pytest

from minicnn.data import available_splits, open_dataset
from minicnn.errors import DataError


def put_mnist(folder, splits=("train", "t10k")):
    folder.mkdir(parents=True, exist_ok=True)
    for split in splits:
        (folder / f"{split}-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03\0\0\0\x02\0\0\0\x01\0\0\0\x01" + b"\1\2")
        (folder / f"{split}-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01\0\0\0\x02" + b"\5\6")
    return folder


def test_digits():
    assert len(open_dataset("digits", "test")) == 360
    assert available_splits("digits") == ("train", "test")
    with pytest.raises(DataError, match="has the splits 'train' and 'test'; say which"):
        open_dataset("digits")


def test_mnist_and_fashion_mnist_are_told_apart_by_the_path(tmp_path):
    assert open_dataset(put_mnist(tmp_path / "a"), "train").name == "mnist"
    assert open_dataset(put_mnist(tmp_path / "Fashion-mnist"), "train").name == "fashion_mnist"
    put_mnist(tmp_path / "b" / "FashionMNIST" / "raw")
    for inside in ("", "FashionMNIST", "FashionMNIST/raw"):
        assert open_dataset(tmp_path / "b" / inside, "test").name == "fashion_mnist"
    assert available_splits(put_mnist(tmp_path / "c", ["t10k"])) == ("test",)
    put_mnist(tmp_path / "b" / "MNIST" / "raw")
    with pytest.raises(DataError, match="has both MNIST/ and FashionMNIST/; give the path of one"):
        open_dataset(tmp_path / "b", "train")
    assert open_dataset(tmp_path / "b" / "MNIST", "train").name == "mnist"


def test_cifar_in_a_folder_and_in_an_archive(tmp_path):
    (tmp_path / "c100").mkdir()
    (tmp_path / "c100" / "test.bin").write_bytes(bytes(3074))
    assert open_dataset(tmp_path / "c100", "test").name == "cifar100"
    assert available_splits(tmp_path / "c100") == ("test",)
    with tarfile.open(tmp_path / "c.tar.gz", "w:gz") as archive:
        info = tarfile.TarInfo("cifar-10-batches-bin/test_batch.bin")
        info.size = 3073
        archive.addfile(info, io.BytesIO(bytes(3073)))
    dataset = open_dataset(str(tmp_path / "c.tar.gz"), "test")
    assert (dataset.name, len(dataset)) == ("cifar10", 1)
    (tmp_path / "c100" / "test_batch.bin").write_bytes(bytes(3073))
    with pytest.raises(DataError, match="has both CIFAR-10 and CIFAR-100"):
        open_dataset(tmp_path / "c100", "test")
    assert available_splits(tmp_path / "c.tar.gz") == ("test",)


def test_images_in_a_folder_and_in_a_zip(tmp_path, png):
    (tmp_path / "f" / "cat").mkdir(parents=True)
    (tmp_path / "f" / "cat" / "a.png").write_bytes(png("red"))
    assert open_dataset(tmp_path / "f").classes == ["cat"]
    assert available_splits(tmp_path / "f") == ("all",)
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.writestr("test/cat/a.png", png("red"))
        archive.writestr("train/cat/a.png", png("red"))
    assert available_splits(tmp_path / "z.zip") == ("train", "test")
    assert len(open_dataset(tmp_path / "z.zip", "test")) == 1


@pytest.mark.parametrize("name", ["empty", "text", "file.txt", "packed.gz"])
def test_nothing_known_lists_what_was_looked_for(tmp_path, name):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text" / "deep").mkdir(parents=True)
    (tmp_path / "text" / "deep" / "a.txt").write_text("hello")
    (tmp_path / "file.txt").write_text("hello")
    (tmp_path / "packed.gz").write_bytes(gzip.compress(bytes(np.arange(256, dtype=np.uint8)) * 4))
    with pytest.raises(DataError, match=rf"{name}: holds no data set; looked for 'digits' .*CIFAR.*MNIST.*\.zip"):
        open_dataset(tmp_path / name, "train")


def test_missing_paths_and_damaged_files(tmp_path):
    with pytest.raises(DataError, match="there is no such file or folder; expected 'digits'"):
        open_dataset(tmp_path / "gone", "train")
    (tmp_path / "cut.zip").write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(DataError, match=r"cut\.zip: is not a readable zip archive"):
        open_dataset(tmp_path / "cut.zip")
    (tmp_path / "cut.tar.gz").write_bytes(gzip.compress(bytes(99999))[:20])
    with pytest.raises(DataError, match=r"cut\.tar\.gz: the gzip data is damaged or cut short"):
        open_dataset(tmp_path / "cut.tar.gz", "train")


def test_cifar_pickles_are_refused(tmp_path):
    (tmp_path / "data_batch_1").write_bytes(b"\x80\x04.")
    with pytest.raises(DataError, match="is the python version of CIFAR"):
        open_dataset(tmp_path, "train")
