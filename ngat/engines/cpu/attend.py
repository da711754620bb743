"""The CPU engine: fused kernels in numba (:mod:`ngat.engines.cpu.kernels`), as many threads as
torch uses.

float32 and float64 are computed as they are; half and bfloat16 in float32. Compiled code is kept
on disk, for every image size the same. Here is one level's attention, and what else an engine may
replace (:mod:`ngat.attention`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ngat.attention import TapGroup
from ngat.engines.cpu.compile import Job, share, threads_for
from ngat.engines.cpu.exponential import STRIP, sigmoids
from ngat.engines.cpu.fused import forward_pass as forward_pass
from ngat.engines.cpu.products import kind
from ngat.engines.cpu.work import Work, computed_in
from ngat.graph import Relation


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
