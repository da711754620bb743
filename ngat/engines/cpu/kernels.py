"""Fused attention over planes (equations 16–18), a few neighbouring nodes at a time in registers.

For the nodes i of one head, first the weights of all taps k,

    s_ik = el_j + er_i + t_k,   e = LeakyReLU(s),   α_ik = exp(e_ik − max_k e_ik) / Σ_k …,

then, channel by channel, h_i = Σ_k α_ik z_j. The gradients are in
:mod:`ngat.engines.cpu.backward`. What makes both fast:

* Planes: neighbouring nodes lie side by side in memory, so that several of them (``SIMD``) are one
  vector. A weight is computed once for all channels and stays in a register.
* Edges are regular: no list of them, no gather, no scatter.
* Elements outside the picture are masked and their weights are zero, so a border costs no branch.
* Kernels take addresses: numba counts references to arrays, with locked instructions.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ngat.engines.cpu.compile import inlined, kernel
from ngat.engines.cpu.exponential import exponential
from ngat.engines.cpu.simd import (
    SIMD,
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
    splat,
    where,
    zip_low,
)
from ngat.engines.cpu.taps import (
    Numbers,
    both,
    dot_four,
    dot_nine,
    four,
    get_four,
    get_nine,
    nine,
    planes_of,
    three_columns,
    three_rows,
    two_halves,
    two_rows,
    write,
)

TAPS = 14  # of the king, then the children, then the parent, as far as they exist


class Task(NamedTuple):
    """What a call covers: ``blocks`` blocks of rows of every head of every picture, numbered.

    Attributes:
        plane: elements from one plane of the nodes to the next.
        top, bottom: rows outside of which nothing is to be done.
    """

    heads: int
    channels: int
    height: int
    width: int
    blocks: int
    plane: int
    top: int
    bottom: int
    first: int
    last: int
    scratch: int
    step: int


def scratch(width: int) -> tuple[int, int]:
    """How far apart the ring's taps stand, and how many numbers of scratch, zero, a call needs."""
    step = SIMD + -(-width // SIMD) * SIMD + 2 * SIMD
    return step, SIMD + TAPS * 3 * (SIMD + 2 * step)


@inlined
def piece(task, index):  # type: ignore[no-untyped-def]
    """Picture, head, and rows from … to before … of a numbered piece of work.

    Blocks start at even rows, so that a parent's row belongs to one block.
    """
    block = index % task.blocks
    pairs = (task.height + 1) // 2
    return (
        index // task.blocks // task.heads,
        index // task.blocks % task.heads,
        max(task.top, 2 * (pairs * block // task.blocks)),
        min(task.bottom, 2 * (pairs * (block + 1) // task.blocks)),
    )


@inlined
def places(king, child, parent):  # type: ignore[no-untyped-def]
    """The first taps of children and parent, and the number of taps."""
    children = 9 if king.height else 0
    parents = children + (4 if child.height else 0)
    return children, parents, parents + (1 if parent.height else 0)


# Scores of all taps, eq. 16; −inf where one leads outside. They return the largest so far.


@inlined
def score(e, at, el, er, t, top, numbers):  # type: ignore[no-untyped-def]
    """LeakyReLU(el + er + t); a slope below one makes it a maximum."""
    s = el + er + t
    s = maximum(s, numbers.slope * s)
    put(e, at, s)
    return maximum(top, s)


@inlined
def king_scores(e, step, king, er, y, x, top, numbers):  # type: ignore[no-untyped-def]
    """Nine taps: rows above, here and below; left, same and right column."""
    columns = three_columns(x, king.width)
    for dy in range(3):
        v = y + dy - 1
        k = 3 * dy
        if 0 <= v < king.height:
            el = ahead(king.el, v * king.width + x)
            left, same, right = (
                load(el, -1, columns.left, numbers.nowhere),
                load(el, 0, columns.same, numbers.nowhere),
                load(el, 1, columns.right, numbers.nowhere),
            )
        else:
            left = same = right = numbers.nowhere
        top = score(e, k * step, left, er, repeat(king.t, k), top, numbers)
        top = score(e, (k + 1) * step, same, er, repeat(king.t, k + 1), top, numbers)
        top = score(e, (k + 2) * step, right, er, repeat(king.t, k + 2), top, numbers)
    return top


@inlined
def child_scores(e, step, child, er, y, x, top, numbers):  # type: ignore[no-untyped-def]
    """Four taps: even and odd column of two rows. An odd side leaves the last node without one."""
    for cy in range(2):
        v, u = 2 * y + cy, 2 * x
        columns = child.width if v < child.height else 0
        at = v * child.width + u
        low = load(child.el, at, inside(u, columns), numbers.nowhere)
        high = load(child.el, at + SIMD, inside(u + SIMD, columns), numbers.nowhere)
        k = 2 * cy
        top = score(e, k * step, evens(low, high), er, repeat(child.t, k), top, numbers)
        k += 1
        top = score(e, k * step, odds(low, high), er, repeat(child.t, k), top, numbers)
    return top


@inlined
def parent_scores(e, parent, er, y, x, top, numbers):  # type: ignore[no-untyped-def]
    """One tap, which neighbours share."""
    u = x >> 1
    el = load(parent.el, (y >> 1) * parent.width + u, inside(u, parent.width), numbers.nowhere)
    return score(e, 0, zip_low(el, el), er, repeat(parent.t, 0), top, numbers)


@inlined
def constants(slope):  # type: ignore[no-untyped-def]
    return Numbers(
        splat(0.0, slope),
        splat(1.0, slope),
        splat(slope, slope),
        splat(-3e38, slope),
        splat(-np.inf, slope),
    )


@inlined
def weights(a, step, e, planes, ers, typed, y, x, mask, numbers):  # type: ignore[no-untyped-def]
    """Eq. 16 into ``e``, eq. 17 into ``a`` for nodes (y, x …); ``mask``: in the picture.

    ``planes`` are those of king, child and parent. There is one softmax over all taps; if ``typed``
    king and children have their own, each with its part of ``ers``, and a lone parent weighs one.
    """
    king, child, parent = planes
    er, er_typed = ers
    children, parents, taps = places(king, child, parent)
    # A node whose scores are all −∞ has no weights (NaN), an element outside the picture zeros.
    top = lowest = where(mask, numbers.nowhere, numbers.lowest)
    if king.height:
        top = king_scores(e, SIMD, king, er, y, x, top, numbers)
    if typed:
        softmax(a, step, e, 9, top, numbers)
        top = lowest
    e_child = ahead(e, children * SIMD)
    if child.height:
        top = child_scores(e_child, SIMD, child, er_typed, y, x, top, numbers)
    if typed:
        if child.height:
            softmax(ahead(a, children * step), step, e_child, 4, top, numbers)
        put(a, parents * step, numbers.one)
    else:
        if parent.height:
            top = parent_scores(ahead(e, parents * SIMD), parent, er, y, x, top, numbers)
        softmax(a, step, e, taps, top, numbers)


@inlined
def softmax(a, step, e, taps, top, numbers):  # type: ignore[no-untyped-def]
    """Eq. 17 into ``a``, from scores ``e`` whose largest is ``top``."""
    # The node's own largest score is taken off first, so that nothing overflows.
    sum_ = numbers.zero
    for k in range(taps):
        p = exponential(get(e, k * SIMD) - top)
        put(a, k * step, p)
        sum_ = sum_ + p
    # The largest weight is exp(0): only elements outside the picture have a sum below one.
    scale = numbers.one / maximum(numbers.one, sum_)
    for k in range(taps):
        put(a, k * step, get(a, k * step) * scale)


@kernel
def forward(task, sources, er_, er_child_, own_, out_, last_, slope, size):  # type: ignore[no-untyped-def]
    """h_i of every node into ``out_``, ``[B, heads · D, height, width]``; ``size``: bytes a number.

    With one softmax over the taps of all ``sources``, king, child and parent, it is Σ_k α_ik z_j
    (eq. 18). With *typed* relations king and children each have their own, and

        h_i = ReLU(self_i + Σ_king α_ik z_j + Σ_children α_ik z_j + z_parent).

    Each of the others is an address with the step from picture to picture, ``out_`` with that from
    plane to plane, too: ``er_`` of er, ``er_child_`` of er for the children (0 where one softmax
    runs over all), ``own_`` of self or 0.

    ``last_`` is all zero, or a bias c that one softmax's update has, what it is added to, and where
    the update alone goes, ``y_i = ReLU(Σ_k α_ik z_j + c)``, ``h_i = base_i + y_i``; 0 for neither.
    """
    king_, child_, parent_ = sources
    channels, height, width = task.channels, task.height, task.width
    nodes, typed = task.plane, er_child_[0] != 0
    children, parents, _ = places(king_, child_, parent_)
    numbers = constants(slope)
    zero = numbers.zero
    bias_, base_, y_ = last_
    least = zero if typed else numbers.nowhere
    e = pointer(task.scratch, slope)
    a = ahead(e, TAPS * SIMD)
    for index in range(task.first, task.last):
        b, head, first, last = piece(task, index)
        king = planes_of(king_, 9, b, head, channels, slope, size)
        child = planes_of(child_, 4, b, head, channels, slope, size)
        parent = planes_of(parent_, 1, b, head, channels, slope, size)
        er = pointer(er_[0] + size * (b * er_[1] + head * nodes), slope)
        er_child = pointer(er_child_[0] + size * (b * er_child_[1] + head * nodes), slope)
        own = pointer(own_[0] + size * (b * own_[1] + head * channels * nodes), slope)
        h = pointer(out_[0] + size * (b * out_[1] + head * channels * out_[2]), slope)
        bias = pointer(bias_ + size * head * channels, slope)
        base = pointer(base_[0] + size * (b * base_[1] + head * channels * nodes), slope)
        alone = pointer(y_[0] + size * (b * y_[1] + head * channels * nodes), slope)
        for y in range(first, last):
            rows9, rows4 = three_rows(y, height, width), two_rows(y, child.height, child.width)
            for x in range(0, width, SIMD):
                columns, halves = three_columns(x, width), two_halves(2 * x, child.width)
                here = y * width + x
                er_i = er_typed = load(er, here, columns.same, zero)
                if typed and child.height:
                    er_typed = load(er_child, here, columns.same, zero)
                planes, ers = (king, child, parent), (er_i, er_typed)
                weights(a, SIMD, e, planes, ers, typed, y, x, columns.same, numbers)
                w9 = get_nine(a, SIMD)
                w4 = get_four(ahead(a, children * SIMD), SIMD)
                w1 = get(a, parents * SIMD)
                above = (y >> 1) * parent.width + (x >> 1)
                mask1 = inside(x >> 1, parent.width)
                for c in range(channels):
                    h_i = zero
                    if king.height:
                        z = ahead(king.z, c * nodes + x)
                        h_i = h_i + dot_nine(w9, nine(z, rows9, columns, zero))
                    if own_[0]:
                        h_i = h_i + load(own, c * nodes + here, columns.same, zero)
                    if child.height:
                        z = ahead(child.z, c * child.plane + 2 * x)
                        h_i = h_i + dot_four(w4, four(z, rows4, halves, zero))
                    if parent.height:
                        z = ahead(parent.z, c * parent.plane)
                        h_i = h_i + w1 * both(z, above, mask1, zero)
                    at = c * out_[2] + here
                    write(h, at, columns.same, columns.whole, maximum(least, h_i))
                for c in range(channels if bias_ else 0):
                    at = c * out_[2] + here
                    h_i = maximum(zero, load(h, at, columns.same, zero) + repeat(bias, c))
                    if y_[0]:
                        write(alone, c * nodes + here, columns.same, columns.whole, h_i)
                    if base_[0]:
                        h_i = h_i + load(base, c * nodes + here, columns.same, zero)
                    write(h, at, columns.same, columns.whole, h_i)
