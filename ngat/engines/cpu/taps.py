"""What each relation's taps lead to: the parts of :mod:`ngat.engines.cpu.kernels`.

A function serves the :data:`~ngat.engines.cpu.simd.SIMD` nodes (y, x), (y, x + 1), … at once, x
being a multiple of that number. In scratch, numbers of consecutive taps stand ``step`` apart.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ngat.engines.cpu.compile import inlined
from ngat.engines.cpu.simd import (
    SIMD,
    evens,
    get,
    inside,
    load,
    odds,
    pointer,
    put,
    store,
    zip_low,
)


class Sources(NamedTuple):
    """One relation's sources. An absent relation has height 0.

    Attributes:
        z, el, t: addresses of z_j ``[B, heads · D, height, width]``, el_j ``[B, heads, …]`` and
            t_k ``[heads, taps]``; rows of a plane lie one after the other.
        z_step, el_step: elements from one picture of the batch to the next.
        height, width: of the level, or of what is left of it below where the addresses begin.
        plane: elements from one plane to the next.
    """

    z: int
    z_step: int
    el: int
    el_step: int
    t: int
    height: int
    width: int
    plane: int


class Planes(NamedTuple):
    """One head of one picture: z ``[D, height, width]``, el ``[height, width]``, t ``[taps]``."""

    z: Any
    el: Any
    t: Any
    height: int
    width: int
    plane: int


class Numbers(NamedTuple):
    """Constants, in every element."""

    zero: Any
    one: Any
    slope: Any
    lowest: Any
    nowhere: Any


@inlined
def planes_of(sources, taps, b, head, channels, like, size):  # type: ignore[no-untyped-def]
    """Planes of ``sources``; numbers have the type of ``like`` and ``size`` bytes."""
    nodes = sources.plane
    return Planes(
        pointer(sources.z + size * (b * sources.z_step + head * channels * nodes), like),
        pointer(sources.el + size * (b * sources.el_step + head * nodes), like),
        pointer(sources.t + size * head * taps, like),
        sources.height,
        sources.width,
        nodes,
    )


# Neighbourhoods in a plane, and sums over their taps. A row outside the picture is replaced by the
# nearest one: the weight of that tap is zero.


@inlined
def three_rows(y, height, width):  # type: ignore[no-untyped-def]
    """Where the rows above, here and below start."""
    return max(0, y - 1) * width, y * width, min(height - 1, y + 1) * width


class Columns(NamedTuple):
    """Which of a vector's columns are in the picture.

    Masks cost registers, and masked stores dozens of instructions on some processors; hence the
    two numbers, by which most vectors do without.

    Attributes:
        left, same, right: masks of the columns on the left, here and on the right.
        inner: whether all of these are in the picture. whole: whether all columns here are.
    """

    left: Any
    same: Any
    right: Any
    inner: bool
    whole: bool


class Halves(NamedTuple):
    """Masks of twice as many columns, and whether all of them are in the picture."""

    low: Any
    high: Any
    whole: bool


@inlined
def three_columns(x, width):  # type: ignore[no-untyped-def]
    """Columns x … of a plane."""
    return Columns(
        inside(x - 1, width),
        inside(x, width),
        inside(x + 1, width),
        x > 0 and x + SIMD < width,
        x + SIMD <= width,
    )


@inlined
def write(p, at, mask, whole, x):  # type: ignore[no-untyped-def]
    """``p[at + i] = x`` in the elements of ``mask``, which are all where ``whole``."""
    if whole:
        put(p, at, x)
    else:
        store(p, at, mask, x)


@inlined
def nine(z, rows, columns, zero):  # type: ignore[no-untyped-def]
    """The king neighbourhoods of nodes, in a plane."""
    up, here, down = rows
    if columns.inner:
        return (
            get(z, up - 1), get(z, up), get(z, up + 1),
            get(z, here - 1), get(z, here), get(z, here + 1),
            get(z, down - 1), get(z, down), get(z, down + 1),
        )  # fmt: skip
    left, same, right = columns.left, columns.same, columns.right
    return (
        load(z, up - 1, left, zero), load(z, up, same, zero), load(z, up + 1, right, zero),
        load(z, here - 1, left, zero), load(z, here, same, zero), load(z, here + 1, right, zero),
        load(z, down - 1, left, zero), load(z, down, same, zero), load(z, down + 1, right, zero),
    )  # fmt: skip


@inlined
def get_nine(w, step):  # type: ignore[no-untyped-def]
    """The king's nine taps, from scratch."""
    return (
        get(w, 0), get(w, step), get(w, 2 * step),
        get(w, 3 * step), get(w, 4 * step), get(w, 5 * step),
        get(w, 6 * step), get(w, 7 * step), get(w, 8 * step),
    )  # fmt: skip


@inlined
def put_nine(w, step, x):  # type: ignore[no-untyped-def]
    """The king's nine taps, to scratch."""
    put(w, 0, x[0])
    put(w, step, x[1])
    put(w, 2 * step, x[2])
    put(w, 3 * step, x[3])
    put(w, 4 * step, x[4])
    put(w, 5 * step, x[5])
    put(w, 6 * step, x[6])
    put(w, 7 * step, x[7])
    put(w, 8 * step, x[8])


@inlined
def get_opposite(w, rows, step):  # type: ignore[no-untyped-def]
    """A source is the lower right tap of the node above it on the left, …"""
    up, here, down = rows
    return (
        get(w, up + 8 * step - 1), get(w, up + 7 * step), get(w, up + 6 * step + 1),
        get(w, here + 5 * step - 1), get(w, here + 4 * step), get(w, here + 3 * step + 1),
        get(w, down + 2 * step - 1), get(w, down + step), get(w, down + 1),
    )  # fmt: skip


@inlined
def sum_nine(w):  # type: ignore[no-untyped-def]
    """Σ_k w_k."""
    return (w[0] + w[1] + w[2]) + (w[3] + w[4] + w[5]) + (w[6] + w[7] + w[8])


@inlined
def dot_nine(w, z):  # type: ignore[no-untyped-def]
    """Σ_k w_k z_k."""
    return (
        w[0] * z[0] + w[1] * z[1] + w[2] * z[2]
        + w[3] * z[3] + w[4] * z[4] + w[5] * z[5]
        + w[6] * z[6] + w[7] * z[7] + w[8] * z[8]
    )  # fmt: skip


@inlined
def add_nine(q, g, z):  # type: ignore[no-untyped-def]
    """q_k + g z_k for every tap."""
    return (
        q[0] + g * z[0], q[1] + g * z[1], q[2] + g * z[2],
        q[3] + g * z[3], q[4] + g * z[4], q[5] + g * z[5],
        q[6] + g * z[6], q[7] + g * z[7], q[8] + g * z[8],
    )  # fmt: skip


@inlined
def two_rows(y, height, width):  # type: ignore[no-untyped-def]
    """Where the children's rows start."""
    return 2 * y * width, min(height - 1, 2 * y + 1) * width


@inlined
def two_halves(u, width):  # type: ignore[no-untyped-def]
    """Columns u …, twice as many as nodes."""
    return Halves(inside(u, width), inside(u + SIMD, width), u + 2 * SIMD <= width)


@inlined
def four(z, rows, halves, zero):  # type: ignore[no-untyped-def]
    """The children of nodes, in a plane."""
    upper, lower = rows
    if halves.whole:
        a, b = get(z, upper), get(z, upper + SIMD)
        c, d = get(z, lower), get(z, lower + SIMD)
        return evens(a, b), odds(a, b), evens(c, d), odds(c, d)
    low, high = halves.low, halves.high
    a, b = load(z, upper, low, zero), load(z, upper + SIMD, high, zero)
    c, d = load(z, lower, low, zero), load(z, lower + SIMD, high, zero)
    return evens(a, b), odds(a, b), evens(c, d), odds(c, d)


@inlined
def get_four(w, step):  # type: ignore[no-untyped-def]
    """The four taps of children, from scratch."""
    return get(w, 0), get(w, step), get(w, 2 * step), get(w, 3 * step)


@inlined
def put_four(w, step, x):  # type: ignore[no-untyped-def]
    """The four taps of children, to scratch."""
    put(w, 0, x[0])
    put(w, step, x[1])
    put(w, 2 * step, x[2])
    put(w, 3 * step, x[3])


@inlined
def dot_four(w, z):  # type: ignore[no-untyped-def]
    """Σ_k w_k z_k."""
    return w[0] * z[0] + w[1] * z[1] + w[2] * z[2] + w[3] * z[3]


@inlined
def add_four(q, g, z):  # type: ignore[no-untyped-def]
    """q_k + g z_k for every tap."""
    return q[0] + g * z[0], q[1] + g * z[1], q[2] + g * z[2], q[3] + g * z[3]


@inlined
def both(z, at, mask, zero):  # type: ignore[no-untyped-def]
    """The parent of neighbours, twice."""
    above = load(z, at, mask, zero)
    return zip_low(above, above)
