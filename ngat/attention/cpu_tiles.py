"""Tiles of linear maps, as instructions: the insides of :mod:`ngat.attention.cpu_products`.

Numba would write every sum back to memory after each term. Here the instructions are spelled out:
a tile's sums stay in registers, and so does what is done to them at the end.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ngat.attention.cpu_lanes import LANES, address, broadcast, masked, vector


class Vectors:
    """Instructions on vectors of the numbers that a pointer points to."""

    def __init__(self, context: Any, builder: Any, pointer: Any) -> None:
        self.context, self.builder, self.pointer = context, builder, pointer
        self.type = ir.VectorType(context.get_data_type(pointer.dtype), LANES)
        self.align = pointer.dtype.bitwidth // 8

    def place(self, p: Any, start: Any, number: int) -> Any:
        """Address of the so-manieth vector from ``p[start]`` on."""
        index = self.builder.add(start, ir.IntType(64)(number * LANES))
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
        """Put it there in the lanes of ``mask``."""
        place, align = self.place(p, start, number), ir.IntType(32)(self.align)
        nothing = ir.VoidType()
        masked(self.builder, "store", self.pointer, nothing, [value, place, align, mask])

    def repeat(self, p: Any, index: Any) -> Any:
        """``p[index]`` in every lane."""
        return broadcast(self.builder, self.builder.load(self.builder.gep(p, [index])))

    def inside(self, first: Any, count: Any) -> Any:
        """Mask of the lanes i with first + i < count."""
        i32 = ir.IntType(32)
        first, count = (broadcast(self.builder, self.builder.trunc(a, i32)) for a in (first, count))
        number = self.builder.add(first, vector(i32, list(range(LANES))))
        return self.builder.icmp_unsigned("<", number, count)

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


def tiles(rows: int, wide: int) -> Any:
    """A tile of so many rows and vectors: ``maps`` from W x to ``out``, in registers.

    What is not wanted has a null pointer. ``first`` counts the tile's columns from the start of a
    plane; ``x`` is laid side by side; ``steps`` lead from plane to plane of base, more, gate and out;
    ``sums`` are of two vectors in float64 for every row.
    """

    @intrinsic
    def tile(typing_context, w, x, depth, c, base, k, more, gate, out, sums, first, nodes, steps):  # type: ignore[no-untyped-def]
        def code(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            w, x, depth, c, base, k, more, gate, out, sums, first, nodes, steps = arguments
            lanes = Vectors(context, builder, signature.args[0])
            double = Vectors(context, builder, signature.args[9])
            i64 = ir.IntType(64)
            zero = ir.Constant(lanes.type, None)
            found = lanes.zeros(rows, wide)
            with cgutils.for_range(builder, depth, intp=i64) as loop:
                start = builder.mul(loop.index, i64(wide * LANES))
                columns = [lanes.load(x, start, n) for n in range(wide)]
                for r, row in enumerate(found):
                    factor = lanes.repeat(w, builder.add(loop.index, builder.mul(depth, i64(r))))
                    for place, column in zip(row, columns, strict=True):
                        lanes.add_product(place, factor, column)
            masks = [lanes.inside(builder.add(first, i64(n * LANES)), nodes) for n in range(wide)]
            for r, row in enumerate(found):
                at_base, at_more, at_gate, at_out = (
                    builder.add(first, builder.mul(builder.extract_value(steps, n), i64(r)))
                    for n in range(4)
                )
                with lanes.if_there(c):
                    shift = lanes.repeat(c, i64(r))
                    for place in row:
                        lanes.add(place, shift)
                with lanes.if_there(base):
                    for n, place in enumerate(row):
                        lanes.add(place, lanes.load_masked(base, at_base, n, masks[n]))
                with lanes.if_there(more):
                    factor = lanes.repeat(k, i64(r))
                    for n, place in enumerate(row):
                        value = lanes.load_masked(more, at_more, n, masks[n])
                        lanes.add_product(place, factor, value)
                with lanes.if_there(gate):
                    for n, place in enumerate(row):
                        value = lanes.load_masked(gate, at_gate, n, masks[n])
                        open_ = builder.fcmp_ordered(">", value, zero)
                        builder.store(builder.select(open_, builder.load(place), zero), place)
                for n, place in enumerate(row):
                    lanes.store_masked(builder.load(place), out, at_out, n, masks[n])
                with lanes.if_there(sums):
                    for n, place in enumerate(row):
                        value = builder.select(masks[n], builder.load(place), zero)
                        if value.type != double.type:
                            value = builder.fpext(value, double.type)
                        for number, term in enumerate((value, builder.fmul(value, value))):
                            at = sums, i64(r * 2 * LANES), number
                            double.store(builder.fadd(double.load(*at), term), *at)
            return context.get_dummy_value()

        of_double = types.CPointer(types.float64)
        i64 = types.int64
        return types.void(w, w, i64, w, w, w, w, w, w, of_double, i64, i64, types.UniTuple(i64, 4)), code

    return tile


def outers(rows: int, columns: int, x_step: int) -> Any:
    """``g[r, c, :] += d[r, :] x[c, :]`` lane by lane, for so many rows of d and of x."""

    @intrinsic
    def outer(typing_context, g, g_step, d, d_step, x, count):  # type: ignore[no-untyped-def]
        def code(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            g, g_step, d, d_step, x, count = arguments
            i64 = ir.IntType(64)

            lanes = Vectors(context, builder, signature.args[0])
            sums = lanes.zeros(rows, columns)
            with cgutils.for_range(builder, count, intp=i64) as loop:
                start = builder.mul(loop.index, i64(LANES))

                def row(p, step, r):  # type: ignore[no-untyped-def]
                    return lanes.load(p, builder.add(start, builder.mul(step, i64(r))), 0)

                ds = [row(d, d_step, r) for r in range(rows)]
                xs = [row(x, i64(x_step), c) for c in range(columns)]
                for places, factor in zip(sums, ds, strict=True):
                    for place, other in zip(places, xs, strict=True):
                        lanes.add_product(place, factor, other)
            for r, places in enumerate(sums):
                for c, place in enumerate(places):
                    at = g, builder.mul(g_step, i64(r)), c
                    lanes.store(builder.fadd(lanes.load(*at), builder.load(place)), *at)
            return context.get_dummy_value()

        return types.void(g, types.int64, d, types.int64, x, types.int64), code

    return outer
