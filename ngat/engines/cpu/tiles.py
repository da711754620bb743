"""Tiles of linear maps, as instructions: the insides of :mod:`ngat.engines.cpu.products`.

Numba would write every sum back to memory after each term. Here the instructions are spelled out:
a tile's sums stay in registers, and so does what is done to them at the end.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ngat.engines.cpu.simd import SIMD, address, broadcast, mask_of, masked, vector


class Vectors:
    """Instructions on vectors of the numbers that a pointer points to."""

    def __init__(self, context: Any, builder: Any, pointer: Any) -> None:
        self.context, self.builder, self.pointer = context, builder, pointer
        self.type = ir.VectorType(context.get_data_type(pointer.dtype), SIMD)
        self.align = pointer.dtype.bitwidth // 8

    def place(self, p: Any, start: Any, number: int) -> Any:
        """Address of vector ``number`` from ``p[start]`` on."""
        index = self.builder.add(start, ir.IntType(64)(number * SIMD))
        return address(self.context, self.builder, self.pointer, p, index)

    def load(self, p: Any, start: Any, number: int) -> Any:
        """That vector."""
        return self.builder.load(self.place(p, start, number), align=self.align)

    def store(self, value: Any, p: Any, start: Any, number: int) -> None:
        """Put it there."""
        self.builder.store(value, self.place(p, start, number), align=self.align)

    def load_masked(self, p: Any, start: Any, number: int, mask: Any) -> Any:
        """The same; zero outside of ``mask``."""
        place, align = self.place(p, start, number), ir.IntType(32)(self.align)
        zero = ir.Constant(self.type, None)
        return masked(self.builder, "load", self.pointer, self.type, [place, align, mask, zero])

    def store_masked(self, value: Any, p: Any, start: Any, number: int, mask: Any) -> None:
        """Put it there in the elements of ``mask``."""
        place, align = self.place(p, start, number), ir.IntType(32)(self.align)
        nothing = ir.VoidType()
        masked(self.builder, "store", self.pointer, nothing, [value, place, align, mask])

    def repeat(self, p: Any, index: Any) -> Any:
        """``p[index]`` in every element."""
        return broadcast(self.builder, self.builder.load(self.builder.gep(p, [index])))

    def if_there(self, p: Any) -> Any:
        """A branch that is taken unless the pointer is null."""
        there = self.builder.icmp_unsigned("!=", p, ir.Constant(p.type, None))
        return self.builder.if_then(there)

    def add(self, variable: Any, value: Any) -> None:
        """``variable += value``."""
        self.builder.store(self.builder.fadd(self.builder.load(variable), value), variable)

    def zeros(self, rows: int, columns: int) -> list[list[Any]]:
        """Variables, which LLVM keeps in registers."""
        zero = ir.Constant(self.type, None)
        found = [
            [cgutils.alloca_once(self.builder, self.type) for _ in range(columns)]
            for _ in range(rows)
        ]
        for row in found:
            for variable in row:
                self.builder.store(zero, variable)
        return found

    def add_product(self, variable: Any, a: Any, b: Any) -> None:
        """``variable += a b`` in one instruction."""
        product = self.builder.fmul(a, b, flags=("contract",))
        sum_ = self.builder.fadd(self.builder.load(variable), product, flags=("contract",))
        self.builder.store(sum_, variable)

    def totals(self, variables: list[Any]) -> list[tuple[Any, int]]:
        """Sums over the elements of each variable, as (vector, element).

        Two vectors are added to one whose halves are their halves' sums, and so on in pairs.
        """
        vectors = [(self.builder.load(v), [n]) for n, v in enumerate(variables)]
        length = SIMD  # of the run of elements that is still to be added up
        while length > 1:
            length //= 2
            pairs = [vectors[n : n + 2] for n in range(0, len(vectors), 2)]
            vectors = [self._halved(pair, length) for pair in pairs]
        places = {name: (v, n) for v, names in vectors for n, name in enumerate(names)}
        return [places[n] for n in range(len(variables))]

    def _halved(self, pair: list[Any], length: int) -> tuple[Any, list[Any]]:
        """Runs of two vectors with their halves, of so many elements, added; and whose they are."""
        (a, of_a), (b, of_b) = pair if len(pair) == 2 else (pair[0], (pair[0][0], [None] * 64))
        runs = SIMD // (2 * length)
        first = [(2 * length * n, of_a[n]) for n in range(runs)]
        second = [(SIMD + 2 * length * n, of_b[n]) for n in range(runs)]
        if length < 4:  # side by side, which is one instruction where a run is less than 128 bits
            order = [run for both in zip(first, second, strict=True) for run in both]
        else:
            order = first + second
        low = [at + n for at, _ in order for n in range(length)]
        i32 = ir.IntType(32)
        halves = (
            self.builder.shuffle_vector(a, b, vector(i32, [n + up for n in low]))
            for up in (0, length)
        )
        return self.builder.fadd(*halves), [name for _, name in order]

    def add_doubles(self, p: Any, numbers: list[tuple[Any, int]]) -> None:
        """``p[n] += number`` in float64, for elements of one vector or of several."""
        i32, width = ir.IntType(32), len(numbers)
        value = numbers[0][0]
        if all(v is value for v, _ in numbers):
            value = self.builder.shuffle_vector(
                value, value, vector(i32, [element for _, element in numbers])
            )
        else:
            whole = ir.Constant(ir.VectorType(self.type.element, width), ir.Undefined)
            for n, (v, element) in enumerate(numbers):
                number = self.builder.extract_element(v, i32(element))
                whole = self.builder.insert_element(whole, number, i32(n))
            value = whole
        doubles = ir.VectorType(ir.DoubleType(), width)
        if value.type != doubles:
            value = self.builder.fpext(value, doubles)
        place = self.builder.bitcast(p, doubles.as_pointer())
        old = self.builder.load(place, align=8)
        self.builder.store(self.builder.fadd(old, value), place, align=8)


def tiles(rows: int, wide: int, keep: bool = False) -> Any:
    """A tile of so many rows and vectors: ``maps`` from W x to ``out``, in registers.

    What is not wanted has a null pointer. Of the inputs,

        x, x_step        the tile's first column of x, and the step from row to row
        added            c, base, k, more, gate and out
        sums             two vectors in float64 for every row
        first, nodes     the tile's first column and their number, in planes of all but x
        steps            from plane to plane of base, more, gate and out

    Args:
        keep: whether the tile's columns of x are laid side by side at ``to``.
    """

    @intrinsic
    def tile(typing_context, w, x, x_step, to, depth, added, sums, first, nodes, steps):  # type: ignore[no-untyped-def]
        def code(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            w, x, x_step, to, depth, added, sums, first, nodes, steps = arguments
            c, base, k, more, gate, out = (builder.extract_value(added, n) for n in range(6))
            vectors = Vectors(context, builder, signature.args[0])
            double = Vectors(context, builder, signature.args[6])
            i64 = ir.IntType(64)
            zero = ir.Constant(vectors.type, None)
            found = vectors.zeros(rows, wide)
            with cgutils.for_range(builder, depth, intp=i64) as loop:
                start = builder.mul(loop.index, x_step)
                columns = [vectors.load(x, start, n) for n in range(wide)]
                if keep:
                    start = builder.mul(loop.index, i64(wide * SIMD))
                    for n, column in enumerate(columns):
                        vectors.store(column, to, start, n)
                for r, row in enumerate(found):
                    factor = vectors.repeat(w, builder.add(loop.index, builder.mul(depth, i64(r))))
                    for place, column in zip(row, columns, strict=True):
                        vectors.add_product(place, factor, column)

            def finish(masks):  # type: ignore[no-untyped-def]
                """What is done to the sums; ``masks`` of their columns, None for all."""

                def load(p, start, n):  # type: ignore[no-untyped-def]
                    if masks is None:
                        return vectors.load(p, start, n)
                    return vectors.load_masked(p, start, n, masks[n])

                for r, row in enumerate(found):
                    at_base, at_more, at_gate, at_out = (
                        builder.add(first, builder.mul(builder.extract_value(steps, n), i64(r)))
                        for n in range(4)
                    )
                    with vectors.if_there(c):
                        shift = vectors.repeat(c, i64(r))
                        for place in row:
                            vectors.add(place, shift)
                    with vectors.if_there(base):
                        for n, place in enumerate(row):
                            vectors.add(place, load(base, at_base, n))
                    with vectors.if_there(more):
                        factor = vectors.repeat(k, i64(r))
                        for n, place in enumerate(row):
                            vectors.add_product(place, factor, load(more, at_more, n))
                    with vectors.if_there(gate):
                        for n, place in enumerate(row):
                            value = load(gate, at_gate, n)
                            shut = builder.fcmp_ordered("<=", value, zero)  # not where it is NaN
                            builder.store(builder.select(shut, zero, builder.load(place)), place)
                    for n, place in enumerate(row):
                        if masks is None:
                            vectors.store(builder.load(place), out, at_out, n)
                        else:
                            vectors.store_masked(builder.load(place), out, at_out, n, masks[n])
                    with vectors.if_there(sums):
                        for n, place in enumerate(row):
                            value = builder.load(place)
                            if masks is not None:
                                value = builder.select(masks[n], value, zero)
                            if value.type != double.type:
                                value = builder.fpext(value, double.type)
                            for number, term in enumerate((value, builder.fmul(value, value))):
                                at = sums, i64(r * 2 * SIMD), number
                                double.store(builder.fadd(double.load(*at), term), *at)

            end = builder.add(first, i64(wide * SIMD))
            with builder.if_else(builder.icmp_signed("<=", end, nodes)) as (whole, cut):
                with whole:
                    finish(None)
                with cut:
                    first_of = [builder.add(first, i64(n * SIMD)) for n in range(wide)]
                    finish([mask_of(builder, at, nodes) for at in first_of])
            return context.get_dummy_value()

        of_double, i64 = types.CPointer(types.float64), types.int64
        six, four = types.UniTuple(w, 6), types.UniTuple(i64, 4)
        return types.void(w, w, i64, w, i64, six, of_double, i64, i64, four), code

    return tile


def outers(rows: int, columns: int, x_step: int, ones: bool = False) -> Any:
    """``g[r, c] += d[r, :] · x[c, :]`` in float64, for so many rows of d and of x.

    Args:
        ones: whether a row of ones follows the last of x, with its product in ``g[r, end]``.
    """

    @intrinsic
    def outer(typing_context, g, g_step, d, d_step, x, count, end):  # type: ignore[no-untyped-def]
        def code(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            g, g_step, d, d_step, x, count, end = arguments
            i64 = ir.IntType(64)

            vectors = Vectors(context, builder, signature.args[2])
            sums = vectors.zeros(rows, columns + ones)
            with cgutils.for_range(builder, count, intp=i64) as loop:
                start = builder.mul(loop.index, i64(SIMD))

                def row(p, step, r):  # type: ignore[no-untyped-def]
                    return vectors.load(p, builder.add(start, builder.mul(step, i64(r))), 0)

                ds = [row(d, d_step, r) for r in range(rows)]
                xs = [row(x, i64(x_step), c) for c in range(columns)]
                for places, factor in zip(sums, ds, strict=True):
                    for place, other in zip(places, xs, strict=False):
                        vectors.add_product(place, factor, other)
                    if ones:
                        vectors.add(places[-1], factor)
            found = vectors.totals([places[c] for places in sums for c in range(columns)])
            for r in range(rows):
                at = builder.gep(g, [builder.mul(g_step, i64(r))])
                vectors.add_doubles(at, found[r * columns : (r + 1) * columns])
                if ones:
                    (sum_,) = vectors.totals([sums[r][-1]])
                    vectors.add_doubles(builder.gep(at, [end]), [sum_])
            return context.get_dummy_value()

        of_double, i64 = types.CPointer(types.float64), types.int64
        return types.void(of_double, i64, d, i64, x, i64, i64), code

    return outer
