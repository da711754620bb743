"""The typed update's sum in one pass (:mod:`ngat.engines.cpu.fused`), and a parent's gradient.

    y_i = ReLU(self_i + Σ_king α z_j + Σ_children α z_j + z_parent)

King and children each have their own softmax; a lone parent's weight is one. How the taps work is
in :mod:`ngat.engines.cpu.kernels`.
"""

from __future__ import annotations

from numba import njit

from ngat.engines.cpu.kernels import TAPS, constants, piece, softmax
from ngat.engines.cpu.simd import (
    LANES,
    ahead,
    evens,
    inside,
    load,
    maximum,
    odds,
    pointer,
    splat,
    store,
)
from ngat.engines.cpu.taps import (
    both,
    child_scores,
    dot_four,
    dot_nine,
    four,
    get_four,
    get_nine,
    king_scores,
    nine,
    planes_of,
    three_columns,
    three_rows,
    two_halves,
    two_rows,
)


@njit(nogil=True, cache=True, error_model="numpy")
def typed(  # type: ignore[no-untyped-def]
    task,
    king_,
    child_,
    parent_,
    er_,
    er_step,
    seen_,
    seen_step,
    own_,
    own_step,
    y_,
    y_step,
    y_plane,
    slope,
    size,
):
    """y of the module's formula, ``[B, heads · D, height, width]``.

    ``er_`` and ``seen_`` are the addresses of er of king and of children, ``own_`` that of self or
    0, ``parent_`` sources whose z alone is read; planes of y lie ``y_plane`` apart.
    """
    channels, height, width = task.channels, task.height, task.width
    nodes = task.plane
    numbers = constants(slope)
    zero = numbers.zero
    e = pointer(task.scratch, slope)
    a = ahead(e, TAPS * LANES)
    for index in range(task.first, task.last):
        b, head, first, last = piece(task, index)
        king = planes_of(king_, 9, b, head, channels, slope, size)
        child = planes_of(child_, 4, b, head, channels, slope, size)
        parent = planes_of(parent_, 1, b, head, channels, slope, size)
        er = pointer(er_ + size * (b * er_step + head * nodes), slope)
        seen = pointer(seen_ + size * (b * seen_step + head * nodes), slope)
        own = pointer(own_ + size * (b * own_step + head * channels * nodes), slope)
        y = pointer(y_ + size * (b * y_step + head * channels * y_plane), slope)
        for row in range(first, last):
            rows9, rows4 = three_rows(row, height, width), two_rows(row, child.height, child.width)
            for x in range(0, width, LANES):
                masks, masks4 = three_columns(x, width), two_halves(2 * x, child.width)
                here = row * width + x
                er_i = load(er, here, masks[1], zero)
                top = king_scores(e, LANES, king, er_i, row, x, numbers.lowest, numbers)
                softmax(a, LANES, e, 9, top, numbers)
                w9 = get_nine(a, LANES)
                if child.height:
                    er_i = load(seen, here, masks[1], zero)
                    top = child_scores(e, LANES, child, er_i, row, x, numbers.lowest, numbers)
                    softmax(a, LANES, e, 4, top, numbers)
                w4 = get_four(a, LANES)
                above = (row >> 1) * parent.width + (x >> 1)
                mask1 = inside(x >> 1, parent.width)
                for c in range(channels):
                    sum_ = dot_nine(w9, nine(ahead(king.z, c * nodes + x), rows9, masks, zero))
                    if own_:
                        sum_ = sum_ + load(own, c * nodes + here, masks[1], zero)
                    if child.height:
                        z = ahead(child.z, c * child.plane + 2 * x)
                        sum_ = sum_ + dot_four(w4, four(z, rows4, masks4, zero))
                    if parent.height:
                        z = ahead(parent.z, c * parent.plane)
                        sum_ = sum_ + both(z, above, mask1, zero)
                    store(y, c * y_plane + here, masks[1], maximum(sum_, zero))


@njit(nogil=True, cache=True, error_model="numpy")
def gather(channels, height, width, g_, g_plane, out_, out_plane, like, size):  # type: ignore[no-untyped-def]
    """Sums of a parent's children, g ``[C, height, width]``, into ``out``, at half the size."""
    zero = splat(0.0, like)
    rows, columns = (height + 1) // 2, (width + 1) // 2
    for c in range(channels):
        g = pointer(g_ + size * c * g_plane, like)
        out = pointer(out_ + size * c * out_plane, like)
        for row in range(rows):
            for x in range(0, columns, LANES):
                low, high = two_halves(2 * x, width)
                sum_ = zero
                for v in range(2 * row, min(height, 2 * row + 2)):
                    at = v * width + 2 * x
                    left, right = load(g, at, low, zero), load(g, at + LANES, high, zero)
                    sum_ = sum_ + evens(left, right) + odds(left, right)
                store(out, row * columns + x, inside(x, columns), sum_)
