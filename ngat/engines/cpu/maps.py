"""Tensors for :mod:`ngat.engines.cpu.products`, and its work shared out among threads."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ngat.engines.cpu.compile import Job, share, threads_for
from ngat.engines.cpu.products import (
    STRIP,
    Operand,
    Shape,
    maps,
    outer,
    scratch_of_maps,
    scratch_of_outer,
)
from ngat.engines.cpu.simd import SIMD

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
    operands = (
        small(weight, 2),
        NOWHERE if shift is None else small(shift, 1),
        planes(x),
        NOWHERE if base is None else planes(base),
        NOWHERE if factor is None else small(factor, 1),
        NOWHERE if more is None else planes(more[1]),
        NOWHERE if gate is None else planes(gate),
        planes(out),
    )
    threads = threads_for(out.numel())
    sums = torch.zeros(threads, batch, rows, 2, dtype=torch.float64) if moments else None

    def run(n: int, first: int, last: int) -> None:
        own = torch.empty(scratch_of_maps(depth), dtype=dtype)
        partial = torch.zeros(2 * rows * SIMD if moments else 0, dtype=torch.float64)
        shape = Shape(rows, depth, nodes, first, last, own.data_ptr(), partial.data_ptr())
        into = 0 if sums is None else sums[n].data_ptr()
        maps(shape, *operands, into, *kind(dtype))

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
