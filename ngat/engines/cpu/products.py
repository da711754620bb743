"""Linear maps of planes and their gradients: what stands around attention in an update.

    out = W x + c + base + k ∘ more,  and 0 where gate ≤ 0       (``maps``)
    G = d xᵀ,  r = d 1                                             (``outer``)

W is small and may be another for every picture; x is ``[K, nodes]``. A library's product writes
its result, and then bias, residual, normalisation and activation each pass over all of it again,
which costs more than the product. Here they happen while a result is in registers, and the
sums that the next normalisation needs are taken on the way.

* A tile of results, ``ROWS`` × ``WIDE`` vectors, stays in registers while it is summed.
* Planes of a picture mostly lie a power of two apart, so that the same column of all of them
  competes for a few places of the cache. A tile of x is laid side by side while its first results
  are computed, so that it arrives behind the arithmetic.
* Everything is summed element by element over a strip, and then in float64.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ngat.engines.cpu.compile import REGISTERS, Job, inlined, kernel, share, threads_for
from ngat.engines.cpu.simd import (
    SIMD,
    accumulate,
    ahead,
    get,
    inside,
    load,
    pointer,
    put,
    splat,
    total,
)
from ngat.engines.cpu.tiles import outers, tiles

# Tiles, in vectors: sums, what they are made of, and a factor stay in registers, of which there
# are 32 or 16. Maps: ROWS × WIDE sums, WIDE columns, a factor. Sums over nodes: DOWN × ROWS, DOWN
# more of the row of ones, DOWN and ROWS factors, of which the latter need one at a time.
ROWS = 4
WIDE = 4 if REGISTERS == 32 else 2
DOWN = 4 if REGISTERS == 32 else 2
TILE = WIDE * SIMD  # nodes at once
STRIP = 256  # nodes whose x is laid out at once: 32 kB of 32 channels, which the first cache holds

tile_first, tile_rows, tile_row = tiles(ROWS, WIDE, keep=True), tiles(ROWS, WIDE), tiles(1, WIDE)
outer_block, outer_one = outers(DOWN, ROWS, STRIP), outers(1, 1, STRIP)
# The first columns of x bring the sums of d along.
outer_first, outer_one_first = outers(DOWN, ROWS, STRIP, ones=True), outers(1, 1, STRIP, ones=True)


class Shape(NamedTuple):
    """What a call covers: strips, numbered through all pictures.

    Attributes:
        scratch: address of numbers that it may use (:func:`scratch_of_maps`, …).
        partial: that of sums in float64, ``[rows, 2, SIMD]``, zero; where they are asked for.
    """

    rows: int
    depth: int
    nodes: int
    first: int
    last: int
    scratch: int
    partial: int


class Operand(NamedTuple):
    """Address of a picture's numbers, and the step from picture to picture; 0 where there is none.

    The step is 0, too, where all pictures share them. From plane to plane it is ``plane``.
    """

    address: int
    step: int
    plane: int


class Operands(NamedTuple):
    """What ``maps`` reads and writes, by the names of the module's formula."""

    w: Operand
    c: Operand
    x: Operand
    base: Operand
    k: Operand
    more: Operand
    gate: Operand
    out: Operand


def scratch_of_maps(depth: int) -> int:
    """How many numbers of scratch a call of :func:`maps` needs."""
    return depth * TILE


def scratch_of_outer(rows: int, depth: int) -> int:
    """How many numbers of scratch a call of :func:`outer` needs."""
    return (depth + rows) * STRIP


@inlined
def lay_out(to, to_step, x, x_step, first, count, depth, nodes, zero):  # type: ignore[no-untyped-def]
    """Copy ``count`` columns of x; those past the last are zero."""
    if first + count <= nodes:
        for k in range(depth):
            for i in range(0, count, SIMD):
                put(to, k * to_step + i, get(x, k * x_step + first + i))
        return
    for k in range(depth):
        for i in range(0, count, SIMD):
            column = load(x, k * x_step + first + i, inside(first + i, nodes), zero)
            put(to, k * to_step + i, column)


@inlined
def of_picture(operand, b, like, size):  # type: ignore[no-untyped-def]
    """Pointer to a picture's numbers, null where there are none."""
    return pointer(operand.address + size * b * operand.step, like)


@inlined
def rows_from(p, operand, count):  # type: ignore[no-untyped-def]
    """``p`` moved on, unless it is null."""
    return ahead(p, count if operand.address else 0)


@kernel
def maps(shape, operands, sums_, like, size):  # type: ignore[no-untyped-def]
    """``out`` of the module's formula, ``[B, rows, nodes]``; ``size`` is a number's in bytes.

    ``sums_``, where it is not 0, is the address of ``[B, rows, 2]`` in float64, to which the sums
    of ``out`` and of its squares are added.
    """
    w_, c_, x_, base_, k_, more_, gate_, out_ = operands
    rows, depth, nodes = shape.rows, shape.depth, shape.nodes
    zero = splat(0.0, like)
    none = splat(0.0, np.float64(0))
    columns = pointer(shape.scratch, like)
    partial = pointer(shape.partial if sums_ else 0, np.float64(0))
    strips = (nodes + STRIP - 1) // STRIP
    steps = base_.plane, more_.plane, gate_.plane, out_.plane
    for n in range(shape.first, shape.last):
        b, first = n // strips, n % strips * STRIP
        w, c = of_picture(w_, b, like, size), of_picture(c_, b, like, size)
        k, more = of_picture(k_, b, like, size), of_picture(more_, b, like, size)
        base, gate = of_picture(base_, b, like, size), of_picture(gate_, b, like, size)
        x, out = of_picture(x_, b, like, size), of_picture(out_, b, like, size)
        for at in range(first, min(first + STRIP, nodes), TILE):
            r = 0
            side_by_side = at + TILE > nodes or rows < ROWS
            if side_by_side:
                lay_out(columns, TILE, x, x_.plane, at, TILE, depth, nodes, zero)
            while r < rows:
                whole = r + ROWS <= rows
                w_r = ahead(w, r * depth)
                c_r, k_r = rows_from(c, c_, r), rows_from(k, k_, r)
                base_r = rows_from(base, base_, r * base_.plane)
                more_r = rows_from(more, more_, r * more_.plane)
                gate_r, out_r = rows_from(gate, gate_, r * gate_.plane), ahead(out, r * out_.plane)
                added = c_r, base_r, k_r, more_r, gate_r, out_r
                sums_r = ahead(partial, 2 * r * SIMD if sums_ else 0)
                if whole and r == 0 and not side_by_side:
                    x_at = ahead(x, at)
                    tile_first(w_r, x_at, x_.plane, columns, depth, added, sums_r, at, nodes, steps)
                elif whole:
                    tile_rows(w_r, columns, TILE, columns, depth, added, sums_r, at, nodes, steps)
                else:
                    tile_row(w_r, columns, TILE, columns, depth, added, sums_r, at, nodes, steps)
                r += ROWS if whole else 1
        if sums_ and (n + 1 == shape.last or (n + 1) % strips == 0):
            sums = pointer(sums_, np.float64(0))
            for i in range(2 * rows):
                accumulate(sums, 2 * rows * b + i, total(get(partial, i * SIMD)))
                put(partial, i * SIMD, none)


@kernel
def outer(shape, d_, x_, g_, like, size):  # type: ignore[no-untyped-def]
    """G and r of the module's formula, added to ``[B, rows, depth + 1]`` in float64 at ``g_``."""
    rows, depth, nodes = shape.rows, shape.depth, shape.nodes
    zero = splat(0.0, like)
    columns = pointer(shape.scratch, like)
    rest = ahead(columns, depth * STRIP)
    strips = (nodes + STRIP - 1) // STRIP
    for n in range(shape.first, shape.last):
        b, first = n // strips, n % strips * STRIP
        d = ahead(pointer(d_.address + size * b * d_.step, like), first)
        x = pointer(x_.address + size * b * x_.step, like)
        g = ahead(pointer(g_, np.float64(0)), b * rows * (depth + 1))
        lay_out(columns, STRIP, x, x_.plane, first, STRIP, depth, nodes, zero)
        step, count = d_.plane, STRIP // SIMD
        if first + STRIP > nodes:  # the last strip of d, too, needs zeros where it ends
            count = (nodes - first + SIMD - 1) // SIMD
            lay_out(rest, STRIP, ahead(d, -first), d_.plane, first, STRIP, rows, nodes, zero)
            d, step = rest, STRIP
        r = 0
        while r < rows:
            block = DOWN if r + DOWN <= rows else 1
            here = ahead(d, r * step)
            k = 0
            while k < depth:
                into = ahead(g, r * (depth + 1) + k)
                x_k = ahead(columns, k * STRIP)
                many = ROWS if block == DOWN and k + ROWS <= depth else 1
                if many == ROWS and k == 0:
                    outer_first(into, depth + 1, here, step, x_k, count, depth)
                elif many == ROWS:
                    outer_block(into, depth + 1, here, step, x_k, count, depth)
                for row in range(block if many == 1 else 0):
                    into_row, d_row = ahead(into, row * (depth + 1)), ahead(here, row * step)
                    if k == 0:
                        outer_one_first(into_row, depth + 1, d_row, step, x_k, count, depth)
                    else:
                        outer_one(into_row, depth + 1, d_row, step, x_k, count, depth)
                k += many
            r += block


NOWHERE = Operand(0, 0, 0)


def linear(
    x: Tensor,
    weight: Tensor,
    out: Tensor,
    *,
    shift: Tensor | None = None,
    base: Tensor | None = None,
    more: tuple[Tensor, Tensor] | None = None,
    gate: Tensor | None = None,
    moments: bool = False,
) -> Tensor | None:
    """``out`` ← weight · x + shift + base + k ∘ more, and 0 where gate ≤ 0.

    Args:
        x: planes ``[B, K, h, w]``; slices of channels of a contiguous tensor will do.
        weight: ``[B, M, K]``, or ``[M, K]`` for all pictures.
        out: planes ``[B, M, h, w]``, as are ``base``, ``more[1]`` and ``gate``.
        shift: ``[B, M]``, or ``[M]`` for all pictures.
        more: k, ``[B, M]``, and the planes that it scales, row by row.

    Returns:
        with ``moments``, the sums of ``out`` and of its squares, ``[B, M, 2]`` in float64.
    """
    batch, depth, nodes = x.shape[0], x.shape[1], x.shape[2] * x.shape[3]
    rows, dtype = weight.shape[-2], out.dtype
    weight = weight.to(dtype).contiguous()
    shift = None if shift is None else shift.to(dtype).contiguous()
    factor = None if more is None else more[0].to(dtype).contiguous()
    operands = Operands(
        w=small(weight, 2),
        c=NOWHERE if shift is None else small(shift, 1),
        x=planes(x),
        base=NOWHERE if base is None else planes(base),
        k=NOWHERE if factor is None else small(factor, 1),
        more=NOWHERE if more is None else planes(more[1]),
        gate=NOWHERE if gate is None else planes(gate),
        out=planes(out),
    )
    threads = threads_for(out.numel())
    sums = torch.zeros(threads, batch, rows, 2, dtype=torch.float64) if moments else None

    def run(n: int, first: int, last: int) -> None:
        own = torch.empty(scratch_of_maps(depth), dtype=dtype)
        partial = torch.zeros(2 * rows * SIMD if moments else 0, dtype=torch.float64)
        shape = Shape(rows, depth, nodes, first, last, own.data_ptr(), partial.data_ptr())
        into = 0 if sums is None else sums[n].data_ptr()
        maps(shape, operands, into, *kind(dtype))

    share(Job(run, batch * -(-nodes // STRIP), threads))
    return None if sums is None else sums.sum(0)


def products(d: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Σ over nodes of d xᵀ, ``[B, M, K]``, and of d, ``[B, M]``, in float64.

    Args:
        d: planes ``[B, M, h, w]``. x: planes ``[B, K, h, w]``.
    """
    batch, depth, nodes = x.shape[0], x.shape[1], x.shape[2] * x.shape[3]
    rows, threads = d.shape[1], threads_for(x.numel())
    found = torch.zeros(threads, batch, rows, depth + 1, dtype=torch.float64)
    operands = planes(d), planes(x)

    def run(n: int, first: int, last: int) -> None:
        own = torch.empty(scratch_of_outer(rows, depth), dtype=x.dtype)
        shape = Shape(rows, depth, nodes, first, last, own.data_ptr(), 0)
        outer(shape, *operands, found[n].data_ptr(), *kind(x.dtype))

    share(Job(run, batch * -(-nodes // STRIP), threads))
    sums = found.sum(0)
    return sums[..., :-1], sums[..., -1]


def planes(tensor: Tensor) -> Operand:
    """Planes ``[B, C, h, w]`` as they lie: each picture's must be contiguous."""
    assert tensor[0].is_contiguous(), "planes of a picture must lie one after the other"
    return Operand(tensor.data_ptr(), tensor.stride(0), tensor.shape[2] * tensor.shape[3])


def small(tensor: Tensor, dimensions: int) -> Operand:
    """A matrix or vector, or one for every picture."""
    return Operand(tensor.data_ptr(), tensor.stride(0) if tensor.ndim > dimensions else 0, 0)


def kind(dtype: torch.dtype) -> tuple[Any, int]:
    """A number of the type, for the kernels, and its size in bytes."""
    return (np.float64(0), 8) if dtype == torch.float64 else (np.float32(0), 4)
