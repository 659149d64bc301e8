"""CIFAR's binary files and archives, made byte by byte."""

import gzip
import io
import tarfile

import numpy as np
import pytest

from minicnn.data import load_cifar10, load_cifar100
from minicnn.data.cifar import CIFAR100_CLASSES, cifar_kind, cifar_splits
from minicnn.errors import DataError

TRAIN_FILES = [f"data_batch_{i}.bin" for i in range(1, 6)]


def record(labels, seed):
    """One record and its image (32, 32, 3)."""
    image = np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    return bytes(labels) + image.transpose(2, 0, 1).tobytes(), image


def cifar10_files():
    names = [*TRAIN_FILES, "test_batch.bin"]
    return {name: record([i], i)[0] + record([9 - i], 10 + i)[0] for i, name in enumerate(names)}


def write(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def write_tar(path, files, folder="cifar-10-batches-bin", mode="w:gz"):
    with tarfile.open(path, mode) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(f"{folder}/{name}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


@pytest.mark.parametrize("place", ["folder", "parent", "tar.gz", "tar"])
def test_reads_cifar10(tmp_path, place):
    files = cifar10_files()
    path = {"folder": lambda: write(tmp_path, files),
            "parent": lambda: write(tmp_path / "cifar-10-batches-bin", files).parent,
            "tar.gz": lambda: write_tar(tmp_path / "cifar-10-binary.tar.gz", files),
            "tar": lambda: write_tar(tmp_path / "c.tar", files, mode="w")}[place]()
    train, test = load_cifar10(path), load_cifar10(path, "test")
    np.testing.assert_array_equal(train.labels, [0, 9, 1, 8, 2, 7, 3, 6, 4, 5])
    np.testing.assert_array_equal(train.image(3), record([8], 11)[1])
    np.testing.assert_array_equal(test.image(1), record([4], 15)[1])
    assert (train.classes[5], train.mean) == ("dog", (0.4914, 0.4822, 0.4465))
    assert train.images.flags.c_contiguous
    assert (cifar_kind(path), cifar_splits(path, "cifar10")) == ("cifar10", ("train", "test"))


def test_reads_the_fine_labels_of_cifar100(tmp_path):
    data, image = record([7, 99], 0)
    train = load_cifar100(write(tmp_path, {"train.bin": data + record([1, 2], 1)[0]}))
    np.testing.assert_array_equal(train.labels, [99, 2])
    np.testing.assert_array_equal(train.image(0), image)
    assert train.classes[99] == "worm"
    assert len(set(CIFAR100_CLASSES)) == 100
    assert sorted(CIFAR100_CLASSES) == CIFAR100_CLASSES
    assert cifar_splits(tmp_path, "cifar100") == ("train",)


@pytest.mark.parametrize("data", [b"", bytes(3072), bytes(3073 + 3072), bytes(5)])
def test_files_that_are_not_whole_records(tmp_path, data):
    files = cifar10_files() | {"data_batch_3.bin": data}
    with pytest.raises(DataError, match=rf"data_batch_3\.bin: has {len(data):,} bytes, not 1 to 50,000 records"):
        load_cifar10(write(tmp_path, files))


def test_labels_out_of_range(tmp_path):
    bad = record([1], 0)[0] + record([10], 1)[0]
    with pytest.raises(DataError, match=r"data_batch_2\.bin: label 10 of record 1 is outside 0\.\.9"):
        load_cifar10(write(tmp_path, cifar10_files() | {"data_batch_2.bin": bad}))
    with pytest.raises(DataError, match=r"train\.bin: label 100 of record 0 is outside 0\.\.99"):
        load_cifar100(write(tmp_path, {"train.bin": record([0, 100], 0)[0]}))


def test_missing_files_are_listed(tmp_path):
    files = cifar10_files()
    del files["data_batch_2.bin"], files["data_batch_5.bin"]
    with pytest.raises(DataError, match=r"has no data_batch_2\.bin, data_batch_5\.bin, neither .* cifar-10"):
        load_cifar10(write(tmp_path, files))
    with pytest.raises(DataError, match="there is no split 'val'"):
        load_cifar10(tmp_path, "val")


@pytest.mark.parametrize("names", [["data_batch_1", "batches.meta"], ["train", "test", "meta"]])
@pytest.mark.parametrize("packed", [False, True])
def test_pickles_are_refused_and_never_loaded(tmp_path, names, packed):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("the pickle ran",))
    import pickle
    files = dict.fromkeys(names, pickle.dumps(Trap()))
    path = write_tar(tmp_path / "cifar.tar.gz", files, "cifar-10-batches-py") if packed else write(tmp_path, files)
    for load in (load_cifar10, load_cifar100):
        with pytest.raises(DataError, match="is the python version of CIFAR, made of pickles, which can run any code"):
            load(path)


def test_a_cut_archive(tmp_path):
    path = write_tar(tmp_path / "cifar.tar.gz", cifar10_files())
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(DataError, match=r"cifar\.tar\.gz: .*(damaged or cut short|not a readable tar)"):
        load_cifar10(path)


@pytest.mark.parametrize("data", [b"", b"hello", bytes(2000), gzip.compress(b"x" * 5000), gzip.compress(b"")],
                         ids=["nothing", "text", "zeros", "gzip of letters", "gzip of nothing"])      # gzip writes the time
def test_a_file_that_is_no_archive(tmp_path, data):
    path = tmp_path / "c.tar.gz"
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"c\.tar\.gz: (is not a readable tar archive|has no data_batch_1)"):
        load_cifar10(path)


def test_an_archive_bomb_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr("minicnn.data.cifar._ARCHIVE_LIMIT", 1 << 20)
    path = write_tar(tmp_path / "c.tar.gz", {"readme.html": bytes(20 << 20), **cifar10_files()})
    assert path.stat().st_size < 1 << 20
    with pytest.raises(DataError, match="unpacks to more than 1,048,576 bytes"):
        load_cifar10(path)


def test_a_member_of_impossible_size_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr("minicnn.data.cifar._MAX_FILE_BYTES", 3073)
    with pytest.raises(DataError, match=r"has no data_batch_1\.bin"):
        load_cifar10(write_tar(tmp_path / "c.tar.gz", cifar10_files()))


def test_names_with_parent_folders_are_never_followed(tmp_path):
    path = write_tar(tmp_path / "c.tar.gz", cifar10_files(), folder="../../outside")
    assert len(load_cifar10(path)) == 10
    assert [file.name for file in tmp_path.iterdir()] == ["c.tar.gz"]
