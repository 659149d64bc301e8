"""The loader: the same batches always, no thread left behind, errors that say which image."""

import gc
import threading
import zipfile

import numpy as np
import pytest

from minicnn.data import ArrayDataset, ImageFolder, Loader, subset
from minicnn.data.transforms import (
    CenterCrop,
    Compose,
    HorizontalFlip,
    Normalize,
    PadCrop,
    RandomResizedCrop,
    TenCrop,
    to_chw,
)
from minicnn.errors import ArgumentError, DataError

AUGMENT = Compose([PadCrop(8, 2), RandomResizedCrop(8), HorizontalFlip(), Normalize(0.5, 0.25)])


@pytest.fixture
def dataset(pictures):
    return ArrayDataset(pictures(50, 8, 8), np.arange(50) % 10, "abcdefghij")


def loader_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("minicnn-loader")]


@pytest.fixture(autouse=True)
def no_thread_left():
    yield
    gc.collect()
    assert not loader_threads()


def assert_same(first, second):
    assert len(first) == len(second)
    for (images, labels), (other_images, other_labels) in zip(first, second):
        np.testing.assert_array_equal(images, other_images)
        np.testing.assert_array_equal(labels, other_labels)


def test_batches_in_order(dataset):
    batches = list(Loader(dataset, 16))
    assert [len(labels) for _, labels in batches] == [16, 16, 16, 2]
    images, labels = (np.concatenate(parts) for parts in zip(*batches))
    np.testing.assert_allclose(images, dataset.images.transpose(0, 3, 1, 2) / 255, rtol=1e-6)
    np.testing.assert_array_equal(labels, dataset.labels)
    for images, labels in batches:
        assert (images.dtype, labels.dtype) == (np.float32, np.int64)
        assert images.flags.c_contiguous
        assert images.flags.writeable


def test_drop_last(dataset):
    loader = Loader(dataset, 16, drop_last=True)
    assert len(loader) == len(list(loader)) == 3
    assert len(Loader(dataset, 16)) == 4


def test_shuffling_visits_each_image_once_and_differently_each_epoch(dataset):
    loader = Loader(dataset, 7, shuffle=True, seed=3)
    orders = []
    for loader.epoch in range(3):
        np.testing.assert_array_equal(np.sort(loader.order()), np.arange(50))
        images = np.concatenate([images for images, _ in loader])
        np.testing.assert_allclose(images, dataset.images[loader.order()].transpose(0, 3, 1, 2) / 255, rtol=1e-6)
        orders.append(tuple(loader.order()))
    assert len(set(orders)) == 3


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_batches_do_not_depend_on_the_workers(dataset, workers):
    def batches(count):
        loader = Loader(dataset, 8, AUGMENT, shuffle=True, seed=1, workers=count)
        loader.epoch = 2
        return list(loader)
    assert_same(batches(0), batches(workers))


@pytest.mark.parametrize("start", [0, 1, 5, 7])
def test_an_epoch_continues_exactly_where_it_stopped(dataset, start):
    loader = Loader(dataset, 8, AUGMENT, shuffle=True, seed=1)
    loader.epoch = 4
    whole = list(loader)
    assert_same(list(Loader.batches(loader, start=start)), whole[start:])


def test_augmentation_belongs_to_the_sample_not_to_its_place(dataset):
    loader, sorted_loader = (Loader(dataset, 50, AUGMENT, shuffle=shuffle, seed=1) for shuffle in (True, False))
    shuffled, plain = next(iter(loader))[0], next(iter(sorted_loader))[0]
    np.testing.assert_array_equal(shuffled, plain[loader.order()])
    sorted_loader.epoch = 1
    assert not np.array_equal(next(iter(sorted_loader))[0], plain)
    assert_same(list(loader), list(loader))


def test_the_epoch_of_an_iterator_is_that_of_its_beginning(dataset):
    loader = Loader(dataset, 8, shuffle=True)
    batches = loader.batches()
    loader.epoch = 1
    first = [labels for _, labels in batches]
    loader.epoch = 0
    for labels, (_, expected) in zip(first, loader):
        np.testing.assert_array_equal(labels, expected)


@pytest.mark.parametrize("end", ["close", "drop", "break"])
def test_stopping_early_ends_the_threads(dataset, end):
    iterator = iter(Loader(dataset, 2, AUGMENT, workers=3))
    next(iterator)
    if end == "close":
        iterator.close()
        assert not loader_threads()
    elif end == "break":
        for _ in iterator:
            break
    del iterator


def test_no_more_is_prepared_than_the_queue_holds(dataset):
    made = []

    def count(image, rng):
        made.append(1)
        return to_chw(image)
    iterator = iter(Loader(dataset, 1, count, workers=2))
    next(iterator)
    iterator.close()
    assert len(made) <= 4


class Broken:
    """A data set of which image 5 cannot be read."""
    labels, classes = np.zeros(9, np.int64), ["a"]

    def __len__(self):
        return 9

    def image(self, i):
        if i == 5:
            raise OSError("the disk is gone")
        return np.zeros((2, 2, 1), np.uint8)


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_errors_of_a_data_set_reach_the_caller(workers):
    iterator = iter(Loader(Broken(), 2, workers=workers))
    next(iterator)
    next(iterator)
    with pytest.raises(OSError, match="the disk is gone\nwhile reading image 5"):
        next(iterator)
    assert list(iterator) == []


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_file_is_named(tmp_path, png, workers):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("cat/good.png", png("red"))
        archive.writestr("dog/bad.png", png("red")[:50])
    with pytest.raises(DataError, match=r"a\.zip: dog/bad\.png: is not an image"):
        list(Loader(ImageFolder(tmp_path / "a.zip"), 2, workers=workers))


def test_an_error_in_a_transform_names_the_image(tmp_path, png):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("cat/large.png", png("red", (9, 9)))
        archive.writestr("dog/small.png", png("red", (3, 3)))
    dataset = ImageFolder(tmp_path / "a.zip")
    with pytest.raises(DataError, match=r"dog/small\.png: CenterCrop: an image of 3x3 is smaller"):
        list(Loader(dataset, 2, Compose([CenterCrop(5), to_chw])))
    with pytest.raises(DataError, match=r"dog/small\.png: the transformed image is float32 \(3, 3, 3\), others"):
        list(Loader(dataset, 2))

    def fails(image, rng):
        return to_chw(image) / (0 if image.shape[0] == 3 else 1) if image.shape[0] == 9 else [][1]
    with pytest.raises(IndexError, match=r"list index out of range\nwhile transforming .*dog/small\.png"):
        list(Loader(subset(dataset, [1, 0]), 2, fails))


def test_a_transform_that_ends_too_early(dataset):
    with pytest.raises(ArgumentError, match=r"the transform gives uint8 \(8, 8, 3\); end it with Normalize"):
        list(Loader(dataset, 4, PadCrop(8)))


def test_plain_functions_and_crops_of_crops(dataset):
    images, _ = next(iter(Loader(dataset, 4, lambda image, rng: to_chw(image) * rng.random())))
    assert images.shape == (4, 3, 8, 8)
    images, _ = next(iter(Loader(dataset, 4, TenCrop(6, Normalize(0.5, 0.5)))))
    assert images.shape == (4, 10, 3, 6, 6)
    assert images.flags.c_contiguous


@pytest.mark.parametrize(("arguments", "message"), [
    ({"batch_size": 0}, "batch_size 0 is not an integer from 1"), ({"batch_size": 2.0}, r"batch_size 2\.0"),
    ({"batch_size": 2, "workers": -1}, "workers -1 is not an integer from 0"),
    ({"batch_size": 51, "drop_last": True}, "batch_size 51 with drop_last leaves none of the 50 images"),
    ({"batch_size": 2, "seed": -1}, "seed -1"),
])
def test_wrong_arguments(dataset, arguments, message):
    with pytest.raises(ArgumentError, match=message):
        Loader(dataset, **arguments)


def test_wrong_epoch_and_start(dataset):
    loader = Loader(dataset, 8)
    with pytest.raises(ArgumentError, match=r"start 8 is not a batch of 0\.\.7"):
        loader.batches(start=8)
    loader.epoch = -1
    with pytest.raises(ArgumentError, match="Loader: epoch -1 is not an integer"):
        iter(loader)
