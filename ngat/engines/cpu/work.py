"""One level's attention on the CPU: tensors as addresses, and pieces shared among threads.

What the kernels do is in :mod:`ngat.engines.cpu.kernels` and :mod:`ngat.engines.cpu.backward`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ngat.attention import SLOPE
from ngat.engines.cpu.backward import backward
from ngat.engines.cpu.compile import Job, share, threads_for
from ngat.engines.cpu.kernels import TAPS, Task, forward, scratch
from ngat.engines.cpu.taps import Sources
from ngat.graph import RELATIONS, TAP_COUNT, Relation


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

    def forward(
        self,
        out: Tensor,
        bias: Tensor | None = None,
        base: Tensor | None = None,
        y: Tensor | None = None,
    ) -> None:
        """Σ_j α_ij z_j into ``out``, ``[B, heads · D, H_m, W_m]``.

        With a bias y_i = ReLU(Σ_j α_ij z_j + bias) instead, with ``base`` that plus y_i; ``y`` is
        where y_i alone goes.
        """
        last = (
            0 if bias is None else bias.data_ptr(),
            NONE if base is None else self.planes(base),
            NONE if y is None else self.planes(y),
        )
        self.share(forward, NONE, NONE, (*self.planes(out), out[0, 0].numel()), last)

    def backward(
        self,
        gradient: Tensor,
        d_tensors: Sequence[Tensor],
        d_destination: Tensor,
        adds: tuple[int, int] = (0, 0),
    ) -> list[Tensor]:
        """∂L/∂z, ∂L/∂el and ∂L/∂er for ``gradient``, ∂L/∂h.

        Args:
            d_tensors: where those of ``tensors`` go (what stands for t is left alone).
            d_destination: where that of er goes.
            adds: of king and child, whether ∂L/∂z is added to what is there.

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
            adds,
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


NONE = 0, 0
ABSENT = Sources(*[0] * len(Sources._fields))
