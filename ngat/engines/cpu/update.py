"""One typed update on the CPU: tensors as addresses, windows, and the blocks shared among threads.

What the kernels do is in :mod:`ngat.engines.cpu.sweep` and :mod:`ngat.engines.cpu.sweep_backward`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ngat.attention import SLOPE
from ngat.engines.cpu.compile import Job, share, threads_for
from ngat.engines.cpu.kernels import TAPS, scratch
from ngat.engines.cpu.products import (
    NOWHERE,
    Operand,
    kind,
    planes,
    scratch_of_maps,
    scratch_of_outer,
    small,
)
from ngat.engines.cpu.simd import SIMD
from ngat.engines.cpu.sweep import Last, sweep
from ngat.engines.cpu.sweep_backward import Back, LastBack, sweep_back
from ngat.engines.cpu.windows import HALO, Level, WindowPlan

CACHE = 3 << 18  # bytes of windows: what a core's second cache holds beside the rest


class UpdateMaps(NamedTuple):
    """Weights ``[M, K]`` and what is added ``[M]``, or both for every picture."""

    weight: Tensor
    shift: Tensor


class Arrived(NamedTuple):
    """∂L/∂h as it arrives: d + factor h + shift, with the latter ``[B, C]`` or None for nothing."""

    d: Tensor
    h: Tensor
    factor: Tensor | None
    shift: Tensor | None


class Update:
    """An update's inputs: h and maps of king, child and parent, their t, and the moves.

    Args:
        xs: ``[B, K, h, w]``, None where a level is absent; the level itself first.
        taps: t of king and of children.
        moves: of :func:`ngat.engines.cpu.fused.typed_update`.
        channels: of z.
    """

    def __init__(
        self,
        xs: Sequence[Tensor | None],
        maps: Sequence[UpdateMaps | None],
        taps: Sequence[Tensor | None],
        moves: Sequence[Tensor | float],
        channels: int,
        itself: bool,
    ) -> None:
        own, t = xs[0], taps[0]
        assert own is not None
        assert t is not None
        self.own, self.xs, self.maps = own, xs, maps
        self.taps = [None if t is None else t.contiguous() for t in taps]
        self.moves = [m.contiguous() if isinstance(m, Tensor) else None for m in moves]
        self.heads, self.channels, self.itself = len(t), channels, itself
        self.slope, self.size = kind(own.dtype)
        self.slope = type(self.slope)(SLOPE)
        self.threads = threads_for(own.numel())

    def forward(
        self, weight: Tensor, shift: Tensor, base: Tensor | None, keep: bool
    ) -> tuple[Tensor | None, Tensor, Tensor]:
        """y if it is to be kept, h, and the moments of h."""
        batch, _, height, width = self.own.shape
        h = self.own.new_empty(batch, len(weight), height, width)
        y = self.own.new_empty(batch, self.channels, height, width) if keep else None
        sums = torch.zeros(self.threads, batch, len(weight), 2, dtype=torch.float64)
        weight, shift = weight.contiguous(), shift.contiguous()
        widest = self.widest(len(weight))
        block = self.block(1, 0 if keep else self.channels)

        def run(n: int, first: int, last: int) -> None:
            memory = Memory(self.own)
            levels = tuple(self.level(i, block, memory) for i in range(3))
            plan = self.plan(block, first, last, widest, memory)
            if y is None:
                plane = apart(block * width)
                of_y = Operand(memory.windows(self.channels * plane), 0, plane)
            else:
                of_y = planes(y)
            out = Last(
                of_y,
                small(weight, 2),
                small(shift, 1),
                NOWHERE if base is None else planes(base),
                planes(h),
                len(weight),
            )
            sweep(plan, levels, self.moving(), out, sums[n].data_ptr(), self.slope, self.size)

        share(Job(run, batch * -(-height // block), self.threads))
        return y, h, sums.sum(0)

    def backward(
        self,
        arrived: Arrived,
        y: Tensor,
        weight: Tensor,
        residual: bool,
        bases: Sequence[Tensor | None],
    ) -> Gradients:
        """All gradients; to ∂L/∂x of children and parents ``bases[1:]`` are added."""
        d, h, factor, to_all = arrived
        batch, _, height, width = self.own.shape
        turned = weight.T.contiguous()
        backs = [None if m is None else m.weight.mT.contiguous() for m in self.maps]
        d_xs = [None if x is None else torch.empty_like(x) for x in self.xs]
        d_moves = [None if m is None else torch.empty_like(m) for m in self.moves]

        def sums_of(rows: int, depth: int) -> Tensor:
            return torch.zeros(self.threads, batch, rows, depth + 1, dtype=torch.float64)

        sums = [
            None if m is None else sums_of(m.weight.shape[-2], m.weight.shape[-1])
            for m in self.maps
        ]
        sums_out = sums_of(*weight.shape)
        d_taps = torch.zeros(self.threads, 2, self.heads, TAPS, dtype=torch.float64)
        widest = self.widest(len(weight))
        block = self.block(2, len(weight) + (0 if self.itself else self.channels))

        def run(n: int, first: int, last: int) -> None:
            memory = Memory(self.own)
            levels = tuple(self.level(i, block, memory) for i in range(3))
            found = []
            for i, level in enumerate(levels):
                x, into, back, base = d_xs[i], sums[i], backs[i], bases[i]
                if x is None or into is None or back is None:
                    found.append(Back(0, NOWHERE, NOWHERE, NOWHERE, NOWHERE, 0, 0, 0))
                    continue
                move = d_moves[i] if i < 2 else None
                found.append(
                    Back(
                        memory.windows(level.rows * level.plane),
                        small(back, 2),
                        planes(x),
                        NOWHERE if base is None else planes(base),
                        NOWHERE if move is None else planes(move),
                        into[n].data_ptr(),
                        d_taps[n, min(i, 1)].data_ptr(),
                        memory.windows(scratch_of_outer(level.rows, level.depth)),
                    )
                )
            plan = self.plan(block, first, last, widest, memory)
            if self.itself:
                g = found[0].window
            else:
                g = memory.windows(self.channels * levels[0].plane)
            out = LastBack(
                planes(d),
                NOWHERE if factor is None else planes(h),
                NOWHERE if factor is None else small(factor, 1),
                NOWHERE if to_all is None else small(to_all, 1),
                memory.windows(len(weight) * levels[0].plane),
                planes(y),
                small(turned, 2),
                g,
                len(weight),
                sums_out[n].data_ptr(),
                memory.windows(scratch_of_outer(*weight.shape)),
                NOWHERE if d_moves[2] is None else planes(d_moves[2]),
                int(residual),
            )
            sweep_back(plan, levels, self.moving(), out, tuple(found), self.slope, self.size)

        share(Job(run, batch * -(-height // block), self.threads))
        return Gradients(
            d_xs,
            [None if s is None else s.sum(0) for s in sums],
            list(d_taps.sum(0)),
            d_moves,
            sums_out.sum((0, 1)),
        )

    def plan(self, block: int, first: int, last: int, depth: int, memory: Memory) -> WindowPlan:
        """Blocks ``first`` to before ``last``."""
        height, width = self.own.shape[2:]
        step, ring = scratch(width)
        return WindowPlan(
            self.heads,
            self.channels,
            int(self.itself),
            height,
            width,
            block,
            first,
            last,
            memory.windows(scratch_of_maps(depth)),
            memory.zeros(4 * depth * SIMD),  # as many numbers in float64, of two a row
            memory.zeros(ring),
            step,
        )

    def widest(self, rows: int) -> int:
        """The largest number of rows or columns of any map; the last has ``rows``."""
        return max(rows, self.channels, *(n for m in self.maps if m for n in m.weight.shape[-2:]))

    def level(self, number: int, block: int, memory: Memory) -> Level:
        """King, child or parent for the kernels, with a window."""
        x, maps = self.xs[number], self.maps[number]
        if x is None or maps is None:
            return Level(*[0] * len(Level._fields))
        rows, depth = maps.weight.shape[-2:]
        count = (block + 2 * HALO, 2 * block, (block + 1) // 2)[number]
        height, width = x.shape[2:]
        plane = apart(count * width)
        t = self.taps[number] if number < 2 else None
        return Level(
            *planes(x)[:2],
            height,
            width,
            *small(maps.weight, 2)[:2],
            *small(maps.shift, 1)[:2],
            rows,
            depth,
            memory.windows(rows * plane),
            plane,
            0 if t is None else t.data_ptr(),
        )

    def moving(self) -> tuple[Operand, ...]:
        """The moves for the kernels."""
        return tuple(NOWHERE if move is None else planes(move) for move in self.moves)

    def block(self, times: int, extra: int) -> int:
        """Rows of a block, with so many windows of each level in the cache.

        Blocks are about equal, and as many for every thread.
        """
        batch, _, height, width = self.own.shape
        each = float(extra)
        for maps, factor in zip(self.maps, (1, 4, 0.25), strict=True):
            each += 0 if maps is None else factor * maps.weight.shape[-2] * times
        rows = max(2, CACHE / (each * width * self.size) - HALO)
        step = self.threads // math.gcd(batch, self.threads)
        blocks = math.ceil(height / rows / step) * step
        return 2 * math.ceil(height / blocks / 2)


class Gradients(NamedTuple):
    """What :meth:`Update.backward` finds, of king, child and parent where it is a list.

    Attributes:
        xs: ∂L/∂x, but for what the normalisation adds.
        sums: Σ_i ∂L/∂P (x, 1)ᵀ, ``[B, M, K + 1]`` in float64.
        taps: ∂L/∂t of king and child, ``[heads, 14]`` in float64.
        moves: ∂L/∂(b·ζ).
        out: Σ_i d (y, 1)ᵀ over all pictures.
    """

    xs: list[Tensor | None]
    sums: list[Tensor | None]
    taps: list[Tensor]
    moves: list[Tensor | None]
    out: Tensor


class Memory:
    """Memory of one thread for one call."""

    def __init__(self, like: Tensor) -> None:
        self.like, self.kept = like, list[Tensor]()

    def windows(self, count: int) -> int:
        """Address of so many numbers, whatever they are."""
        self.kept.append(self.like.new_empty(count))
        return self.kept[-1].data_ptr()

    def zeros(self, count: int) -> int:
        """Address of so many zeros."""
        self.kept.append(self.like.new_zeros(count))
        return self.kept[-1].data_ptr()


def apart(nodes: int) -> int:
    """How far apart planes of a window lie: an odd number of vectors.

    Were it a power of two, the same columns of all planes would compete for a few places.
    """
    return (-(-nodes // SIMD) | 1) * SIMD
