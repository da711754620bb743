"""What nodes hear through each relation's taps: the parts of :mod:`ngat.engines.cpu.kernels`.

A function serves the :data:`~ngat.engines.cpu.simd.LANES` nodes (y, x), (y, x + 1), … at once, x
being a multiple of that number. In scratch, numbers of consecutive taps stand ``step`` apart.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from numba import njit

from ngat.engines.cpu.simd import (
    LANES,
    ahead,
    evens,
    get,
    inside,
    load,
    maximum,
    odds,
    pointer,
    put,
    repeat,
    zip_low,
)

jit = njit(nogil=True, error_model="numpy", forceinline=True)


class Sources(NamedTuple):
    """One relation's sources. A relation that is not heard has height 0.

    Attributes:
        z, el, t: addresses of z_j ``[B, heads · D, height, width]``, el_j ``[B, heads, …]`` and
            t_k ``[heads, taps]``; rows of a plane lie one after the other.
        z_step, el_step: elements from one picture of the batch to the next.
        height, width: of the level, or of what is left of it below where the addresses begin.
        plane: elements from one plane to the next.
        z_add, el_add: of gradients: 1 if there is something to add to, else 0.
    """

    z: int
    z_step: int
    el: int
    el_step: int
    t: int
    height: int
    width: int
    z_add: int
    el_add: int
    plane: int


class Planes(NamedTuple):
    """One head of one picture: z ``[D, height, width]``, el ``[height, width]``, t ``[taps]``.

    Of gradients, ``z_old`` and ``el_old`` count the columns with something to add to: all or none.
    """

    z: Any
    el: Any
    t: Any
    height: int
    width: int
    z_old: int
    el_old: int
    plane: int


class Numbers(NamedTuple):
    """Constants, in every lane."""

    zero: Any
    one: Any
    slope: Any
    lowest: Any
    nowhere: Any


@jit
def planes_of(sources, taps, b, head, channels, like, size):  # type: ignore[no-untyped-def]
    """Planes of ``sources``; numbers have the type of ``like`` and ``size`` bytes."""
    nodes = sources.plane
    return Planes(
        pointer(sources.z + size * (b * sources.z_step + head * channels * nodes), like),
        pointer(sources.el + size * (b * sources.el_step + head * nodes), like),
        pointer(sources.t + size * head * taps, like),
        sources.height,
        sources.width,
        sources.width * sources.z_add,
        sources.width * sources.el_add,
        nodes,
    )


# Scores of all taps, eq. 16; −inf where one leads outside. They return the largest so far.


@jit
def score(e, at, el, er, t, top, numbers):  # type: ignore[no-untyped-def]
    """LeakyReLU(el + er + t); a slope below one makes it a maximum."""
    s = el + er + t
    s = maximum(s, numbers.slope * s)
    put(e, at, s)
    return maximum(top, s)


@jit
def king_scores(e, step, king, er, y, x, top, numbers):  # type: ignore[no-untyped-def]
    """Nine taps: rows above, here and below; left, same and right column."""
    masks = three_columns(x, king.width)
    for dy in range(3):
        v = y + dy - 1
        k = 3 * dy
        if 0 <= v < king.height:
            el = ahead(king.el, v * king.width + x)
            left, same, right = (
                load(el, -1, masks[0], numbers.nowhere),
                load(el, 0, masks[1], numbers.nowhere),
                load(el, 1, masks[2], numbers.nowhere),
            )
        else:
            left = same = right = numbers.nowhere
        top = score(e, k * step, left, er, repeat(king.t, k), top, numbers)
        top = score(e, (k + 1) * step, same, er, repeat(king.t, k + 1), top, numbers)
        top = score(e, (k + 2) * step, right, er, repeat(king.t, k + 2), top, numbers)
    return top


@jit
def child_scores(e, step, child, er, y, x, top, numbers):  # type: ignore[no-untyped-def]
    """Four taps: even and odd column of two rows. An odd side leaves the last node without one."""
    for cy in range(2):
        v, u = 2 * y + cy, 2 * x
        columns = child.width if v < child.height else 0
        at = v * child.width + u
        low = load(child.el, at, inside(u, columns), numbers.nowhere)
        high = load(child.el, at + LANES, inside(u + LANES, columns), numbers.nowhere)
        k = 2 * cy
        top = score(e, k * step, evens(low, high), er, repeat(child.t, k), top, numbers)
        k += 1
        top = score(e, k * step, odds(low, high), er, repeat(child.t, k), top, numbers)
    return top


@jit
def parent_scores(e, parent, er, y, x, top, numbers):  # type: ignore[no-untyped-def]
    """One tap, which neighbours share."""
    u = x >> 1
    el = load(parent.el, (y >> 1) * parent.width + u, inside(u, parent.width), numbers.nowhere)
    return score(e, 0, zip_low(el, el), er, repeat(parent.t, 0), top, numbers)


# Neighbourhoods in a plane, and sums over their taps. A row outside the picture is replaced by the
# nearest one: the weight of what is heard from it is zero.


@jit
def three_rows(y, height, width):  # type: ignore[no-untyped-def]
    """Where the rows above, here and below start."""
    return max(0, y - 1) * width, y * width, min(height - 1, y + 1) * width


@jit
def three_columns(x, width):  # type: ignore[no-untyped-def]
    """Masks of the columns on the left, here and on the right."""
    return inside(x - 1, width), inside(x, width), inside(x + 1, width)


@jit
def nine(z, rows, masks, zero):  # type: ignore[no-untyped-def]
    """The king neighbourhoods of nodes, in a plane."""
    up, here, down = rows
    left, same, right = masks
    return (
        load(z, up - 1, left, zero), load(z, up, same, zero), load(z, up + 1, right, zero),
        load(z, here - 1, left, zero), load(z, here, same, zero), load(z, here + 1, right, zero),
        load(z, down - 1, left, zero), load(z, down, same, zero), load(z, down + 1, right, zero),
    )  # fmt: skip


@jit
def get_nine(w, step):  # type: ignore[no-untyped-def]
    """The king's nine taps, from scratch."""
    return (
        get(w, 0), get(w, step), get(w, 2 * step),
        get(w, 3 * step), get(w, 4 * step), get(w, 5 * step),
        get(w, 6 * step), get(w, 7 * step), get(w, 8 * step),
    )  # fmt: skip


@jit
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


@jit
def get_opposite(w, rows, step):  # type: ignore[no-untyped-def]
    """A source is heard by the node above it on the left through that one's lower right tap, …"""
    up, here, down = rows
    return (
        get(w, up + 8 * step - 1), get(w, up + 7 * step), get(w, up + 6 * step + 1),
        get(w, here + 5 * step - 1), get(w, here + 4 * step), get(w, here + 3 * step + 1),
        get(w, down + 2 * step - 1), get(w, down + step), get(w, down + 1),
    )  # fmt: skip


@jit
def sum_nine(w):  # type: ignore[no-untyped-def]
    """Σ_k w_k."""
    return (w[0] + w[1] + w[2]) + (w[3] + w[4] + w[5]) + (w[6] + w[7] + w[8])


@jit
def dot_nine(w, z):  # type: ignore[no-untyped-def]
    """Σ_k w_k z_k."""
    return (
        w[0] * z[0] + w[1] * z[1] + w[2] * z[2]
        + w[3] * z[3] + w[4] * z[4] + w[5] * z[5]
        + w[6] * z[6] + w[7] * z[7] + w[8] * z[8]
    )  # fmt: skip


@jit
def add_nine(q, g, z):  # type: ignore[no-untyped-def]
    """q_k + g z_k for every tap."""
    return (
        q[0] + g * z[0], q[1] + g * z[1], q[2] + g * z[2],
        q[3] + g * z[3], q[4] + g * z[4], q[5] + g * z[5],
        q[6] + g * z[6], q[7] + g * z[7], q[8] + g * z[8],
    )  # fmt: skip


@jit
def two_rows(y, height, width):  # type: ignore[no-untyped-def]
    """Where the children's rows start."""
    return 2 * y * width, min(height - 1, 2 * y + 1) * width


@jit
def two_halves(u, width):  # type: ignore[no-untyped-def]
    """Masks of twice as many columns."""
    return inside(u, width), inside(u + LANES, width)


@jit
def four(z, rows, masks, zero):  # type: ignore[no-untyped-def]
    """The children of nodes, in a plane."""
    upper, lower = rows
    low, high = masks
    a, b = load(z, upper, low, zero), load(z, upper + LANES, high, zero)
    c, d = load(z, lower, low, zero), load(z, lower + LANES, high, zero)
    return evens(a, b), odds(a, b), evens(c, d), odds(c, d)


@jit
def get_four(w, step):  # type: ignore[no-untyped-def]
    """The four taps of children, from scratch."""
    return get(w, 0), get(w, step), get(w, 2 * step), get(w, 3 * step)


@jit
def put_four(w, step, x):  # type: ignore[no-untyped-def]
    """The four taps of children, to scratch."""
    put(w, 0, x[0])
    put(w, step, x[1])
    put(w, 2 * step, x[2])
    put(w, 3 * step, x[3])


@jit
def dot_four(w, z):  # type: ignore[no-untyped-def]
    """Σ_k w_k z_k."""
    return w[0] * z[0] + w[1] * z[1] + w[2] * z[2] + w[3] * z[3]


@jit
def add_four(q, g, z):  # type: ignore[no-untyped-def]
    """q_k + g z_k for every tap."""
    return q[0] + g * z[0], q[1] + g * z[1], q[2] + g * z[2], q[3] + g * z[3]


@jit
def both(z, at, mask, zero):  # type: ignore[no-untyped-def]
    """The parent of neighbours, twice."""
    above = load(z, at, mask, zero)
    return zip_low(above, above)
