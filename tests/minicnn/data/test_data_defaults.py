"""The usual transforms for a data set and a network."""

import numpy as np
import pytest

from minicnn.data import ArrayDataset, Loader, default_transforms, load_digits
from minicnn.errors import ArgumentError


def made_of(pictures, *shape, **options):
    return ArrayDataset(pictures(10, *shape), np.arange(10), "abcdefghij", **options)


def names(compose):
    return [type(step).__name__ for step in compose.transforms]


def test_small_natural_images(pictures):
    train = default_transforms(made_of(pictures, 32, 32), (3, 32, 32), train=True)
    assert names(train) == ["PadCrop", "HorizontalFlip", "Normalize"]
    assert train.transforms[0].padding == 4
    assert names(default_transforms(made_of(pictures, 32, 32), (3, 32, 32), train=False)) == ["Normalize"]
    enlarged = default_transforms(made_of(pictures, 32, 32), (3, 224, 224), train=True)
    assert names(enlarged) == ["PadCrop", "Resize", "HorizontalFlip", "Normalize"]


def test_digits_are_enlarged_and_never_mirrored():
    train = default_transforms(load_digits(), (3, 32, 32), train=True)
    assert names(train) == ["PadCrop", "Resize", "GrayToRGB", "Normalize"]
    assert names(default_transforms(load_digits(), (1, 8, 8), train=False)) == ["Normalize"]


def test_photographs(pictures):
    dataset = made_of(pictures, 120, 150)
    assert names(default_transforms(dataset, (3, 64, 64), True)) == ["RandomResizedCrop", "HorizontalFlip", "Normalize"]
    for side, shorter in ((224, 256), (227, 256), (299, 342), (64, 73)):
        test = default_transforms(dataset, (3, side, side), train=False)
        assert names(test) == ["Resize", "CenterCrop", "Normalize"]
        assert test.transforms[0].size == shorter


@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28, 1), (32, 32, 3), (20, 30, 3), (97, 130, 3), (130, 97, 1)])
@pytest.mark.parametrize("size", [(3, 32, 32), (3, 40, 24)])
@pytest.mark.parametrize("train", [True, False])
def test_every_data_set_reaches_the_input(pictures, shape, size, train):
    dataset = made_of(pictures, *shape)
    images, _ = next(iter(Loader(dataset, 10, default_transforms(dataset, size, train))))
    assert images.shape == (10, *size)
    if not train:
        np.testing.assert_allclose([images.mean(), images.std()], [0, 1], atol=0.9)


def test_small_images_of_several_sizes(pictures):
    class Mixed:
        mean, std, mirrorable, name = (0.5,) * 3, (0.25,) * 3, True, "mixed"
        labels = np.zeros(4, np.int64)
        sizes = [(20, 30), (40, 25), (16, 16), (33, 20)]

        def __len__(self):
            return 4

        def image(self, i):
            return pictures(1, *self.sizes[i])[0]
    for train in (True, False):
        transform = default_transforms(Mixed(), (3, 32, 32), train)
        assert next(iter(Loader(Mixed(), 4, transform)))[0].shape == (4, 3, 32, 32)


def test_channels_that_cannot_be_had(pictures):
    with pytest.raises(ArgumentError, match=r"images of 3 channel\(s\), the network takes 1; choose .* in_channels 3$"):
        default_transforms(made_of(pictures, 8, 8), (1, 8, 8), train=False)
    with pytest.raises(ArgumentError, match="in_channels 1 or 3"):
        default_transforms(load_digits(), (4, 8, 8), train=False)
