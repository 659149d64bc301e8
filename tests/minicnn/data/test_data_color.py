"""Colour augmentation and whitening against their formulas."""

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from minicnn.data import sample_streams
from minicnn.data.transforms import (
    IMAGENET_EIGENVALUES,
    IMAGENET_EIGENVECTORS,
    ZCA,
    ColorPCA,
    Compose,
    GlobalContrastNormalize,
    PhotometricDistortion,
    fit_pca,
    to_chw,
)
from minicnn.errors import ArgumentError, DataError


class Fixed:
    def __init__(self, numbers):
        self.numbers = np.array(numbers, dtype=np.float64)

    def random(self, size):
        return self.numbers[:size]

    standard_normal = random


def test_fit_pca_is_the_eigen_decomposition_of_the_covariance(pictures):
    images = pictures(5, 8, 6).copy()
    images[..., 1] = images[..., 0] // 2 + 30
    values, vectors = fit_pca(images)
    covariance = np.cov(images.reshape(-1, 3).T / 255, bias=True)
    np.testing.assert_allclose(vectors @ np.diag(values) @ vectors.T, covariance, atol=1e-12)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(3), atol=1e-12)
    assert values[0] > values[1] > values[2]
    other, _ = fit_pca([image / 255 for image in images])       # a list, and floats
    np.testing.assert_allclose(other, values)


def test_color_pca_adds_one_color_to_all_pixels():
    image = np.full((2, 2, 3), 0.5, np.float32)
    out = ColorPCA(std=0.1)(image, Fixed([1.0, -2.0, 3.0]))
    shift = sum(0.1 * a * IMAGENET_EIGENVALUES[i] * IMAGENET_EIGENVECTORS[:, i] for i, a in enumerate([1.0, -2.0, 3.0]))
    np.testing.assert_allclose(out - image, np.broadcast_to(shift, (2, 2, 3)), rtol=1e-4)
    assert out.dtype == np.float32
    as_bytes = ColorPCA(std=0.1)(np.full((2, 2, 3), 128, np.uint8), Fixed([1.0, -2.0, 3.0]))
    np.testing.assert_array_equal(as_bytes[0, 0], np.rint(128 + 255 * shift))


def test_color_pca_clips_bytes():
    out = ColorPCA([9, 9, 9], np.eye(3))(np.full((1, 1, 3), 200, np.uint8), Fixed([9, 0, -9]))
    assert out.tolist() == [[[255, 200, 0]]]


def test_imagenet_vectors_are_orthonormal():
    np.testing.assert_allclose(IMAGENET_EIGENVECTORS.T @ IMAGENET_EIGENVECTORS, np.eye(3), atol=2e-3)


@pytest.mark.parametrize(("step", "enhance"), [(0, ImageEnhance.Brightness), (1, ImageEnhance.Contrast),
                                               (2, ImageEnhance.Color)])
@pytest.mark.parametrize("draw", [0.0, 0.3, 0.999])
def test_each_distortion_is_pillows(pictures, step, enhance, draw):
    image = pictures(1, 16, 16)[0]
    draws = [0.5] * 3 + [0.1, 0.2, 0.3]
    draws[step] = draw
    expected = np.asarray(enhance(Image.fromarray(image)).enhance(1 + (2 * draw - 1) * 0.5))
    out = PhotometricDistortion()(image, Fixed(draws))
    assert out.dtype == np.uint8
    np.testing.assert_allclose(out.astype(int), expected.astype(int), atol=2)     # Pillow truncates to bytes on the way


def test_the_order_of_distortions_is_drawn(pictures):
    image = pictures(1, 8, 8)[0]
    factors = [1.0, 1.0, 0.0]
    outs = {PhotometricDistortion()(image, Fixed(factors + order)).tobytes()
            for order in ([0.1, 0.2, 0.3], [0.3, 0.2, 0.1], [0.2, 0.3, 0.1])}
    assert len(outs) == 3


def test_distortion_of_floats_stays_in_0_to_1(pictures):
    image = (pictures(1, 8, 8)[0] / 255).astype(np.float32)
    out = PhotometricDistortion()(image, np.random.default_rng(0))
    assert out.dtype == np.float32
    assert out.min() >= 0
    assert out.max() <= 1
    np.testing.assert_allclose(PhotometricDistortion(0, 0, 0)(image, np.random.default_rng(0)), image, atol=1e-6)


def test_global_contrast_normalization(pictures):
    images = pictures(4, 6, 5)
    out = GlobalContrastNormalize(55).batch(images, None)
    flat = images.reshape(4, -1).astype(np.float64)
    centred = flat - flat.mean(axis=1, keepdims=True)
    expected = 55 * centred / np.linalg.norm(centred, axis=1, keepdims=True)
    np.testing.assert_allclose(out.reshape(4, -1), expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(GlobalContrastNormalize()(np.full((3, 3, 1), 77, np.uint8)), np.zeros((3, 3, 1)))


def test_zca_whitens_its_training_set():
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(12, 12))
    images = (rng.normal(size=(3000, 12)) @ mixing + 5).reshape(3000, 2, 2, 3).astype(np.float32)
    zca = ZCA.fit(images, filter_bias=1e-6)
    out = zca.batch(images, None).reshape(3000, 12)
    np.testing.assert_allclose(out.mean(axis=0), 0, atol=2e-3)
    np.testing.assert_allclose(np.cov(out.T), np.eye(12), atol=2e-2)
    np.testing.assert_allclose(zca.matrix, zca.matrix.T, atol=1e-5)       # the symmetric root: closest to the images
    np.testing.assert_allclose(zca(images[7]), out[7].reshape(2, 2, 3), rtol=1e-4, atol=1e-4)


def test_zca_with_its_bias_follows_the_formula():
    images = np.random.default_rng(1).normal(size=(50, 2, 1, 2))
    flat = images.reshape(50, 4)
    values, vectors = np.linalg.eigh(np.cov(flat.T, bias=True))
    expected = vectors @ np.diag(1 / np.sqrt(values + 0.1)) @ vectors.T
    np.testing.assert_allclose(ZCA.fit(images).matrix, expected, rtol=1e-5, atol=1e-6)


def test_whitening_in_a_pipeline(pictures):
    images = pictures(20, 4, 4)
    contrast = GlobalContrastNormalize()
    compose = Compose([contrast, ZCA.fit(contrast.batch(images, None)), to_chw])
    streams = sample_streams(0, 0, np.arange(20))
    together = compose.batch(images, streams)
    assert (together.shape, together.dtype) == ((20, 3, 4, 4), np.float32)
    np.testing.assert_allclose(together[3], compose(images[3], streams[3]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("make", "message"), [
    (lambda: ColorPCA([1, 2], np.eye(3)), r"pass \(3,\), \(3, 3\) and std from 0"),
    (lambda: ColorPCA(std=-1), "std from 0"),
    (lambda: fit_pca([]), "0 pixels have no covariance"),
    (lambda: PhotometricDistortion(contrast=2), "choose each from 0 to 1"),
    (lambda: GlobalContrastNormalize(0), "scale 0 is not above 0"),
    (lambda: ZCA(np.zeros(3), np.zeros((2, 2))), r"pass \(D,\) and \(D, D\)"),
    (lambda: ZCA.fit(np.zeros((3, 2, 2, 1), np.uint8)), r"ZCA\.fit: images are uint8 .*pass floats"),
])
def test_wrong_arguments(make, message):
    with pytest.raises(ArgumentError, match=message):
        make()


@pytest.mark.parametrize("transform", [ColorPCA(), PhotometricDistortion()])
def test_grey_images_have_no_color(transform):
    with pytest.raises(DataError, match=r"the image has 1 channel\(s\), it takes RGB; put GrayToRGB before it"):
        transform(np.zeros((3, 3, 1), np.uint8), np.random.default_rng(0))


def test_zca_of_another_size():
    with pytest.raises(DataError, match="it was fitted to floats of 4 values"):
        ZCA(np.zeros(4), np.eye(4))(np.zeros((3, 3, 1), np.float32))
