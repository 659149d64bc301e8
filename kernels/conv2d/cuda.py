"""Convolution on a GPU as an implicit matrix product: kernels/gemm/cuda.py with two changes, and no column buffer.

im2col writes the pixels under every window position to a matrix, R·S times the size of the image, and multiplies it:

    y (K, N·OH·OW) = weight (K, C·R·S) @ columns (C·R·S, N·OH·OW)

Here that matrix is never written. Where the matrix product would fetch columns[q, p], the thread works out which pixel that
is and fetches it from the image, or takes 0 where it is padding:

    q -> channel c and tap (r, s): a table has the answer for each q, made once for a geometry
    p -> image n and output position (i, j): each thread always fetches the same p, so it finds out once

All three products of the layer have this form, so that there are two kernels:

* forward: `gather_kernel`, weight by pixels.
* gradient of the input: `gather_kernel` again. Pixel (h, w) gathers from every output that saw it, gx[c, h, w] = Σ over k, r, s
  of weight[k, c, r, s] · gy[k, (h + top - r·dilation) / stride, …] where the division has no remainder. The pixels whose
  h + top and w + left have the same remainders use the same taps: for each such *phase* it is a convolution of gy with stride 1
  that multiplies no zeros. Gathered, not scattered: no two threads add to one pixel.
* gradient of the weights: `correlate_kernel`, gy by columns, the sum running over all pixels of all images. That is a long sum
  with few results, so pixels are cut into chunks, which are added in order (as in the matrix product).

The tile of out, the slices in shared memory and the registers are those of kernels/gemm/cuda.py. Groups are the third axis of
the grid. Source: Chetlur et al. 2014, "cuDNN: efficient primitives for deep learning", section 3.
"""

import functools
import math
from typing import NamedTuple

import numpy as np

from kernels.conv2d.tables import FAR, backward_phases, forward_taps, padded
from kernels.device import shim, sums
from kernels.device.array import DeviceArray
from kernels.device.launching import at, first_item, load, over, short, split, store, wide
from kernels.device.shim import ITEMS, THREADS, cuda, device_function, kernel, launch, launch_items, tile
from kernels.gemm.cuda import (
    ALIGN,
    APART,
    COLUMNS,
    DEPTH,
    LOADS,
    PAD,
    RUN,
    SIDE,
    WIDE,
    at_once,
    chunks_of,
    clear,
    cut,
    is_inside,
    multiply_slices,
    place,
    rows_for,
    thread,
    write,
)

NOWHERE = np.uint32(2 ** 32 - 1)     # of a pixel behind the last


class Gather(NamedTuple):
    """What gather_kernel needs to know: sizes and distances in values. `row`, `group`: of the weights."""

    M: int              # rows of the product: output channels of a group (forward), input channels (gradient)
    Q: int              # its sum
    pixels: int         # its columns: N·I·J
    I: int
    J: int
    step_h: int         # from one output position to the next, in the image that is read
    step_w: int
    H: int              # of the image that is read
    W: int
    image: int          # from one image to the next
    image_group: int    # from one group's channels to the next
    row: int
    group: int
    out_image: int      # from one image of the output to the next
    out_plane: int
    out_width: int
    out_step_h: int     # between the output pixels of a phase
    out_step_w: int
    out_top: int        # the first pixel of a phase
    out_left: int
    groups: int
    chunk: int          # of the sum, that one block adds up
    part: int           # values of the output, from one chunk's to the next's


class Correlate(NamedTuple):
    """What correlate_kernel needs to know."""

    M: int              # output channels of a group
    Q: int              # C/groups·R·S
    pixels: int         # N·OH·OW, the sum
    I: int
    J: int
    step_h: int
    step_w: int
    H: int
    W: int
    image: int
    image_group: int
    out_image: int      # from one image of gy to the next
    chunk: int          # pixels that one block adds up
    groups: int


def forward(x, weight, bias, window, groups=1, relu=False):
    """y = weight @ columns(x) + bias, columns never written (and no less than 0)"""
    (N, C, H, W), K = x.shape, weight.shape[0]
    OH, OW = window.output_size(H, W)
    Cg, Kg, taps = C // groups, K // groups, window.kernel_h * window.kernel_w
    chunk, chunks = _cut_sum(Kg, Cg * taps, N * OH * OW, groups)
    y = DeviceArray((chunks, N, K, OH, OW), x.dtype)
    gather = Gather(Kg, Cg * taps, N * OH * OW, OH, OW, window.stride_h, window.stride_w, H, W, C * H * W, Cg * H * W,
                    Cg * taps, Kg * Cg * taps, K * OH * OW, OH * OW, OW, 1, 1, 0, 0, groups, chunk, N * K * OH * OW)
    table, _ = on_device(forward_taps, window, Cg, H, W)
    bias, flags = weight if bias is None else bias, (bias is not None, relu)
    _gather(weight, x, bias, flags if chunks == 1 else (False, False), table, gather, chunks, y)
    return _add_chunks(y, bias, flags)


def backward(gy, x, weight, window, groups=1, needs=(True, True, True)):
    """Two more products of the same kind; see the module."""
    N, K, OH, OW = gy.shape
    return (_input_gradient(gy, x.shape, weight, window, groups) if needs[0] else None,
            _weight_gradient(gy, x, weight.shape, window, groups) if needs[1] else None,
            sums.middle(gy, N, K, OH * OW) if needs[2] else None)


def _input_gradient(gy, shape, weight, window, groups):
    """One gather for each phase of the stride; together they write every pixel, in every chunk of the sum."""
    (N, C, H, W), (K, OH, OW) = shape, gy.shape[1:]
    Cg, Kg, taps = C // groups, K // groups, window.kernel_h * window.kernel_w
    tables = [on_device(backward_phases, window, Cg, Kg, OH, OW, part=phase)
              for phase in range(window.stride_h * window.stride_w)]
    most, pixels = max(lines for _, lines in tables), N * cut(H, window.stride_h) * cut(W, window.stride_w)
    _, chunks = _cut_sum(Cg, most, pixels, groups)
    gx = DeviceArray((chunks, *shape), gy.dtype)
    for (table, lines), (top, left) in zip(tables, np.ndindex(window.stride_h, window.stride_w)):
        I, J = cut(H - top, window.stride_h), cut(W - left, window.stride_w)
        if I > 0 and J > 0:
            gather = Gather(Cg, lines, N * I * J, I, J, 1, 1, OH, OW, K * OH * OW, Kg * OH * OW, taps,
                            Kg * Cg * taps, C * H * W, H * W, W, window.stride_h, window.stride_w, top, left, groups,
                            cut(cut(max(lines, 1), chunks), DEPTH) * DEPTH, N * C * H * W)
            _gather(weight, gy, weight, (False, False), table, gather, chunks, gx)
    return _add_chunks(gx, weight, (False, False))


def _weight_gradient(gy, x, shape, window, groups):
    """(K, C/groups, R, S): chunks of pixels, added in order."""
    (N, C, H, W), (K, OH, OW) = x.shape, gy.shape[1:]
    M, Q, pixels = K // groups, int(np.prod(shape[1:])), N * OH * OW
    rows = rows_for(M)
    grid = cut(Q, WIDE), cut(M, rows * SIDE)
    chunk, chunks = chunks_of(pixels, grid[0] * grid[1] * groups)
    part = DeviceArray((chunks, *shape), gy.dtype)
    sizes = Correlate(M, Q, pixels, OH, OW, window.stride_h, window.stride_w, H, W, C * H * W, C // groups * H * W,
                      K * OH * OW, chunk, groups)
    table, _ = on_device(forward_taps, window, C // groups, H, W)
    launch(correlate_kernel(rows, at_once(gy.dtype)), (*grid, groups * chunks), SIDE * SIDE, gy, x, table, sizes, part)
    return sums.layers(part)


def _cut_sum(M, Q, pixels, groups):
    """(length of a chunk of the sum, how many): many channels over small images have few tiles and long sums."""
    return chunks_of(Q, cut(pixels, WIDE) * cut(M, rows_for(M) * SIDE) * groups)


def _add_chunks(parts, bias, flags):
    """(N, K, H, W): the sum over the first axis of parts in order, then what `finish` does; parts itself where it has one."""
    if parts.shape[0] == 1:
        return parts.reshape(parts.shape[1:])
    out = DeviceArray(parts.shape[1:], parts.dtype)
    launch_items(_add, out.size, parts, parts.shape[0], bias, flags, parts.shape[2], math.prod(parts.shape[3:]), out, out.size)
    return out


@kernel
def _add(parts, chunks, bias, flags, K, P, out, count):
    total, some, first = cuda.local.array(ITEMS, out.dtype), cuda.local.array(ITEMS, out.dtype), first_item()
    for k in range(ITEMS):
        total[k] = 0
    for chunk in range(chunks):
        load(parts, chunk * count + first, (chunk + 1) * count, some)
        for k in range(ITEMS):
            total[k] += some[k]
    for k in range(ITEMS):
        if flags[0]:
            total[k] += bias[at(over(min(first + k * THREADS, count - 1), P) % K)]
        if flags[1] and total[k] < 0:
            total[k] = 0
    store(total, first, count, out)


def _gather(weight, image, bias, flags, table, gather, chunks, out):
    rows = rows_for(gather.M)
    grid = cut(gather.pixels, WIDE), cut(gather.M, rows * SIDE), gather.groups * chunks
    launch(gather_kernel(rows, at_once(image.dtype)), grid, SIDE * SIDE, weight, image, bias, flags, table, gather,
           out)


def on_device(make, *geometry, part=None):
    """(table on the device, lines that see pixels), made at the first call for a geometry."""
    return _on_device(make, geometry, part, shim.is_tracing())


@functools.lru_cache(maxsize=4096)
def _on_device(make, geometry, part, _tracing):
    table = make(*geometry) if part is None else make(*geometry)[part]
    return DeviceArray.of(padded(table, DEPTH)), len(table)


@device_function
def slices(Q):
    """How many cover a sum of Q."""
    return over(Q + DEPTH - 1, DEPTH)


@device_function
def pixel_of(p, I, J):
    """(n, i, j) of output pixel p of all images"""
    rest, j = split(p, J)
    n, i = split(rest, I)
    return short(n), short(i), short(j)


@device_function
def further(n, i, j, step, I, J):
    """(n, i, j) some pixels on, by carrying: a division takes ten times as long. step: pixel_of how many."""
    j = short(j + step[2])
    row = j >= J
    j = short(j - J) if row else j
    i = short(i + step[1] + row)
    image = i >= I
    i = short(i - I) if image else i
    return short(n + step[0] + image), i, j


@device_function
def fetch_weights(weight, start, m, M, q, Q, row, table, into):
    """weight[m, q], each thread every APART-th filter of a slice from m on: those that follow one another take the next q."""
    column = table[wide(q * 4 + 3)]
    for l in range(into.shape[0]):
        into[l] = 0
        if is_inside(q, Q) & is_inside(m + l * APART, M):
            into[l] = weight[at(start + m * row + l * (row * APART) + column)]


@device_function
def put_weights(X, now, tall, values):
    """What fetch_weights read, to shared memory."""
    for l in range(values.shape[0]):
        m = thread() // DEPTH + l * APART
        if m < tall:
            X[now & 1, thread() % DEPTH, m] = values[l]


@device_function
def fetch_pixels(image, base, h, w, q0, H, W, table, into):
    """columns[q, p] of this thread's p, whose window starts at (h, w) of the image: 0 in the padding."""
    for l in range(into.shape[0]):
        q = q0 + thread() // WIDE + l * (SIDE * SIDE // WIDE)
        offset, r, s = table[wide(q * 4)], h + table[wide(q * 4 + 1)], w + table[wide(q * 4 + 2)]
        into[l] = 0
        if is_inside(r, H) & is_inside(s, W):
            into[l] = image[at(base + offset)]


@device_function
def put_pixels(X, now, values):
    """What fetch_pixels read, to shared memory."""
    for l in range(values.shape[0]):
        X[now & 1, thread() // WIDE + l * (SIDE * SIDE // WIDE), thread() % WIDE] = values[l]


@functools.cache
def gather_kernel(rows, blocks):
    """out[n, g·M + m, i, j] = bias + Σ_q weight[g, m, q] · image[n, channel(q), i·step + row(q), j·step + column(q)]"""
    tall, loads = SIDE * rows, cut(DEPTH * rows, SIDE)
    pitch, wide_pitch = tall + PAD, WIDE + PAD

    @tile(blocks)
    def gather_product(weight, image, bias, flags, table, sizes, out):
        A = cuda.shared.array((2, DEPTH, pitch), image.dtype, alignment=ALIGN)
        B = cuda.shared.array((2, DEPTH, wide_pitch), image.dtype, alignment=ALIGN)
        total = cuda.local.array((rows, COLUMNS), image.dtype)
        own_a, own_b = cuda.local.array(rows, image.dtype), cuda.local.array(COLUMNS, image.dtype)
        next_a, next_b = cuda.local.array(loads, image.dtype), cuda.local.array(LOADS, image.dtype)
        m0, p0, g = cuda.blockIdx.y * tall, cuda.blockIdx.x * WIDE, cuda.blockIdx.z % sizes.groups
        chunk = cuda.blockIdx.z // sizes.groups
        p = p0 + thread() % WIDE                # SIDE² is a multiple of WIDE: the same column of every slice
        n, i, j = pixel_of(p, sizes.I, sizes.J)
        h, w = i * sizes.step_h, j * sizes.step_w
        base = n * sizes.image + g * sizes.image_group + h * sizes.W + w
        if p >= sizes.pixels:
            h = FAR
        start, q, m = g * sizes.group, thread() % DEPTH, m0 + thread() // DEPTH
        q0 = short(min(chunk * sizes.chunk, slices(sizes.Q) * DEPTH))       # a short phase may have fewer chunks
        Q = short(min(sizes.Q, q0 + sizes.chunk))
        clear(total)
        fetch_weights(weight, start, m, sizes.M, q0 + q, Q, sizes.row, table, next_a)
        fetch_pixels(image, base, h, w, q0, sizes.H, sizes.W, table, next_b)
        now = 0
        while q0 < Q:
            put_weights(A, now, tall, next_a)
            put_pixels(B, now, next_b)
            cuda.syncthreads()
            q0 = short(q0 + DEPTH)
            if q0 < Q:                          # the next numbers are on their way while these are multiplied
                fetch_weights(weight, start, m, sizes.M, q0 + q, Q, sizes.row, table, next_a)
                fetch_pixels(image, base, h, w, q0, sizes.H, sizes.W, table, next_b)
            multiply_slices(A, B, now, total, own_a, own_b)
            now ^= 1
        finish(total, bias, flags, g * sizes.M + m0, sizes.M - m0)
        write_pixels(total, out, chunk * sizes.part, g * sizes.M, m0, p0, sizes)
    return gather_product


@device_function
def finish(total, bias, flags, k0, filters):
    """The bias, and the ReLU, while the values are in registers."""
    ty = thread() // SIDE
    if flags[0]:
        for r in range(total.shape[0]):
            m = place(r, ty, total.shape[0])
            value = bias[at(k0 + m)] if m < filters else bias.dtype.type(0)
            for c in range(COLUMNS):
                total[r, c] += value
    if flags[1]:
        for r in range(total.shape[0]):
            for c in range(COLUMNS):
                total[r, c] = 0 if total[r, c] < 0 else total[r, c]


@device_function
def write_pixels(total, out, part, k0, m0, p0, sizes):
    """This thread's values, from registers to the output's pixels."""
    ty, tx, p0 = thread() // SIDE, thread() % SIDE, short(p0)
    first = part + (k0 + m0) * sizes.out_plane + sizes.out_top * sizes.out_width + sizes.out_left
    image, line, step = short(sizes.out_image), short(sizes.out_step_h * sizes.out_width), short(sizes.out_step_w)
    places = cuda.local.array(COLUMNS, np.uint32)           # of this thread's pixels, in the first plane
    n, i, j = short(0), short(0), short(0)
    for c in range(COLUMNS):
        p = short(p0 + place(c, tx, COLUMNS))
        n, i, j = further(n, i, j, (0, 0, 1), sizes.I, sizes.J) if c % RUN else pixel_of(p, sizes.I, sizes.J)
        places[c] = at(n * image + i * line + j * step if is_inside(p, sizes.pixels) else NOWHERE)
    for r in range(total.shape[0]):
        m = short(place(r, ty, total.shape[0]))
        if is_inside(m0 + m, sizes.M):
            row = wide(first) + wide(at(m)) * wide(at(sizes.out_plane))
            for c in range(COLUMNS):
                if places[c] != NOWHERE:
                    out[row + wide(places[c])] = total[r, c]


@functools.cache
def correlate_kernel(rows, blocks):
    """out[chunk, g, m, q] = Σ over the chunk's pixels p of gy[g, m, p] · columns[g, q, p]"""
    tall, loads = SIDE * rows, cut(DEPTH * rows, SIDE)
    pitch, wide_pitch = tall + PAD, WIDE + PAD

    @tile(blocks)
    def correlation(gy, image, table, sizes, out):
        A = cuda.shared.array((2, DEPTH, pitch), image.dtype, alignment=ALIGN)
        B = cuda.shared.array((2, DEPTH, wide_pitch), image.dtype, alignment=ALIGN)
        total = cuda.local.array((rows, COLUMNS), image.dtype)
        own_a, own_b = cuda.local.array(rows, image.dtype), cuda.local.array(COLUMNS, image.dtype)
        next_a, next_b = cuda.local.array(loads, image.dtype), cuda.local.array(LOADS, image.dtype)
        taps = cuda.local.array((LOADS, 3), np.int32)
        m0, q0, g = cuda.blockIdx.y * tall, cuda.blockIdx.x * WIDE, cuda.blockIdx.z % sizes.groups
        p0 = short(cuda.blockIdx.z // sizes.groups * sizes.chunk)
        p1 = short(min(sizes.pixels, p0 + sizes.chunk))
        clear(total)
        read_taps(table, q0, sizes.Q, taps)
        step = pixel_of(DEPTH, sizes.I, sizes.J)
        n, i, j = pixel_of(p0 + thread() % DEPTH, sizes.I, sizes.J)
        fetch_both(gy, image, m0, g, p0 + thread() % DEPTH < p1, n, i, j, sizes, taps, next_a, next_b)
        now = 0
        while p0 < p1:
            put_weights(A, now, tall, next_a)
            put_columns(B, now, next_b)
            cuda.syncthreads()
            p0 = short(p0 + DEPTH)
            if p0 < p1:
                n, i, j = further(n, i, j, step, sizes.I, sizes.J)
                fetch_both(gy, image, m0, g, p0 + thread() % DEPTH < p1, n, i, j, sizes, taps, next_a, next_b)
            multiply_slices(A, B, now, total, own_a, own_b)
            now ^= 1
        write(total, out, cuda.blockIdx.z * sizes.M * sizes.Q, m0, q0, sizes.M, sizes.Q)
    return correlation


@device_function
def read_taps(table, q0, Q, taps):
    """The table's lines for this thread's columns: the same ones for every pixel."""
    for l in range(LOADS):
        q = min(q0 + thread() // DEPTH + l * APART, Q - 1)
        for part in range(3):
            taps[l, part] = table[at(q * 4 + part)]


@device_function
def fetch_both(gy, image, m0, g, inside, n, i, j, sizes, taps, next_a, next_b):
    """gy and columns at this thread's pixel of the slice: threads that follow one another take the next pixel."""
    h, w, plane = i * sizes.step_h, j * sizes.step_w, sizes.I * sizes.J
    m = m0 + thread() // DEPTH
    from_gy = n * sizes.out_image + (g * sizes.M + m) * plane + i * sizes.J + j
    base = n * sizes.image + g * sizes.image_group + h * sizes.W + w
    if not inside:
        h = FAR
    for l in range(next_a.shape[0]):
        next_a[l] = 0
        if inside & is_inside(m + l * APART, sizes.M):
            next_a[l] = gy[at(from_gy + l * (plane * APART))]
    for l in range(LOADS):
        next_b[l] = 0
        if is_inside(h + taps[l, 1], sizes.H) & is_inside(w + taps[l, 2], sizes.W):
            next_b[l] = image[at(base + taps[l, 0])]


@device_function
def put_columns(X, now, values):
    """What fetch_both read of the image, to shared memory."""
    for l in range(LOADS):
        X[now & 1, thread() % DEPTH, thread() // DEPTH + l * APART] = values[l]
