"""Loads that are asked for ahead, and stores that go past the caches.

A pass over an array that lies in memory, or in a third cache that is far away, waits for each line: a core's own guesses which
line comes next are few and end at a page. A kernel therefore asks for the row that it will need in some time: `fetch`. A core
keeps track of a dozen lines on their way: asked for in a burst, the next ones wait and everything behind them does too. Rows
are therefore gone through one by one and in pieces, each of which asks for as much as it reads: PIECE, `between`. Matrix
products ask for a line between any two steps of the micro-kernel (gemm.micro, `rows_tile`).

A store to a line that is not in the cache first reads that line from memory, only to overwrite all of it: an array is moved
twice to be written once. What a kernel writes whole and what is too large to be in the cache when the next kernel reads it is
therefore written by non-temporal stores, which collect a line and send it off. The results of the forward pass are of this
kind: they lie until the backward pass comes to them. Gradients are not: the next op reads them, and their memory, still in a
cache, is the next gradient's (streamed, a step of ResNet-20 took 8 % more time); but max pooling's is, which is several times
as large as what it is made of, and so are those that are cut into parts (`activation.relu_backward_parts`). Kernels compute a
row in a small array that stays in the first cache, `near`, and `put` it to its place; the micro-kernel stores its tiles so
itself.

Such stores may overtake others: a thread calls `finish` before it tells the others that it is done. And whatever waits for them
waits for memory: no locked instruction may stand in the loop, hence addresses in the place of slices, whose reference counts
are counted by such. An array of which only the address is used is let go before: the loop, or what comes behind, must use it
once more. Source: Intel 64 and IA-32 Architectures Optimization Reference Manual, "Non-temporal stores and software
write-combining".
"""

import numpy as np
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

from kernels.compiling import njit

LINE = 64               # bytes that memory moves at once
LARGE = 1 << 20         # bytes of an array that a second cache does not keep
AHEAD = 4096            # bytes from what is read to what is asked for
PIECE = 64              # values of a row between two requests
FIRST_CACHE, SECOND_CACHE = 3, 2        # as llvm.prefetch counts them
READ, WRITE = 0, 1                      # so too


def pays(array):
    """Whether an array that is written whole is worth streaming to."""
    return array.nbytes >= LARGE


def fits(matrix, vector_bytes):
    """Whether tiles of whole vectors may be streamed to a matrix: a vector is a line, and rows start on lines."""
    return (vector_bytes == LINE and pays(matrix) and matrix.ctypes.data % LINE == 0 and matrix.strides[0] % LINE == 0)


@njit(cache=True)
def near(count, like):
    """An uninitialised array of `count` values of like's dtype that starts on a line, for one thread to compute a row in."""
    flat = np.empty(count + LINE // like.itemsize, like.dtype)
    return flat[-flat.ctypes.data % LINE // like.itemsize:][:count]


def store_past_caches(builder, value, pointer):
    """Emit the store of a vector of LINE bytes to a pointer on a line's boundary."""
    store = builder.store(value, pointer, align=LINE)
    store.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)]))


@intrinsic
def put(typing_context, target, source, count, past, like):
    """put(target, source, count, past, like): copy `count` values of like's dtype, from address to address.

    With `past` the lines that they fill go past the caches, and only what lies in front of and behind these is stored as usual.
    """
    def codegen(context, builder, signature, arguments):
        target, source, count, past, _ = arguments
        i64, size = ir.IntType(64), np.dtype(str(like.dtype)).itemsize
        real = ir.FloatType() if size == 4 else ir.DoubleType()
        line, constant = ir.VectorType(real, LINE // size), lambda value: ir.Constant(i64, value)
        a, b = (builder.inttoptr(address, real.as_pointer()) for address in (source, target))

        def one_by_one(first, last):
            with cgutils.for_range_slice(builder, first, last, constant(1), intp=i64) as (i, _):
                builder.store(builder.load(builder.gep(a, [i])), builder.gep(b, [i]))

        def line_by_line(store):
            with cgutils.for_range(builder, lines, intp=i64) as loop:
                at = builder.add(head, builder.mul(loop.index, constant(LINE // size)))
                vector = lambda pointer: builder.bitcast(builder.gep(pointer, [at]), line.as_pointer())
                store(builder.load(vector(a), align=size), vector(b))

        short = builder.udiv(builder.and_(builder.neg(target), constant(LINE - 1)), constant(size))
        head = builder.select(builder.icmp_signed("<", count, short), count, short)
        lines = builder.udiv(builder.sub(count, head), constant(LINE // size))
        one_by_one(constant(0), head)
        with builder.if_else(builder.icmp_signed("!=", past, past.type(0))) as (streamed, stored):
            with streamed:
                line_by_line(lambda value, pointer: store_past_caches(builder, value, pointer))
            with stored:
                line_by_line(lambda value, pointer: builder.store(value, pointer, align=size))
        one_by_one(builder.add(head, builder.mul(lines, constant(LINE // size))), count)
        return context.get_dummy_value()
    return types.void(types.intp, types.intp, types.intp, past, like), codegen


@njit(inline="always")
def between(first, end):
    """range(first, end) of values of a row: unsigned, because LLVM makes no vectors where each may be counted from the end."""
    return range(np.uint64(first), np.uint64(end))


@njit(cache=True)
def distance(matrix, count):
    """Bytes from a row of which `count` values are read to the one to ask for."""
    return max(1, AHEAD // (count * matrix.itemsize)) * matrix.strides[0]


def ask_for(builder, address, level, purpose=READ):
    """Emit the prefetch of the line at an address into one of the caches, and those behind it."""
    i8, i32 = ir.IntType(8), ir.IntType(32)
    prefetch = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(ir.VoidType(), [i8.as_pointer(), i32, i32, i32]), "llvm.prefetch.p0")
    builder.call(prefetch, [builder.inttoptr(address, i8.as_pointer()), *(ir.Constant(i32, k) for k in (purpose, level, 1))])


def _asking(purpose):
    """An intrinsic (address, count, like): ask for the lines of `count` values of like's dtype. Any address will do."""
    @intrinsic
    def ask(typing_context, address, count, like):
        def codegen(context, builder, signature, arguments):
            address, count, _ = arguments
            i64 = ir.IntType(64)
            size, line = np.dtype(str(like.dtype)).itemsize, ir.Constant(i64, LINE)
            with cgutils.for_range_slice(builder, ir.Constant(i64, 0), builder.mul(count, ir.Constant(i64, size)), line,
                                         intp=i64) as (at, _):
                ask_for(builder, builder.add(address, at), FIRST_CACHE, purpose)
            return context.get_dummy_value()
        return types.void(types.intp, types.intp, like), codegen
    return ask


fetch = _asking(READ)           # fetch(address, count, like): for values that will be read
claim = _asking(WRITE)          # claim(address, count, like): for values that will be written


@intrinsic
def finish(typing_context):
    """finish(): all that this thread streamed is in memory before anything it stores afterwards."""
    def codegen(context, builder, signature, arguments):
        builder.fence("seq_cst")
        return context.get_dummy_value()
    return types.void(), codegen


if config.DISABLE_JIT:
    from kernels.gemm import plain
    fetch, claim, finish, put = plain.fetch, plain.fetch, plain.finish, plain.put
