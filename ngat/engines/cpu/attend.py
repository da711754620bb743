"""The CPU engine: fused kernels in numba (:mod:`ngat.engines.cpu.kernels`), as many threads as
torch uses.

float32 and float64 are computed as they are; half and bfloat16 in float32. Compiled code is kept
on disk, for every image size the same. Here is one level's attention, and what else an engine may
replace (:mod:`ngat.attention`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ngat.attention import SLOPE, TapGroup
from ngat.engines.cpu.backward import backward
from ngat.engines.cpu.compile import Job, share, threads_for
from ngat.engines.cpu.exponential import STRIP, sigmoids
from ngat.engines.cpu.fused import forward_pass as forward_pass
from ngat.engines.cpu.kernels import TAPS, Task, forward, scratch
from ngat.engines.cpu.products import kind
from ngat.engines.cpu.taps import Sources
from ngat.graph import RELATIONS, TAP_COUNT, Relation


def attend(groups: Sequence[TapGroup], destination: Tensor) -> Tensor:
    """As :func:`ngat.attention.attend`, on the CPU."""
    relations = tuple(group.relation for group in groups)
    tensors = [tensor for group in groups for tensor in group[1:]]
    out: Tensor = CpuAttention.apply(relations, destination, *tensors)
    return out


def sigmoid(x: Tensor) -> Tensor:
    """σ(x), the same number wherever in a tensor x stands, if no gradient is asked for.

    Torch computes the last numbers of a tensor, and of each thread's share of one, by another
    formula: they differ by a unit in the last place, and tiles from the whole picture.
    """
    if x.requires_grad:
        return torch.sigmoid(x)
    x = x.contiguous()
    found = torch.empty_like(x)

    def run(_: int, first: int, last: int) -> None:
        sigmoids(x.data_ptr(), found.data_ptr(), x.numel(), first, last, kind(x.dtype)[0])

    share(Job(run, -(-x.numel() // STRIP), threads_for(x.numel())))
    return found


def projection() -> Any:
    """As :class:`ngat.projection.Projector`, on the CPU."""
    from ngat.engines.cpu import projection as projection_cpu
    from ngat.projection import Projector

    return Projector(projection_cpu.integral_image, projection_cpu.project, sigmoid)


class CpuAttention(torch.autograd.Function):
    """Eq. 16–18 and their gradients; the inputs are all that is kept between the passes.

    They are er, then (z, el, t) of every relation, one after the other.
    """

    @staticmethod
    def forward(ctx: Any, relations: tuple[Relation, ...], er: Tensor, *tensors: Tensor) -> Tensor:
        ctx.save_for_backward(er, *tensors)
        ctx.relations = relations
        work = Work(relations, er, tensors)
        out = er.new_empty(len(er), tensors[0].shape[1], *er.shape[2:], dtype=work.dtype)
        work.forward(out)
        return out.to(tensors[0].dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        er, *tensors = ctx.saved_tensors
        dtype = computed_in(er.dtype)
        d_er, *d_tensors = (torch.empty(x.shape, dtype=dtype) for x in (er, *tensors))
        work = Work(ctx.relations, er, tensors)
        d_tensors[2::3] = work.backward(gradient, d_tensors, d_er)
        return None, *(
            d.to(x.dtype) if needed else None
            for d, x, needed in zip(
                (d_er, *d_tensors), (er, *tensors), ctx.needs_input_grad[1:], strict=True
            )
        )


def computed_in(dtype: torch.dtype) -> torch.dtype:
    """float32 for the half-size types, else the type itself."""
    return torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype


class Work:
    """A level's attention, shared out among threads.

    Args:
        relations: what is attended to, with ``tensors`` (z, el, t) of each, one after the other.
        destination: er, ``[B, heads, H_m, W_m]``.
    """

    def __init__(
        self,
        relations: Sequence[Relation],
        destination: Tensor,
        tensors: Sequence[Tensor],
    ) -> None:
        self.dtype = computed_in(destination.dtype)
        self.slope = np.float64(SLOPE) if self.dtype == torch.float64 else np.float32(SLOPE)
        self.relations = relations
        self.kept: list[Tensor] = []  # what the kernels' addresses point to
        self.inputs = (self.sources(tensors), self.planes(destination))
        self.own = len(self.kept)
        batch, heads, height, width = destination.shape
        channels = tensors[0].shape[1] // heads
        self.threads = threads_for(batch * heads * height * width * channels)
        blocks = 1
        if batch * heads % self.threads:
            blocks = min(self.threads, (height + 1) // 2)
        self.pieces = (batch, heads, blocks)
        self.size = (heads, channels, height, width, blocks, height * width, 0, height)

    def forward(self, out: Tensor) -> None:
        """Σ_j α_ij z_j into ``out``, ``[B, heads · D, H_m, W_m]``."""
        none = 0, 0
        self.share(forward, none, none, (*self.planes(out), out[0, 0].numel()))

    def backward(
        self, gradient: Tensor, d_tensors: Sequence[Tensor], d_destination: Tensor
    ) -> list[Tensor]:
        """∂L/∂z, ∂L/∂el and ∂L/∂er for ``gradient``, ∂L/∂h.

        Args:
            d_tensors: where those of ``tensors`` go (what stands for t is left alone).
            d_destination: where that of er goes.

        Returns:
            ∂L/∂t of every relation, ``[heads, taps]`` in float64.
        """
        d_tap = torch.zeros(*self.pieces, TAPS, dtype=torch.float64)
        self.share(
            backward,
            self.planes(gradient),
            self.sources(d_tensors),
            self.planes(d_destination),
            d_tap.data_ptr(),
        )
        present = [relation for relation in RELATIONS if relation in self.relations]
        counts = [TAP_COUNT[relation] for relation in present]
        d_tap = d_tap.sum((0, 2))[:, : sum(counts)]
        found = dict(zip(present, d_tap.split(counts, 1), strict=True))
        return [found[relation] for relation in self.relations]

    def share(self, kernel: Callable[..., None], *arguments: Any) -> None:
        """``kernel`` over all pieces of work."""
        step, count = scratch(self.size[3])

        def run(n: int, first: int, last: int) -> None:
            own = torch.zeros(count, dtype=self.dtype)
            task = Task(*self.size, first, last, own.data_ptr(), step)
            kernel(task, *self.inputs, *arguments, self.slope, own.element_size())

        share(Job(run, math.prod(self.pieces), self.threads))
        del self.kept[self.own :]

    def sources(self, tensors: Sequence[Tensor]) -> tuple[Sources, ...]:
        """King, child and parent for the kernels."""
        found = {}
        for n, relation in enumerate(self.relations):
            z, el, t = tensors[3 * n : 3 * n + 3]
            t = t.to(self.dtype).contiguous()
            self.kept.append(t)
            height, width = z.shape[2:]
            found[relation] = Sources(
                *self.planes(z),
                *self.planes(el),
                t.data_ptr(),
                height,
                width,
                height * width,
            )
        return tuple(found.get(relation, ABSENT) for relation in RELATIONS)

    def planes(self, planes: Tensor) -> tuple[int, int]:
        """Address of ``[B, C, h, w]``, and the step from picture to picture.

        Channel slices of a larger tensor are taken as they lie, without a copy.
        """
        _, _, height, width = planes.shape
        step, *strides = planes.stride()
        # Strides of a side of one are arbitrary, so that only the slow test is sure.
        if planes.dtype != self.dtype or (
            strides != [height * width, width, 1] and not planes[0].is_contiguous()
        ):
            planes = planes.to(self.dtype).contiguous()
            step = planes.stride(0)
        self.kept.append(planes)
        return planes.data_ptr(), step


ABSENT = Sources(*[0] * len(Sources._fields))
