"""Colour augmentation of RGB images, uint8 in 0..255 or float in 0..1; the dtype stays."""

import numpy as np

from minicnn.data.transforms.compose import check_image
from minicnn.errors import ArgumentError, DataError

__all__ = ["IMAGENET_EIGENVALUES", "IMAGENET_EIGENVECTORS", "ColorPCA", "PhotometricDistortion", "fit_pca"]

# Of ImageNet's RGB pixels in 0..1, as published with fb.resnet.torch (datasets/imagenet.lua); a column is a vector.
IMAGENET_EIGENVALUES = np.array([0.2175, 0.0188, 0.0045])
IMAGENET_EIGENVECTORS = np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)      # ITU-R BT.601, as Pillow's grey


class ColorPCA:
    """Add Σ_i p_i a_i λ_i to every pixel, a_i ~ N(0, std) drawn once an image ("fancy PCA").

    p_i, λ_i: eigenvectors (columns) and eigenvalues of the covariance of RGB pixels in 0..1; see fit_pca. uint8 is
    rounded and clipped. Source: Krizhevsky et al. 2012, section 4.1.
    """

    def __init__(self, eigenvalues=IMAGENET_EIGENVALUES, eigenvectors=IMAGENET_EIGENVECTORS, std=0.1):
        self.eigenvalues = np.asarray(eigenvalues, dtype=np.float64)
        self.eigenvectors = np.asarray(eigenvectors, dtype=np.float64)
        self.std = std
        if self.eigenvalues.shape != (3,) or self.eigenvectors.shape != (3, 3) or std < 0:
            raise ArgumentError(f"ColorPCA: eigenvalues {self.eigenvalues.shape}, eigenvectors "
                                f"{self.eigenvectors.shape}, std {std}; pass (3,), (3, 3) and std from 0")

    def __call__(self, image, rng):
        _check_rgb(image, "ColorPCA")
        shift = self.eigenvectors @ (self.std * rng.standard_normal(3) * self.eigenvalues)
        if image.dtype == np.uint8:
            return _to_bytes(image + np.float32(255) * shift.astype(np.float32))
        return image + shift.astype(image.dtype)

    def __repr__(self):
        return f"ColorPCA(std={self.std})"


def fit_pca(images):
    """(eigenvalues (3,), descending, eigenvectors (3, 3), columns) of the RGB pixels of `images`, in 0..1.

    images: uint8 or float arrays (H, W, 3), or one array (N, H, W, 3). Source: Krizhevsky et al. 2012, section 4.1.
    """
    count, total, products = 0, np.zeros(3), np.zeros((3, 3))
    for image in images:
        _check_rgb(image, "fit_pca")
        pixels = image.reshape(-1, 3).astype(np.float64)
        if image.dtype == np.uint8:
            pixels /= 255
        count += len(pixels)
        total += pixels.sum(axis=0)
        products += pixels.T @ pixels
    if count < 2:
        raise ArgumentError(f"fit_pca: {count} pixels have no covariance; pass at least one image")
    mean = total / count
    values, vectors = np.linalg.eigh(products / count - np.outer(mean, mean))
    return values[::-1].copy(), vectors[:, ::-1].copy()


class PhotometricDistortion:
    """Brightness, contrast and saturation, each by a factor uniform in [1 − amount, 1 + amount], in random order.

    Brightness blends with black, contrast with the mean grey of the image, saturation with the grey image; each result
    is clipped. Source: Howard 2013, "Some Improvements on Deep CNN Based Image Classification", section 2 (0.5 to 1.5),
    as used by Szegedy et al. 2015, section 6.
    """

    def __init__(self, brightness=0.5, contrast=0.5, saturation=0.5):
        self.amounts = (brightness, contrast, saturation)
        if not all(0 <= amount <= 1 for amount in self.amounts):
            raise ArgumentError(f"PhotometricDistortion: amounts {self.amounts}; choose each from 0 to 1")

    def __call__(self, image, rng):
        _check_rgb(image, "PhotometricDistortion")
        draws = rng.random(6)
        factors = 1 + (2 * draws[:3] - 1) * self.amounts
        white = np.float32(255 if image.dtype == np.uint8 else 1)
        out = image.astype(np.float32)
        for step in np.argsort(draws[3:]):
            out = _blend(out, int(step), np.float32(factors[step]), white)
        return _to_bytes(out) if image.dtype == np.uint8 else out.astype(image.dtype)

    def __repr__(self):
        return f"PhotometricDistortion{self.amounts}"


def _blend(image, step, factor, white):
    """factor · image + (1 − factor) · other; step 0 is brightness, 1 contrast, 2 saturation."""
    if step == 0:
        other = np.float32(0)
    else:
        grey = image @ _LUMA
        other = grey.mean() if step == 1 else grey[..., None]
    return np.clip(factor * image + (1 - factor) * other, 0, white)


def _to_bytes(image):
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def _check_rgb(image, what):
    check_image(image, what)
    if image.shape[2] != 3:
        raise DataError(f"{what}: the image has {image.shape[2]} channel(s), it takes RGB; put GrayToRGB before it")
