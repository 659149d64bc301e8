"""Encoded image bytes to pixels, by Pillow, within limits."""

import io

import numpy as np

from minicnn.errors import DataError

__all__ = ["IMAGE_ENDINGS", "MAX_FILE_BYTES", "decode_image"]

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
_FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "GIF", "TIFF", "PPM")     # none that starts another program, as EPS does
_MAX_PIXELS = 64 << 20          # 8,192 x 8,192; a 50,000 x 50,000 PNG of 1 MB would take 7.5 GB
MAX_FILE_BYTES = 256 << 20


def decode_image(data, source):
    """The first frame of an encoded image as RGB uint8 (H, W, 3); grey becomes three equal channels.

    Raises DataError, naming `source`, for bytes that Pillow cannot decode and, before decoding, for more than 64 Mi
    pixels. 16-bit grey keeps its upper 8 bits; transparency is dropped, as torchvision does.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            width, height = image.size
            if width * height <= _MAX_PIXELS:
                return _to_rgb(image)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"{source}: {error}; at most {_MAX_PIXELS:,} pixels are decoded: "
                        "make the image smaller") from error
    except UnidentifiedImageError as error:
        raise DataError(f"{source}: is not an image that can be read, of {', '.join(_FORMATS)}; it is empty, damaged "
                        "or of another format: replace or delete it") from error
    except Exception as error:      # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error …
        raise DataError(f"{source}: is not an image that can be read ({error}); "
                        "it is damaged or cut short: replace or delete it") from error
    raise DataError(f"{source}: declares {width} x {height} pixels; at most {_MAX_PIXELS:,} are decoded: "
                    "make the image smaller")


def _to_rgb(image):
    if image.mode.startswith("I;16") or image.mode == "I":
        grey = np.clip(np.asarray(image).astype(np.int64) >> 8, 0, 255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if image.mode == "P":
        image = image.convert("RGBA")       # straight to RGB warns where the palette has transparency
    return np.asarray(image.convert("RGB"))
