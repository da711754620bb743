"""Windows on levels: a few rows of what a block of rows attends to, in a core's own cache.

The maps of a level have more channels than the level, and attention reads what they wrote at once.
They are therefore made block by block of rows, into windows that are written again and again, and
none of them ever reaches memory. A block's nodes attend to one row beyond the block, and in the
backward pass those attend to one further:

    window of the level itself    rows first − 2 … last + 2, as far as there are any
    of its children, its parents  those of rows first … last alone

``first`` is even, so that parents' rows belong to one block, and so are two rows above it.
"""

from __future__ import annotations

from typing import NamedTuple

from ngat.engines.cpu.compile import inlined
from ngat.engines.cpu.kernels import Task
from ngat.engines.cpu.products import STRIP, Operand, Operands, Shape, maps
from ngat.engines.cpu.simd import SIMD, inside, load, pointer, splat
from ngat.engines.cpu.taps import Sources, write

HALO = 2  # rows of the level itself above a block, and below


class WindowPlan(NamedTuple):
    """What a call covers: blocks of rows, numbered through all pictures, and where it may write.

    Attributes:
        channels: of z, all heads together.
        itself: 1 if the first of the level's maps is self, else 0.
        height, width: of the level.
        block: rows of a block.
        first, last: blocks to be done, from … to before ….
        scratch: of maps.
        partial: of moments, and ring, ring_step: of attention. Both are zero at first.
    """

    heads: int
    channels: int
    itself: int
    height: int
    width: int
    block: int
    first: int
    last: int
    scratch: int
    partial: int
    ring: int
    ring_step: int


class Level(NamedTuple):
    """A level that is attended to, its maps, and their window; all 0 where there is none.

    Attributes:
        x: address of ``[B, depth, height, width]``.
        w, c: those of the maps' weights and of what is added, with steps from picture to picture.
        window: address of planes ``plane`` apart.
        t: that of the taps.
    """

    x: int
    x_step: int
    height: int
    width: int
    w: int
    w_step: int
    c: int
    c_step: int
    rows: int
    depth: int
    window: int
    plane: int
    t: int


class WindowRows(NamedTuple):
    """A block: its picture, its rows, and those of the level's window."""

    b: int
    first: int
    last: int
    top: int
    bottom: int


@inlined
def rows_of(plan, n):  # type: ignore[no-untyped-def]
    """Block number n of all pictures."""
    blocks = (plan.height + plan.block - 1) // plan.block
    first = n % blocks * plan.block
    last = min(plan.height, first + plan.block)
    return WindowRows(n // blocks, first, last, max(0, first - HALO), min(plan.height, last + HALO))


@inlined
def task_of(plan, plane, rows, zero):  # type: ignore[no-untyped-def]
    """All heads on the rows of a block, counted from the window's top."""
    return Task(
        plan.heads,
        plan.channels // plan.heads,
        plan.height - rows.top,
        plan.width,
        1 + zero,
        plane,
        rows.first - rows.top,
        rows.last - rows.top,
        zero,
        plan.heads,
        plan.ring,
        plan.ring_step,
    )


@inlined
def part(level, operand, b, row, size):  # type: ignore[no-untyped-def]
    """Planes of a picture of the level from ``row`` on; nothing where there is nothing."""
    ahead = size * (b * operand.step + row * level.width)
    return Operand(operand.address + (ahead if operand.address else 0), 0 * b, operand.plane)


@inlined
def shape_of(rows, depth, nodes, scratch, partial):  # type: ignore[no-untyped-def]
    """All strips of so many nodes."""
    return Shape(rows, depth, nodes, 0 * nodes, (nodes + STRIP - 1) // STRIP, scratch, partial)


@inlined
def fill(level, skip, b, first, last, top, scratch, like, size):  # type: ignore[no-untyped-def]
    """Maps of rows ``first`` to before ``last`` into the window, which begins with row ``top``.

    The first ``skip`` maps are left out.
    """
    nodes = (last - first) * level.width
    no = 0 * nodes
    nowhere = Operand(no, no, no)
    x = Operand(level.x, level.x_step, level.height * level.width)
    out = window_from(level, skip, (first - top) * level.width, size)
    maps(
        shape_of(level.rows - skip, level.depth, nodes, scratch, no),
        Operands(
            w=Operand(level.w + size * (b * level.w_step + skip * level.depth), no, no),
            c=Operand(level.c + size * (b * level.c_step + skip), no, no),
            x=part(level, x, b, first, size),
            base=nowhere,
            k=nowhere,
            more=nowhere,
            gate=nowhere,
            out=Operand(out, no, level.plane),
        ),
        no,
        like,
        size,
    )


@inlined
def window_from(level, plane, node, size):  # type: ignore[no-untyped-def]
    """Address of a node in a plane of the window."""
    return level.window + size * (plane * level.plane + node)


@inlined
def slide(window, plane, planes, by, count, like, size):  # type: ignore[no-untyped-def]
    """Copy ``count`` nodes of all planes to the window's top, from ``by`` nodes further down."""
    zero = splat(0.0, like)
    for n in range(planes if by > 0 else 0):
        p = pointer(window + size * n * plane, like)
        for i in range(0, count, SIMD):
            mask = inside(i, count)
            write(p, i, mask, i + SIMD <= count, load(p, by + i, mask, zero))


@inlined
def combine(to, a, b, sign, planes, count, like, size):  # type: ignore[no-untyped-def]
    """``to`` = a + sign · b for ``count`` nodes of some planes; what has the address 0 is zero."""
    zero, factor = splat(0.0, like), splat(sign, like)
    for n in range(planes):
        p = pointer(to.address + size * n * to.plane, like)
        p_a = pointer(a.address + size * n * a.plane, like)
        p_b = pointer(b.address + size * n * b.plane, like)
        for i in range(0, count, SIMD):
            mask = inside(i, count)
            left = load(p_a, i, mask, zero) if a.address else zero
            right = load(p_b, i, mask, zero) if b.address else zero
            write(p, i, mask, i + SIMD <= count, left + factor * right)


@inlined
def scores(plan, level, window, itself, row, number, size):  # type: ignore[no-untyped-def]
    """What follows z in a window, from ``row`` on: el, then er of king and of children."""
    plane = (1 + itself) * plan.channels + number * plan.heads
    return Operand(window + size * (plane * level.plane + row * level.width), 0 * row, level.plane)


@inlined
def map_windows(plan, levels, moves, rows, ready, bottom, skip, like, size):  # type: ignore[no-untyped-def]
    """All windows for a block; those of the level itself from row ``ready`` to before ``bottom``.

    The first ``skip`` of the level's own maps are left out.
    ``levels`` are king, child and parent. ``moves`` join el and er: b·ζ of the level as the king
    sees it, of its children, and of the level as its children see it.
    """
    king, child, parent = levels
    here, source, seen = moves
    b, scratch = rows.b, plan.scratch
    fill(king, skip, b, ready, bottom, rows.top, scratch, like, size)
    row, count = ready - rows.top, (bottom - ready) * plan.width
    el, er, er_seen = (
        scores(plan, king, king.window, plan.itself, row, 0, size),
        scores(plan, king, king.window, plan.itself, row, 1, size),
        scores(plan, king, king.window, plan.itself, row, 2, size),
    )
    if here.address:
        move = part(king, here, b, ready, size)
        combine(el, el, move, 1.0, plan.heads, count, like, size)
        combine(er, er, move, -1.0, plan.heads, count, like, size)
    if seen.address:
        move = part(king, seen, b, ready, size)
        combine(er_seen, er_seen, move, -1.0, plan.heads, count, like, size)
    if child.height:
        top, end = 2 * rows.first, min(child.height, 2 * rows.last)
        fill(child, 0 * b, b, top, end, top, scratch, like, size)
        if source.address:
            el = scores(plan, child, child.window, 0 * b, 0 * b, 0, size)
            move = part(child, source, b, top, size)
            combine(el, el, move, 1.0, plan.heads, (end - top) * child.width, like, size)
    if parent.height:
        top, end = rows.first // 2, (rows.last + 1) // 2
        fill(parent, 0 * b, b, top, end, top, scratch, like, size)


@inlined
def sources(plan, level, window, itself, row, height, size):  # type: ignore[no-untyped-def]
    """A window's z and el as kernels see them, when ``row`` of theirs is its first.

    ``height`` counts the level's rows from the kernels' row 0 on; 0 where it is absent.
    """
    z = window + size * (itself * plan.channels * level.plane - row * level.width)
    el = z + size * plan.channels * level.plane
    no = 0 * row
    return Sources(z, no, el, no, level.t, height, level.width, level.plane)
