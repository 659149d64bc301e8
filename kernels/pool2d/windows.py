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
from kernels.gemm.emitter import Emitter
from kernels.gemm.micro import registers

VECTOR = registers()[0]         # bytes
MANY = 4                        # vectors in registers at once


@functools.cache
def _largest(vectors, vector_bytes):
    """An intrinsic largest(table, count, targets, channels, past, like, places): y[c] = the first largest of `count` pixels'
    values of channel c, the first NaN if there is one, and where[c] its place.

    table: the address of two int64 for each pixel: its address, its place. targets = (address of y, of where). channels =
    (first, groups): so many times `vectors` vectors (values, where vector_bytes is 0), from the first channel on. With past the
    values' stores go past the caches. like, places: any arrays of the dtypes of y and of where.
    """
    @intrinsic
    def largest(typing_context, table, count, targets, channels, past, like, places):
        def codegen(context, builder, signature, arguments):
            table, count, targets, channels, past, *_ = arguments
            emit = _Emitter(builder, vectors, vector_bytes, like, places)
            emit.largest(table, count, *[cgutils.unpack_tuple(builder, each) for each in (targets, channels)], past)
            return context.get_dummy_value()
        return types.void(types.intp, types.intp, targets, channels, past, like, places), codegen
    return largest


@functools.cache
def _gathered(vectors, vector_bytes):
    """An intrinsic gathered(table, count, target, channels, past, like, places): gx[c] = Σ of gy[c] over those of `count`
    windows whose where[c] is the pixel's place. table: the address of three int64 for each window: the addresses of its gy and
    its where, and the place that the pixel is in it. Else as _largest."""
    @intrinsic
    def gathered(typing_context, table, count, target, channels, past, like, places):
        def codegen(context, builder, signature, arguments):
            table, count, target, channels, past, *_ = arguments
            emit = _Emitter(builder, vectors, vector_bytes, like, places)
            emit.gathered(table, count, target, cgutils.unpack_tuple(builder, channels), past)
            return context.get_dummy_value()
        return types.void(types.intp, types.intp, types.intp, channels, past, like, places), codegen
    return gathered


class _Emitter(Emitter):
    """Vectors of values and as many places."""

    def __init__(self, builder, vectors, vector_bytes, like, places):
        dtype = str(like.dtype)
        super().__init__(builder, 0, vectors, vector_bytes or np.dtype(dtype).itemsize, dtype)
        self.place_bytes = np.dtype(str(places.dtype)).itemsize
        self.place = ir.IntType(8 * self.place_bytes)
        self.places = ir.VectorType(self.place, self.width)

    def groups(self, channels):
        """Yields the first channel of each group of vectors, inside the loop over them."""
        first, groups = channels
        with cgutils.for_range(self.builder, groups, intp=ir.IntType(64)) as loop:
            yield self.builder.add(first, self.builder.mul(loop.index, self.constant(self.vectors * self.width)))

    def entries(self, table, count, step):
        """Yields a function of k, entry k of a row, for each of `count` rows of a table of int64, inside the loop over them."""
        entry = self.table(table)
        with cgutils.for_range(self.builder, count, intp=ir.IntType(64)) as loop:
            first = self.builder.mul(loop.index, self.constant(step))
            yield lambda k: entry(self.builder.add(first, self.constant(k)))

    def vectors_at(self, base, channel, kind, size):
        """Pointers to the vectors from a channel on: `base` an address, `size` bytes a value."""
        shifts = [self.builder.mul(self.builder.add(channel, self.constant(v * self.width)), self.constant(size))
                  for v in range(self.vectors)]
        return [self.builder.inttoptr(self.builder.add(base, shift), kind.as_pointer()) for shift in shifts]

    def values_at(self, base, channel):
        return self.vectors_at(base, channel, self.vector, self.align)

    def places_at(self, base, channel):
        return self.vectors_at(base, channel, self.places, self.place_bytes)

    def everywhere(self, number):
        """A vector of places, one number in all lanes"""
        undefined, i32 = ir.Constant(self.places, ir.Undefined), ir.IntType(32)
        first = self.builder.insert_element(undefined, self.builder.trunc(number, self.place), ir.Constant(i32, 0))
        return self.builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(i32, self.width), [0] * self.width))

    def largest(self, table, count, targets, channels, past):
        """See _largest."""
        builder, (y, places), entry = self.builder, targets, self.table(table)
        for channel in self.groups(channels):
            best = [cgutils.alloca_once_value(builder, builder.load(pointer, align=self.align))
                    for pointer in self.values_at(entry(0), channel)]
            where = [cgutils.alloca_once_value(builder, self.everywhere(entry(1))) for _ in best]
            for row in self.entries(table, count, 2):          # the first once more: it takes no place from itself
                place = self.everywhere(row(1))
                for pointer, value, at in zip(self.values_at(row(0), channel), best, where):
                    new, old = builder.load(pointer, align=self.align), builder.load(value)
                    wins = builder.and_(builder.fcmp_ordered("ord", old, old), builder.fcmp_unordered(">", new, old))
                    builder.store(builder.select(wins, new, old), value)
                    builder.store(builder.select(wins, place, builder.load(at)), at)
            self.targets = [self.values_at(y, channel)]
            self.end([best], past)
            for place, pointer in zip(where, self.places_at(places, channel)):
                builder.store(builder.load(place), pointer, align=self.place_bytes)

    def gathered(self, table, count, target, channels, past):
        """See _gathered."""
        builder = self.builder
        for channel in self.groups(channels):
            sums = [cgutils.alloca_once_value(builder, self.splat(0.0)) for _ in range(self.vectors)]
            for row in self.entries(table, count, 3):
                at = self.everywhere(row(2))
                for gradient, place, total in zip(self.values_at(row(0), channel), self.places_at(row(1), channel), sums):
                    here = builder.icmp_signed("==", builder.load(place, align=self.place_bytes), at)
                    new = builder.fadd(builder.load(total), builder.load(gradient, align=self.align))
                    builder.store(builder.select(here, new, builder.load(total)), total)
            self.targets = [self.values_at(target, channel)]
            self.end([sums], past)


if config.DISABLE_JIT:
    _largest, _gathered = plain.largest, plain.gathered
_largest_many, _largest_one, _largest_value = (_largest(*form) for form in ((MANY, VECTOR), (1, VECTOR), (1, 0)))
_gathered_many, _gathered_one, _gathered_value = (_gathered(*form) for form in ((MANY, VECTOR), (1, VECTOR), (1, 0)))


@njit(cache=True)           # not inlined: Numba's array analysis fails on tuples of tuples beside prange
def _spans(C, like):
    """(first channel, how many) of the groups of vectors, the vectors and the values alone that C channels are."""
    width = VECTOR // like.itemsize
    groups, vectors = C // (MANY * width), C // width
    return (0, groups), (groups * MANY * width, vectors - groups * MANY), (vectors * width, C - vectors * width)


@njit(inline="always")
def largest(table, count, targets, C, past, like, places):
    """The first largest values of C channels, see _largest."""
    many, some, alone = _spans(C, like)
    _largest_many(table, count, targets, many, past, like, places)
    _largest_one(table, count, targets, some, past, like, places)
    _largest_value(table, count, targets, alone, past, like, places)


@njit(inline="always")
def gathered(table, count, target, C, past, like, places):
    """The gradients of C channels, see _gathered."""
    many, some, alone = _spans(C, like)
    _gathered_many(table, count, target, many, past, like, places)
    _gathered_one(table, count, target, some, past, like, places)
    _gathered_value(table, count, target, alone, past, like, places)
