"""The inner loops of max pooling: vectors of channels stay in registers while the pixels of a window, or the windows that cover
a pixel, go by. In plain loops each of these reads and writes the best so far, and checks whether its arrays lie apart.
"""

import functools

import numpy as np
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

from kernels.compiling import njit
from kernels.gemm import plain
from kernels.gemm.micro import Emitter, registers
from kernels.streaming import LINE, store_past_caches

VECTOR = registers()[0]         # bytes
MANY = 4                        # vectors in registers at once


@functools.cache
def _largest(vectors, vector_bytes):
    """An intrinsic largest(table, count, targets, channels, past, like): y[c] = the first largest of `count` pixels' values of
    channel c, the first NaN if there is one, and where[c] its place.

    table: the address of two int64 for each pixel: its address, its place. targets = (address of y, of where). channels =
    (first, groups): so many times `vectors` vectors (values, where vector_bytes is 0), from the first channel on. With past the
    stores go past the caches.
    """
    @intrinsic
    def largest(typing_context, table, count, targets, channels, past, like):
        def codegen(context, builder, signature, arguments):
            table, count, targets, channels, past, _ = arguments
            emit = _Emitter(builder, vectors, vector_bytes, like)
            emit.largest(table, count, *[cgutils.unpack_tuple(builder, each) for each in (targets, channels)], past)
            return context.get_dummy_value()
        return types.void(types.intp, types.intp, targets, channels, past, like), codegen
    return largest


@functools.cache
def _gathered(vectors, vector_bytes):
    """An intrinsic gathered(table, count, at, target, channels, past, like): gx[c] = Σ of gy[c] over the `count` windows whose
    where[c] is `at`. table: the address of two int64 for each window: of its gy, of its where. Else as _largest."""
    @intrinsic
    def gathered(typing_context, table, count, at, target, channels, past, like):
        def codegen(context, builder, signature, arguments):
            table, count, at, target, channels, past, _ = arguments
            emit = _Emitter(builder, vectors, vector_bytes, like)
            emit.gathered(table, count, at, target, cgutils.unpack_tuple(builder, channels), past)
            return context.get_dummy_value()
        return types.void(types.intp, types.intp, types.intp, types.intp, channels, past, like), codegen
    return gathered


class _Emitter(Emitter):
    """Vectors of values and as many int32 places."""

    def __init__(self, builder, vectors, vector_bytes, like):
        dtype = str(like.dtype)
        super().__init__(builder, 0, vectors, vector_bytes or np.dtype(dtype).itemsize, dtype)
        self.places = ir.VectorType(ir.IntType(32), self.width)

    def groups(self, channels):
        """Yields the first channel of each group of vectors, inside the loop over them."""
        first, groups = channels
        with cgutils.for_range(self.builder, groups, intp=ir.IntType(64)) as loop:
            yield self.builder.add(first, self.builder.mul(loop.index, self.constant(self.vectors * self.width)))

    def vectors_at(self, base, channel, kind, size):
        """Pointers to the vectors of a row from a channel on: `base` an address, `size` bytes a value."""
        bytes_ = [self.builder.mul(self.builder.add(channel, self.constant(v * self.width)), self.constant(size))
                  for v in range(self.vectors)]
        return [self.builder.inttoptr(self.builder.add(base, each), kind.as_pointer()) for each in bytes_]

    def values_at(self, base, channel):
        return self.vectors_at(base, channel, self.vector, self.align)

    def places_at(self, base, channel):
        return self.vectors_at(base, channel, self.places, 4)

    def everywhere(self, number):
        """A vector of int32, one number in all lanes"""
        i32 = ir.IntType(32)
        first = self.builder.insert_element(ir.Constant(self.places, ir.Undefined), self.builder.trunc(number, i32),
                                            ir.Constant(i32, 0))
        return self.builder.shuffle_vector(first, first, ir.Constant(self.places, [0] * self.width))

    def largest(self, table, count, targets, channels, past):
        """See _largest."""
        builder, row = self.builder, self.table(table)
        for channel in self.groups(channels):
            best = [cgutils.alloca_once_value(builder, builder.load(pointer, align=self.align))
                    for pointer in self.values_at(row(0), channel)]
            where = [cgutils.alloca_once_value(builder, self.everywhere(row(1))) for _ in best]
            with cgutils.for_range_slice(builder, self.constant(2), builder.mul(count, self.constant(2)), self.constant(2),
                                         intp=ir.IntType(64)) as (k, _):
                place = self.everywhere(row(builder.add(k, self.constant(1))))
                for pointer, value, at in zip(self.values_at(row(k), channel), best, where):
                    new, old = builder.load(pointer, align=self.align), builder.load(value)
                    wins = builder.and_(builder.fcmp_ordered("ord", old, old), builder.fcmp_unordered(">", new, old))
                    builder.store(builder.select(wins, new, old), value)
                    builder.store(builder.select(wins, place, builder.load(at)), at)
            y, argmax = targets
            self.deliver_all(best, self.values_at(y, channel), self.align, past)
            self.deliver_all(where, self.places_at(argmax, channel), 4, past)

    def gathered(self, table, count, at, target, channels, past):
        """See _gathered."""
        builder, row, at = self.builder, self.table(table), self.everywhere(at)
        for channel in self.groups(channels):
            sums = [cgutils.alloca_once_value(builder, self.splat(0.0)) for _ in range(self.vectors)]
            with cgutils.for_range_slice(builder, self.constant(0), builder.mul(count, self.constant(2)), self.constant(2),
                                         intp=ir.IntType(64)) as (k, _):
                windows = self.values_at(row(k), channel), self.places_at(row(builder.add(k, self.constant(1))), channel)
                for gradient, where, total in zip(*windows, sums):
                    here = builder.icmp_signed("==", builder.load(where, align=4), at)
                    old = builder.load(total)
                    new = builder.fadd(old, builder.load(gradient, align=self.align))
                    builder.store(builder.select(here, new, old), total)
            self.deliver_all(sums, self.values_at(target, channel), self.align, past)

    def deliver_all(self, sums, places, align, past):
        """Store vectors of values of `align` bytes, with `past` past the caches where they are lines."""
        builder = self.builder
        values = [builder.load(total) for total in sums]
        if self.width * align != LINE:
            for value, place in zip(values, places):
                builder.store(value, place, align=align)
            return
        with builder.if_else(builder.icmp_signed("!=", past, past.type(0))) as (streamed, stored):
            with streamed:
                for value, place in zip(values, places):
                    store_past_caches(builder, value, place)
            with stored:
                for value, place in zip(values, places):
                    builder.store(value, place, align=align)


if config.DISABLE_JIT:
    _largest, _gathered = plain.largest, plain.gathered
_largest_many, _largest_one, _largest_value = (_largest(*form) for form in ((MANY, VECTOR), (1, VECTOR), (1, 0)))
_gathered_many, _gathered_one, _gathered_value = (_gathered(*form) for form in ((MANY, VECTOR), (1, VECTOR), (1, 0)))


@njit(inline="always")
def largest(table, count, targets, C, past, like):
    """The first largest values of C channels, see _largest."""
    width = VECTOR // like.itemsize
    groups, vectors = C // (MANY * width), C // width
    _largest_many(table, count, targets, (np.int64(0), groups), past, like)
    _largest_one(table, count, targets, (groups * MANY * width, vectors - groups * MANY), past, like)
    _largest_value(table, count, targets, (vectors * width, C - vectors * width), past, like)


@njit(inline="always")
def gathered(table, count, at, target, C, past, like):
    """The gradients of C channels, see _gathered."""
    width = VECTOR // like.itemsize
    groups, vectors = C // (MANY * width), C // width
    _gathered_many(table, count, at, target, (np.int64(0), groups), past, like)
    _gathered_one(table, count, at, target, (groups * MANY * width, vectors - groups * MANY), past, like)
    _gathered_value(table, count, at, target, (vectors * width, C - vectors * width), past, like)
