"""Global contrast normalisation and ZCA whitening, the preprocessing of Maxout and Network in Network."""

import numpy as np

from minicnn.data.transforms.compose import check_image
from minicnn.errors import ArgumentError, DataError

__all__ = ["ZCA", "GlobalContrastNormalize"]


class GlobalContrastNormalize:
    """Subtract the mean of an image and divide by its L2 norm, times `scale`: float32 (H, W, C), values around ±1.

    uint8 is taken as 0..255; an image of one colour becomes zeros. Source: Goodfellow et al. 2013, "Maxout Networks",
    section 5.2, with pylearn2's scale 55 (close to √3072, so that CIFAR images have a variance near 1).
    """

    def __init__(self, scale=55.0):
        if not scale > 0:
            raise ArgumentError(f"GlobalContrastNormalize: scale {scale} is not above 0; the papers' code takes 55")
        self.scale = scale

    def __call__(self, image, rng=None):
        check_image(image, "GlobalContrastNormalize")
        return self.batch(image[None], None)[0]

    def batch(self, images, rngs):
        flat = images.reshape(len(images), -1).astype(np.float32)
        flat -= flat.mean(axis=1, keepdims=True, dtype=np.float64).astype(np.float32)
        norm = np.sqrt(np.square(flat).sum(axis=1, keepdims=True))
        norm[norm < 1e-8] = 1
        return (flat * (np.float32(self.scale) / norm)).reshape(images.shape)

    def __repr__(self):
        return f"GlobalContrastNormalize({self.scale})"


class ZCA:
    """Whiten images: (x − mean) @ matrix on the flattened image, float32 (H, W, C) in and out.

    mean (D,) and matrix (D, D), D = H·W·C, come from ZCA.fit on the training set, or from where they were saved.
    """

    def __init__(self, mean, matrix):
        self.mean, self.matrix = np.asarray(mean, dtype=np.float32), np.asarray(matrix, dtype=np.float32)
        size = self.mean.size
        if self.mean.shape != (size,) or self.matrix.shape != (size, size):
            raise ArgumentError(f"ZCA: mean {self.mean.shape} and matrix {self.matrix.shape}; pass (D,) and (D, D)")

    @classmethod
    def fit(cls, images, filter_bias=0.1):
        """Fit to the training images (N, H, W, C), float, usually after GlobalContrastNormalize.

        matrix = V (Λ + filter_bias)^(-1/2) Vᵀ for the covariance V Λ Vᵀ; filter_bias 0.1 is pylearn2's. Takes D² memory
        and D³ time: 3,072 for CIFAR, not for ImageNet. Source: Krizhevsky 2009, appendix A; pylearn2's ZCA.
        """
        if images.ndim != 4 or images.dtype.kind != "f" or not filter_bias > 0:
            raise ArgumentError(f"ZCA.fit: images are {images.dtype} {images.shape}, filter_bias {filter_bias}; pass "
                                "floats (N, H, W, C), as from GlobalContrastNormalize().batch, and filter_bias above 0")
        flat = images.reshape(len(images), -1)
        mean = flat.mean(axis=0, dtype=np.float64)
        covariance = np.zeros((flat.shape[1],) * 2)
        for start in range(0, len(flat), 1000):     # a float64 copy of all of CIFAR would take 1.2 GB
            centred = flat[start : start + 1000] - mean
            covariance += centred.T @ centred
        values, vectors = np.linalg.eigh(covariance / len(flat))
        return cls(mean, (vectors / np.sqrt(np.maximum(values, 0) + filter_bias)) @ vectors.T)

    def __call__(self, image, rng=None):
        check_image(image, "ZCA")
        return self.batch(image[None], None)[0]

    def batch(self, images, rngs):
        flat = images.reshape(len(images), -1)
        if flat.shape[1] != self.mean.size or images.dtype.kind != "f":
            raise DataError(f"ZCA: images are {images.dtype} {images.shape[1:]}; it was fitted to floats of "
                            f"{self.mean.size} values: give it what ZCA.fit was given")
        return ((flat - self.mean).astype(np.float32) @ self.matrix).reshape(images.shape)

    def __repr__(self):
        return f"ZCA({self.mean.size} values)"
