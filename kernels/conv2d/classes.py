"""Pixels in classes that see the same taps of the filter, so that no padding is stored and none is multiplied.

Along one axis an output position i sees the input h = i·stride + tap·dilation - pad through each tap for which h is inside the
image. Nearly all positions see all taps; those at the borders see fewer. Positions with the same taps are one class, and the
pixels of an image fall into the products of a class of rows and a class of columns. Within a class every pixel sees tap (r, s)
at the same distance from where it starts: a pixel is one address, a tap one shift.

The data gradient asks the other way round: image position h was seen by output i = (h + pad - tap·dilation) / stride through
each tap for which that is a whole number inside the output. Its classes are those of the borders times those of the stride.
"""

import functools
from typing import NamedTuple

import numpy as np

LONGEST = 2048          # values of a run: so many rows of a panel of filters stay in the second cache
PIECES = 5              # of a run, if they are long: at the beginning of each a tile asks for lines


class Classes(NamedTuple):
    """What compiled loops need of the classes of a convolution, as arrays of int64; distances in values.

    table (classes, 6): first row and number of rows, first column and number of columns, first run and number of runs.
    rows, columns (·, 2): of each position where it reads from and where its result goes, relative to the image.
    runs (·, 3): the shift of a run of taps that are side by side in memory, its length, and its first row of packed weights.
    source, target: values from image to image.
    """

    table: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    runs: np.ndarray
    source: int
    target: int


@functools.lru_cache(512)
def forward_classes(window, size, channels, pitch, out_size, out_pitch):
    """Classes of output pixels: size (H, W) of x with `channels` of a group and `pitch` values from pixel to pixel."""
    (H, W), (OH, OW) = size, out_size
    down = _seen(OH, H, window.kernel_h, window.stride_h, window.dilation_h, window.top)
    across = _seen(OW, W, window.kernel_w, window.stride_w, window.dilation_w, window.left)
    return _classes(down, across, channels, window.kernel_w, (H, W, pitch), (OH, OW, out_pitch))


@functools.lru_cache(512)
def gradient_classes(window, size, channels, pitch, in_size, in_pitch):
    """Classes of image pixels: size (OH, OW) of gy, the taps those through which outputs saw the pixel."""
    (OH, OW), (H, W) = size, in_size
    down = _seeing(H, OH, window.kernel_h, window.stride_h, window.dilation_h, window.top)
    across = _seeing(W, OW, window.kernel_w, window.stride_w, window.dilation_w, window.left)
    return _classes(down, across, channels, window.kernel_w, (OH, OW, pitch), (H, W, in_pitch))


def _seen(positions, size, kernel, stride, dilation, pad):
    """{taps: [(position, start)]} and the distance of each tap from the start, for the forward pass."""
    found = {}
    for i in range(positions):
        start = i * stride - pad
        taps = tuple((t, t * dilation) for t in range(kernel) if 0 <= start + t * dilation < size)
        found.setdefault(taps, []).append((i, start))
    return found


def _seeing(positions, size, kernel, stride, dilation, pad):
    """As _seen, for the data gradient: the outputs that saw an image position."""
    found = {}
    for h in range(positions):
        start = (h + pad) // stride
        seen = [(t, h + pad - t * dilation) for t in range(kernel)]
        taps = tuple((t, at // stride - start) for t, at in seen if at % stride == 0 and 0 <= at // stride < size)
        found.setdefault(taps, []).append((h, start))
    return found


def _classes(down, across, channels, kernel_w, source, target):
    H, W, pitch = source
    OH, OW, out_pitch = target
    table, runs = [], []
    for i, (row_taps, rows) in enumerate(down.items()):
        for j, (column_taps, columns) in enumerate(across.items()):
            some = _runs(row_taps, column_taps, channels, kernel_w, W, pitch)
            table.append([_before(down, i), len(rows), _before(across, j), len(columns), len(runs), len(some)])
            runs.extend(some)
    array = lambda values, width: np.array(values, np.int64).reshape(-1, width)
    row_places = [(start * W * pitch, i * OW * out_pitch) for rows in down.values() for i, start in rows]
    column_places = [(start * pitch, j * out_pitch) for columns in across.values() for j, start in columns]
    return Classes(array(table, 6), array(row_places, 2), array(column_places, 2), array(runs, 3),
                   H * W * pitch, OH * OW * out_pitch)


def _before(groups, i):
    return sum(len(places) for places in list(groups.values())[:i])


def _runs(row_taps, column_taps, channels, kernel_w, W, pitch):
    """[(shift, length, first row of weights)]: taps (r, s), (r, s + 1) that lie side by side in both are one run."""
    runs = []
    for r, down in row_taps:
        for s, across in column_taps:
            shift, first = (down * W + across) * pitch, (r * kernel_w + s) * channels
            if runs and runs[-1][0] + runs[-1][1] == shift and runs[-1][2] + runs[-1][1] == first:
                runs[-1] = runs[-1][0], runs[-1][1] + channels, runs[-1][2]
            else:
                runs.append((shift, channels, first))
    return [piece for run in runs for piece in _pieces(*run)]


def _pieces(shift, length, first):
    """A run as PIECES runs, or more of at most LONGEST values, of about the same length, each but the last of whole lines."""
    step = -(-length // (16 * max(PIECES, -(-length // LONGEST)))) * 16
    return [(shift + at, min(step, length - at), first + at) for at in range(0, length, step)]
