"""Where the columns of a convolution's matrix product lie in memory: padding, stride phases, pixels and taps as offsets.

The image is padded once, and split into its stride's phases while it is copied: pixel (i·stride + a, j·stride + b) goes to
(i, j) of phase (a, b). Within a phase a step of the window is a step of one pixel, and what tap t shows to pixel q of the
output is the value at q + offset[t]. With pixels numbered in rows of the *padded* width (`pitch`), q is one running number,
the im2col row of a tap is the padded image itself, read from offset[t] on, and no column is ever copied. The price are junk
pixels at the end of each row. Where they cost more than a copy would (small images, many filters), the columns of a block
of pixels are gathered without junk instead.
"""

from typing import NamedTuple

import numpy as np
from numba import njit, prange

COPY_COST = 12          # multiply-adds per lane that gathering one column value costs, measured


class Columns(NamedTuple):
    """The pixels of a product, as a named tuple of integers for compiled code.

    `images` runs of `span` pixels each; pixel p of a run is row p // pitch, column p % pitch of the grid, and junk where the
    column is not below `width`. Run n starts at value n·image_stride of the source, group g at g·group_stride more.
    """

    images: int
    height: int
    width: int
    pitch: int
    span: int
    image_stride: int
    group_stride: int
    gathered: int       # 1: without junk pixels, columns are copied block by block
    direct: int         # 1: the source is x itself, which has nothing behind it for tiles that overrun


def columns(x, steps, taps, grid, groups, filters, panel, dense=True):
    """(source, offsets, Columns, row length of the source) for a product over the pixels of `grid`.

    x (N, C, H, W); taps [(down, across)]: tap (down, across) shows x[h·step_h + down, w·step_w + across] to pixel (h, w) of
    grid (height, width), zero outside x. filters: how many filters use each column; panel: pixels to a tile; dense: whether
    the results stand side by side. source: the values, flat; offsets: int64, channels of a group slowest, taps fastest.
    """
    N, C, H, W = x.shape
    downs, acrosses = (np.array([tap[axis] for tap in taps], np.int64).reshape(-1) for axis in (0, 1))
    top, left = max(0, -downs.min(initial=0)), max(0, -acrosses.min(initial=0))
    rows, row_phases = np.divmod(downs + top, steps[0])
    cols, col_phases = np.divmod(acrosses + left, steps[1])
    pointwise = dense and steps == (1, 1) and taps == [(0, 0)] and grid == (H, W)
    if pointwise:
        grid, H, W = (1, H * W), 1, H * W       # a 1x1 window sees the image as one row
    Hp, Wp = grid[0] + int(rows.max(initial=0)), grid[1] + int(cols.max(initial=0))
    pixels, plane = grid[0] * grid[1], Hp * Wp
    gathered = _gathers(grid, Wp, filters, panel, N)
    direct = pointwise and not gathered and pixels >= panel
    phases = sorted(set(zip(row_phases.tolist(), col_phases.tolist())))
    source = x.reshape(-1) if direct else _padded(x.reshape(N, C, H, W), steps, (top, left), phases, Hp, Wp, panel)
    phase = np.array([phases.index(p) for p in zip(row_phases.tolist(), col_phases.tolist())], np.int64)
    within = (phase * C * plane + rows * Wp + cols).astype(np.int64)
    offsets = (np.arange(C // groups)[:, None] * plane + within).ravel()
    runs, span, pitch = (1, N * pixels, grid[1]) if gathered else (N, (grid[0] - 1) * Wp + grid[1], Wp)
    return source, offsets, Columns(runs, *grid, pitch, span, len(phases) * C * plane, C // groups * plane,
                                    int(gathered), int(direct)), Wp


def _gathers(grid, Wp, filters, panel, images):
    """True if the junk pixels and the last, part-filled panel of each image cost more than gathering would."""
    pixels = grid[0] * grid[1]
    junk = -(-((grid[0] - 1) * Wp + grid[1]) // panel) * panel / max(1, pixels)
    packed = -(-images * pixels // panel) * panel / max(1, images * pixels)
    return junk > packed * (1 + COPY_COST / filters)


def _padded(x, steps, before, phases, Hp, Wp, slack):
    """x (N, C, H, W) -> flat (N, phases, C, Hp, Wp), zeros outside x, with `slack` values behind for tiles that overrun."""
    N, C = x.shape[:2]
    size = N * len(phases) * C * Hp * Wp
    flat = np.empty(size + slack, x.dtype)
    flat[size:] = 0
    out = flat[:size].reshape(N, len(phases), C, Hp, Wp)
    _pad_and_split(x, np.array(phases, np.int64), np.array([*steps, *before], np.int64), out)
    return flat


@njit(cache=True, parallel=True)
def _pad_and_split(x, phases, geometry, out):
    N, C, H, W = x.shape
    step_h, step_w, top, left = geometry
    count, _, Hp, Wp = out.shape[1:]
    for task in prange(N * count * C):
        n, phase, c = task // (count * C), task // C % count, task % C
        a, b = phases[phase]
        # columns j of the phase with 0 <= j·step + b - left < W
        j0 = min(Wp, max(0, -((b - left) // step_w)))
        j1 = max(j0, min(Wp, (W - 1 - b + left) // step_w + 1))
        for i in range(Hp):
            h = i * step_h + a - top
            row = out[n, phase, c, i]
            if h < 0 or h >= H:
                row[:] = 0
                continue
            row[:j0] = 0
            if step_w == 1:
                for j in range(j0, j1):
                    row[j] = x[n, c, h, j + b - left]
            else:
                for j in range(j0, j1):
                    row[j] = x[n, c, h, j * step_w + b - left]
            row[j1:] = 0


@njit(cache=True)
def runs_of(space, row_pitch, q0, count, vector, runs):
    """The pieces in which a block of gathered pixels is copied -> how many; runs (·, 3): source, position, vectors."""
    found = 0
    q = 0
    while q < count:
        n, i, j = _pixel(space, 0, q0 + q)
        run = min(space.width - j, count - q)
        runs[found, 0] = n * space.image_stride + i * row_pitch + j
        runs[found, 1] = q
        runs[found, 2] = (run + vector - 1) // vector
        found, q = found + 1, q + run
    return found


@njit(cache=True)
def targets_of(space, image, p0, count, runs):
    """The pieces in which a block's results are stored, junk left out -> how many; runs (·, 5): n, i, j, position, length."""
    found = 0
    q = 0
    while q < count:
        n, i, j = _pixel(space, image, p0 + q)
        run = min(space.width - j, count - q)
        if run > 0:
            runs[found, 0], runs[found, 1], runs[found, 2], runs[found, 3], runs[found, 4] = n, i, j, q, run
            found += 1
        q += min(space.pitch - j, count - q)
    return found


@njit(cache=True)
def _pixel(space, image, p):
    """(n, i, j): image, row and column of pixel p of a run."""
    if space.gathered:
        pixels = space.height * space.width
        return p // pixels, p % pixels // space.width, p % space.width
    return image, p // space.pitch, p % space.pitch
