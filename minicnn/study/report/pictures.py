"""Arrays as pictures and as numbers inside a page: sprites of many small maps, and base64 of the values themselves."""

import base64
import io
import math

import numpy as np

LOSSLESS = 100_000      # values of a sprite that is kept exactly; larger ones lose what the eye does not miss
QUALITY = 75            # of WebP for the larger ones


def webp(image, lossless=True):
    """The source of an <img> for an image (H, W) or (H, W, 1 or 3) of uint8: a WebP inside the page."""
    from PIL import Image
    out = io.BytesIO()
    flat = image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image
    Image.fromarray(np.ascontiguousarray(flat)).save(out, "WEBP", lossless=lossless, quality=QUALITY, method=2)
    return f"data:image/webp;base64,{base64.b64encode(out.getvalue()).decode()}"


def numbers(array):
    """An array of floats for the page's script: shape, type and little-endian bytes in base64."""
    kind = "f8" if array.dtype == np.float64 else "f4"
    data = np.ascontiguousarray(array, f"<{kind}").tobytes()
    return {"shape": list(array.shape), "type": kind, "data": base64.b64encode(data).decode()}


def sprite(maps, side):
    """Maps (C, H, W) as one grey picture, each stretched over its own range; maps larger than `side` are averaged down.

    -> {"uri", "columns", "height", "width", "low", "high"}; low and high are numbers() of each map's range.
    """
    maps = _smaller(np.nan_to_num(maps.astype(np.float32, copy=False), posinf=0.0, neginf=0.0), side)
    count, height, width = maps.shape
    low, high = maps.min(axis=(1, 2)), maps.max(axis=(1, 2))
    scale = 255 / np.where(high - low > 1e-30, high - low, np.inf)
    grey = np.rint((maps - low[:, None, None]) * scale[:, None, None]).astype(np.uint8)
    columns = max(1, min(count, math.ceil(math.sqrt(count * height / width))))
    return {"uri": webp(tile(grey, columns), grey.size <= LOSSLESS), "columns": columns, "height": height, "width": width,
            "low": numbers(low), "high": numbers(high)}


def tile(maps, columns):
    """Maps (C, H, W) or (C, H, W, 3) side by side, `columns` in a row."""
    count, height, width, *colour = maps.shape
    rows = -(-count // columns)
    full = np.zeros((rows * columns, height, width, *colour), maps.dtype)
    full[:count] = maps
    grid = full.reshape(rows, columns, height, width, *colour).swapaxes(1, 2)
    return grid.reshape(rows * height, columns * width, *colour)


def _smaller(maps, side):
    """Averages of k x k pixels, k the least that makes both sides at most `side`; what is left over at the ends is dropped."""
    k = -(-max(maps.shape[1:]) // side)
    if k <= 1:
        return maps
    height, width = (max(1, size // k) for size in maps.shape[1:])
    kh, kw = min(k, maps.shape[1]), min(k, maps.shape[2])
    cut = maps[:, :height * kh, :width * kw]
    return cut.reshape(len(maps), height, kh, width, kw).mean(axis=(2, 4))


def stretched(array):
    """An array of non-negative values as uint8 with its 99.5th percentile at 255."""
    top = float(np.percentile(array, 99.5)) or float(array.max(initial=0)) or 1.0
    return np.rint(255 * np.clip(array / top, 0, 1)).astype(np.uint8)


def signed(array):
    """An array as uint8 with 0 at 128 and the larger of its ends, but for outliers, at the end of the range."""
    top = float(np.percentile(np.abs(array), 99.5)) or float(np.abs(array).max(initial=0)) or 1.0
    return np.rint(128 + 127 * np.clip(array / top, -1, 1)).astype(np.uint8)
