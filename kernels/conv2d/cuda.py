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

The tile of out, the slices in shared memory and the registers are those of kernels/gemm/cuda.py; every sum is cut where tiles
are few. The third axis of the grid is groups times chunks, times phases in a gather. Source: Chetlur et al. 2014, "cuDNN:
efficient primitives for deep learning", section 3.
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
    slots,
    thread,
    write,
)

NOWHERE = np.uint32(2 ** 32 - 1)     # of a pixel behind the last
PHASE = 8                           # numbers of a phase; see phase_of


class Gather(NamedTuple):
    """What gather_kernel needs to know: sizes and distances in values. `row`, `group`: of the weights."""

    M: int              # rows of the product: output channels of a group (forward), input channels (gradient)
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
    groups: int
    chunks: int         # of the sum, each taken by another block
    part: int           # values of the output, from one chunk's to the next's


class Plan(NamedTuple):
    """What a geometry's launches have in common, made once: the taps of all phases, and for each phase PHASE numbers."""

    taps: DeviceArray
    phases: DeviceArray
    count: int          # of phases
    tiles: int          # along the pixels of the largest phase
    chunks: int


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
    plan = _forward_plan(window, x.shape, Cg, Kg, slots(x.dtype), shim.is_tracing())
    y = DeviceArray((plan.chunks, N, K, OH, OW), x.dtype)
    gather = Gather(Kg, window.stride_h, window.stride_w, H, W, C * H * W, Cg * H * W, Cg * taps, Kg * Cg * taps, K * OH * OW,
                    OH * OW, OW, 1, 1, groups, plan.chunks, N * K * OH * OW)
    bias, flags = weight if bias is None else bias, (bias is not None, relu)
    _gather(weight, x, bias, flags if plan.chunks == 1 else (False, False), plan, gather, y)
    return _add_chunks(y, bias, flags)


def backward(gy, x, weight, window, groups=1, needs=(True, True, True)):
    """Two more products of the same kind; see the module."""
    N, K, OH, OW = gy.shape
    return (_input_gradient(gy, x.shape, weight, window, groups) if needs[0] else None,
            _weight_gradient(gy, x, weight.shape, window, groups) if needs[1] else None,
            sums.middle(gy, N, K, OH * OW) if needs[2] else None)


def _input_gradient(gy, shape, weight, window, groups):
    """A gather whose phases write every pixel between them."""
    (N, C, H, W), (K, OH, OW) = shape, gy.shape[1:]
    Cg, Kg, taps = C // groups, K // groups, window.kernel_h * window.kernel_w
    plan = _backward_plan(window, shape, gy.shape, Cg, Kg, slots(gy.dtype), shim.is_tracing())
    gx = DeviceArray((plan.chunks, *shape), gy.dtype)
    gather = Gather(Cg, 1, 1, OH, OW, K * OH * OW, Kg * OH * OW, taps, Kg * Cg * taps, C * H * W, H * W, W, window.stride_h,
                    window.stride_w, groups, plan.chunks, N * C * H * W)
    _gather(weight, gy, weight, (False, False), plan, gather, gx)
    return _add_chunks(gx, weight, (False, False))


def _weight_gradient(gy, x, shape, window, groups):
    """(K, C/groups, R, S): chunks of pixels, added in order."""
    (N, C, H, W), (K, OH, OW) = x.shape, gy.shape[1:]
    M, Q, pixels = K // groups, int(np.prod(shape[1:])), N * OH * OW
    rows = rows_for(M)
    grid = cut(Q, WIDE), cut(M, rows * SIDE)
    chunk, chunks = chunks_of(pixels, grid[0] * grid[1] * groups, slots(gy.dtype))
    part = DeviceArray((chunks, *shape), gy.dtype)
    sizes = Correlate(M, Q, pixels, OH, OW, window.stride_h, window.stride_w, H, W, C * H * W, C // groups * H * W,
                      K * OH * OW, chunk, groups)
    plan = _forward_plan(window, x.shape, C // groups, M, slots(gy.dtype), shim.is_tracing())
    launch(correlate_kernel(rows, at_once(gy.dtype)), (*grid, groups * chunks), SIDE * SIDE, gy, x, plan.taps, sizes, part)
    return sums.layers(part)


@functools.lru_cache(maxsize=4096)
def _forward_plan(window, shape, channels, filters, room, _tracing):
    """The Plan of a forward pass: one phase. channels, filters: of one group; room: slots of the device."""
    N, C, H, W = shape
    phases = [(forward_taps(window, channels, H, W), *window.output_size(H, W), 0, 0)]
    return _plan(phases, N, filters, C // channels, room)


@functools.lru_cache(maxsize=4096)
def _backward_plan(window, shape, out_shape, channels, filters, room, _tracing):
    """The Plan of a data gradient, those with the longest sums first."""
    (N, C, H, W), (OH, OW) = shape, out_shape[2:]
    phases = [(taps, cut(H - top, window.stride_h), cut(W - left, window.stride_w), top, left)
              for taps, (top, left) in zip(backward_phases(window, channels, filters, OH, OW),
                                           np.ndindex(window.stride_h, window.stride_w))
              if top < H and left < W]
    return _plan(sorted(phases, key=lambda phase: -len(phase[0])), N, channels, C // channels, room)


def _plan(phases, N, M, groups, room):
    """phases: (taps, rows and columns of its pixels, its first pixel's row and column) of each."""
    most, height = max(len(phase[0]) for phase in phases), rows_for(M) * SIDE
    tiles, high = [cut(N * I * J, WIDE) for _, I, J, _, _ in phases], cut(M, height) * groups
    busy = cut(sum(count * len(phase[0]) for count, phase in zip(tiles, phases)), max(most, 1))     # as if all had `most` taps
    _, chunks = chunks_of(most, busy * high, room, sum(tiles) * high)
    taps, table, start = [], [], 0
    for lines, I, J, top, left in phases:
        length = cut(cut(max(len(lines), 1), chunks), DEPTH) * DEPTH
        table.append((len(lines), N * I * J, I, J, top, left, start, length))
        taps.append(padded(lines, DEPTH))
        start += len(taps[-1])
    taps, table = DeviceArray.of(np.concatenate(taps)), DeviceArray.of(np.array(table, np.int32))
    return Plan(taps, table, len(phases), max(tiles), chunks)


def _add_chunks(parts, bias, flags):
    """(N, K, H, W): the sum over the first axis of parts in order, then what `finish` does; parts itself where it has one."""
    if parts.shape[0] == 1:
        return parts.reshape(parts.shape[1:])
    out = DeviceArray(parts.shape[1:], parts.dtype)
    K, P = parts.shape[2], math.prod(parts.shape[3:])
    launch_items(_add, out.size, parts, parts.shape[0], bias, flags, K, P, out, out.size)
    return out


@kernel
def _add(parts, chunks, bias, flags, K, P, out, count):
    """out (N, K, P) = Σ parts (chunks, N, K, P) over the chunks in order; then the bias (K,) and the ReLU, as flags say."""
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


def _gather(weight, image, bias, flags, plan, gather, out):
    rows = rows_for(gather.M)
    grid = plan.tiles, cut(gather.M, rows * SIDE), gather.groups * plan.chunks * plan.count
    launch(gather_kernel(rows, at_once(image.dtype)), grid, SIDE * SIDE, weight, image, bias, flags, plan.taps, plan.phases,
           gather, out)


@device_function
def phase_of(phases, z, sizes):
    """(Q, pixels, I, J, top, left, first line, length of a chunk) of the phase of block z: its sum, its pixels of all images,
    rows and columns of one, the first of them, and where its taps start."""
    line = over(over(z, sizes.groups), sizes.chunks) * PHASE
    return (phases[at(line)], phases[at(line + 1)], phases[at(line + 2)], phases[at(line + 3)], phases[at(line + 4)],
            phases[at(line + 5)], phases[at(line + 6)], phases[at(line + 7)])


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
def fetch_weights(weight, start, m, M, q, Q, row, table, line, into):
    """weight[m, q], each thread every APART-th filter of a slice from m on: those that follow one another take the next q. Its
    tap is in line `line + q` of the table."""
    column = table[wide((line + q) * 4 + 3)]
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
        q = q0 + thread() // WIDE + l * (SIDE * SIDE // WIDE)           # here a line of the table
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
    def gather_product(weight, image, bias, flags, table, phases, sizes, out):
        A = cuda.shared.array((2, DEPTH, pitch), image.dtype, alignment=ALIGN)
        B = cuda.shared.array((2, DEPTH, wide_pitch), image.dtype, alignment=ALIGN)
        total = cuda.local.array((rows, COLUMNS), image.dtype)
        own_a, own_b = cuda.local.array(rows, image.dtype), cuda.local.array(COLUMNS, image.dtype)
        next_a, next_b = cuda.local.array(loads, image.dtype), cuda.local.array(LOADS, image.dtype)
        rest, g = split(cuda.blockIdx.z, sizes.groups)
        _, chunk = split(rest, sizes.chunks)
        sum_to, pixels, I, J, _, _, line, length = phase_of(phases, cuda.blockIdx.z, sizes)
        m0, p0 = cuda.blockIdx.y * tall, cuda.blockIdx.x * WIDE
        p = p0 + thread() % WIDE                # SIDE² is a multiple of WIDE: the same column of every slice
        n, i, j = pixel_of(p, I, J)
        h, w = i * sizes.step_h, j * sizes.step_w
        base = n * sizes.image + g * sizes.image_group + h * sizes.W + w
        if p >= pixels:
            h = FAR
        start, q, m = g * sizes.group, thread() % DEPTH, m0 + thread() // DEPTH
        q0 = short(min(chunk * length, slices(sum_to) * DEPTH))         # a short phase may have fewer chunks
        Q = short(min(sum_to, q0 + length))
        clear(total)
        fetch_weights(weight, start, m, sizes.M, q0 + q, Q, sizes.row, table, line, next_a)
        fetch_pixels(image, base, h, w, line + q0, sizes.H, sizes.W, table, next_b)
        now = 0
        while q0 < Q:
            put_weights(A, now, tall, next_a)
            put_pixels(B, now, next_b)
            cuda.syncthreads()
            q0 = short(q0 + DEPTH)
            if q0 < Q:                          # the next numbers are on their way while these are multiplied
                fetch_weights(weight, start, m, sizes.M, q0 + q, Q, sizes.row, table, line, next_a)
                fetch_pixels(image, base, h, w, line + q0, sizes.H, sizes.W, table, next_b)
            multiply_slices(A, B, now, total, own_a, own_b)
            now ^= 1
        finish(total, bias, flags, g * sizes.M + m0, sizes.M - m0)
        write_pixels(total, out, chunk * sizes.part, g * sizes.M, m0, p0, phases, sizes)
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
def write_pixels(total, out, part, k0, m0, p0, phases, sizes):
    """This thread's values, from registers to the output's pixels."""
    ty, tx, p0 = thread() // SIDE, thread() % SIDE, short(p0)
    _, pixels, I, J, top, left, _, _ = phase_of(phases, cuda.blockIdx.z, sizes)
    first = part + (k0 + m0) * sizes.out_plane + top * sizes.out_width + left
    image, line, step = short(sizes.out_image), short(sizes.out_step_h * sizes.out_width), short(sizes.out_step_w)
    places = cuda.local.array(COLUMNS, np.uint32)           # of this thread's pixels, in the first plane
    n, i, j = short(0), short(0), short(0)
    for c in range(COLUMNS):
        p = short(p0 + place(c, tx, COLUMNS))
        n, i, j = further(n, i, j, (0, 0, 1), I, J) if c % RUN else pixel_of(p, I, J)
        places[c] = at(n * image + i * line + j * step if is_inside(p, pixels) else NOWHERE)
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
