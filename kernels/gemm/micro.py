"""The micro-kernel: a small tile of C held in registers, while A and B stream through.

A matrix product does two operations for each pair of numbers it reads, so it must read each number seldom. The tile of
rows x (vectors · lanes) values of C stays in registers for the whole depth; each step loads `vectors` vectors of B, and for
each of the `rows` values of A one fused multiply-add a vector. 4 x 3 vectors are 12 multiply-adds for 7 loads: a core
with two multiply-add units is then busy all the time, and 12 + 3 + 1 vectors fill the 16 registers of AVX2 exactly.

LLVM does not find this form in plain loops, so it is emitted as vector instructions, by Numba intrinsics: here is what they
compute, in kernels.gemm.emitter how. Source of the scheme: Goto and van de Geijn 2008, "Anatomy of high-performance matrix
multiplication".
"""

import functools

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

from kernels.gemm.emitter import Emitter


@functools.cache
def registers():
    """(bytes of a vector register, how many there are) of this CPU, from the features that LLVM reports."""
    features = llvm.get_host_cpu_features()
    if features.get("avx512f"):
        return 64, 32
    if features.get("avx2") and features.get("fma"):
        return 32, 16
    return 16, 32 if llvm.get_default_triple().startswith(("aarch64", "arm64")) else 16


@functools.cache
def lanes(dtype):
    """How many values of `dtype` a vector register holds."""
    return registers()[0] // np.dtype(dtype).itemsize


def _dtype(array_type):
    return str(array_type.dtype)


@functools.cache
def product_tile(rows, vectors, vector_bytes):
    """An intrinsic tile(a, b, offsets, depth, c, ldc, accumulate, like):

        C[i, j] (+)= Σ_p A[p, i] · B[p, j],   i < rows, j < width = vectors · lanes

    with A packed, A[p, i] = a[p · rows + i], and the rows of B wherever they lie, B[p, j] = b[offsets[p] + j]: the columns
    of a convolution are pieces of the image itself. C[i, j] = c[i · ldc + j]. a, b, c, offsets are addresses; the offsets
    are int64 and count values; `like` is any array of the product's dtype.
    """
    @intrinsic
    def tile(typing_context, a, b, offsets, depth, c, ldc, accumulate, like):
        def codegen(context, builder, signature, arguments):
            a, b, offsets, depth, c, ldc, accumulate, _ = arguments
            emit = Emitter(builder, rows, vectors, vector_bytes, _dtype(like))
            a, b = emit.pointer(a), emit.pointer(b)
            offsets = builder.inttoptr(offsets, ir.IntType(64).as_pointer())
            sums = emit.begin(c, ldc, accumulate)
            with cgutils.for_range(builder, depth, intp=ir.IntType(64)) as loop:
                b_row = builder.gep(b, [builder.load(builder.gep(offsets, [loop.index]))])
                a_column = builder.gep(a, [builder.mul(loop.index, emit.constant(rows))])
                emit.step(sums, [builder.gep(a_column, [emit.constant(i)]) for i in range(rows)], emit.row(b_row))
            emit.end(sums)
            return context.get_dummy_value()
        return types.void(*[types.intp] * 7, like), codegen
    return tile


@functools.cache
def rows_tile(rows, vectors, vector_bytes):
    """An intrinsic tile(a, runs, b, c, like) over rows of A that lie anywhere, for example the pixels of a channels-last image:

        C[i, j] = start[j] + Σ_runs Σ_q A_i[shift + q · a_step] · B[(first + q) · b_step + j],   i < rows, j < vectors · lanes

    a = (address, table, a_step): A_i starts table[i] values behind the address; or (…, ahead, pace, …): at each row r of B
    the lines at the addresses ahead + r · pace are asked for, which a later tile will read. runs = (table, count): of each
    run the shift, the length and the first row of B, in values; or (…, tiles, step, …): so many tiles, each of the next
    rows of A and C, and each `ahead` begins a step farther. b = (address, b_step); or (…, kept): the rows of B that are
    read, one after the other, are stored at the address `kept` side by side; or (…, kept, other, sign): `sign` times the
    rows at the address `other`, as far apart, are added to them first. c = (address, table, start, onto, relu, past): C[i]
    is stored table[i] values behind the address; `start` is an address, 0 for zeros; the values that lie table[i] behind
    the address `onto`, if that is not 0, are added; with relu what is below 0 becomes 0; with past the stores go past the
    caches (kernels.streaming; the rows must then start on lines). c may end with (…, claimed): if that address is not 0,
    the lines of two rows of C, table[i] values behind it, are asked for at the beginning of each run, to be written: those
    that the tile will be stored to. Addresses are integers, tables addresses of int64; `like` is any array of the product's
    dtype.
    """
    @intrinsic
    def tile(typing_context, a, runs, b, c, like):
        def codegen(context, builder, signature, arguments):
            emit = Emitter(builder, rows, vectors, vector_bytes, _dtype(like))
            a, runs, b, c = [cgutils.unpack_tuple(builder, argument) for argument in arguments[:4]]
            if len(runs) > 2:
                emit.over_tiles(a, runs, b, c)
            else:
                emit.over_rows(a, runs, b, c)
            return context.get_dummy_value()
        return types.void(a, runs, b, c, like), codegen
    return tile


@functools.cache
def group_tile(rows, group, part, vector_bytes):
    """An intrinsic tile(a, runs, b, c, like) for a vector of channels in groups of `group` that only see each other:

        C[i, j] = start[j] + Σ_d S_d[i, j xor d],   S_d[i, j] = Σ_taps A_i[shift + j] · B[tap · group + d, j],
        i < rows, j < lanes, d < group

    Channel j xor d is another of j's group, and over all d each of them once: no product with a zero between groups is ever
    formed, and vectors are shuffled within their groups once, when all taps are summed up. The sums of a `part` of all d lie in
    registers, then those of the next ones. a = (address, table, tiles, ahead, pace): of each tile `rows` entries of the
    table, and at each tap the next address ahead, ahead + pace, … asked for; runs is (table, count) of shift, unused, tap; b an
    address; c = (address, table, start, relu, past, ahead, pace), as in rows_tile, and what is asked for to be written. Larger
    groups than a vector are not for it: it does nothing.
    """
    @intrinsic
    def tile(typing_context, a, runs, b, c, like):
        def codegen(context, builder, signature, arguments):
            a, runs, b, c, _ = arguments
            emit = Emitter(builder, rows, 1, vector_bytes, _dtype(like))
            if group <= emit.width:
                emit.over_groups(group, part, *[cgutils.unpack_tuple(builder, each) for each in (a, runs)], b,
                                 cgutils.unpack_tuple(builder, c))
            return context.get_dummy_value()
        return types.void(a, runs, b, c, like), codegen
    return tile


@functools.cache
def group_correlation(taps, group, part, vector_bytes):
    """An intrinsic tile(x, gy, segments, shifts, out, like), the sum of group_tile's products over pixels instead:

        out[t][d][j] += Σ_pixels X[shift_t + j] · GY[j xor d],   t < taps, d < group, j < lanes

    and of a group that is a vector X[shift_t + j] · GY[d], for which nothing is shuffled. x = (address, step, ahead, pace) and
    gy likewise, steps from pixel to pixel, and at each pixel the next address ahead, ahead + pace, … asked for; segments =
    (table, count) of where x and gy are read, and how many pixels; shifts a table; out = (address, table), group · lanes values
    each. A `part` of all d at a time, as in group_tile.
    """
    @intrinsic
    def tile(typing_context, x, gy, segments, shifts, out, like):
        def codegen(context, builder, signature, arguments):
            x, gy, segments, shifts, out, _ = arguments
            emit = Emitter(builder, taps * part, 1, vector_bytes, _dtype(like))
            given = [cgutils.unpack_tuple(builder, each) for each in (x, gy, segments)]
            for first in range(0, group if group <= emit.width else 0, part):
                emit.correlate_groups(range(first, first + part), group == emit.width, *given, shifts,
                                      cgutils.unpack_tuple(builder, out))
            return context.get_dummy_value()
        return types.void(x, gy, segments, shifts, out, like), codegen
    return tile


@functools.cache
def square_transpose(vector_bytes):
    """An intrinsic transpose(target, to, source, from_, like): T[j, i] = S[i, j] for a square of lanes x lanes values.

    Row i of S lies from_[i] values behind `source`, row j of T to[j] behind `target`; addresses, and addresses of int64.

    In log2(lanes) rounds, each swapping the off-diagonal quarters of ever smaller squares.
    """
    @intrinsic
    def transpose(typing_context, target, to, source, from_, like):
        def codegen(context, builder, signature, arguments):
            target, to, source, from_, _ = arguments
            emit = Emitter(builder, 0, 0, vector_bytes, _dtype(like))
            count, i64 = emit.width, ir.IntType(64)
            entry = lambda table, i: builder.load(builder.gep(builder.inttoptr(table, i64.as_pointer()), [emit.constant(i)]))
            rows = [emit.load(builder.gep(emit.pointer(source), [entry(from_, i)])) for i in range(count)]
            half = count // 2
            while half:
                for i in (i for i in range(count) if not i & half):
                    upper, lower = rows[i], rows[i + half]
                    rows[i] = emit.shuffle(upper, lower, [k if not k & half else count + k - half for k in range(count)])
                    rows[i + half] = emit.shuffle(upper, lower, [k + half if not k & half else count + k for k in range(count)])
                half //= 2
            for j in range(count):
                emit.store(rows[j], builder.gep(emit.pointer(target), [entry(to, j)]))
            return context.get_dummy_value()
        return types.void(*[types.intp] * 4, like), codegen
    return transpose


@functools.cache
def rows_copy(values, vector_bytes=0):
    """An intrinsic copy(target, source, step, count, like): `count` rows of `values` values (vectors, where vector_bytes is
    given), `step` values apart in the source and side by side in the target."""
    @intrinsic
    def copy(typing_context, target, source, step, count, like):
        def codegen(context, builder, signature, arguments):
            target, source, step, count, _ = arguments
            size = np.dtype(_dtype(like)).itemsize
            emit = Emitter(builder, 0, 0, vector_bytes or values * size, _dtype(like))
            target, source = emit.pointer(target), emit.pointer(source)
            wide = emit.width * (values if vector_bytes else 1)
            with cgutils.for_range(builder, count, intp=ir.IntType(64)) as loop:
                emit.copy(wide, builder.gep(source, [builder.mul(loop.index, step)]),
                          builder.gep(target, [builder.mul(loop.index, emit.constant(wide))]))
            return context.get_dummy_value()
        return types.void(*[types.intp] * 4, like), codegen
    return copy


@functools.cache
def tile_transform(side, function, vector_bytes):
    """An intrinsic transform(source, target, vectors, last, like): F·d·Fᵀ of a square d of side x side vectors.

    function: F as a Python function of `side` values that gives a list, written with +, - and * by numbers; it is applied to
    the columns and then to the rows. source and target are addresses of int64 addresses, one for each vector of the square,
    row by row; then the same for the next vector behind each, `vectors` times. last = (start, relu, past, adds): `start`
    is an address of values that are added, 0 for none; with relu what is below 0 becomes 0; with past stores go past the
    caches; with adds the results are added to what is at the target.
    """
    @intrinsic
    def transform(typing_context, source, target, vectors, last, like):
        def codegen(context, builder, signature, arguments):
            source, target, vectors, last, _ = arguments
            emit = Emitter(builder, 0, 0, vector_bytes, _dtype(like))
            emit.transform(source, target, vectors, side, function, *cgutils.unpack_tuple(builder, last))
            return context.get_dummy_value()
        return types.void(types.intp, types.intp, types.intp, last, like), codegen
    return transform


@functools.cache
def combination(function, vector_bytes):
    """An intrinsic combine(sources, targets, count, last, like): target_1[i], … = function(source_1[i], …), row by row.

    function: a Python function of as many values as there are sources, which gives a list of as many as there are targets,
    written as in tile_transform. sources and targets are tuples of addresses, and behind them how many values farther each
    further row begins. count = (rows, vectors of a row). last = (relu, past, adds), as in tile_transform.
    """
    @intrinsic
    def combine(typing_context, sources, targets, count, last, like):
        def codegen(context, builder, signature, arguments):
            emit = Emitter(builder, 0, 0, vector_bytes, _dtype(like))
            emit.combine(function, *[cgutils.unpack_tuple(builder, argument) for argument in arguments[:4]])
            return context.get_dummy_value()
        return types.void(sources, targets, count, last, like), codegen
    return combine


if config.DISABLE_JIT:
    from kernels.gemm import plain
    product_tile, rows_tile, tile_transform = plain.product_tile, plain.rows_tile, plain.tile_transform
    rows_copy, square_transpose = plain.rows_copy, plain.square_transpose
    group_tile, group_correlation, combination = plain.group_tile, plain.group_correlation, plain.combination
