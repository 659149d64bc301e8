"""What the micro-kernels are made of, as LLVM vector instructions: loads and stores of vectors, tiles in registers, loops.

The intrinsics of kernels.gemm.micro and kernels.pool2d.windows say what they compute and with which arguments; here is how. A
variable of a loop is a stack slot to begin with (`alloca`), which LLVM turns into a register: sums of a tile are such slots.
"""

import contextlib
import itertools

import numpy as np
from llvmlite import ir
from numba.core import cgutils

from kernels.streaming import FIRST_CACHE, LINE, READ, SECOND_CACHE, WRITE, ask_for, store_past_caches


class _Value:
    """A vector in a formula: +, - and * by a number emit the instruction; products are fused into the sums they enter."""

    def __init__(self, emit, value):
        self.emit, self.value = emit, value

    def _new(self, instruction, other):
        return _Value(self.emit, getattr(self.emit.builder, instruction)(self.value, other, flags=("contract",)))

    def __add__(self, other):
        return self._new("fadd", other.value)

    def __sub__(self, other):
        return self._new("fsub", other.value)

    def __mul__(self, number):
        return self._new("fmul", self.emit.splat(number))

    __rmul__ = __mul__


class Emitter:
    """Emits the pieces of a micro-kernel as LLVM vector instructions."""

    def __init__(self, builder, rows, vectors, vector_bytes, dtype):
        self.builder, self.rows, self.vectors = builder, rows, vectors
        self.real = ir.FloatType() if dtype == "float32" else ir.DoubleType()
        self.align = np.dtype(dtype).itemsize
        self.width = width = vector_bytes // self.align
        self.vector = ir.VectorType(self.real, width)
        self.fma = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(self.vector, [self.vector] * 3), f"llvm.fma.v{width}f{8 * self.align}")

    def constant(self, value):
        return ir.Constant(ir.IntType(64), value)

    def pointer(self, address):
        return self.builder.inttoptr(address, self.real.as_pointer())

    def load(self, pointer):
        return self.builder.load(self.builder.bitcast(pointer, self.vector.as_pointer()), align=self.align)

    def store(self, value, pointer):
        self.builder.store(value, self.builder.bitcast(pointer, self.vector.as_pointer()), align=self.align)

    def copy(self, values, source, target):
        """So many values, whole vectors of them, side by side."""
        for v in range(values // self.width):
            at = [self.constant(v * self.width)]
            self.store(self.load(self.builder.gep(source, at)), self.builder.gep(target, at))

    @contextlib.contextmanager
    def loop(self, count):
        """The index of a loop that LLVM leaves as it is, because how many steps are left goes through a piece of assembly, an
        empty one. Of two steps at once, for want of registers, it would keep vectors in memory, where they may cross a line."""
        builder, i64 = self.builder, ir.IntType(64)
        index, left = cgutils.alloca_once_value(builder, self.constant(0)), cgutils.alloca_once_value(builder, count)
        unseen = ir.InlineAsm(ir.FunctionType(i64, [i64]), "", "=r,0")
        head, body, end = (builder.append_basic_block(name) for name in ("loop.head", "loop.body", "loop.end"))
        builder.branch(head)
        builder.position_at_end(head)
        builder.cbranch(builder.icmp_signed(">", builder.load(left), self.constant(0)), body, end)
        builder.position_at_end(body)
        yield builder.load(index)
        builder.store(builder.add(builder.load(index), self.constant(1)), index)
        builder.store(builder.call(unseen, [builder.sub(builder.load(left), self.constant(1))]), left)
        builder.branch(head)
        builder.position_at_end(end)

    def further(self, address, count):
        """The address `count` bytes farther, as an offset from a pointer: of a sum of integers LLVM may take the other one for
        the pointer, and where that is 0 what is read there for undefined, and the loop that leads to it for endless."""
        start = self.builder.inttoptr(address, ir.IntType(8).as_pointer())
        return self.builder.ptrtoint(self.builder.gep(start, [count]), ir.IntType(64))

    def over_tiles(self, a, runs, b, c):
        """See rows_tile: more than one tile, so that the next one's first loads need not wait for a call."""
        builder, (a, a_table, a_step, *ahead), (runs, count, tiles, *steps), (c, c_table, *rest) = self.builder, a, runs, c
        with cgutils.for_range(builder, tiles, intp=ir.IntType(64)) as loop:
            further = lambda address, step: self.further(address, builder.mul(loop.index, step))
            rows = self.constant(8 * self.rows)
            asks = [(further(address, step), pace) for address, pace, step in zip(ahead[::2], ahead[1::2], steps)]
            self.over_rows((a, further(a_table, rows), a_step, *itertools.chain(*asks)), (runs, count), b,
                           (c, further(c_table, rows), *rest))

    def over_rows(self, a, runs, b, c):
        """See rows_tile."""
        builder, i64 = self.builder, ir.IntType(64)
        (a, a_table, a_step, *ahead), (runs, count), (b, b_step, *kept) = a, runs, b
        kept, other = kept[:1], kept[1:]
        c, c_table, start, onto, relu, past, *claimed = c
        table = lambda address: builder.inttoptr(address, i64.as_pointer())
        entry = lambda pointer, k: builder.load(builder.gep(pointer, [k]))
        placed = lambda base, offsets: [builder.gep(self.pointer(base), [entry(table(offsets), self.constant(i))])
                                        for i in range(self.rows)]
        a_rows, b = placed(a, a_table), self.pointer(b)
        sums = self.begin_from(start)
        with cgutils.for_range(builder, count, intp=i64) as outer:
            run = builder.gep(table(runs), [builder.mul(outer.index, self.constant(3))])
            shift, length, first = (entry(run, self.constant(k)) for k in range(3))
            for address in claimed:
                self.claim_rows(address, table(c_table), outer.index)
            with self.loop(length) as step:
                at = builder.add(shift, builder.mul(step, a_step))
                row = builder.add(first, step)
                b_row = builder.gep(b, [builder.mul(row, b_step)])
                for first_line, pace in zip(ahead[::2], ahead[1::2]):
                    ask_for(builder, builder.add(first_line, builder.mul(row, pace)), SECOND_CACHE)
                copies = [builder.gep(self.pointer(place), [builder.mul(row, self.constant(self.vectors * self.width))])
                          for place in kept]
                b_vectors = self.row(b_row)
                if other:
                    more = builder.gep(self.pointer(other[0]), [builder.mul(row, b_step)])
                    b_vectors = self.combined(b_vectors, more, other[1])
                self.step(sums, [builder.gep(row, [at]) for row in a_rows], b_vectors, *copies)
        vectors = lambda base: [[builder.gep(row, [self.constant(v * self.width)]) for v in range(self.vectors)]
                                for row in placed(base, c_table)]
        with builder.if_then(builder.icmp_signed("!=", onto, self.constant(0))):
            for row, sources in zip(sums, vectors(onto)):
                for total, source in zip(row, sources):
                    builder.store(builder.fadd(builder.load(total), self.load(source)), total)
        self.rectify(sums, relu)
        self.targets = vectors(c)
        self.end(sums, past)

    def claim_rows(self, address, places, pair):
        """Ask for the lines of a pair of rows of the tile, to be written, if there is such a pair and the address is not 0."""
        builder, first = self.builder, self.builder.mul(pair, self.constant(2))
        exists = builder.icmp_signed("<", builder.add(first, self.constant(1)), self.constant(self.rows))
        with builder.if_then(builder.and_(builder.icmp_signed("!=", address, self.constant(0)), exists)):
            for row in (first, builder.add(first, self.constant(1))):
                values = builder.load(builder.gep(places, [row]))
                start = builder.add(address, builder.mul(values, self.constant(self.align)))
                for line in range(0, self.vectors * self.width * self.align, LINE):
                    ask_for(builder, builder.add(start, self.constant(line)), FIRST_CACHE, WRITE)

    def table(self, address):
        """(k) -> entry k of a table of int64"""
        pointer = self.builder.inttoptr(address, ir.IntType(64).as_pointer())
        return lambda k: self.builder.load(self.builder.gep(pointer, [k if isinstance(k, ir.Value) else self.constant(k)]))

    def partners(self, vector, d):
        """The vector with lane j xor d in lane j."""
        return self.shuffle(vector, vector, [j ^ d for j in range(self.width)]) if d else vector

    def over_groups(self, group, part, a, runs, b, c):
        """See group_tile."""
        builder, (a, a_table, tiles, *reads), (runs, count) = self.builder, a, runs
        c, c_table, start, relu, past, *writes = c
        b, run = self.pointer(b), self.table(runs)
        sums = [[cgutils.alloca_once(builder, self.vector) for _ in range(part)] for _ in range(self.rows)]
        with cgutils.for_range(builder, tiles, intp=ir.IntType(64)) as outer:
            first_row = builder.mul(outer.index, self.constant(self.rows))
            entries = [builder.add(first_row, self.constant(i)) for i in range(self.rows)]
            a_rows = [builder.gep(self.pointer(a), [self.table(a_table)(k)]) for k in entries]
            parts = []
            for d0 in range(0, group, part):
                for total in (total for row in sums for total in row):
                    builder.store(self.splat(0.0), total)
                with self.loop(count) as step:
                    entry = builder.mul(step, self.constant(3))
                    shift, tap = run(entry), run(builder.add(entry, self.constant(2)))
                    asked = builder.add(builder.mul(outer.index, count), step)
                    for (ahead, pace), purpose in ((reads, READ), (writes, WRITE)) if d0 == 0 else ():
                        ask_for(builder, builder.add(ahead, builder.mul(asked, pace)), SECOND_CACHE, purpose)
                    first = builder.add(builder.mul(tap, self.constant(group * self.width)), self.constant(d0 * self.width))
                    weights = [builder.gep(b, [builder.add(first, self.constant(d * self.width))]) for d in range(part)]
                    self.outer_product(sums, [builder.gep(row, [shift]) for row in a_rows], weights)
                parts.append([self.partners(self.gathered(row), d0) for row in sums])
            results = self.begin_from(start)
            for (result,), totals in zip(results, zip(*parts)):
                for total in totals:
                    builder.store(builder.fadd(builder.load(result), total), result)
            self.rectify(results, relu)
            self.targets = [[builder.gep(self.pointer(c), [self.table(c_table)(k)])] for k in entries]
            self.end(results, past)

    def gathered(self, sums):
        """Σ_d sums[d], lanes j xor d: of two neighbouring d the later one's lanes are shuffled by 1 and added, of two of these
        by 2, and so on."""
        totals, step = [self.builder.load(total) for total in sums], 1
        while len(totals) > 1:
            totals = [self.builder.fadd(even, self.partners(odd, step)) for even, odd in zip(totals[::2], totals[1::2])]
            step *= 2
        return totals[0]

    def outer_product(self, sums, columns, rows):
        """sums[i][d] += columns[i] * rows[d], vectors all of them; the fewer ones stay in registers."""
        if len(columns) < len(rows):
            sums, columns, rows = list(zip(*sums)), rows, columns
        near = [self.load(row) for row in rows]
        for totals, column in zip(sums, columns):
            vector = self.load(column)
            for total, other in zip(totals, near):
                self.builder.store(self.builder.call(self.fma, [vector, other, self.builder.load(total)]), total)

    def correlate_groups(self, part, alone, x, gy, segments, shifts, out):
        """See group_correlation: those d that are in `part`; alone: a vector holds one group."""
        builder, (x, x_step, *x_ahead), (gy, gy_step, *gy_ahead) = self.builder, x, gy
        (segments, count), (out, places) = segments, out
        taps = self.rows // len(part)
        self.targets = [[builder.gep(self.pointer(out), [builder.add(self.table(places)(t), self.constant(d * self.width))])]
                        for t in range(taps) for d in part]
        sums = [[cgutils.alloca_once(builder, self.vector)] for _ in range(self.rows)]
        for (total,), (target,) in zip(sums, self.targets):
            builder.store(self.load(target), total)
        shift, segment = [self.table(shifts)(t) for t in range(taps)], self.table(segments)
        asked = cgutils.alloca_once_value(builder, self.constant(0))
        with cgutils.for_range(builder, count, intp=ir.IntType(64)) as outer:
            entry = builder.mul(outer.index, self.constant(3))
            x_at, gy_at, length = (segment(builder.add(entry, self.constant(k))) for k in range(3))
            with self.loop(length) as step:
                before = builder.add(builder.load(asked), step)
                for ahead, pace in (x_ahead, gy_ahead) if part[0] == 0 else ():
                    ask_for(builder, builder.add(ahead, builder.mul(before, pace)), SECOND_CACHE)
                pixel = builder.gep(self.pointer(x), [builder.add(x_at, builder.mul(step, x_step))])
                g_at = builder.gep(self.pointer(gy), [builder.add(gy_at, builder.mul(step, gy_step))])
                g = None if alone else self.load(g_at)
                vectors = [self.load(builder.gep(pixel, [shift[t]])) for t in range(taps)]
                for k, d in enumerate(part):
                    lane = builder.gep(g_at, [self.constant(d)])
                    partners = self.broadcast(builder.load(lane, align=self.align)) if alone else self.partners(g, d)
                    for t in range(taps):
                        total = sums[t * len(part) + k][0]
                        builder.store(builder.call(self.fma, [vectors[t], partners, builder.load(total)]), total)
            builder.store(builder.add(builder.load(asked), length), asked)
        self.end(sums)

    def rectify(self, sums, relu):
        """What is below 0 becomes 0, where relu is not 0; NaN stays."""
        builder, zero = self.builder, self.splat(0.0)
        with builder.if_then(builder.icmp_signed("!=", relu, self.constant(0))):
            for total in (total for row in sums for total in row):
                value = builder.load(total)
                builder.store(builder.select(builder.fcmp_ordered("<", value, zero), zero, value), total)

    def transform(self, source, target, vectors, side, function, start, relu, past, adds):
        """See tile_transform."""
        builder, i64 = self.builder, ir.IntType(64)
        zero = self.splat(0.0)
        entry = lambda table, k: builder.load(builder.gep(builder.inttoptr(table, i64.as_pointer()), [self.constant(k)]))
        with cgutils.for_range(builder, vectors, intp=i64) as loop:
            at = builder.mul(loop.index, self.constant(self.width))
            vector = lambda address: builder.gep(self.pointer(address), [at])
            d = [[_Value(self, self.load(vector(entry(source, i * side + j)))) for j in range(side)] for i in range(side)]
            columns = [function([d[i][j] for i in range(side)]) for j in range(side)]       # columns[j][a] = (F·d)[a, j]
            rows = [function([column[a] for column in columns]) for a in range(len(columns[0]))]
            begin = cgutils.alloca_once_value(builder, zero)
            with builder.if_then(builder.icmp_signed("!=", start, self.constant(0))):
                builder.store(self.load(vector(start)), begin)
            results = [builder.fadd(value.value, builder.load(begin)) for row in rows for value in row]
            self.deliver(results, [vector(entry(target, k)) for k in range(len(results))], relu, past, adds)

    def combine(self, function, sources, targets, count, last):
        """See combination."""
        builder, i64, (rows, vectors) = self.builder, ir.IntType(64), count
        with cgutils.for_range(builder, rows, intp=i64) as outer:
            starts = [[builder.gep(self.pointer(begin), [builder.mul(outer.index, step)]) for begin in begins]
                      for *begins, step in (sources, targets)]
            with cgutils.for_range(builder, vectors, intp=i64) as loop:
                at = builder.mul(loop.index, self.constant(self.width))
                from_, to = ([builder.gep(start, [at]) for start in some] for some in starts)
                results = [value.value for value in function(*[_Value(self, self.load(pointer)) for pointer in from_])]
                self.deliver(results, to, *last)

    def deliver(self, results, places, relu, past, adds):
        """Store vectors: with relu what is below 0 as 0, with adds added to what is there, with past past the caches."""
        builder = self.builder
        least = builder.select(builder.icmp_signed("!=", relu, relu.type(0)), self.splat(0.0), self.splat(float("-inf")))
        results = [builder.select(builder.fcmp_ordered("<", result, least), least, result) for result in results]
        self.targets, sums = [places], [[cgutils.alloca_once_value(builder, result) for result in results]]
        with builder.if_then(builder.icmp_signed("!=", adds, adds.type(0))):
            for total, place in zip(sums[0], places):
                builder.store(builder.fadd(self.load(place), builder.load(total)), total)
        self.end(sums, past)

    def splat(self, number):
        """A vector of one number."""
        return ir.Constant(self.vector, [ir.Constant(self.real, number)] * self.width)

    def begin_from(self, start):
        """Registers for the tile, each row with the values at the address `start`, or zeros if that is 0."""
        builder = self.builder
        zero = self.splat(0.0)
        values = [cgutils.alloca_once_value(builder, zero) for _ in range(self.vectors)]
        with builder.if_then(builder.icmp_signed("!=", start, self.constant(0))):
            for v, value in enumerate(values):
                builder.store(self.load(builder.gep(self.pointer(start), [self.constant(v * self.width)])), value)
        sums = [[cgutils.alloca_once(builder, self.vector) for _ in range(self.vectors)] for _ in range(self.rows)]
        for row in sums:
            for total, value in zip(row, values):
                builder.store(builder.load(value), total)
        return sums

    def begin(self, c, ldc, accumulate):
        """Registers for the tile, with C in them or zeros; `end` stores them."""
        builder, c = self.builder, self.pointer(c)
        sums = [[cgutils.alloca_once(builder, self.vector) for _ in range(self.vectors)] for _ in range(self.rows)]
        self.targets = [[builder.gep(c, [builder.add(builder.mul(ldc, self.constant(i)), self.constant(v * self.width))])
                         for v in range(self.vectors)] for i in range(self.rows)]
        with builder.if_else(builder.icmp_signed("!=", accumulate, self.constant(0))) as (then, otherwise):
            with then:
                for row, targets in zip(sums, self.targets):
                    for total, target in zip(row, targets):
                        builder.store(self.load(target), total)
            with otherwise:
                zero = self.splat(0.0)
                for row in sums:
                    for total in row:
                        builder.store(zero, total)
        return sums

    def row(self, pointer):
        """The vectors of a row of B."""
        return [self.load(self.builder.gep(pointer, [self.constant(v * self.width)])) for v in range(self.vectors)]

    def combined(self, vectors, pointer, sign):
        """`vectors` + `sign` times the row of B at the pointer."""
        sign = self.broadcast(self.builder.sitofp(sign, self.real))
        return [self.builder.call(self.fma, [sign, other, vector]) for vector, other in zip(vectors, self.row(pointer))]

    def step(self, sums, a_values, b, copy=None):
        """sums[i][v] += a[i] · b[v], a[i] in every lane; the row of B is stored at the pointer `copy` if there is one."""
        builder = self.builder
        for v, vector in enumerate(b if copy is not None else ()):
            self.store(vector, builder.gep(copy, [self.constant(v * self.width)]))
        for row, a in zip(sums, a_values):
            splat = self.broadcast(builder.load(a, align=self.align))
            for total, b_vector in zip(row, b):
                builder.store(builder.call(self.fma, [splat, b_vector, builder.load(total)]), total)

    def end(self, sums, past=None):
        """Store the tile; past the caches where `past` is not 0."""
        if past is None or self.width * self.align != LINE:
            self.store_all(sums, self.store)
            return
        with self.builder.if_else(self.builder.icmp_signed("!=", past, self.constant(0))) as (streamed, stored):
            with streamed:
                self.store_all(sums, self.stream)
            with stored:
                self.store_all(sums, self.store)

    def store_all(self, sums, store):
        for row, targets in zip(sums, self.targets):
            for total, target in zip(row, targets):
                store(self.builder.load(total), target)

    def stream(self, value, pointer):
        store_past_caches(self.builder, value, self.builder.bitcast(pointer, self.vector.as_pointer()))

    def shuffle(self, a, b, lanes):
        return self.builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), self.width), lanes))

    def broadcast(self, scalar):
        undefined, i32 = ir.Constant(self.vector, ir.Undefined), ir.IntType(32)
        first = self.builder.insert_element(undefined, scalar, ir.Constant(i32, 0))
        return self.builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(i32, self.width), [0] * self.width))
