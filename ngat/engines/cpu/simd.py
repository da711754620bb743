"""A handful of neighbouring nodes at once: short vectors as values in numba code.

Numba leaves vectorising to LLVM, which does it loop by loop and moves every operand through
memory. With vectors as values a kernel is written for one node and computes :data:`LANES` of them
in registers. LLVM turns the vectors into what the processor has: AVX-512, AVX2, NEON.

Only what :mod:`ngat.engines.cpu.kernels` needs is here. Indices are not checked.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, models, overload, register_model

# Nine weights, or nine sums, stay in registers: 32 of them with AVX-512, else mostly 16.
LANES = 16 if llvm.get_host_cpu_features().get("avx512f") else 8


class Lanes(types.Type):
    """:data:`LANES` numbers of one type; ``Lanes(types.boolean)`` is a mask."""

    def __init__(self, element: types.Type) -> None:
        self.element = element
        super().__init__(name=f"Lanes({element})")


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Lanes) -> None:
        bits = ir.IntType(1)
        element = dmm.lookup(fe_type.element).get_value_type()
        super().__init__(
            dmm,
            fe_type,
            ir.VectorType(bits if fe_type.element == types.boolean else element, LANES),
        )


MASK = Lanes(types.boolean)


def vector(element: Any, numbers: list[Any]) -> ir.Constant:
    """A constant vector."""
    return ir.Constant(ir.VectorType(element, len(numbers)), numbers)


def broadcast(builder: Any, value: Any) -> Any:
    """A scalar in every lane."""
    one = builder.insert_element(
        ir.Constant(ir.VectorType(value.type, LANES), ir.Undefined),
        value,
        ir.IntType(32)(0),
    )
    return builder.shuffle_vector(one, one, vector(ir.IntType(32), [0] * LANES))


def address(context: Any, builder: Any, pointer: Any, value: Any, index: Any) -> Any:
    """Address of ``value[index]`` as that of a vector."""
    element = context.get_data_type(pointer.dtype)
    return builder.bitcast(builder.gep(value, [index]), ir.VectorType(element, LANES).as_pointer())


def binary(function: Callable[[Any, Any], Any], instruction: str) -> None:
    """``function`` of two vectors is one instruction; products may fuse with sums."""

    @intrinsic
    def lanewise(typing_context, a, b):  # type: ignore[no-untyped-def]
        def code(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            return getattr(builder, instruction)(*arguments, flags=("contract", "nsz"))

        return a(a, a), code

    @overload(function)
    def typed(a, b):  # type: ignore[no-untyped-def]
        if isinstance(a, Lanes) and a == b:
            return lambda a, b: lanewise(a, b)
        return None


binary(operator.add, "fadd")
binary(operator.sub, "fsub")
binary(operator.mul, "fmul")
binary(operator.truediv, "fdiv")


@intrinsic
def splat(typing_context, x, like):  # type: ignore[no-untyped-def]
    """The scalar ``x`` in every lane, as a number of the type of ``like``."""

    def code(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return broadcast(builder, context.cast(builder, arguments[0], x, like))

    return Lanes(like)(x, like), code


@intrinsic
def inside(typing_context, first, count):  # type: ignore[no-untyped-def]
    """Mask of the lanes i with 0 ≤ first + i < count."""

    def code(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        i32 = ir.IntType(32)
        first, count = (broadcast(builder, builder.trunc(a, i32)) for a in arguments)
        number = builder.add(first, vector(i32, list(range(LANES))))
        return builder.icmp_unsigned("<", number, count)  # below zero is a large unsigned number

    return MASK(types.int64, types.int64), code


@intrinsic
def pointer(typing_context, address, like):  # type: ignore[no-untyped-def]
    """An address as that of numbers of the type of ``like``. What lies there is kept by others."""

    def code(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return types.CPointer(like)(types.int64, like), code


@intrinsic
def ahead(typing_context, p, count):  # type: ignore[no-untyped-def]
    """The pointer to ``p[count]``."""

    def code(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.gep(arguments[0], [arguments[1]])

    return p(p, types.int64), code


@intrinsic
def repeat(typing_context, p, index):  # type: ignore[no-untyped-def]
    """``p[index]`` in every lane."""

    def code(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        value, index = arguments
        return broadcast(builder, builder.load(builder.gep(value, [index])))

    return Lanes(p.dtype)(p, types.int64), code


@intrinsic
def load(typing_context, p, index, mask, fill):  # type: ignore[no-untyped-def]
    """``p[index + i]`` in the lanes of ``mask``, ``fill`` in the others."""

    def code(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        value, index, mask, fill = arguments
        place = address(context, builder, p, value, index)
        align = ir.IntType(32)(p.dtype.bitwidth // 8)
        return masked(builder, "load", p, fill.type, [place, align, mask, fill])

    vector = Lanes(p.dtype)
    return vector(p, types.int64, MASK, vector), code


@intrinsic
def store(typing_context, p, index, mask, x):  # type: ignore[no-untyped-def]
    """``p[index + i] = x`` in the lanes of ``mask``."""

    def code(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        value, index, mask, x = arguments
        place = address(context, builder, p, value, index)
        align = ir.IntType(32)(p.dtype.bitwidth // 8)
        masked(builder, "store", p, ir.VoidType(), [x, place, align, mask])
        return context.get_dummy_value()

    return types.void(p, types.int64, MASK, Lanes(p.dtype)), code


def masked(builder: Any, operation: str, p: Any, result: Any, arguments: list[Any]) -> Any:
    """LLVM's masked load or store."""
    name = f"llvm.masked.{operation}.v{LANES}f{p.dtype.bitwidth}.p0"
    function = builder.module.globals.get(name) or ir.Function(
        builder.module, ir.FunctionType(result, [a.type for a in arguments]), name
    )
    return builder.call(function, arguments)


@intrinsic
def get(typing_context, p, index):  # type: ignore[no-untyped-def]
    """``p[index + i]`` in all lanes."""

    def code(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        place = address(context, builder, p, *arguments)
        return builder.load(place, align=p.dtype.bitwidth // 8)

    return Lanes(p.dtype)(p, types.int64), code


@intrinsic
def put(typing_context, p, index, x):  # type: ignore[no-untyped-def]
    """``p[index + i] = x`` in all lanes."""

    def code(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        place = address(context, builder, p, *arguments[:2])
        builder.store(arguments[2], place, align=p.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(p, types.int64, Lanes(p.dtype)), code


@intrinsic
def accumulate(typing_context, p, index, x):  # type: ignore[no-untyped-def]
    """``p[index] += x`` for scalars, in the type of ``p``."""

    def code(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        value, index, number = arguments
        place = builder.gep(value, [index])
        number = context.cast(builder, number, x, p.dtype)
        builder.store(builder.fadd(builder.load(place), number), place)
        return context.get_dummy_value()

    return types.void(p, types.int64, x), code


@intrinsic
def choose(typing_context, x, limit, a, b):  # type: ignore[no-untyped-def]
    """``a`` where x > limit, else ``b``."""

    def code(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        x, limit, a, b = arguments
        return builder.select(builder.fcmp_ordered(">", x, limit), a, b)

    return x(x, x, x, x), code


@intrinsic
def maximum(typing_context, a, b):  # type: ignore[no-untyped-def]
    """The larger, lane by lane."""

    def code(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        a, b = arguments
        return builder.select(builder.fcmp_ordered(">", a, b), a, b)

    return a(a, a), code


def shuffled(name: str, order: list[int]) -> Any:
    """A function that picks lanes out of two vectors laid side by side."""

    @intrinsic
    def shuffle(typing_context, a, b):  # type: ignore[no-untyped-def]
        def code(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            return builder.shuffle_vector(*arguments, vector(ir.IntType(32), order))

        return a(a, a), code

    return shuffle


# Rows of children and parents: 0 1 2 3 … ↔ (0 2 4 …, 1 3 5 …), and 0 1 2 … → 0 0 1 1 ….
evens = shuffled("evens", list(range(0, 2 * LANES, 2)))
odds = shuffled("odds", list(range(1, 2 * LANES, 2)))
zip_low = shuffled("zip_low", [n // 2 + LANES * (n % 2) for n in range(LANES)])
zip_high = shuffled("zip_high", [(LANES + n) // 2 + LANES * (n % 2) for n in range(LANES)])


@intrinsic
def total(typing_context, x):  # type: ignore[no-untyped-def]
    """Sum of all lanes, half onto half."""

    def code(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        (x,) = arguments
        half = LANES // 2
        while half:
            order = [n + half if n < half else n for n in range(LANES)]
            x = builder.fadd(x, builder.shuffle_vector(x, x, vector(ir.IntType(32), order)))
            half //= 2
        return builder.extract_element(x, ir.IntType(32)(0))

    return x.element(x), code


@intrinsic
def scaled(typing_context, p, shifted):  # type: ignore[no-untyped-def]
    """p · 2^n, where n stands in the low bits of ``shifted``: n is added to p's exponent."""

    def code(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        integers = ir.VectorType(ir.IntType(32), LANES)
        p, n = (builder.bitcast(a, integers) for a in arguments)
        n = builder.shl(n, vector(ir.IntType(32), [23] * LANES))
        return builder.bitcast(builder.add(p, n), arguments[0].type)

    return p(p, p), code


def exponential(x):  # type: ignore[no-untyped-def]
    """exp(x) for x ≤ 0, in float32 to 1 unit in the last place, and to 3 below −20.

    Below −87, where exp leaves float32's normal numbers, it is zero.
    """
    raise NotImplementedError("compiled code only")


@overload(exponential, jit_options={"fastmath": {"contract"}})
def _exponential(x):  # type: ignore[no-untyped-def]
    if x.element != types.float32:

        @intrinsic
        def exp(typing_context, x):  # type: ignore[no-untyped-def]
            def code(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
                function = ir.FunctionType(arguments[0].type, [arguments[0].type])
                name = f"llvm.exp.v{LANES}f64"
                callee = builder.module.globals.get(name) or ir.Function(
                    builder.module, function, name
                )
                return builder.call(callee, arguments)

            return x(x), code

        return lambda x: exp(x)

    def polynomial(x):  # type: ignore[no-untyped-def]
        # x = n·ln 2 + r with |r| ≤ ln 2 / 2. Adding 1.5 · 2^23 rounds to an integer and leaves it
        # in the low bits of the mantissa.
        f = np.float32(0)
        magic, low = splat(12582912.0, f), splat(-87.0, f)
        inside = maximum(x, low)
        shifted = inside * splat(1.4426950408889634, f) + magic
        r = inside - (shifted - magic) * splat(0.6931471805599453, f)
        # exp(r) by the polynomial of least relative error (3e-9) with exp(0) = exp'(0) = 1.
        p = splat(0.001381442416459322, f)
        p = p * r + splat(0.008368787355720997, f)
        p = p * r + splat(0.041668396443128586, f)
        p = p * r + splat(0.1666651964187622, f)
        p = p * r + splat(0.4999999403953552, f)
        p = p * r + splat(1.0, f)
        p = p * r + splat(1.0, f)
        return choose(x, low, scaled(p, shifted), splat(0.0, f))

    return polynomial
