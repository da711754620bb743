"""A handful of neighbouring nodes at once: short vectors as values in numba code.

Numba leaves vectorising to LLVM, which does it loop by loop and moves every operand through
memory. With vectors as values a kernel is written for one node and computes :data:`SIMD` of them
in registers. LLVM turns the vectors into what the processor has: AVX-512, AVX2, NEON.

Only what :mod:`ngat.engines.cpu.kernels` needs is here. Indices are not checked.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, models, overload, register_model

from ngat.engines.cpu.compile import SIMD as SIMD


class Vector(types.Type):
    """:data:`SIMD` numbers of one type; ``Vector(types.boolean)`` is a mask."""

    def __init__(self, element: types.Type) -> None:
        self.element = element
        super().__init__(name=f"Vector({element})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Vector) -> None:
        bits = ir.IntType(1)
        element = dmm.lookup(fe_type.element).get_value_type()
        super().__init__(
            dmm,
            fe_type,
            ir.VectorType(bits if fe_type.element == types.boolean else element, SIMD),
        )


MASK = Vector(types.boolean)


def vector(element: Any, numbers: list[Any]) -> ir.Constant:
    """A constant vector."""
    return ir.Constant(ir.VectorType(element, len(numbers)), numbers)


def broadcast(builder: Any, value: Any) -> Any:
    """A scalar in every element."""
    one = builder.insert_element(
        ir.Constant(ir.VectorType(value.type, SIMD), ir.Undefined),
        value,
        ir.IntType(32)(0),
    )
    return builder.shuffle_vector(one, one, vector(ir.IntType(32), [0] * SIMD))


def mask_of(builder: Any, first: Any, count: Any) -> Any:
    """Mask of the elements i with 0 ≤ first + i < count."""
    i32 = ir.IntType(32)
    first, count = (broadcast(builder, builder.trunc(a, i32)) for a in (first, count))
    number = builder.add(first, vector(i32, list(range(SIMD))))
    return builder.icmp_unsigned("<", number, count)  # below zero is a large unsigned number


def address(context: Any, builder: Any, pointer: Any, value: Any, index: Any) -> Any:
    """Address of ``value[index]`` as that of a vector."""
    element = context.get_data_type(pointer.dtype)
    return builder.bitcast(builder.gep(value, [index]), ir.VectorType(element, SIMD).as_pointer())


def binary(function: Callable[[Any, Any], Any], instruction: str) -> None:
    """``function`` of two vectors is one instruction; products may fuse with sums."""

    @intrinsic
    def elementwise(typing_context, a, b):  # type: ignore[no-untyped-def]
        def code(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            return getattr(builder, instruction)(*arguments, flags=("contract", "nsz"))

        return a(a, a), code

    @overload(function)
    def typed(a, b):  # type: ignore[no-untyped-def]
        if isinstance(a, Vector) and a == b:
            return lambda a, b: elementwise(a, b)
        return None


binary(operator.add, "fadd")
binary(operator.sub, "fsub")
binary(operator.mul, "fmul")
binary(operator.truediv, "fdiv")


@intrinsic
def splat(typing_context, x, like):  # type: ignore[no-untyped-def]
    """The scalar ``x`` in every element, as a number of the type of ``like``."""

    def code(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return broadcast(builder, context.cast(builder, arguments[0], x, like))

    return Vector(like)(x, like), code


@intrinsic
def inside(typing_context, first, count):  # type: ignore[no-untyped-def]
    """Mask of the elements i with 0 ≤ first + i < count."""

    def code(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return mask_of(builder, *arguments)

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
    """``p[index]`` in every element."""

    def code(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        value, index = arguments
        return broadcast(builder, builder.load(builder.gep(value, [index])))

    return Vector(p.dtype)(p, types.int64), code


@intrinsic
def load(typing_context, p, index, mask, fill):  # type: ignore[no-untyped-def]
    """``p[index + i]`` in the elements of ``mask``, ``fill`` in the others."""

    def code(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        value, index, mask, fill = arguments
        place = address(context, builder, p, value, index)
        align = ir.IntType(32)(p.dtype.bitwidth // 8)
        return masked(builder, "load", p, fill.type, [place, align, mask, fill])

    vector = Vector(p.dtype)
    return vector(p, types.int64, MASK, vector), code


@intrinsic
def store(typing_context, p, index, mask, x):  # type: ignore[no-untyped-def]
    """``p[index + i] = x`` in the elements of ``mask``."""

    def code(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        value, index, mask, x = arguments
        place = address(context, builder, p, value, index)
        align = ir.IntType(32)(p.dtype.bitwidth // 8)
        masked(builder, "store", p, ir.VoidType(), [x, place, align, mask])
        return context.get_dummy_value()

    return types.void(p, types.int64, MASK, Vector(p.dtype)), code


def masked(builder: Any, operation: str, p: Any, result: Any, arguments: list[Any]) -> Any:
    """LLVM's masked load or store."""
    name = f"llvm.masked.{operation}.v{SIMD}f{p.dtype.bitwidth}.p0"
    function = builder.module.globals.get(name) or ir.Function(
        builder.module, ir.FunctionType(result, [a.type for a in arguments]), name
    )
    return builder.call(function, arguments)


@intrinsic
def get(typing_context, p, index):  # type: ignore[no-untyped-def]
    """``p[index + i]`` in all elements."""

    def code(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        place = address(context, builder, p, *arguments)
        return builder.load(place, align=p.dtype.bitwidth // 8)

    return Vector(p.dtype)(p, types.int64), code


@intrinsic
def put(typing_context, p, index, x):  # type: ignore[no-untyped-def]
    """``p[index + i] = x`` in all elements."""

    def code(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        place = address(context, builder, p, *arguments[:2])
        builder.store(arguments[2], place, align=p.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(p, types.int64, Vector(p.dtype)), code


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
    """``a`` where x > limit, else ``b``; also where x is NaN."""

    def code(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        x, limit, a, b = arguments
        return builder.select(builder.fcmp_ordered(">", x, limit), a, b)

    return x(x, x, x, x), code


@intrinsic
def maximum(typing_context, a, b):  # type: ignore[no-untyped-def]
    """The larger, element by element; ``b`` where either is NaN.

    So NaN passes only from b: where it must not be lost, b is what may be NaN.
    """

    def code(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        a, b = arguments
        return builder.select(builder.fcmp_ordered(">", a, b), a, b)

    return a(a, a), code


@intrinsic
def where(typing_context, mask, a, b):  # type: ignore[no-untyped-def]
    """``a`` in the elements of ``mask``, else ``b``."""

    def code(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.select(*arguments)

    return a(MASK, a, a), code


def shuffled(name: str, order: list[int]) -> Any:
    """A function that picks elements out of two vectors laid side by side."""

    @intrinsic
    def shuffle(typing_context, a, b):  # type: ignore[no-untyped-def]
        def code(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            return builder.shuffle_vector(*arguments, vector(ir.IntType(32), order))

        return a(a, a), code

    return shuffle


# Rows of children and parents: 0 1 2 3 … ↔ (0 2 4 …, 1 3 5 …), and 0 1 2 … → 0 0 1 1 ….
evens = shuffled("evens", list(range(0, 2 * SIMD, 2)))
odds = shuffled("odds", list(range(1, 2 * SIMD, 2)))
zip_low = shuffled("zip_low", [n // 2 + SIMD * (n % 2) for n in range(SIMD)])
zip_high = shuffled("zip_high", [(SIMD + n) // 2 + SIMD * (n % 2) for n in range(SIMD)])


@intrinsic
def total(typing_context, x):  # type: ignore[no-untyped-def]
    """Sum of all elements, half onto half."""

    def code(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        (x,) = arguments
        half = SIMD // 2
        while half:
            order = [n + half if n < half else n for n in range(SIMD)]
            x = builder.fadd(x, builder.shuffle_vector(x, x, vector(ir.IntType(32), order)))
            half //= 2
        return builder.extract_element(x, ir.IntType(32)(0))

    return x.element(x), code
