"""The handwritten digits that come with minicnn: 1,797 grey images of 8x8 pixels.

Source: E. Alpaydin, C. Kaynak 1998, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository,
https://doi.org/10.24432/C50P49, licence CC BY 4.0; this is its test set (13 writers), the copy that scikit-learn ships.
A pixel counts the dark pixels of a 4x4 block of the scanned digit, 0..16. The file digits.npz keeps these counts
(`images` uint8 (1797, 8, 8), `labels` uint8 (1797,)) beside the texts `source`, `citation` and `licence`.
"""

from pathlib import Path

import numpy as np

from minicnn.data.dataset import ArrayDataset, stratified_mask
from minicnn.errors import DataError

__all__ = ["load_digits"]

_TEST_IMAGES = 360
_STATISTICS = {"mean": (0.30545,), "std": (0.37611,)}   # of the training split


def load_digits(split="train"):
    """The UCI digits as uint8 (8, 8, 1), the counts 0..16 stretched to 0..255: 1,437 to train, 360 to test.

    The test split is 20 % of each class, the same on every machine: a stratified choice by minicnn's own counter-based
    random numbers with seed 0. split: "train", "test", or "all". No file but the package's own is read.
    """
    if split not in ("train", "test", "all"):
        raise DataError(f"digits: there is no split {split!r}; choose from 'train', 'test', 'all'")
    with np.load(Path(__file__).with_name("digits.npz"), allow_pickle=False) as stored:
        counts, labels = stored["images"], stored["labels"]
    images = np.round(counts[..., None] * (255 / 16)).astype(np.uint8)
    if split != "all":
        chosen = stratified_mask(labels, _TEST_IMAGES, seed=0) == (split == "test")
        images, labels = images[chosen], labels[chosen]
    return ArrayDataset(images, labels, [str(digit) for digit in range(10)], name="digits",
                        splits=("train", "test"), mirrorable=False, **_STATISTICS)
