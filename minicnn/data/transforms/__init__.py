"""Transforms of images: callables `transform(image, rng) -> image` on arrays (H, W, C); see Compose."""

from minicnn.data.transforms.color import (
    IMAGENET_EIGENVALUES,
    IMAGENET_EIGENVECTORS,
    ColorPCA,
    PhotometricDistortion,
    fit_pca,
)
from minicnn.data.transforms.compose import Compose
from minicnn.data.transforms.geometry import (
    CenterCrop,
    HorizontalFlip,
    PadCrop,
    RandomCrop,
    RandomResizedCrop,
    RandomScale,
    Resize,
)
from minicnn.data.transforms.multicrop import MultiCrop, TenCrop
from minicnn.data.transforms.values import GrayToRGB, Normalize, to_chw
from minicnn.data.transforms.whitening import ZCA, GlobalContrastNormalize

__all__ = ["IMAGENET_EIGENVALUES", "IMAGENET_EIGENVECTORS", "ZCA", "CenterCrop", "ColorPCA", "Compose",
           "GlobalContrastNormalize", "GrayToRGB", "HorizontalFlip", "MultiCrop", "Normalize", "PadCrop",
           "PhotometricDistortion", "RandomCrop", "RandomResizedCrop", "RandomScale", "Resize", "TenCrop", "fit_pca",
           "to_chw"]
