"""The floors of a training step: what every operation of it must move and compute at least.

As :mod:`ngat.benchmark.floor` has it for one layer: an operation reads its inputs once and writes
its outputs once, forward; backward it reads inputs and the outputs' gradient, and writes those of
its inputs. Activations, residuals and projections are taken to be part of their neighbours, which
a fused kernel can make them: the sum is optimistic.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from ngat.attention import TapGroup, attend
from ngat.benchmark.floor import Cost, floor_ms
from ngat.benchmark.parts import PARTS
from ngat.graph import PyramidGraph
from ngat.model import NGAT, Maps, Norm
from ngat.plasticity import Dense

SINGLE = 4  # bytes of a number of losses, weights and their moments


def step_costs(model: NGAT, side: int, batch: int, itemsize: int) -> list[tuple[str, Cost]]:
    """(part, cost) of every operation of a training step, forward and backward together.

    Args:
        model: on the CPU.
        side, batch: of the pictures.
        itemsize: bytes of a number of the embeddings.
    """
    found: list[tuple[str, Cost]] = []

    def add(part: str, numbers: int, multiply_adds: int, size: int = itemsize) -> None:
        found.append((part, Cost(batch * numbers * size, batch * multiply_adds)))

    def of_maps(part: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Sequence[Tensor], outputs: Any) -> None:
            channels, made = inputs[0].shape[1], outputs
            made = sum(o.shape[1] for o in made) if isinstance(made, tuple) else made.shape[1]
            nodes = inputs[0].numel() // channels
            add(part, nodes * (3 * channels + 2 * made), 3 * nodes * channels * made)

        return hook

    def of_norm(module: nn.Module, inputs: Sequence[Tensor], _: Tensor) -> None:
        add(PARTS[Norm], 5 * inputs[0].numel(), 0)

    def attended(groups: Sequence[TapGroup], destination: Tensor) -> Tensor:
        out = attend(groups, destination, "reference")
        read = destination.numel() + sum(g.values.numel() + g.source.numel() for g in groups)
        taps = sum(group.tap.shape[1] for group in groups)
        add("attention", 3 * read + 2 * out.numel(), 3 * taps * out.numel())
        return out

    hooks = {Maps: of_maps(PARTS[Maps]), Dense: of_maps("projection and plasticity"), Norm: of_norm}
    with ExitStack() as stack, torch.no_grad():
        for module in model.modules():
            if type(module) in hooks:
                handle = module.register_forward_hook(hooks[type(module)])
                stack.callback(handle.remove)
        image, graph = torch.rand(1, 3, side, side), PyramidGraph(side, side, model.config.levels)
        logits = model.message_passing(model.plasticity(image, graph), attended)
    for level in logits:  # logits and targets in, a gradient out
        add("loss", 3 * level.numel(), 0, SINGLE)
    # AdamW reads weight, gradient and two moments, and writes all but the gradient.
    weights = sum(parameter.numel() for parameter in model.parameters())
    found.append(("optimiser", Cost(7 * weights * SINGLE, 0)))
    return found


def step_floors(
    costs: Sequence[tuple[str, Cost]], copy_gb_s: float, gfma_s: float
) -> dict[str, float]:
    """Sums of the operations' floors in milliseconds, by part."""
    floors: dict[str, float] = defaultdict(float)
    for part, price in costs:
        floors[part] += floor_ms(price, copy_gb_s, gfma_s)
    return dict(floors)
