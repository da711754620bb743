"""Gradients of :mod:`ngat.attention.cpu_sweep`, block by block of rows.

    g = W_outᵀ d where y > 0                              d = ∂L/∂h, g = ∂L/∂self    (``maps``)
    ∂L/∂z, ∂L/∂el, ∂L/∂er, ∂L/∂t                          of every softmax       (``backward``)
    Σ_i d yᵀ, Σ_i ∂L/∂P xᵀ                                the maps' weights         (``outer``)
    ∂L/∂x = d + (W s)ᵀ ∂L/∂P                              what is known of it        (``maps``)

The maps are made anew, which costs less than to keep them, and ∂L/∂P never leaves its window. What
the normalisation adds to ∂L/∂x needs sums over all nodes; ``settle`` does so when they are known.

Numba knows the code it keeps on disk to be stale by this file alone, and kernels of other files
are compiled into it: after a change to any of them, delete ``__pycache__/*.nb?``.
"""

from __future__ import annotations

from typing import NamedTuple

from numba import njit

from ngat.attention.cpu_backward import backward
from ngat.attention.cpu_lanes import LANES, inside, load, pointer, splat, store
from ngat.attention.cpu_products import Operand, maps, outer
from ngat.attention.cpu_typed import gather
from ngat.attention.cpu_windows import (
    combine,
    hear,
    jit,
    part,
    rows_of,
    scores,
    shape_of,
    slide,
    sources,
    task_of,
)


class Back(NamedTuple):
    """Where a level's gradients go, one of the three that may be heard.

    Attributes:
        window: of ∂L/∂P.
        w: (W s)ᵀ, ``[B, depth, rows]``.
        x: ∂L/∂x. base: what is added to it.
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
    """The last map: d, y, W_outᵀ, the window of g, and what becomes of the sums (:class:`Back`)."""

    d: Operand
    y: Operand
    w: Operand
    g: int
    rows: int
    sums: int
    scratch: int
    seen: Operand


@jit
def finish(level, back, plane_x, b, first, last, row, scratch, like, size):  # type: ignore[no-untyped-def]
    """Sums and ∂L/∂x of rows ``first`` to before ``last``, which begin at the window's ``row``."""
    nodes = (last - first) * level.width
    no = 0 * nodes
    nowhere = Operand(no, no, no)
    d = Operand(back.window + size * row * level.width, no, level.plane)
    x = part(level, Operand(level.x, level.x_step, plane_x), b, first, size)
    sums = back.sums + 8 * b * level.rows * (level.depth + 1)
    outer(shape_of(level.rows, level.depth, nodes, back.scratch, no), d, x, sums, like, size)
    maps(
        shape_of(level.depth, level.rows, nodes, scratch, no),
        Operand(back.w.address + size * b * back.w.step, no, no),
        nowhere,
        d,
        part(level, back.base, b, first, size),
        nowhere,
        nowhere,
        nowhere,
        part(level, back.x, b, first, size),
        no,
        like,
        size,
    )


@njit(nogil=True, cache=True, error_model="numpy")
def sweep_back(  # type: ignore[no-untyped-def]
    plan, king, child, parent, moves, out, d_king, d_child, d_parent, silent, slope, size
):
    """Gradients of the module's formula; ``silent`` are sources that nobody hears."""
    no = 0 * size
    nowhere = Operand(no, no, no)
    channels, width = plan.channels, plan.width
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
            slide(king.window, king.plane, king.rows, by, (ready - top) * width, slope, size)
            slide(out.g, king.plane, channels, by, (ready_g - top) * width, slope, size)
        hear(plan, king, child, parent, moves, rows, ready, rows.bottom, slope, size)
        bottom_g = min(plan.height, last + 1)
        maps(
            shape_of(channels, out.rows, (bottom_g - ready_g) * width, plan.scratch, no),
            out.w,
            nowhere,
            part(king, out.d, b, ready_g, size),
            nowhere,
            nowhere,
            nowhere,
            part(king, out.y, b, ready_g, size),
            Operand(out.g + size * (ready_g - top) * width, no, king.plane),
            no,
            slope,
            size,
        )
        ready, ready_g, before = rows.bottom, bottom_g, top
        d = part(king, out.d, b, first, size)
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
            sources(plan, king, king.window, plan.itself, no, plan.height - top, size),
            silent,
            silent,
            scores(plan, king, king.window, plan.itself, no, 1, size).address,
            no,
            out.g,
            no,
            sources(plan, king, d_king.window, plan.itself, no, plan.height - top, size),
            silent,
            silent,
            d_er.address,
            no,
            no,
            d_king.t,
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
                silent,
                sources(plan, child, child.window, no, 2 * down, height, size),
                silent,
                scores(plan, king, king.window, plan.itself, no, 2, size).address,
                no,
                out.g,
                no,
                silent,
                sources(plan, child, d_child.window, no, 2 * down, height, size),
                silent,
                scores(plan, king, d_king.window, plan.itself, no, 2, size).address,
                no,
                no,
                d_child.t,
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
            plane = child.height * child.width
            finish(child, d_child, plane, b, start, end, no, plan.scratch, slope, size)
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
            plane, end = parent.height * parent.width, (last + 1) // 2
            finish(parent, d_parent, plane, b, first // 2, end, no, plan.scratch, slope, size)
        finish(king, d_king, plan.height * width, b, first, last, down, plan.scratch, slope, size)


@njit(nogil=True, cache=True, error_model="numpy")
def settle(first, last, channels, nodes, d_, x_, factor_, shift_, like, size):  # type: ignore[no-untyped-def]
    """∂L/∂x ← ∂L/∂x + factor x + shift for planes numbered through all pictures."""
    zero = splat(0.0, like)
    factors, shifts = pointer(factor_, like), pointer(shift_, like)
    for n in range(first, last):
        b, c = n // channels, n % channels
        d = pointer(d_.address + size * (b * d_.step + c * d_.plane), like)
        x = pointer(x_.address + size * (b * x_.step + c * x_.plane), like)
        factor, shift = splat(factors[n], like), splat(shifts[n], like)
        for i in range(0, nodes, LANES):
            mask = inside(i, nodes)
            store(d, i, mask, load(d, i, mask, zero) + factor * load(x, i, mask, zero) + shift)
