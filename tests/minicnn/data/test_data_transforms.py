"""Transforms against straightforward definitions."""

import numpy as np
import pytest
from PIL import Image

from minicnn.data import sample_streams
from minicnn.data.transforms import (
    CenterCrop,
    Compose,
    GrayToRGB,
    HorizontalFlip,
    MultiCrop,
    Normalize,
    PadCrop,
    RandomCrop,
    RandomResizedCrop,
    RandomScale,
    Resize,
    TenCrop,
    to_chw,
)
from minicnn.errors import ArgumentError, DataError


class Fixed:
    """A generator that gives the numbers it was made with."""

    def __init__(self, *numbers):
        self.numbers = list(numbers)

    def random(self, size=None):
        if size is None:
            return self.numbers.pop(0)
        return np.array([self.numbers.pop(0) for _ in range(size)])


@pytest.fixture
def image(pictures):
    return pictures(1, 9, 7)[0]


def test_pad_crop_takes_a_window_of_the_padded_image(image):
    padded = np.pad(image, ((2, 2), (2, 2), (0, 0)))
    for down, right, top, left in ((0.0, 0.0, 0, 0), (0.999, 0.999, 4, 4), (0.5, 0.25, 2, 1)):
        out = PadCrop((9, 7), padding=2)(image, Fixed(down, right))
        np.testing.assert_array_equal(out, padded[top : top + 9, left : left + 7])


def test_pad_crop_reaches_every_offset_equally_often(image):
    values = np.arange(1, 10, dtype=np.uint8).reshape(3, 3, 1)
    crops = PadCrop(3, padding=1).batch(np.repeat(values[None], 9000, axis=0), sample_streams(0, 0, np.arange(9000)))
    centres = np.bincount(crops[:, 1, 1, 0], minlength=10)
    assert centres[0] == 0
    np.testing.assert_allclose(centres[1:], 1000, rtol=0.12)


def test_random_crop(image):
    out = RandomCrop((5, 6))(image, Fixed(0.999, 0.0))
    np.testing.assert_array_equal(out, image[4:9, 0:6])


def test_horizontal_flip(image):
    np.testing.assert_array_equal(HorizontalFlip()(image, Fixed(0.49)), image[:, ::-1])
    np.testing.assert_array_equal(HorizontalFlip()(image, Fixed(0.5)), image)
    np.testing.assert_array_equal(HorizontalFlip(p=0)(image, Fixed(0.0)), image)


def test_center_crop_rounds_as_torchvision(image):
    np.testing.assert_array_equal(CenterCrop(4)(image), image[2:6, 2:6])      # margins 5 and 3: 2.5 and 1.5 become 2
    np.testing.assert_array_equal(CenterCrop(4).batch(image[None], None)[0], CenterCrop(4)(image))


@pytest.mark.parametrize(("size", "expected"), [(18, (23, 18)), (4, (5, 4)), ((3, 20), (3, 20)), (7, (9, 7))])
def test_resize_is_pillows_bilinear(image, size, expected):
    out = Resize(size)(image)
    assert out.shape == (*expected, 3)
    oracle = Image.fromarray(image).resize(expected[::-1], Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(out, np.asarray(oracle))


def test_resize_of_wide_and_of_grey_images(pictures):
    assert Resize(4)(pictures(1, 8, 12, 1)[0]).shape == (4, 6, 1)


def test_digits_grow_to_a_color_input():
    image = np.arange(64, dtype=np.uint8).reshape(8, 8, 1)
    out = Compose([Resize((32, 32)), GrayToRGB(), to_chw])(image)
    assert (out.shape, out.dtype) == ((3, 32, 32), np.float32)
    np.testing.assert_array_equal(out[0], out[2])
    assert np.all(np.diff(out[0].mean(axis=1)) >= 0)


def test_random_scale(pictures):
    wide = pictures(1, 30, 60)[0]
    assert RandomScale(10, 20)(wide, Fixed(0.0)).shape == (10, 20, 3)
    assert RandomScale(10, 20)(wide, Fixed(0.9999)).shape == (20, 40, 3)
    rng = np.random.default_rng(0)
    assert {RandomScale(5, 8)(wide, rng).shape[0] for _ in range(60)} == {5, 6, 7, 8}


def test_random_resized_crop_regions_have_the_share_and_shape_asked_for():
    crop, rng = RandomResizedCrop(8, scale=(0.2, 0.8), ratio=(0.5, 2.0)), np.random.default_rng(0)
    regions = np.array([crop.region(300, 400, rng) for _ in range(2000)])
    top, left, height, width = regions.T
    assert top.min() >= 0
    assert left.min() >= 0
    assert np.all(top + height <= 300)
    assert np.all(left + width <= 400)
    share, aspect = height * width / 120_000, width / height
    assert 0.19 < share.min() < 0.22
    assert 0.72 < share.max() < 0.81
    assert 0.49 < aspect.min() < 0.55
    assert 1.8 < aspect.max() < 2.02
    assert np.ptp(top) > 150
    assert np.ptp(left) > 200


def test_random_resized_crop_follows_its_formula(image):
    crop = RandomResizedCrop((4, 4), scale=(0.25, 0.75), ratio=(1.0, 1.0))
    wide = RandomResizedCrop(4, scale=(0.25, 0.75), ratio=(4.0, 4.0))       # ratio is width / height
    assert wide.region(20, 40, Fixed(0.5, 0.5, 0.0, 0.0)) == (0, 0, 10, 40)
    # share 0.5 of 63 is a square of side round(sqrt(31.5)) = 6; of rows 0..3 and columns 0..1 the last
    assert crop.region(9, 7, Fixed(0.5, 0.3, 0.99, 0.99)) == (3, 1, 6, 6)
    np.testing.assert_array_equal(crop(image, Fixed(0.5, 0.3, 0.99, 0.99)), Resize((4, 4))(image[3:9, 1:7]))


@pytest.mark.parametrize(("height", "width", "expected"), [(10, 1000, (0, 493, 10, 13)), (1000, 10, (493, 0, 13, 10)),
                                                           (1, 1, (0, 0, 1, 1))])
def test_random_resized_crop_falls_back_to_the_centre(height, width, expected):
    assert RandomResizedCrop(8, scale=(0.9, 1.0)).region(height, width, np.random.default_rng(0)) == expected


def test_normalize(image):
    mean, std = np.array([0.4, 0.5, 0.6]), np.array([0.1, 0.2, 0.3])
    out = Normalize(mean, std)(image)
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, ((image / 255 - mean) / std).transpose(2, 0, 1), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(Normalize(mean, std)((image / 255).astype(np.float32)), out, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(Normalize(0.5, 0.25)(image), ((image / 255 - 0.5) / 0.25).transpose(2, 0, 1), atol=1e-5)


def test_to_chw(image):
    np.testing.assert_allclose(to_chw(image), image.transpose(2, 0, 1) / 255, rtol=1e-6)
    np.testing.assert_array_equal(to_chw(image.astype(np.float64)), image.transpose(2, 0, 1))
    assert to_chw(image.astype(np.float64)).dtype == np.float32


def test_ten_crop(image):
    out = TenCrop((5, 4))(image)
    parts = [image[:5, :4], image[:5, -4:], image[-5:, :4], image[-5:, -4:], image[2:7, 2:6]]
    expected = [part.transpose(2, 0, 1) / 255 for part in parts + [part[:, ::-1] for part in parts]]
    np.testing.assert_allclose(out, expected, rtol=1e-6)
    assert TenCrop(5, finish=Normalize(0.5, 0.5))(image).shape == (10, 3, 5, 5)


@pytest.mark.parametrize("shape", [(30, 50), (50, 30)])
def test_googlenet_crops(pictures, shape):
    image = pictures(1, *shape)[0]
    out = MultiCrop(16, scales=(20, 24))(image)
    assert out.shape == (2 * 3 * 6 * 2, 3, 16, 16)
    resized = Resize(24)(image)
    assert resized.shape[:2] in ((24, 40), (40, 24))
    last = resized[-24:, -24:]                                # right, or bottom, square
    views = [last[:16, :16], last[:16, -16:], last[-16:, :16], last[-16:, -16:], last[4:20, 4:20],
             Resize((16, 16))(last)]
    for i, view in enumerate(views):
        np.testing.assert_allclose(out[60 + 2 * i], view.transpose(2, 0, 1) / 255, rtol=1e-6)
        np.testing.assert_allclose(out[61 + 2 * i], view[:, ::-1].transpose(2, 0, 1) / 255, rtol=1e-6)
    assert len(MultiCrop().scales) * 36 == 144


RANDOM = [PadCrop(7, 2), RandomCrop(6), HorizontalFlip(), RandomResizedCrop(6), RandomScale(4, 12),
          Normalize(0.5, 0.5), to_chw, CenterCrop(3), Resize(5), GrayToRGB()]


@pytest.mark.parametrize("transform", RANDOM, ids=lambda t: repr(t).split("(")[0])
def test_a_batch_is_its_images_one_by_one_and_inputs_stay(transform, pictures):
    images = pictures(12, 7, 7)
    kept = images.copy()
    images.flags.writeable = False
    compose = Compose([transform])
    together = compose.batch(images, sample_streams(0, 0, np.arange(12)))
    streams = sample_streams(0, 0, np.arange(12))
    for i in range(12):
        np.testing.assert_array_equal(together[i], compose(images[i], streams[i]))
    with_lists = compose.batch(list(images), sample_streams(0, 0, np.arange(12)))
    for one, other in zip(together, with_lists):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(images, kept)


def test_compose_draws_in_the_same_order_in_a_batch(pictures):
    """A step without batch between two with: each stream has to go on where it was."""
    images = pictures(6, 8, 8)
    compose = Compose([HorizontalFlip(), RandomScale(8, 8), RandomResizedCrop(8), PadCrop(8, 1), Normalize(0.5, 0.5)])
    together = compose.batch(images, sample_streams(3, 1, np.arange(6)))
    alone = sample_streams(3, 1, np.arange(6))
    np.testing.assert_array_equal(together, [compose(image, alone[i]) for i, image in enumerate(images)])
    rngs = [np.random.default_rng(i) for i in range(6)]
    with_numpy = compose.batch(images, rngs)
    np.testing.assert_array_equal(with_numpy[4], compose(images[4], np.random.default_rng(4)))


def test_compose_says_what_it_does():
    assert repr(Compose([PadCrop(8), to_chw])) == "Compose([PadCrop((8, 8), padding=4), to_chw])"


@pytest.mark.parametrize(("make", "message"), [
    (lambda: PadCrop(0), "PadCrop: size 0 is not a positive integer"),
    (lambda: PadCrop(8, -1), "padding -1 is not an integer from 0"),
    (lambda: Resize((1, 2, 3)), r"Resize: size \(1, 2, 3\) is not"),
    (lambda: Resize(2.5), r"Resize: size 2\.5 is not"),
    (lambda: HorizontalFlip(1.5), r"p 1\.5 is not a probability"),
    (lambda: RandomScale(5, 4), "minimum 5 and maximum 4; choose 0 < minimum <= maximum"),
    (lambda: RandomResizedCrop(8, scale=(0.5, 2)), r"scale \(0\.5, 2\).*scale up to 1"),
    (lambda: Normalize((0.5,), (0.5, 0.5)), "pass as many of each, std above 0"),
    (lambda: Normalize(0.5, 0), "std above 0"),
    (lambda: MultiCrop(300), "scales not below it"),
])
def test_wrong_arguments(make, message):
    with pytest.raises(ArgumentError, match=message):
        make()


GREY, FLOAT = np.zeros((6, 6, 1), np.uint8), np.zeros((6, 6, 3), np.float32)


@pytest.mark.parametrize(("transform", "image", "message"), [
    (CenterCrop(8), GREY, "CenterCrop: an image of 6x6 is smaller than the 8x8 it has to give; put Resize before it"),
    (RandomCrop(8), GREY, "RandomCrop: an image of 6x6"), (PadCrop(20), GREY, "PadCrop: an image of 6x6"),
    (TenCrop(8), GREY, "TenCrop: an image of 6x6 is smaller than the crops of 8x8"),
    (Resize(8), FLOAT, "Resize: the image is float32 .* put Resize before Normalize"),
    (Resize(8), np.zeros((6, 6, 2), np.uint8), "takes uint8 with 1 or 3 channels"),
    (Resize(256), np.zeros((1, 100_000, 3), np.uint8), "Resize: an image of 1x100000 would become 256x25600000"),
    (Normalize((0.1, 0.2, 0.3), (1, 1, 1)), GREY, r"the image has 1 channel\(s\), mean and std have 3; put GrayToRGB"),
    (GrayToRGB(), np.zeros((6, 6, 4), np.uint8), "the image has 4 channels; it takes 1 or 3"),
    (to_chw, np.zeros((6, 6), np.uint8), r"to_chw: the image is uint8 \(6, 6\); it takes arrays \(H, W, C\)"),
    (Normalize(0, 1), np.zeros((6, 6, 1), np.int64), "uint8 or float"), (to_chw, "cat.png", "the image is str"),
])
def test_wrong_images(transform, image, message):
    with pytest.raises(DataError, match=message):
        transform(image, np.random.default_rng(0))
