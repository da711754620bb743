"""Fused attention over planes (equations 16–18), a few neighbouring nodes at a time in registers.

For the nodes i of one head, first the weights of all taps k,

    s_ik = el_j + er_i + t_k,   e = LeakyReLU(s),   α_ik = exp(e_ik − max_k e_ik) / Σ_k …,

then, channel by channel, h_i = Σ_k α_ik z_j. The gradients are in
:mod:`ngat.engines.cpu.backward`. What makes both fast:

* Planes: neighbouring nodes lie side by side in memory, so that several of them (``LANES``) are one
  vector. A weight is computed once for all channels and stays in a register.
* Edges are regular: no list of them, no gather, no scatter.
* Lanes outside the picture are masked and their weights are zero, so a border costs no branch.
* Kernels take addresses: numba counts references to arrays, with locked instructions.

Compiled code is kept on disk. Numba knows it to be stale by the file alone that it was made of
(its text, in older versions its date): after a change to ``cpu_lanes.py`` or ``cpu_taps.py``,
delete ``__pycache__/*.nb?``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from ngat.engines.cpu.simd import (
    LANES,
    ahead,
    exponential,
    get,
    inside,
    load,
    maximum,
    pointer,
    put,
    splat,
    store,
)
from ngat.engines.cpu.taps import (
    Numbers,
    both,
    child_scores,
    dot_four,
    dot_nine,
    four,
    get_four,
    get_nine,
    jit,
    king_scores,
    nine,
    parent_scores,
    planes_of,
    three_columns,
    three_rows,
    two_halves,
    two_rows,
)

TAPS = 14  # of the king, then the children, then the parent, as far as they are heard


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
    step = LANES + -(-width // LANES) * LANES + 2 * LANES
    return step, LANES + TAPS * 3 * (LANES + 2 * step)


@jit
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


@jit
def places(king, child, parent):  # type: ignore[no-untyped-def]
    """The first taps of children and parent, and the number of taps."""
    children = 9 if king.height else 0
    parents = children + (4 if child.height else 0)
    return children, parents, parents + (1 if parent.height else 0)


@jit
def constants(slope):  # type: ignore[no-untyped-def]
    return Numbers(
        splat(0.0, slope),
        splat(1.0, slope),
        splat(slope, slope),
        splat(-3e38, slope),
        splat(-np.inf, slope),
    )


@jit
def weights(a, step, e, king, child, parent, er, y, x, numbers):  # type: ignore[no-untyped-def]
    """Eq. 16 into ``e``, eq. 17 into ``a``, for nodes (y, x …)."""
    children, parents, taps = places(king, child, parent)
    top = numbers.lowest
    if king.height:
        top = king_scores(e, LANES, king, er, y, x, top, numbers)
    if child.height:
        top = child_scores(ahead(e, children * LANES), LANES, child, er, y, x, top, numbers)
    if parent.height:
        top = parent_scores(ahead(e, parents * LANES), parent, er, y, x, top, numbers)
    softmax(a, step, e, taps, top, numbers)


@jit
def softmax(a, step, e, taps, top, numbers):  # type: ignore[no-untyped-def]
    """Eq. 17 into ``a``, from scores ``e`` whose largest is ``top``."""
    # The node's own largest score is taken off first, so that nothing overflows.
    sum_ = numbers.zero
    for k in range(taps):
        p = exponential(get(e, k * LANES) - top)
        put(a, k * step, p)
        sum_ = sum_ + p
    # The largest weight is exp(0): only lanes outside the picture have a sum below one.
    scale = numbers.one / maximum(sum_, numbers.one)
    for k in range(taps):
        put(a, k * step, get(a, k * step) * scale)


@njit(nogil=True, cache=True, error_model="numpy")
def forward(task, king_, child_, parent_, er_, er_step, out, out_step, slope, size):  # type: ignore[no-untyped-def]
    """h_i = Σ_k α_ik z_j (eq. 18) into ``out``, ``[B, heads · D, height, width]``.

    ``er_`` and ``out`` are addresses, their steps lead from picture to picture, ``size`` is a
    number's in bytes.
    """
    channels, height, width = task.channels, task.height, task.width
    nodes = task.plane
    children, parents, _ = places(king_, child_, parent_)
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
        h = pointer(out + size * (b * out_step + head * channels * nodes), slope)
        for y in range(first, last):
            for x in range(0, width, LANES):
                masks = three_columns(x, width)
                here = y * width + x
                er_i = load(er, here, masks[1], zero)
                weights(a, LANES, e, king, child, parent, er_i, y, x, numbers)
                w9 = get_nine(a, LANES)
                w4 = get_four(ahead(a, children * LANES), LANES)
                w1 = get(a, parents * LANES)
                rows9, rows4 = (
                    three_rows(y, height, width),
                    two_rows(y, child.height, child.width),
                )
                masks4 = two_halves(2 * x, child.width)
                above, mask1 = (
                    (y >> 1) * parent.width + (x >> 1),
                    inside(x >> 1, parent.width),
                )
                for c in range(channels):
                    h_i = zero
                    if king.height:
                        z = ahead(king.z, c * nodes + x)
                        h_i = h_i + dot_nine(w9, nine(z, rows9, masks, zero))
                    if child.height:
                        z = ahead(child.z, c * child.plane + 2 * x)
                        h_i = h_i + dot_four(w4, four(z, rows4, masks4, zero))
                    if parent.height:
                        z = ahead(parent.z, c * parent.plane)
                        h_i = h_i + w1 * both(z, above, mask1, zero)
                    store(h, c * nodes + here, masks[1], h_i)
