"""exp(x) of short vectors, for the softmax: arguments are at most zero. And σ of planes."""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

from ngat.engines.cpu.compile import SIMD, kernel
from ngat.engines.cpu.simd import choose, inside, load, maximum, pointer, splat, store, vector

STRIP = 256  # numbers that are a piece of work


@intrinsic
def scaled(typing_context, p, shifted):  # type: ignore[no-untyped-def]
    """p · 2^n, where n stands in the low bits of ``shifted``: n is added to p's exponent."""

    def code(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        integers = ir.VectorType(ir.IntType(32), SIMD)
        p, n = (builder.bitcast(a, integers) for a in arguments)
        n = builder.shl(n, vector(ir.IntType(32), [23] * SIMD))
        return builder.bitcast(builder.add(p, n), arguments[0].type)

    return p(p, p), code


def exponential(x):  # type: ignore[no-untyped-def]
    """exp(x) for x ≤ 0, in float32 to 1 unit in the last place, and to 3 below −20.

    Below −87, where exp leaves float32's normal numbers, it is zero; of NaN it is NaN.
    """
    raise NotImplementedError("compiled code only")


@overload(exponential, jit_options={"fastmath": {"contract"}})
def _exponential(x):  # type: ignore[no-untyped-def]
    if x.element != types.float32:

        @intrinsic
        def exp(typing_context, x):  # type: ignore[no-untyped-def]
            def code(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
                function = ir.FunctionType(arguments[0].type, [arguments[0].type])
                name = f"llvm.exp.v{SIMD}f64"
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
        return choose(x, low, scaled(p, shifted), maximum(splat(0.0, f), x))

    return polynomial


@kernel
def sigmoids(x_, out_, count, first, last, like):  # type: ignore[no-untyped-def]
    """σ of ``count`` numbers, of strips ``first`` to before ``last``."""
    x_all, out = pointer(x_, like), pointer(out_, like)
    zero, one = splat(0.0, like), splat(1.0, like)
    for i in range(first * STRIP, min(last * STRIP, count), SIMD):
        mask = inside(i, count)
        x = load(x_all, i, mask, zero)
        e = exponential(zero - maximum(zero - x, x))  # exp(-|x|)
        store(out, i, mask, choose(x, zero, one, e) / (one + e))
