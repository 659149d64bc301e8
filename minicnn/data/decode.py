"""Encoded image bytes to pixels, by Pillow, within limits."""

import io

import numpy as np

from minicnn.errors import DataError

__all__ = ["IMAGE_ENDINGS", "MAX_FILE_BYTES", "decode_image"]

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
_FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "GIF", "TIFF", "PPM")     # none that starts another program, as EPS does
_MAX_PIXELS = 50_000_000        # 350 MB while decoding; a 50,000 x 50,000 PNG of 1 MB would take 17 GB
_MAX_SCANNED = 10 * _MAX_PIXELS # pixels x scans of a JPEG: a few megabytes can make thousands of passes over an image
_STRIP = 256                    # rows that are converted at once
MAX_FILE_BYTES = 256 << 20


def decode_image(data, source):
    """The first frame of an encoded image as RGB uint8 (H, W, 3); grey becomes three equal channels.

    Raises DataError, naming `source`, for bytes that Pillow cannot decode and, before decoding, for more than 50 million
    pixels, or for more than ten passes over so many (progressive JPEGs). 16-bit grey keeps its upper 8 bits; transparency is
    dropped, as torchvision does.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            width, height = image.size
            scans = data.count(b"\xff\xda") if image.format == "JPEG" else 1
            if width * height <= _MAX_PIXELS and width * height * scans <= _MAX_SCANNED:
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
    raise DataError(f"{source}: declares {width} x {height} pixels in {scans} scan(s); at most {_MAX_PIXELS:,} are decoded: "
                    "make the image smaller")


def _to_rgb(image):
    """In strips, since Pillow's conversions take four to eight bytes a pixel."""
    image.load()
    width, height = image.size
    pixels = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, _STRIP):
        strip = image.crop((0, top, width, min(height, top + _STRIP)))
        pixels[top : top + _STRIP] = _strip_to_rgb(strip)
    return pixels


def _strip_to_rgb(image):
    if image.mode.startswith("I;16") or image.mode == "I":
        grey = np.clip(np.asarray(image).astype(np.int64) >> 8, 0, 255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if image.mode == "P":
        image = image.convert("RGBA")       # straight to RGB warns where the palette has transparency
    return np.asarray(image.convert("RGB"))
