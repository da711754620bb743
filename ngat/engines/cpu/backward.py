"""Gradients of :mod:`ngat.engines.cpu.kernels`, which says what the letters mean.

The weights are computed anew. With g_i = ∂L/∂h_i and q_ik = g_i·z_j, they are

    ∂L/∂s_ik = α_ik (q_ik − Σ_k α_ik q_ik) · LeakyReLU'(s_ik)
    ∂L/∂er_i = Σ_k ∂L/∂s_ik,    ∂L/∂t_k = Σ_i ∂L/∂s_ik
    ∂L/∂el_j = Σ_i ∂L/∂s_ik,    ∂L/∂z_j = Σ_i α_ik g_i.

* Nothing but the inputs is kept from the forward pass: Σ_k α q = g·h needs no stored h.
* The sums over i need no scatter. A source is heard by its king neighbours, each through the
  opposite tap, by its parent and by its children. The weights of three rows of nodes wait in a ring
  for them.
* Whoever owns a block of rows also computes the weights of the row above and the row below, so
  blocks are independent, and no result but the order of ∂t's sum depends on how they are shared.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from ngat.engines.cpu.kernels import TAPS, constants, piece, places, weights
from ngat.engines.cpu.simd import (
    LANES,
    accumulate,
    ahead,
    choose,
    evens,
    get,
    inside,
    load,
    odds,
    pointer,
    put,
    store,
    total,
    zip_high,
    zip_low,
)
from ngat.engines.cpu.taps import (
    add_four,
    add_nine,
    both,
    dot_nine,
    four,
    get_opposite,
    jit,
    nine,
    planes_of,
    put_four,
    put_nine,
    sum_nine,
    three_columns,
    three_rows,
    two_halves,
    two_rows,
)


@jit
def softmax_back(ds, a, step, q, e, d_t, own, taps, numbers):  # type: ignore[no-untyped-def]
    """∂L/∂s of all taps; returns their sum, ∂L/∂er. Own nodes add to ``d_t``."""
    mean = sum_ = numbers.zero
    for k in range(taps):
        mean = mean + get(a, k * step) * get(q, k * LANES)
    share = numbers.one if own else numbers.zero
    for k in range(taps):
        slope = choose(get(e, k * LANES), numbers.zero, numbers.one, numbers.slope)
        d = get(a, k * step) * (get(q, k * LANES) - mean) * slope
        put(ds, k * step, d)
        put(d_t, k * LANES, get(d_t, k * LANES) + share * d)
        sum_ = sum_ + d
    return sum_


@jit
def hand_over(d, at, mask, old, value, zero):  # type: ignore[no-untyped-def]
    """``d = value``, or ``d += value`` in the lanes of ``old``."""
    store(d, at, mask, load(d, at, old, zero) + value)


@jit
def child_back(d, a, ds, step, g, nodes, y, x, channels, mask, zero):  # type: ignore[no-untyped-def]
    """∂L/∂el and ∂L/∂z of the children of nodes (y, x …), which have no other parent."""
    u = 2 * x
    low, high = two_halves(u, d.width)
    for cy in range(min(2, d.height - 2 * y)):
        at = (2 * y + cy) * d.width + u
        old, further = two_halves(u, d.el_old)
        even, odd = get(ds, 2 * cy * step), get(ds, (2 * cy + 1) * step)
        hand_over(d.el, at, low, old, zip_low(even, odd), zero)
        hand_over(d.el, at + LANES, high, further, zip_high(even, odd), zero)
        old, further = two_halves(u, d.z_old)
        even, odd = get(a, 2 * cy * step), get(a, (2 * cy + 1) * step)
        for c in range(channels):
            g_i = load(g, c * nodes, mask, zero)
            z = ahead(d.z, c * d.plane)
            hand_over(z, at, low, old, zip_low(even * g_i, odd * g_i), zero)
            hand_over(z, at + LANES, high, further, zip_high(even * g_i, odd * g_i), zero)


@jit
def parent_back(d, a, ds, step, g, nodes, width, y, channels, zero):  # type: ignore[no-untyped-def]
    """∂L/∂el and ∂L/∂z of a row of parents, whose children stand in rows up to y."""
    for x in range(0, d.width, LANES):
        mask, old = inside(x, d.width), inside(x, d.z_old)
        low, high = two_halves(2 * x, width)
        at = (y >> 1) * d.width + x
        d_el = zero
        for v in range(y - y % 2, y + 1):
            s = ahead(ds, v % 3 * TAPS * step + 2 * x)
            d_el = d_el + evens(get(s, 0), get(s, LANES)) + odds(get(s, 0), get(s, LANES))
        hand_over(d.el, at, mask, inside(x, d.el_old), d_el, zero)
        for c in range(channels):
            d_z = zero
            for v in range(y - y % 2, y + 1):
                w = ahead(a, v % 3 * TAPS * step + 2 * x)
                g_i = ahead(g, c * nodes + v * width + 2 * x)
                first = get(w, 0) * load(g_i, 0, low, zero)
                second = get(w, LANES) * load(g_i, LANES, high, zero)
                d_z = d_z + evens(first, second) + odds(first, second)
            hand_over(d.z, c * d.plane + at, mask, old, d_z, zero)


@jit
def king_back(d, a, ds, step, g, y, channels, zero):  # type: ignore[no-untyped-def]
    """∂L/∂el and ∂L/∂z of row y, which rows y − 1 to y + 1 hear."""
    rows = three_rows(y, d.height, d.width)
    for x in range(0, d.width, LANES):
        masks, old = three_columns(x, d.width), inside(x, d.z_old)
        at = rows[1] + x
        ring = (
            (y - 1) % 3 * TAPS * step + x,
            y % 3 * TAPS * step + x,
            (y + 1) % 3 * TAPS * step + x,
        )
        d_el = sum_nine(get_opposite(ds, ring, step))
        hand_over(d.el, at, masks[1], inside(x, d.el_old), d_el, zero)
        w = get_opposite(a, ring, step)
        for c in range(channels):
            plane = c * d.plane
            d_z = dot_nine(w, nine(ahead(g, plane + x), rows, masks, zero))
            hand_over(d.z, plane + at, masks[1], old, d_z, zero)


@njit(nogil=True, cache=True, error_model="numpy")
def backward(  # type: ignore[no-untyped-def]
    task,
    king_,
    child_,
    parent_,
    er_,
    er_step,
    g_,
    g_step,
    d_king_,
    d_child_,
    d_parent_,
    d_er_,
    d_er_step,
    d_er_add,
    d_t_,
    slope,
    size,
):
    """Gradients for g = ∂L/∂h, ``[B, heads · D, height, width]``.

    ``d_king_``, ``d_child_`` and ``d_parent_`` are sources that receive ∂z and ∂el; ∂er goes to
    ``d_er_``, ``[B, heads, height, width]``. Each piece of work adds to a row of its own of ∂t,
    ``[pieces, 14]``, in float64. What ends in ``_`` is an address or holds addresses.
    """
    channels, height, width, step = task.channels, task.height, task.width, task.step
    nodes = task.plane
    children, parents, taps = places(king_, child_, parent_)
    numbers = constants(slope)
    zero = numbers.zero
    e = pointer(task.scratch, slope)
    q, d_t_row = ahead(e, TAPS * LANES), ahead(e, 2 * TAPS * LANES)
    d_t = pointer(d_t_, np.float64(0))
    # Rings of weights and of ∂L/∂s, with a column of zeros on either side.
    a = ahead(e, 3 * TAPS * LANES + LANES)
    ds = ahead(a, 3 * TAPS * step)
    reach = 1 if king_.height else 0
    for index in range(task.first, task.last):
        b, head, first, last = piece(task, index)
        king = planes_of(king_, 9, b, head, channels, slope, size)
        child = planes_of(child_, 4, b, head, channels, slope, size)
        parent = planes_of(parent_, 1, b, head, channels, slope, size)
        d_king = planes_of(d_king_, 9, b, head, channels, slope, size)
        d_child = planes_of(d_child_, 4, b, head, channels, slope, size)
        d_parent = planes_of(d_parent_, 1, b, head, channels, slope, size)
        er = pointer(er_ + size * (b * er_step + head * nodes), slope)
        d_er = pointer(d_er_ + size * (b * d_er_step + head * nodes), slope)
        g = pointer(g_ + size * (b * g_step + head * channels * nodes), slope)
        # Rows next to the block hear, through the king's taps, sources that the block owns.
        for y in range(first - reach, last + reach):
            ring = y % 3 * TAPS * step
            own = first <= y < last
            for k in range(taps):
                put(d_t_row, k * LANES, zero)
            for x in range(0, width, LANES):
                if not 0 <= y < height:
                    for k in range(taps):
                        put(a, ring + k * step + x, zero)
                        put(ds, ring + k * step + x, zero)
                    continue
                masks = three_columns(x, width)
                here = y * width + x
                er_i = load(er, here, masks[1], zero)
                a_i, ds_i = ahead(a, ring + x), ahead(ds, ring + x)
                weights(a_i, step, e, king, child, parent, er_i, y, x, numbers)

                rows9, rows4 = (
                    three_rows(y, height, width),
                    two_rows(y, child.height, child.width),
                )
                masks4 = two_halves(2 * x, child.width)
                above, mask1 = (
                    (y >> 1) * parent.width + (x >> 1),
                    inside(x >> 1, parent.width),
                )
                q9 = zero, zero, zero, zero, zero, zero, zero, zero, zero
                q4, q1 = (zero, zero, zero, zero), zero
                for c in range(channels):
                    g_i = load(g, c * nodes + here, masks[1], zero)
                    if king.height:
                        z = ahead(king.z, c * nodes + x)
                        q9 = add_nine(q9, g_i, nine(z, rows9, masks, zero))
                    if child.height:
                        z = ahead(child.z, c * child.plane + 2 * x)
                        q4 = add_four(q4, g_i, four(z, rows4, masks4, zero))
                    if parent.height:
                        z = ahead(parent.z, c * parent.plane)
                        q1 = q1 + g_i * both(z, above, mask1, zero)
                if king.height:
                    put_nine(q, LANES, q9)
                if child.height:
                    put_four(ahead(q, children * LANES), LANES, q4)
                if parent.height:
                    put(q, parents * LANES, q1)
                d_er_i = softmax_back(ds_i, a_i, step, q, e, d_t_row, own, taps, numbers)
                if own:
                    hand_over(d_er, here, masks[1], inside(x, width * d_er_add), d_er_i, zero)
                    if child.height:
                        at = children * step
                        child_back(
                            d_child,
                            ahead(a_i, at),
                            ahead(ds_i, at),
                            step,
                            ahead(g, here),
                            nodes,
                            y,
                            x,
                            channels,
                            masks[1],
                            zero,
                        )
            if own:
                for k in range(taps):
                    accumulate(d_t, index * TAPS + k, total(get(d_t_row, k * LANES)))
            if parent.height and own and (y % 2 == 1 or y == height - 1):
                at = parents * step
                parent_back(
                    d_parent,
                    ahead(a, at),
                    ahead(ds, at),
                    step,
                    g,
                    nodes,
                    width,
                    y,
                    channels,
                    zero,
                )
            if king.height and y > first:
                king_back(d_king, a, ds, step, g, y - 1, channels, zero)
