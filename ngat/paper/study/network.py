"""What a network is made of, and the receptive field of its nodes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from ngat.config import ModelConfig, Preset
from ngat.errors import InputError
from ngat.graph import RELATIONS, PyramidGraph, Relation
from ngat.model import NGAT, schedule
from ngat.training.step import seeded

Mask = npt.NDArray[np.bool_]

# Differences of an integral image leave rounding errors behind where a pixel has no influence.
ROUNDING = 1e-12


def graph_network(chosen: Preset) -> ModelConfig:
    """The configuration of a preset's graph network.

    Raises:
        InputError: the preset's network is a rival, which has no graph to study.
    """
    if not isinstance(chosen.model, ModelConfig):
        raise InputError(f"The preset {chosen.name} has no graph network; choose companion.")
    return chosen.model


def sizes(configs: Mapping[str, ModelConfig]) -> pd.DataFrame:
    """One row per network: levels, channels, heads, updates of a level, of the base, parameters."""
    rows = []
    for name, config in configs.items():
        steps = schedule(config)
        rows.append(
            {
                "network": name,
                "levels": config.levels,
                "channels": config.channels,
                "heads": config.heads,
                "level updates": sum(config.levels if m is None else 1 for m, _ in steps),
                "base updates": sum(m in (None, 0) for m, _ in steps),
                "parameters": sum(p.numel() for p in NGAT(config).parameters()),
            }
        )
    return pd.DataFrame(rows)


class Reach(NamedTuple):
    """What one pixel's node depends on after some updates.

    Attributes:
        title: after what.
        influence: size of the gradient of its logits with respect to every pixel, ``[H, W]``.
        walked: pixels from which a walk over the edges leads to it, ``[H, W]``.
    """

    title: str
    influence: npt.NDArray[np.float64]
    walked: Mask


def growth(config: ModelConfig, side: int, depths: Sequence[int], seed: int = 0) -> list[Reach]:
    """Reach of the middle pixel after the layers or cycles in ``depths``.

    The networks are untrained, at fixed positions and without normalisation, whose statistics run
    over all nodes.
    """
    unit = "layer" if config.schedule == "synchronous" else "V-cycle"
    found = []
    for depth in depths:
        plain = dataclasses.replace(config, depth=depth, plasticity="fixed", norm="none")
        title = f"{depth} {unit}{'s' if depth > 1 else ''}"
        middle = (side // 2, side // 2)
        found.append(Reach(title, influence(plain, side, middle, seed), walk(plain, side, middle)))
    return found


def influence(
    config: ModelConfig, side: int, pixel: tuple[int, int], seed: int = 0, draws: int = 4
) -> npt.NDArray[np.float64]:
    """|∂ logits(pixel) / ∂ picture|, summed over channels and random networks, ``[side, side]``.

    Several networks, since a ReLU may be closed in one of them.
    """
    total = np.zeros((side, side))
    for draw in range(draws):
        with seeded(torch.device("cpu"), seed, draw):
            model = NGAT(config).double().eval()
            image = torch.rand(1, 3, side, side, dtype=torch.float64, requires_grad=True)
        logits = model(image).logits[0][0, :, pixel[0], pixel[1]]
        (gradient,) = torch.autograd.grad(logits.sum(), image)
        total += gradient[0].abs().sum(0).numpy()
    return np.where(total > ROUNDING * total.max(), total, 0.0)


def walk(config: ModelConfig, side: int, pixel: tuple[int, int]) -> Mask:
    """Pixels that can reach a pixel's node along the edges, update by update, ``[side, side]``.

    Walked backwards: before an update of a level, those of its nodes that matter later matter, and
    so do all their sources. At the beginning a node knows the pixels of its cell.
    """
    graph = PyramidGraph(side, side, config.levels)
    matters = np.zeros(graph.num_nodes, dtype=bool)
    matters[graph.nodes(0)[pixel]] = True
    for level, relations in reversed(schedule(config)):
        matters |= _sources_of(graph, matters, level, relations)
    pixels = np.zeros((side, side), dtype=bool)
    for m, (height, width) in enumerate(graph.sizes):
        cells = matters[graph.offsets[m] : graph.offsets[m + 1]].reshape(height, width)
        pixels |= np.kron(cells, np.ones((2**m, 2**m), dtype=bool))[:side, :side]
    return pixels


def _sources_of(
    graph: PyramidGraph, matters: Mask, level: int | None, relations: tuple[Relation, ...]
) -> Mask:
    needed = np.zeros_like(matters)
    for relation in RELATIONS:
        if relation in relations:
            sources, destinations, _ = graph.edges(relation, level)
            needed[sources[matters[destinations]]] = True
    return needed
