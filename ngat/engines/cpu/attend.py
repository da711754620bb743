"""The CPU engine: fused kernels in numba (:mod:`ngat.engines.cpu.kernels`), as many threads as
torch uses.

float32 and float64 are computed as they are; half and bfloat16 in float32. Compiled code is kept
on disk, for every image size the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ngat.attention.taps import TapGroup
from ngat.engines.cpu.executor import Work, computed_in
from ngat.engines.cpu.threads import share
from ngat.errors import InputError
from ngat.graph import Relation


def attend(groups: Sequence[TapGroup], destination: Tensor) -> Tensor:
    """As :func:`ngat.attention.attend`, on the CPU.

    Raises:
        InputError: the tensors are on another device.
    """
    return attend_levels([(groups, destination)])[0]


def attend_levels(
    softmaxes: Sequence[tuple[Sequence[TapGroup], Tensor]],
) -> list[Tensor]:
    """As :func:`ngat.attention.attend_levels`, on the CPU: levels share the sums of gradients.

    Raises:
        InputError: the tensors are on another device.
    """
    for _, er in softmaxes:
        if er.device.type != "cpu":
            raise InputError(f"The cpu engine takes tensors on the CPU; got {er.device}.")
    calls = []
    for groups, er in softmaxes:
        tensors = apart([*(tensor for group in groups for tensor in group[1:]), er])
        calls.append((tuple(group.relation for group in groups), tensors))
    inputs, place = together([tensor for _, tensors in calls for tensor in tensors])
    work = [
        Softmax(relations, [place[id(tensor)] for tensor in tensors])
        for relations, tensors in calls
    ]
    return list(Attention.apply(work, *inputs))


class Part(NamedTuple):
    """Planes ``[B, C, h, w]`` from channel ``first`` of an input on, or an input as it is."""

    input: int
    first: int
    shape: torch.Size

    def of(self, inputs: Sequence[Tensor]) -> Tensor:
        """The planes themselves."""
        tensor = inputs[self.input]
        if tensor.shape == self.shape:
            return tensor
        batch, channels, height, width = self.shape
        whole = tensor.view(batch, -1, height, width)
        return whole[:, self.first : self.first + channels]


class Softmax(NamedTuple):
    """One level's attention: (z, el, t) of every relation, one after the other, then er."""

    relations: tuple[Relation, ...]
    parts: list[Part]


def apart(tensors: list[Tensor]) -> list[Tensor]:
    """The same tensors as different objects, so that each of them gets a gradient of its own."""
    seen: set[int] = set()
    found = []
    for tensor in tensors:
        found.append(tensor.view_as(tensor) if id(tensor) in seen else tensor)
        seen.add(id(tensor))
    return found


def together(tensors: Sequence[Tensor]) -> tuple[list[Tensor], dict[int, Part]]:
    """Inputs that hold all tensors, and where (by identity).

    Slices that make up the whole of one tensor, as z, el and er make up the product
    [W; a_s W; a_d W] h, are replaced by it. Then its gradient is written once, in place, where
    autograd would fill and add a tensor of its size for every slice.
    """
    slices: dict[int, dict[int, Tensor]] = {}
    distinct = {id(tensor): tensor for tensor in tensors}
    for tensor in distinct.values():
        if torch.is_grad_enabled() and (first := first_channel(tensor)) is not None:
            slices.setdefault(id(tensor._base), {})[first] = tensor
    inputs: list[Tensor] = []
    parts: dict[int, Part] = {}
    for found in slices.values():
        base = next(iter(found.values()))._base
        assert base is not None
        starts = sorted(found)
        ends = [first + found[first].shape[1] for first in starts]
        nodes = base.shape[0] * found[starts[0]][0, 0].numel()
        if starts == [0, *ends[:-1]] and ends[-1] * nodes == base.numel():
            for first, tensor in found.items():
                parts[id(tensor)] = Part(len(inputs), first, tensor.shape)
            inputs.append(base)
    for key, tensor in distinct.items():
        if key not in parts:
            parts[key] = Part(len(inputs), 0, tensor.shape)
            inputs.append(tensor)
    return inputs, parts


def first_channel(planes: Tensor) -> int | None:
    """Where ``planes`` start in the contiguous tensor that they are a slice of, if they are one."""
    base = planes._base
    if base is None or planes.ndim != 4 or not base.is_contiguous():
        return None
    if base.dtype != planes.dtype or not (base.requires_grad and planes.requires_grad):
        return None
    batch, _, height, width = planes.shape
    offset = int(planes.storage_offset() - base.storage_offset())
    first, rest = divmod(offset, height * width)
    step = base.numel() // batch
    fits = planes[0].is_contiguous() and (batch == 1 or planes.stride(0) == step)
    return first if fits and rest == 0 else None


class Attention(torch.autograd.Function):
    """Eq. 16–18 and their gradients; the inputs are all that is kept between the passes."""

    @staticmethod
    def forward(ctx: Any, softmaxes: list[Softmax], *inputs: Tensor) -> tuple[Tensor, ...]:
        ctx.save_for_backward(*inputs)
        ctx.softmaxes = softmaxes
        ctx.set_materialize_grads(False)
        outs, jobs = [], []
        for relations, parts in softmaxes:
            *tensors, er = [part.of(inputs) for part in parts]
            work = Work(relations, er, tensors)
            shape = (er.shape[0], tensors[0].shape[1], *er.shape[2:])
            out = torch.empty(shape, dtype=work.dtype)
            jobs.append(work.forward(out))
            outs.append(out)
        share(*jobs)
        dtypes = [inputs[parts[0].input].dtype for _, parts in softmaxes]
        return tuple(out.to(dtype) for out, dtype in zip(outs, dtypes, strict=True))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        inputs: tuple[Tensor, ...] = ctx.saved_tensors
        dtype = computed_in(inputs[ctx.softmaxes[0].parts[-1].input].dtype)
        found = [torch.empty(tensor.shape, dtype=dtype) for tensor in inputs]
        # Who first reaches a part of a gradient overwrites it, the others add to it.
        written: set[Part] = set()
        for (relations, parts), gradient in zip(ctx.softmaxes, gradients, strict=True):
            if gradient is None:
                continue
            *tensors, er = [part.of(inputs) for part in parts]
            *d_tensors, d_er = [part.of(found) for part in parts]
            add = [int(part in written) for part in parts]
            d_taps = Work(relations, er, tensors).backward(gradient, d_tensors, d_er, add)
            for d_t, into, more in zip(d_taps, d_tensors[2::3], add[2::3], strict=True):
                into.copy_(d_t + into if more else d_t)
            written.update(parts)
        for _, parts in ctx.softmaxes:
            for part in set(parts) - written:
                part.of(found).zero_()
        return None, *(
            d.to(tensor.dtype) if needed else None
            for d, tensor, needed in zip(found, inputs, ctx.needs_input_grad[1:], strict=True)
        )
