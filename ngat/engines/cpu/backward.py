"""Gradients of :mod:`ngat.engines.cpu.kernels`, which says what the letters mean.

The weights are computed anew. With g_i = ∂L/∂h_i and q_ik = g_i·z_j, they are

    ∂L/∂s_ik = α_ik (q_ik − Σ_k α_ik q_ik) · LeakyReLU'(s_ik)
    ∂L/∂er_i = Σ_k ∂L/∂s_ik,    ∂L/∂t_k = Σ_i ∂L/∂s_ik
    ∂L/∂el_j = Σ_i ∂L/∂s_ik,    ∂L/∂z_j = Σ_i α_ik g_i.

* Nothing but the inputs is kept from the forward pass: Σ_k α q = g·h needs no stored h.
* The sums over i need no scatter. A source is a tap of its king neighbours, of each the
  opposite tap, by its parent and by its children. The weights of three rows of nodes wait in a ring
  for them.
* Whoever owns a block of rows also computes the weights of the row above and the row below, so
  blocks are independent, and no result but the order of ∂t's sum depends on how they are shared.
"""

from __future__ import annotations

import numpy as np

from ngat.engines.cpu.compile import inlined, kernel
from ngat.engines.cpu.kernels import TAPS, constants, piece, places, weights
from ngat.engines.cpu.simd import (
    SIMD,
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
    nine,
    planes_of,
    put_four,
    put_nine,
    sum_nine,
    three_columns,
    three_rows,
    two_halves,
    two_rows,
    write,
)


@inlined
def softmax_back(ds, a, step, q, e, d_t, own, taps, numbers):  # type: ignore[no-untyped-def]
    """∂L/∂s of all taps; returns their sum, ∂L/∂er. Own nodes add to ``d_t``."""
    mean = sum_ = numbers.zero
    for k in range(taps):
        mean = mean + get(a, k * step) * get(q, k * SIMD)
    share = numbers.one if own else numbers.zero
    for k in range(taps):
        slope = choose(get(e, k * SIMD), numbers.zero, numbers.one, numbers.slope)
        d = get(a, k * step) * (get(q, k * SIMD) - mean) * slope
        put(ds, k * step, d)
        put(d_t, k * SIMD, get(d_t, k * SIMD) + share * d)
        sum_ = sum_ + d
    return sum_


@inlined
def join(p, at, mask, whole, x, adds):  # type: ignore[no-untyped-def]
    """``p[at + i] = x``, or ``+= x``."""
    write(p, at, mask, whole, x + load(p, at, mask, x) if adds else x)


@inlined
def child_back(d, a, ds, step, g, nodes, y, x, channels, mask, adds):  # type: ignore[no-untyped-def]
    """∂L/∂el and ∂L/∂z of the children of nodes (y, x …), which have no other parent."""
    u = 2 * x
    halves = two_halves(u, d.width)
    low, high, whole = halves.low, halves.high, halves.whole
    for cy in range(min(2, d.height - 2 * y)):
        at = (2 * y + cy) * d.width + u
        even, odd = get(ds, 2 * cy * step), get(ds, (2 * cy + 1) * step)
        write(d.el, at, low, whole, zip_low(even, odd))
        write(d.el, at + SIMD, high, whole, zip_high(even, odd))
        even, odd = get(a, 2 * cy * step), get(a, (2 * cy + 1) * step)
        for c in range(channels):
            g_i = load(g, c * nodes, mask, even)  # what lies outside is not written
            z = ahead(d.z, c * d.plane)
            join(z, at, low, whole, zip_low(even * g_i, odd * g_i), adds)
            join(z, at + SIMD, high, whole, zip_high(even * g_i, odd * g_i), adds)


@inlined
def parent_back(d, a, ds, step, g, nodes, width, y, channels, zero):  # type: ignore[no-untyped-def]
    """∂L/∂el and ∂L/∂z of a row of parents, whose children stand in rows up to y."""
    for x in range(0, d.width, SIMD):
        mask, whole = inside(x, d.width), x + SIMD <= d.width
        halves = two_halves(2 * x, width)
        at = (y >> 1) * d.width + x
        d_el = zero
        for v in range(y - y % 2, y + 1):
            s = ahead(ds, v % 3 * TAPS * step + 2 * x)
            d_el = d_el + evens(get(s, 0), get(s, SIMD)) + odds(get(s, 0), get(s, SIMD))
        write(d.el, at, mask, whole, d_el)
        for c in range(channels):
            d_z = zero
            for v in range(y - y % 2, y + 1):
                w = ahead(a, v % 3 * TAPS * step + 2 * x)
                g_i = ahead(g, c * nodes + v * width + 2 * x)
                first = get(w, 0) * load(g_i, 0, halves.low, zero)
                second = get(w, SIMD) * load(g_i, SIMD, halves.high, zero)
                d_z = d_z + evens(first, second) + odds(first, second)
            write(d.z, c * d.plane + at, mask, whole, d_z)


@inlined
def king_back(d, a, ds, step, g, y, channels, adds, zero):  # type: ignore[no-untyped-def]
    """∂L/∂el and ∂L/∂z of row y, to which rows y − 1 to y + 1 attend."""
    rows = three_rows(y, d.height, d.width)
    for x in range(0, d.width, SIMD):
        columns = three_columns(x, d.width)
        at = rows[1] + x
        ring = (
            (y - 1) % 3 * TAPS * step + x,
            y % 3 * TAPS * step + x,
            (y + 1) % 3 * TAPS * step + x,
        )
        d_el = sum_nine(get_opposite(ds, ring, step))
        write(d.el, at, columns.same, columns.whole, d_el)
        w = get_opposite(a, ring, step)
        for c in range(channels):
            plane = c * d.plane
            d_z = dot_nine(w, nine(ahead(g, plane + x), rows, columns, zero))
            join(d.z, plane + at, columns.same, columns.whole, d_z, adds)


@kernel
def backward(task, sources, er_, g_, d_sources, d_er_, d_t_, adds, slope, size):  # type: ignore[no-untyped-def]
    """Gradients for g = ∂L/∂h, ``[B, heads · D, height, width]``.

    ``sources`` are king, child and parent, ``d_sources`` those that receive ∂z and ∂el; ``adds``
    says of king and child whether ∂z is added to what is there. ∂er goes to ``d_er_``, ``[B, heads,
    height, width]``. ``er_``, ``g_`` and ``d_er_`` are addresses with the
    step from picture to picture. Each piece of work adds to a row of its own of ∂t,
    ``[pieces, 14]``, in float64 at ``d_t_``.
    """
    king_, child_, parent_ = sources
    d_king_, d_child_, d_parent_ = d_sources
    channels, height, width, step = task.channels, task.height, task.width, task.step
    nodes = task.plane
    children, parents, taps = places(king_, child_, parent_)
    numbers = constants(slope)
    zero = numbers.zero
    e = pointer(task.scratch, slope)
    q, d_t_row = ahead(e, TAPS * SIMD), ahead(e, 2 * TAPS * SIMD)
    d_t = pointer(d_t_, np.float64(0))
    # Rings of weights and of ∂L/∂s, with a column of zeros on either side.
    a = ahead(e, 3 * TAPS * SIMD + SIMD)
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
        er = pointer(er_[0] + size * (b * er_[1] + head * nodes), slope)
        d_er = pointer(d_er_[0] + size * (b * d_er_[1] + head * nodes), slope)
        g = pointer(g_[0] + size * (b * g_[1] + head * channels * nodes), slope)
        # Rows next to the block attend to sources that the block owns.
        for y in range(first - reach, last + reach):
            ring = y % 3 * TAPS * step
            own = first <= y < last
            for k in range(taps):
                put(d_t_row, k * SIMD, zero)
            for x in range(0, width, SIMD):
                if not 0 <= y < height:
                    for k in range(taps):
                        put(a, ring + k * step + x, zero)
                        put(ds, ring + k * step + x, zero)
                    continue
                columns = three_columns(x, width)
                here = y * width + x
                er_i = load(er, here, columns.same, zero)
                a_i, ds_i = ahead(a, ring + x), ahead(ds, ring + x)
                planes, ers = (king, child, parent), (er_i, er_i)
                weights(a_i, step, e, planes, ers, False, y, x, columns.same, numbers)

                rows9, rows4 = three_rows(y, height, width), two_rows(y, child.height, child.width)
                halves = two_halves(2 * x, child.width)
                above = (y >> 1) * parent.width + (x >> 1)
                mask1 = inside(x >> 1, parent.width)
                g_i = ahead(g, here)
                if king.height:
                    q9 = zero, zero, zero, zero, zero, zero, zero, zero, zero
                    for c in range(channels):
                        z = nine(ahead(king.z, c * nodes + x), rows9, columns, zero)
                        q9 = add_nine(q9, load(g_i, c * nodes, columns.same, zero), z)
                    put_nine(q, SIMD, q9)
                if child.height:
                    q4 = zero, zero, zero, zero
                    for c in range(channels):
                        z = four(ahead(child.z, c * child.plane + 2 * x), rows4, halves, zero)
                        q4 = add_four(q4, load(g_i, c * nodes, columns.same, zero), z)
                    put_four(ahead(q, children * SIMD), SIMD, q4)
                if parent.height:
                    q1 = zero
                    for c in range(channels):
                        z = both(ahead(parent.z, c * parent.plane), above, mask1, zero)
                        q1 = q1 + load(g_i, c * nodes, columns.same, zero) * z
                    put(q, parents * SIMD, q1)
                d_er_i = softmax_back(ds_i, a_i, step, q, e, d_t_row, own, taps, numbers)
                if own:
                    write(d_er, here, columns.same, columns.whole, d_er_i)
                    if child.height:
                        at = children * step
                        child_back(
                            d_child,
                            ahead(a_i, at),
                            ahead(ds_i, at),
                            step,
                            g_i,
                            nodes,
                            y,
                            x,
                            channels,
                            columns.same,
                            adds[1],
                        )
            if own:
                for k in range(taps):
                    accumulate(d_t, index * TAPS + k, total(get(d_t_row, k * SIMD)))
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
                king_back(d_king, a, ds, step, g, y - 1, channels, adds[0], zero)
