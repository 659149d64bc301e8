"""Small image files, made when a test asks for them."""

import io

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def png():
    """png(color, size=(height, width), mode) -> bytes of an image of one colour."""
    def make(color, size=(6, 5), mode="RGB"):
        buffer = io.BytesIO()
        Image.new(mode, size[::-1], color).save(buffer, "PNG")
        return buffer.getvalue()
    return make


@pytest.fixture
def pictures():
    """pictures(count, height, width, channels) -> random uint8 images, the same each time."""
    def make(count, height, width, channels=3):
        return np.random.default_rng(7).integers(0, 256, (count, height, width, channels), dtype=np.uint8)
    return make
