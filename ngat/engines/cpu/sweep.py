"""The typed update, block by block of rows, in one call (:mod:`ngat.engines.cpu.fused`).

    P = W x + c                                              into windows (``map_windows``)
    y_i = ReLU(self_i + Σ_king α z_j + Σ_children α z_j + z_parent)        (``forward``)
    h_i = base_i + W_out y_i + b_out                                          (``maps``)

Each step is a kernel of its own; ``sweep`` lets them take turns, so that what one writes, the next
finds in the cache. The windows are described in :mod:`ngat.engines.cpu.windows`.
"""

from __future__ import annotations

from typing import NamedTuple

from ngat.engines.cpu.compile import kernel
from ngat.engines.cpu.kernels import forward
from ngat.engines.cpu.products import Operand, Operands, maps
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
def sweep(plan, levels, moves, last, sums_, slope, size):  # type: ignore[no-untyped-def]
    """``h`` of the module's formula; its moments are added to ``[B, rows, 2]`` at ``sums_``.

    ``levels`` are king, child and parent.
    """
    king, child, parent = levels
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
        map_windows(plan, levels, moves, rows, ready, bottom, no, slope, size)
        ready, before = bottom, top

        task = task_of(plan, king.plane, rows, no)
        er = scores(plan, king, king.window, plan.itself, no, 1, size)
        seen = scores(plan, king, king.window, plan.itself, no, 2, size)
        down, nodes = rows.first - top, (rows.last - rows.first) * plan.width
        child_height = max(no, child.height - 2 * top)
        parent_height = max(no, parent.height - top // 2)
        y = part(king, last.y, b, rows.first, size) if last.y.step else last.y
        forward(
            task,
            (
                sources(plan, king, king.window, plan.itself, no, plan.height - top, size),
                sources(plan, child, child.window, no, 2 * down, child_height, size),
                sources(plan, parent, parent.window, no, down // 2, parent_height, size),
            ),
            (er.address, no),
            (seen.address, no),
            (king.window * plan.itself, no),
            (y.address - size * down * plan.width, no, y.plane),
            (no, (no, no), (no, no)),
            slope,
            size,
        )
        maps(
            shape_of(last.rows, plan.channels, nodes, plan.scratch, plan.partial),
            Operands(
                w=last.w,
                c=last.c,
                x=Operand(y.address, no, y.plane),
                base=part(king, last.base, b, rows.first, size),
                k=nowhere,
                more=nowhere,
                gate=nowhere,
                out=part(king, last.h, b, rows.first, size),
            ),
            sums_ + 16 * last.rows * b,
            slope,
            size,
        )
