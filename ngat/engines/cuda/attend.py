"""The CUDA engine: fused kernels in Triton (:mod:`ngat.engines.cuda.kernels`).

float64 is computed as it is; float32, half and bfloat16 in float32, rounded once on the way out.
Compiled kernels are kept on disk and serve images of all sizes. Results repeat to the last bit:
nothing is added atomically.

Triton's interpreter (``TRITON_INTERPRET=1`` set before Triton is imported) runs the same kernels
on CPU tensors, slowly: that is how they are tested where there is no GPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from ngat.attention import TapGroup
from ngat.errors import MissingDependency
from ngat.graph import RELATIONS, TAP_COUNT, Relation

try:
    import triton
    import triton.language as tl

    if tuple(int(part) for part in triton.__version__.split(".")[:2]) < (3, 3):
        raise ImportError(f"version {triton.__version__} is older than 3.3")

    from ngat.engines.cuda import kernels

    if torch.cuda.is_available() and isinstance(kernels.forward, triton.JITFunction):
        triton.runtime.driver.active.get_current_target()  # a C compiler is needed for this
except (ImportError, RuntimeError) as error:
    raise MissingDependency(
        f"The cuda engine needs Triton, which cannot be used here ({error}); torch for CUDA on "
        "Linux brings it along. The engine 'reference' does the same without it, only slower."
    ) from error

WARP = 32


class Tile(NamedTuple):
    """Nodes of one program: ``threads`` in rows of ``columns``, each with ``rows`` nodes."""

    rows: int
    columns: int
    threads: int

    def programs(self, height: int, width: int) -> tuple[int, int]:
        """Programs across and down a level."""
        down = triton.cdiv(height, self.rows * (self.threads // self.columns))
        return triton.cdiv(width, self.columns), down


def tile(width: int, words: int) -> Tile:
    """What suits a level of this width, for a kernel that sums up so many words per node.

    With two rows a thread loads a third fewer taps; more than nine words each would not fit its
    registers. Runs of 64 columns keep the halo small that neighbouring programs load again.
    """
    return Tile(rows=2 if words <= 9 else 1, columns=64 if width > 32 else 32, threads=256)


def attend(groups: Sequence[TapGroup], destination: Tensor) -> Tensor:
    """As :func:`ngat.attention.attend`, on a CUDA device; the result has the dtype of z.

    Raises:
        MissingDependency: the tensors lie on the CPU, and Triton does not interpret.
    """
    if not destination.is_cuda and isinstance(kernels.forward, triton.JITFunction):
        raise MissingDependency(
            f"The cuda engine needs tensors on a CUDA device; these are on {destination.device}. "
            "The engine 'auto' picks one that fits."
        )
    relations = tuple(group.relation for group in groups)
    if relations == ("parent",):
        # A single tap has weight one: what remains is an upsampling, whose gradient is summed up
        # before it is rounded.
        height, width = destination.shape[-2:]
        full: Tensor = F.interpolate(groups[0].values, scale_factor=2.0, mode="nearest")
        return full[..., :height, :width]
    tensors = [tensor for group in groups for tensor in group[1:]]
    out: Tensor = CudaAttention.apply(relations, destination, *tensors)
    return out


class CudaAttention(torch.autograd.Function):
    """Eq. 16–18 and their gradients; the inputs are all that is kept between the passes."""

    @staticmethod
    def forward(
        ctx: Any, relations: tuple[Relation, ...], destination: Tensor, *tensors: Tensor
    ) -> Tensor:
        ctx.save_for_backward(destination, *tensors)
        ctx.relations = relations
        level = CudaLevel(relations, destination, tensors)
        z = tensors[0]
        out = z.new_empty(level.batch, z.shape[1], *level.size)
        # Forward has weights only, not sums, for every tap.
        level.launch(kernels.forward, level.size, 9, *level.inputs, out, **level.counts)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        destination, *tensors = ctx.saved_tensors
        level = CudaLevel(ctx.relations, destination, tensors)
        g = gradient.contiguous()
        taps = sum(level.counts.values())
        der = empty(destination)
        softmaxes = der.new_empty(3, *der.shape, dtype=level.dtype)
        parts = level.batch, level.heads, level.warps(taps), taps
        dt_parts = der.new_empty(parts, dtype=level.dtype)
        level.launch(
            kernels.as_destination, level.size, taps,
            *level.inputs, g, der, softmaxes, dt_parts,
            **level.counts,
        )  # fmt: skip
        dt = dt_parts.sum((0, 2)).split([*level.counts.values()], dim=1)
        gradients: list[Tensor] = []
        for n, relation in enumerate(ctx.relations):
            z, el, t = tensors[3 * n : 3 * n + 3]
            dz, d_el = empty(z), empty(el)
            level.launch(
                kernels.as_source, (z.shape[2], z.shape[3]), 9,
                *level.sources_of(relation), g, softmaxes, dz, d_el,
                RELATION=relation,
            )  # fmt: skip
            gradients += [dz, d_el, dt[RELATIONS.index(relation)].to(t.dtype)]
        return None, der, *gradients


class CudaLevel:
    """A level's attention as arguments of the kernels, and how it is shared out to programs."""

    def __init__(
        self, relations: tuple[Relation, ...], destination: Tensor, tensors: Sequence[Tensor]
    ) -> None:
        self.batch, self.heads, height, width = destination.shape
        self.size = height, width
        self.channels = tensors[0].shape[1] // self.heads
        double = torch.float64 in (tensors[0].dtype, destination.dtype)
        self.dtype = torch.float64 if double else torch.float32
        self.words = 2 if double else 1  # of 32 bits
        # Taps by relation, under the kernels' names: KING, CHILD, PARENT.
        self.counts = {
            relation.upper(): TAP_COUNT[relation] if relation in relations else 0
            for relation in RELATIONS
        }
        self.er = flat(destination)
        self.sources = {
            relation: [flat(tensor) for tensor in tensors[3 * n : 3 * n + 3]]
            for n, relation in enumerate(relations)
        }

    @property
    def inputs(self) -> list[Any]:
        """The arguments with which `forward` and `as_destination` begin."""
        absent = [(self.er[0], 0)] * 3  # stands for a relation that is not there; never read
        groups = [self.sources.get(relation, absent) for relation in RELATIONS]
        tensors = [tensor for group in groups for tensor, _ in group]
        steps = [step for group in groups for _, step in group[:2]]
        below = self.sources["child"][0][0].shape[2:] if "child" in self.sources else (0, 0)
        return [self.er[0], *tensors, self.er[1], *steps, self.heads, *self.size, *below]

    def sources_of(self, relation: Relation) -> list[Any]:
        """The arguments with which `as_source` begins."""
        (z, z_step), (el, el_step), (t, _) = self.sources[relation]
        er, er_step = self.er
        size = z.shape[2:]
        return [z, el, t, er, z_step, el_step, er_step, self.heads, *size, *self.size]

    def warps(self, taps: int) -> int:
        """Warps that work on one picture and head."""
        chosen = tile(self.size[1], taps * self.words)
        across, down = chosen.programs(*self.size)
        return across * down * chosen.threads // WARP

    def launch(
        self, kernel: Any, size: tuple[int, int], taps: int, *arguments: Any, **constants: Any
    ) -> None:
        """Run a kernel that sums over so many taps on a level of this size, for all heads."""
        rows, columns, threads = chosen = tile(size[1], taps * self.words)
        device = self.er[0].device
        with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
            kernel[(*chosen.programs(*size), self.batch * self.heads)](
                *arguments,
                D=self.channels,
                ROWS=rows,
                COLUMNS=columns,
                THREADS=threads,
                EXACT=tl.float64 if self.dtype == torch.float64 else tl.float32,
                num_warps=threads // WARP,
                **constants,
            )


def empty(tensor: Tensor) -> Tensor:
    """Memory for a tensor's gradient."""
    return torch.empty_like(tensor, memory_format=torch.contiguous_format)


def flat(planes: Tensor) -> tuple[Tensor, int]:
    """A tensor whose pictures are contiguous, and the step from picture to picture.

    Channel slices of a larger tensor are taken as they lie, without a copy.
    """
    if not planes[0].is_contiguous():
        planes = planes.contiguous()
    return planes, planes.stride(0)
