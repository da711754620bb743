"""The typed update, block by block of rows, in one call (:mod:`ngat.engines.cpu.fused`).

    P = W x + c                                              into windows (``map_windows``)
    y_i = ReLU(self_i + Σ_king α z_j + Σ_children α z_j + z_parent)          (``typed``)
    h_i = base_i + W_out y_i + b_out                                          (``maps``)

Each step is a kernel of its own; ``sweep`` lets them take turns, so that what one writes, the next
finds in the cache. The windows are described in :mod:`ngat.engines.cpu.windows`. King and children
each have their own softmax; a lone parent's weight is one. How the taps work is in
:mod:`ngat.engines.cpu.kernels`.
"""

from __future__ import annotations

from typing import NamedTuple

from ngat.engines.cpu.compile import kernel
from ngat.engines.cpu.kernels import (
    TAPS,
    child_scores,
    constants,
    king_scores,
    piece,
    softmax,
)
from ngat.engines.cpu.products import Operand, maps
from ngat.engines.cpu.simd import (
    SIMD,
    ahead,
    evens,
    inside,
    load,
    maximum,
    odds,
    pointer,
    splat,
    where,
)
from ngat.engines.cpu.taps import (
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
from ngat.engines.cpu.windows import (
    map_windows,
    part,
    rows_of,
    scores,
    shape_of,
    slide,
    sources,
    task_of,
)


@kernel
def typed(task, sources, er_, seen_, own_, y_, y_plane, slope, size):  # type: ignore[no-untyped-def]
    """y of the module's formula, ``[B, heads · D, height, width]``.

    ``sources`` are king, child and parent, of which z alone is read. Addresses with the step from
    picture to picture: ``er_`` and ``seen_`` of er of king and of children, ``own_`` of self or 0,
    ``y_`` of y, whose planes lie ``y_plane`` apart.
    """
    king_, child_, parent_ = sources
    channels, height, width = task.channels, task.height, task.width
    nodes = task.plane
    numbers = constants(slope)
    zero = numbers.zero
    e = pointer(task.scratch, slope)
    a = ahead(e, TAPS * SIMD)
    for index in range(task.first, task.last):
        b, head, first, last = piece(task, index)
        king = planes_of(king_, 9, b, head, channels, slope, size)
        child = planes_of(child_, 4, b, head, channels, slope, size)
        parent = planes_of(parent_, 1, b, head, channels, slope, size)
        er = pointer(er_[0] + size * (b * er_[1] + head * nodes), slope)
        seen = pointer(seen_[0] + size * (b * seen_[1] + head * nodes), slope)
        own = pointer(own_[0] + size * (b * own_[1] + head * channels * nodes), slope)
        y = pointer(y_[0] + size * (b * y_[1] + head * channels * y_plane), slope)
        for row in range(first, last):
            rows9, rows4 = three_rows(row, height, width), two_rows(row, child.height, child.width)
            for x in range(0, width, SIMD):
                columns, halves = three_columns(x, width), two_halves(2 * x, child.width)
                here = row * width + x
                er_i = load(er, here, columns.same, zero)
                lowest = where(columns.same, numbers.nowhere, numbers.lowest)
                top = king_scores(e, SIMD, king, er_i, row, x, lowest, numbers)
                softmax(a, SIMD, e, 9, top, numbers)
                w9 = get_nine(a, SIMD)
                if child.height:
                    er_i = load(seen, here, columns.same, zero)
                    top = child_scores(e, SIMD, child, er_i, row, x, lowest, numbers)
                    softmax(a, SIMD, e, 4, top, numbers)
                w4 = get_four(a, SIMD)
                above = (row >> 1) * parent.width + (x >> 1)
                mask1 = inside(x >> 1, parent.width)
                for c in range(channels):
                    sum_ = dot_nine(w9, nine(ahead(king.z, c * nodes + x), rows9, columns, zero))
                    if own_[0]:
                        sum_ = sum_ + load(own, c * nodes + here, columns.same, zero)
                    if child.height:
                        z = ahead(child.z, c * child.plane + 2 * x)
                        sum_ = sum_ + dot_four(w4, four(z, rows4, halves, zero))
                    if parent.height:
                        z = ahead(parent.z, c * parent.plane)
                        sum_ = sum_ + both(z, above, mask1, zero)
                    at = c * y_plane + here
                    write(y, at, columns.same, columns.whole, maximum(zero, sum_))


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


class Last(NamedTuple):
    """The last map: y of ``[B, channels, …]``, the weights, what it adds to, and where it goes.

    Where y is not kept, its address is that of a window, and its step 0.
    """

    y: Operand
    w: Operand
    c: Operand
    base: Operand
    h: Operand
    rows: int


@kernel
def sweep(plan, king, child, parent, moves, last, sums_, slope, size):  # type: ignore[no-untyped-def]
    """``h`` of the module's formula; its moments are added to ``[B, rows, 2]`` at ``sums_``."""
    no = 0 * size
    nowhere = Operand(no, no, no)
    ready, before = no, -1 + no
    for n in range(plan.first, plan.last):
        rows = rows_of(plan, n)
        b, top = rows.b, rows.top
        bottom = min(plan.height, rows.last + 1)
        if n == plan.first or rows.first == 0:
            ready = max(no, rows.first - 1)
        else:
            count = (ready - top) * plan.width
            slide(
                king.window, king.plane, king.rows, (top - before) * plan.width, count, slope, size
            )
        map_windows(plan, king, child, parent, moves, rows, ready, bottom, slope, size)
        ready, before = bottom, top

        task = task_of(plan, king.plane, rows, no)
        er = scores(plan, king, king.window, plan.itself, no, 1, size)
        seen = scores(plan, king, king.window, plan.itself, no, 2, size)
        down, nodes = rows.first - top, (rows.last - rows.first) * plan.width
        child_height = max(no, child.height - 2 * top)
        parent_height = max(no, parent.height - top // 2)
        y = part(king, last.y, b, rows.first, size) if last.y.step else last.y
        typed(
            task,
            (
                sources(plan, king, king.window, plan.itself, no, plan.height - top, size),
                sources(plan, child, child.window, no, 2 * down, child_height, size),
                sources(plan, parent, parent.window, no, down // 2, parent_height, size),
            ),
            (er.address, no),
            (seen.address, no),
            (king.window * plan.itself, no),
            (y.address - size * down * plan.width, no),
            y.plane,
            slope,
            size,
        )
        maps(
            shape_of(last.rows, plan.channels, nodes, plan.scratch, plan.partial),
            last.w,
            last.c,
            Operand(y.address, no, y.plane),
            part(king, last.base, b, rows.first, size),
            nowhere,
            nowhere,
            nowhere,
            part(king, last.h, b, rows.first, size),
            sums_ + 16 * last.rows * b,
            slope,
            size,
        )
