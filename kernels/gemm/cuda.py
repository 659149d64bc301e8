"""The matrix product on a GPU, tiled through shared memory and registers: read this before conv2d/cuda.py.

    out (M, N) = a (M, Q) @ b (Q, N)

A thread that computed one value of `out` would read 2Q numbers from memory for Q multiplications: far too many. So the work
is cut three times.

1. A block of SIDE x SIDE threads computes one tile of `out`, (SIDE · rows) x (SIDE · COLUMNS) values. It walks along Q in
   slices of DEPTH: the block copies a slice of a and a slice of b to *shared memory*, which all its threads can read, and
   multiplies them there. Each number of a is read from memory once for a whole row of the tile, not once for each value.
2. Each thread owns rows x COLUMNS values of the tile and keeps them in *registers*. For one index of Q it reads `rows` numbers
   of a and COLUMNS of b from shared memory and multiplies each with each: 8 + 8 reads for 64 multiplications. Its rows and
   columns come in runs of four, so that one instruction reads four of them.
3. There are two slices in shared memory: while the threads multiply one, the numbers of the next are on their way from memory
   into registers, and are put in the other. One barrier a slice is enough.

Where `out` has too few tiles for the GPU (long Q, small M x N, as in weight gradients), Q is cut into chunks that other blocks
take; each writes its share, and the shares are added in order afterwards: no atomics, the same bits every time.
Source: Volkov and Demmel 2008, "Benchmarking GPUs to tune dense linear algebra"; Nath et al. 2010 (registers, two buffers).
"""

import functools

import numpy as np

from kernels.device import sums
from kernels.device.array import DeviceArray, same_dtype
from kernels.device.launching import at, short, wide
from kernels.device.shim import SIMULATED, cuda, device_function, launch, processors, tile
from kernels.errors import BackendError

SIDE, DEPTH, COLUMNS = (4, 4, 4) if SIMULATED else (16, 8, 8)
ROWS = (1, 4) if SIMULATED else (1, 2, 4, 8)
RUN = 4                                     # rows or columns that lie side by side in shared memory
ALIGN = None if SIMULATED else 16           # bytes: what an instruction needs that reads a run of four
PAD = 4                                     # keeps runs aligned, and spreads a column of a slice over the memory banks
WIDE = SIDE * COLUMNS
LOADS = DEPTH * COLUMNS // SIDE             # numbers of b's slice that one thread fetches
APART = SIDE * SIDE // DEPTH                # from one row that a thread fetches to its next, if threads walk along Q
SLICES = 1 if SIMULATED else 8              # of a chunk, at least
MOST = 4 if SIMULATED else 512              # chunks
ENDS, SHARE = 4, 0.023                      # what a chunk costs besides, in the time of a slice: estimates
WORTH = (0.4, 1.0) if SIMULATED else (0.4, 0.6, 0.85, 1.0)      # of a tile with so many rows: a guess, not measured


@functools.cache
def rows_for(M):
    """How many rows of the tile a thread owns: large tiles read less, but rows beyond M are computed for nothing."""
    def value(worth, rows):
        return M / (cut(M, rows * SIDE) * rows * SIDE) * worth, rows
    return max(value(worth, rows) for worth, rows in zip(WORTH, ROWS))[1]


def at_once(dtype):
    """Blocks that share a multiprocessor, so that one multiplies while the other waits at its barrier: 65,536 registers hold
    two of 256 threads with 128 each, or one of float64, whose values take two registers."""
    return 2 if dtype == np.float32 else 1


def cut(length, size):
    """Pieces of `size` that cover `length`."""
    return -(-length // size)


def slots(dtype):
    """Blocks that the device runs side by side."""
    return at_once(dtype) * processors()


@functools.lru_cache(maxsize=4096)
def chunks_of(Q, tiles, room, written=None):
    """(length of a chunk of Q, how many): as many as take the least time, where `room` blocks run side by side. written: tiles
    that a chunk writes, where that is not `tiles`, those that have a sum of Q.

    Equal blocks start and end together, `room` of them at a time: 144 tiles on a GPU with room for 264 leave half of it idle,
    and so do 300. Cut in eleven, 144 tiles make 1,584 blocks that fill it six times. What a chunk costs besides: ENDS slices of
    its block's time, and its share is written and added. Depends on the sizes and the device alone.
    """
    length, written = cut(max(Q, 1), DEPTH), tiles if written is None else written

    def time(chunks):
        return (cut(tiles * chunks, room) * (cut(length, chunks) + ENDS) + (chunks > 1) * chunks * written * SHARE, chunks)
    _, chunks = min(time(chunks) for chunks in range(1, max(1, min(MOST, length // SLICES)) + 1))
    chunk = cut(length, chunks) * DEPTH
    return chunk, cut(max(Q, 1), chunk)


def product(a, b, M, N, Q, steps, batch=1):
    """(batch, M, N): a[m, q] lies at m·steps[0] + q·steps[1] of a, b[q, n] at q·steps[2] + n·steps[3] of b, and image z of
    the batch at z·steps[4] of a and z·steps[5] of b. Transposes are steps in another order."""
    if 0 in (M, N, batch):
        return DeviceArray((batch, M, N), a.dtype)
    rows = rows_for(M)
    tiles = cut(N, WIDE), cut(M, rows * SIDE)
    chunk, chunks = chunks_of(Q, tiles[0] * tiles[1] * batch, slots(a.dtype))
    if batch * chunks > 65535:
        raise BackendError(f"matmul: a stack of {batch} matrices is more than the GPU kernel takes, 65535; split it")
    out = DeviceArray((chunks, batch, M, N), a.dtype)
    launch(tile_kernel(rows, at_once(a.dtype)), (*tiles, batch * chunks), SIDE * SIDE, a, b, out, (M, N, Q, chunk, batch),
           steps)
    return sums.layers(out)


def matmul(a, b):
    """a (..., n, k) @ b (..., k, m), the other axes broadcast."""
    same_dtype("matmul", a, b)
    stack = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    (M, Q), N = a.shape[-2:], b.shape[-1]
    batch = int(np.prod(stack))
    apart = []                              # how far the matrices of a stack lie apart: 0 for one that serves them all
    for i, x in enumerate((a, b)):
        if x.size != batch * x.shape[-2] * x.shape[-1] and x.shape[:-2].count(1) != len(x.shape[:-2]):
            x = x.view_copy(lambda view: np.broadcast_to(view, (*stack, *view.shape[-2:])))
        apart.append(x.shape[-2] * x.shape[-1] if x.size == batch * x.shape[-2] * x.shape[-1] else 0)
        a, b = (x, b) if i == 0 else (a, x)
    return product(a, b, M, N, Q, (Q, 1, N, 1, *apart), batch).reshape(*stack, M, N)


@device_function
def thread():
    """The number of this thread in its block. The mask changes nothing, but tells the compiler that it is not negative:
    Numba's indices may count from the end, and the test for that would stand at every access."""
    return cuda.threadIdx.x & (SIDE * SIDE - 1)


@device_function
def is_inside(i, side):
    """0 <= i < side in one comparison: without a sign, what is negative is large."""
    return np.uint32(i) < np.uint32(side)


@device_function
def place(i, thread, own):
    """Row (or column) i of the `own` that a thread has, in the tile: runs of RUN side by side."""
    run = min(RUN, own)
    return i // run * run * SIDE + thread * run + i % run


@device_function
def clear(total):
    """Every value 0."""
    for i in range(total.shape[0]):
        for j in range(total.shape[1]):
            total[i, j] = 0


@device_function
def multiply_slices(A, B, now, total, a, b):
    """total += A[now]ᵀ @ B[now], for the rows and columns of this thread; a and b are its registers."""
    for k in range(0, DEPTH, 2):            # two steps written out: numbers for one are read while the other multiplies
        multiply(A, B, at(now), at(k), total, a, b)
        multiply(A, B, at(now), at(k + 1), total, a, b)


@device_function
def multiply(A, B, now, k, total, a, b):
    """total += A[now, k] times B[now, k], each with each"""
    ty, tx = thread() // SIDE, thread() % SIDE
    for i in range(a.shape[0]):
        a[i] = A[now, k, place(i, ty, a.shape[0])]
    for j in range(COLUMNS):
        b[j] = B[now, k, place(j, tx, COLUMNS)]
    for i in range(a.shape[0]):
        for j in range(COLUMNS):
            total[i, j] += a[i] * b[j]


@device_function
def spot(wide, along_q):
    """(index along Q, index across, steps of both to this thread's next) of its first number of a slice: threads that follow
    one another read what lies side by side."""
    if along_q:
        return short(thread() % DEPTH), short(thread() // DEPTH), short(0), short(APART)
    return short(thread() // wide), short(thread() % wide), short(SIDE * SIDE // wide), short(0)


@device_function
def fetch(x, start, first, limit, q0, q1, step_across, step_q, wide, into):
    """This thread's numbers of a slice, from memory to registers: x[across, q], across from `first` below `limit`."""
    q, across, q_step, across_step = spot(wide, step_q == 1)
    here, there = short(q0 + q), short(first + across)
    index, apart = short(start + there * step_across + here * step_q), short(across_step * step_across + q_step * step_q)
    for l in range(into.shape[0]):
        into[l] = 0
        if is_inside(here + l * q_step, q1) & is_inside(there + l * across_step, limit) & is_of_slice(l, wide):
            into[l] = x[at(index + l * apart)]


@device_function
def put(X, now, along_q, wide, values):
    """What `fetch` read, from registers to shared memory."""
    q, across, q_step, across_step = spot(wide, along_q)
    for l in range(values.shape[0]):
        if is_of_slice(l, wide):
            X[now & 1, q + l * q_step, across + l * across_step] = values[l]


@device_function
def is_of_slice(l, wide):
    """Whether this thread has a number l: in the narrowest slices half of the threads have none."""
    return thread() + l * SIDE * SIDE < DEPTH * wide


@functools.cache
def tile_kernel(rows, blocks):
    """The kernel whose threads own `rows` rows of their tile; registers for `blocks` blocks on a multiprocessor."""
    tall, loads = SIDE * rows, cut(DEPTH * rows, SIDE)
    pitch, wide_pitch = tall + PAD, WIDE + PAD

    @tile(blocks)
    def product_kernel(a, b, out, sizes, steps):
        A = cuda.shared.array((2, DEPTH, pitch), a.dtype, alignment=ALIGN)
        B = cuda.shared.array((2, DEPTH, wide_pitch), a.dtype, alignment=ALIGN)
        total = cuda.local.array((rows, COLUMNS), a.dtype)
        own_a, own_b = cuda.local.array(rows, a.dtype), cuda.local.array(COLUMNS, a.dtype)
        next_a, next_b = cuda.local.array(loads, a.dtype), cuda.local.array(LOADS, a.dtype)
        M, N, Q, chunk, batch = sizes
        z = cuda.blockIdx.z % batch
        m0, n0, q0 = cuda.blockIdx.y * tall, cuda.blockIdx.x * WIDE, short(cuda.blockIdx.z // batch * chunk)
        q1 = short(min(Q, q0 + chunk))
        clear(total)
        fetch(a, z * steps[4], m0, M, q0, q1, steps[0], steps[1], tall, next_a)
        fetch(b, z * steps[5], n0, N, q0, q1, steps[3], steps[2], WIDE, next_b)
        now = 0
        while q0 < q1:
            put(A, now, steps[1] == 1, tall, next_a)
            put(B, now, steps[2] == 1, WIDE, next_b)
            cuda.syncthreads()
            q0 = short(q0 + DEPTH)
            if q0 < q1:
                fetch(a, z * steps[4], m0, M, q0, q1, steps[0], steps[1], tall, next_a)
                fetch(b, z * steps[5], n0, N, q0, q1, steps[3], steps[2], WIDE, next_b)
            multiply_slices(A, B, now, total, own_a, own_b)
            now ^= 1
        write(total, out, cuda.blockIdx.z * M * N, m0, n0, M, N)
    return product_kernel


@device_function
def write(total, out, start, m0, n0, M, N):
    """This thread's values, from registers to out[start + m·N + n]."""
    ty, tx = thread() // SIDE, thread() % SIDE
    for i in range(total.shape[0]):
        m = short(m0 + place(i, ty, total.shape[0]))
        row = wide(start + m * N + n0 + place(0, tx, COLUMNS))
        for j in range(COLUMNS):
            if is_inside(m, M) & is_inside(n0 + place(j, tx, COLUMNS), N):
                out[row + wide(place(j, 0, COLUMNS))] = total[i, j]
