"""Gradients of :mod:`ngat.engines.cpu.sweep`, block by block of rows.

    d = ∂L/∂h + factor h + shift                          what reached h's moments   (``maps``)
    g = W_outᵀ d where y > 0                              g = ∂L/∂self               (``maps``)
    ∂L/∂z, ∂L/∂el, ∂L/∂er, ∂L/∂t                          of every softmax       (``backward``)
    Σ_i d yᵀ, Σ_i ∂L/∂P xᵀ                                the maps' weights         (``outer``)
    ∂L/∂x = base + (W s)ᵀ ∂L/∂P                           base = d for residuals     (``maps``)

The maps but for self are made anew, which costs less than to keep them, and neither d nor ∂L/∂P
ever leaves its window. What the normalisation of x adds to ∂L/∂x needs sums over all nodes: it is
left to whoever made x, as something that reached x's moments.
"""

from __future__ import annotations

from typing import NamedTuple

from ngat.engines.cpu.backward import backward
from ngat.engines.cpu.compile import inlined, kernel
from ngat.engines.cpu.products import Operand, Operands, maps, outer
from ngat.engines.cpu.simd import SIMD, evens, inside, load, odds, pointer, splat
from ngat.engines.cpu.taps import Sources, two_halves, write
from ngat.engines.cpu.windows import (
    combine,
    map_windows,
    part,
    rows_of,
    scores,
    shape_of,
    slide,
    sources,
    task_of,
    window_from,
)


class Back(NamedTuple):
    """Where a level's gradients go, one of the three.

    Attributes:
        window: of ∂L/∂P.
        w: (W s)ᵀ, ``[B, depth, rows]``.
        x: ∂L/∂x. base: what is added to it, of children and parents.
        move: ∂L/∂(b·ζ) of the first move that joins its scores; nothing where there is none.
        sums: Σ_i ∂L/∂P (x, 1)ᵀ, ``[B, rows, depth + 1]`` in float64.
        t: ∂L/∂t, ``[heads, 14]`` in float64.
        scratch: of ``outer``.
    """

    window: int
    w: Operand
    x: Operand
    base: Operand
    move: Operand
    sums: int
    t: int
    scratch: int


class LastBack(NamedTuple):
    """The last map.

    Attributes:
        d: ∂L/∂h as it arrives; h, factor and shift: what is to be added (nothing where there is
            nothing); settled: the window of their sum.
        y, w: y and W_outᵀ. g: window of g.
        sums, scratch: as in :class:`Back`.
        seen: ∂L/∂(b·ζ) as the children see it.
        residual: whether d is part of the level's own ∂L/∂x.
    """

    d: Operand
    h: Operand
    factor: Operand
    shift: Operand
    settled: int
    y: Operand
    w: Operand
    g: int
    rows: int
    sums: int
    scratch: int
    seen: Operand
    residual: int


@inlined
def finish(level, back, base, b, first, last, row, scratch, like, size):  # type: ignore[no-untyped-def]
    """Sums and ∂L/∂x of rows ``first`` to before ``last``, which begin at the window's ``row``."""
    nodes = (last - first) * level.width
    no = 0 * nodes
    nowhere = Operand(no, no, no)
    d = Operand(back.window + size * row * level.width, no, level.plane)
    x = part(level, Operand(level.x, level.x_step, level.height * level.width), b, first, size)
    sums = back.sums + 8 * b * level.rows * (level.depth + 1)
    outer(shape_of(level.rows, level.depth, nodes, back.scratch, no), d, x, sums, like, size)
    maps(
        shape_of(level.depth, level.rows, nodes, scratch, no),
        Operands(
            w=Operand(back.w.address + size * b * back.w.step, no, no),
            c=nowhere,
            x=d,
            base=base,
            k=nowhere,
            more=nowhere,
            gate=nowhere,
            out=part(level, back.x, b, first, size),
        ),
        no,
        like,
        size,
    )


@kernel
def gather(channels, height, width, g_, g_plane, out_, out_plane, like, size):  # type: ignore[no-untyped-def]
    """Sums of a parent's children, g ``[C, height, width]``, into ``out``, at half the size."""
    zero = splat(0.0, like)
    rows, columns = (height + 1) // 2, (width + 1) // 2
    for c in range(channels):
        g = pointer(g_ + size * c * g_plane, like)
        out = pointer(out_ + size * c * out_plane, like)
        for row in range(rows):
            for x in range(0, columns, SIMD):
                halves = two_halves(2 * x, width)
                sum_ = zero
                for v in range(2 * row, min(height, 2 * row + 2)):
                    at = v * width + 2 * x
                    left, right = (
                        load(g, at, halves.low, zero),
                        load(g, at + SIMD, halves.high, zero),
                    )
                    sum_ = sum_ + evens(left, right) + odds(left, right)
                write(out, row * columns + x, inside(x, columns), x + SIMD <= columns, sum_)


@kernel
def sweep_back(plan, levels, moves, out, backs, slope, size):  # type: ignore[no-untyped-def]
    """Gradients of the module's formula; ``levels`` and ``backs`` are of king, child and parent."""
    king, child, parent = levels
    d_king, d_child, d_parent = backs
    no = 0 * size
    nowhere = Operand(no, no, no)
    absent = Sources(no, no, no, no, no, no, no, no)
    channels, width = plan.channels, plan.width
    skip = plan.itself * channels  # of self, y says all that is asked for
    ready = ready_g = no
    before = no
    for n in range(plan.first, plan.last):
        rows = rows_of(plan, n)
        b, first, last, top = rows.b, rows.first, rows.last, rows.top
        down, nodes = first - top, (last - first) * width
        if n == plan.first or first == 0:
            ready, ready_g = top, max(no, first - 1)
        else:
            by = (top - before) * width
            window, count = window_from(king, skip, no, size), (ready - top) * width
            slide(window, king.plane, king.rows - skip, by, count, slope, size)
            slide(out.g, king.plane, channels, by, (ready_g - top) * width, slope, size)
            slide(out.settled, king.plane, out.rows, by, (ready_g - top) * width, slope, size)
        map_windows(plan, levels, moves, rows, ready, rows.bottom, skip, slope, size)
        bottom_g = min(plan.height, last + 1)
        settled = Operand(out.settled + size * (ready_g - top) * width, no, king.plane)
        maps(
            shape_of(out.rows, no, (bottom_g - ready_g) * width, plan.scratch, no),
            Operands(
                w=nowhere,
                c=Operand(out.shift.address + size * b * out.shift.step, no, no),
                x=nowhere,
                base=part(king, out.d, b, ready_g, size),
                k=Operand(out.factor.address + size * b * out.factor.step, no, no),
                more=part(king, out.h, b, ready_g, size),
                gate=nowhere,
                out=settled,
            ),
            no,
            slope,
            size,
        )
        maps(
            shape_of(channels, out.rows, (bottom_g - ready_g) * width, plan.scratch, no),
            Operands(
                w=out.w,
                c=nowhere,
                x=settled,
                base=nowhere,
                k=nowhere,
                more=nowhere,
                gate=part(king, out.y, b, ready_g, size),
                out=Operand(out.g + size * (ready_g - top) * width, no, king.plane),
            ),
            no,
            slope,
            size,
        )
        ready, ready_g, before = rows.bottom, bottom_g, top
        d = Operand(out.settled + size * down * width, no, king.plane)
        sums = out.sums + 8 * b * out.rows * (channels + 1)
        outer(
            shape_of(out.rows, channels, nodes, out.scratch, no),
            d,
            part(king, out.y, b, first, size),
            sums,
            slope,
            size,
        )

        task = task_of(plan, king.plane, rows, no)
        d_er = scores(plan, king, d_king.window, plan.itself, no, 1, size)
        backward(
            task,
            (
                sources(plan, king, king.window, plan.itself, no, plan.height - top, size),
                absent,
                absent,
            ),
            (scores(plan, king, king.window, plan.itself, no, 1, size).address, no),
            (out.g, no),
            (
                sources(plan, king, d_king.window, plan.itself, no, plan.height - top, size),
                absent,
                absent,
            ),
            (d_er.address, no),
            d_king.t,
            (no, no),
            slope,
            size,
        )
        if d_king.move.address:
            to = part(king, d_king.move, b, first, size)
            d_el = scores(plan, king, d_king.window, plan.itself, down, 0, size)
            d_er = scores(plan, king, d_king.window, plan.itself, down, 1, size)
            combine(to, d_el, d_er, -1.0, plan.heads, nodes, slope, size)
        if child.height:
            height = child.height - 2 * top
            backward(
                task,
                (absent, sources(plan, child, child.window, no, 2 * down, height, size), absent),
                (scores(plan, king, king.window, plan.itself, no, 2, size).address, no),
                (out.g, no),
                (absent, sources(plan, child, d_child.window, no, 2 * down, height, size), absent),
                (scores(plan, king, d_king.window, plan.itself, no, 2, size).address, no),
                d_child.t,
                (no, no),
                slope,
                size,
            )
            start, end = 2 * first, min(child.height, 2 * last)
            if d_child.move.address:
                to = part(child, d_child.move, b, start, size)
                d_el = scores(plan, child, d_child.window, no, no, 0, size)
                combine(
                    to, d_el, nowhere, 1.0, plan.heads, (end - start) * child.width, slope, size
                )
            if out.seen.address:
                to = part(king, out.seen, b, first, size)
                d_er = scores(plan, king, d_king.window, plan.itself, down, 2, size)
                combine(to, nowhere, d_er, -1.0, plan.heads, nodes, slope, size)
            base = part(child, d_child.base, b, start, size)
            finish(child, d_child, base, b, start, end, no, plan.scratch, slope, size)
        if parent.height:
            g = out.g + size * down * width
            gather(
                channels,
                last - first,
                width,
                g,
                king.plane,
                d_parent.window,
                parent.plane,
                slope,
                size,
            )
            end = (last + 1) // 2
            base = part(parent, d_parent.base, b, first // 2, size)
            finish(parent, d_parent, base, b, first // 2, end, no, plan.scratch, slope, size)
        base = d if out.residual else nowhere
        finish(king, d_king, base, b, first, last, down, plan.scratch, slope, size)
