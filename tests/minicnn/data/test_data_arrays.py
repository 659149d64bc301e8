"""Data sets in memory, their parts, and the digits that come with the package."""

from pathlib import Path

import numpy as np
import pytest

import minicnn.data
from minicnn.data import ArrayDataset, load_digits, split, subset
from minicnn.data.dataset import pixel_statistics
from minicnn.errors import ArgumentError, DataError


@pytest.fixture
def dataset(pictures):
    return ArrayDataset(pictures(40, 4, 4), np.repeat([0, 1, 2, 0], 10), ["a", "b", "c"], name="toy")


def test_images_and_labels(dataset, pictures):
    assert len(dataset) == 40
    np.testing.assert_array_equal(dataset.image(3), pictures(40, 4, 4)[3])
    assert dataset.label(15) == 1
    assert isinstance(dataset.label(15), int)
    assert dataset.labels.dtype == np.int64
    assert dataset.source(3) == "toy, image 3"


def test_images_and_labels_cannot_be_changed(dataset):
    with pytest.raises(ValueError, match="read-only"):
        dataset.image(0)[0] = 1
    with pytest.raises(ValueError, match="read-only"):
        dataset.labels[0] = 1


def test_statistics_are_those_of_the_pixels(dataset, pictures):
    scaled = pictures(40, 4, 4) / 255
    np.testing.assert_allclose(dataset.mean, scaled.mean(axis=(0, 1, 2)))
    np.testing.assert_allclose(dataset.std, scaled.std(axis=(0, 1, 2)))
    assert pixel_statistics(np.zeros((2, 3, 3, 1), np.uint8)) == ((0.0,), (1 / 255,))


@pytest.mark.parametrize(("images", "labels", "message"), [
    (np.zeros((2, 3, 3, 1)), [0, 0], r"images are float64 of shape \(2, 3, 3, 1\); pass a uint8 array"),
    (np.zeros((2, 3, 3), np.uint8), [0, 0], "at least one image"),
    (np.zeros((0, 3, 3, 1), np.uint8), [], "at least one image"),
    (np.zeros((2, 3, 3, 1), np.uint8), [0], "there are 2 images"),
    (np.zeros((2, 3, 3, 1), np.uint8), [0.0, 1.0], "labels are float64"),
    (np.zeros((2, 3, 3, 1), np.uint8), [0, 2], r"label 2 of image 1 is outside 0\.\.1"),
    (np.zeros((2, 3, 3, 1), np.uint8), [-1, 0], r"label -1 of image 0 is outside 0\.\.1"),
])
def test_wrong_arrays(images, labels, message):
    with pytest.raises(DataError, match=message):
        ArrayDataset(images, labels, ["a", "b"])


def test_subset_by_index_and_by_mask(dataset):
    part = subset(dataset, [39, 10, 10])
    assert [part.label(i) for i in range(len(part))] == [0, 1, 1]
    np.testing.assert_array_equal(part.image(0), dataset.image(39))
    np.testing.assert_array_equal(part.images_at(np.array([2, 0])), dataset.images[[10, 39]])
    assert part.source(0) == "toy, image 39"
    assert (part.classes, part.mean, part.mirrorable) == (dataset.classes, dataset.mean, True)
    again = subset(part, [1])
    np.testing.assert_array_equal(again.image(0), dataset.image(10))
    assert len(subset(dataset, dataset.labels == 0)) == 20


@pytest.mark.parametrize(("indices", "message"), [
    ([40], r"index 40 is outside the data set; choose from 0\.\.39"), ([-1], "index -1"), ([], "at least one integer"),
    ([0.5], "at least one integer"), ([[0]], "at least one integer"), (np.ones(3, bool), "the mask has shape"),
])
def test_wrong_subsets(dataset, indices, message):
    with pytest.raises(ArgumentError, match=message):
        subset(dataset, indices)


def test_split_is_stratified_disjoint_and_complete(dataset):
    rest, held = split(dataset, 0.3, seed=5)
    assert (len(rest), len(held)) == (28, 12)
    np.testing.assert_array_equal(np.bincount(held.labels), [6, 3, 3])
    np.testing.assert_array_equal(np.sort(np.concatenate([rest.indices, held.indices])), np.arange(40))
    np.testing.assert_array_equal(split(dataset, 0.3, seed=5)[1].indices, held.indices)
    assert not np.array_equal(split(dataset, 0.3, seed=6)[1].indices, held.indices)


def test_split_rounds_classes_to_the_total():
    dataset = ArrayDataset(np.zeros((30, 1, 1, 1), np.uint8), np.repeat([0, 1, 2], [7, 11, 12]), "abc")
    _, held = split(dataset, 0.25)
    assert len(held) == round(0.25 * 30)
    share = np.array([7, 11, 12]) * len(held) / 30
    assert np.all(np.abs(np.bincount(held.labels) - share) < 1)


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, 0.001, 0.999, float("nan")])
def test_split_leaves_no_part_empty(dataset, fraction):
    with pytest.raises(ArgumentError, match="leaves a part without any"):
        split(dataset, fraction)


def test_digits_have_fixed_splits():
    train, test, everything = load_digits("train"), load_digits("test"), load_digits("all")
    assert (len(train), len(test), len(everything)) == (1437, 360, 1797)
    assert train.image(0).shape == (8, 8, 1)
    assert set(np.unique(everything.images)) <= {round(count * 255 / 16) for count in range(17)}
    assert everything.images.max() == 255
    np.testing.assert_array_equal(np.bincount(test.labels), [36, 37, 35, 37, 36, 36, 36, 36, 35, 36])
    assert (train.classes, train.splits, train.mirrorable) == ([*"0123456789"], ("train", "test"), False)
    np.testing.assert_allclose([*train.mean, *train.std], np.ravel(pixel_statistics(train.images)), atol=1e-5)
    # The split may never change: results that people compare depend on it.
    assert (test.images.astype(np.int64).sum(), int(np.arange(360) @ test.labels)) == (1790327, 289234)


def test_digits_file_is_small_and_says_where_it_is_from():
    file = Path(minicnn.data.__file__).with_name("digits.npz")
    assert file.stat().st_size < 100_000
    with np.load(file, allow_pickle=False) as stored:
        assert "CC BY 4.0" in str(stored["licence"])
        assert "Alpaydin" in str(stored["citation"])
        assert "archive.ics.uci.edu" in str(stored["source"]) or "10.24432/C50P49" in str(stored["source"])


def test_digits_have_no_other_split():
    with pytest.raises(DataError, match="there is no split 'val'; choose from 'train', 'test', 'all'"):
        load_digits("val")
