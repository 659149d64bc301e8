"""The micro-kernel: a small tile of C held in registers, while A and B stream through.

A matrix product does two operations for each pair of numbers it reads, so it must read each number seldom. The tile of
rows x (vectors · lanes) values of C stays in registers for the whole depth; each step loads `vectors` vectors of B, and for
each of the `rows` values of A one fused multiply-add a vector. 4 x 3 vectors are 12 multiply-adds for 7 loads: a core
with two multiply-add units is then busy all the time, and 12 + 3 + 1 vectors fill the 16 registers of AVX2 exactly.

LLVM does not find this form in plain loops, so it is emitted as vector instructions, by a Numba intrinsic.
Source of the scheme: Goto and van de Geijn 2008, "Anatomy of high-performance matrix multiplication".
"""

import functools

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic


@functools.cache
def registers():
    """(bytes of a vector register, how many there are) of this CPU, from the features that LLVM reports."""
    features = llvm.get_host_cpu_features()
    if features.get("avx512f"):
        return 64, 32
    if features.get("avx2") and features.get("fma"):
        return 32, 16
    return 16, 32 if llvm.get_default_triple().startswith(("aarch64", "arm64")) else 16


def lanes(dtype):
    """How many values of `dtype` a vector register holds."""
    return registers()[0] // np.dtype(dtype).itemsize


@functools.cache
def micro_kernel(rows, vectors, width, dtype, streamed):
    """An intrinsic kernel(a, b, depth, c, ldc, lda, accumulate) for one tile, with `width` lanes a vector:

        C[i, j] (+)= Σ_p A[p, i] · B[p, j],   i < rows, j < vectors · width

    a, b, c are addresses; B[p, j] = b[p · vectors · width + j] and C[i, j] = c[i · ldc + j].
    streamed False: A[p, i] = a[p · rows + i], packed.  streamed True: A[p, i] = a[i · lda + p], rows as they lie.
    """

    @intrinsic
    def kernel(typing_context, a, b, depth, c, ldc, lda, accumulate):
        def codegen(context, builder, signature, arguments):
            _emit(builder, arguments, (rows, vectors, width), dtype, streamed)
            return context.get_dummy_value()
        return types.void(*[types.intp] * 7), codegen

    return kernel


def _emit(builder, arguments, tile, dtype, streamed):
    rows, vectors, width = tile
    a, b, depth, c, ldc, lda, accumulate = arguments
    i64, real = ir.IntType(64), ir.FloatType() if dtype == "float32" else ir.DoubleType()
    vector, align = ir.VectorType(real, width), np.dtype(dtype).itemsize
    fma = cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector, [vector] * 3),
                                         f"llvm.fma.v{width}f{8 * align}")
    a, b, c = (builder.inttoptr(x, real.as_pointer()) for x in (a, b, c))

    def at(base, index):
        return builder.bitcast(builder.gep(base, [index]), vector.as_pointer())

    def constant(value):
        return ir.Constant(i64, value)

    sums = [[cgutils.alloca_once(builder, vector) for _ in range(vectors)] for _ in range(rows)]
    c_at = [[at(builder.gep(c, [builder.mul(ldc, constant(i))]), constant(v * width)) for v in range(vectors)]
            for i in range(rows)]
    with builder.if_else(builder.icmp_signed("!=", accumulate, constant(0))) as (then, otherwise):
        with then:
            for i in range(rows):
                for v in range(vectors):
                    builder.store(builder.load(c_at[i][v], align=align), sums[i][v])
        with otherwise:
            for i in range(rows):
                for v in range(vectors):
                    builder.store(ir.Constant(vector, [ir.Constant(real, 0.0)] * width), sums[i][v])
    a_rows = [builder.gep(a, [builder.mul(lda, constant(i)) if streamed else constant(i)]) for i in range(rows)]
    with cgutils.for_range(builder, depth, intp=i64) as loop:
        b_row = builder.gep(b, [builder.mul(loop.index, constant(vectors * width))])
        b_vectors = [builder.load(at(b_row, constant(v * width)), align=align) for v in range(vectors)]
        step = loop.index if streamed else builder.mul(loop.index, constant(rows))
        for i in range(rows):
            splat = _broadcast(builder, builder.load(builder.gep(a_rows[i], [step]), align=align), vector)
            for v in range(vectors):
                builder.store(builder.call(fma, [splat, b_vectors[v], builder.load(sums[i][v])]), sums[i][v])
    for i in range(rows):
        for v in range(vectors):
            builder.store(builder.load(sums[i][v]), c_at[i][v], align=align)


def _broadcast(builder, scalar, vector):
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(ir.IntType(32), vector.count), [0] * vector.count))
