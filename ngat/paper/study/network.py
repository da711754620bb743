"""What a network is made of, its attention coefficients, and the receptive field of its nodes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from ngat.attention import attention_weights, installed
from ngat.config import ModelConfig
from ngat.engines.agreement import case, converted, results
from ngat.graph import HOME_DISPLACEMENT, RELATIONS, TAP_COUNT, PyramidGraph, Relation
from ngat.model import NGAT, PyramidGATConv, schedule
from ngat.paper.study.graph import Mask, with_sources
from ngat.training.step import seeded

Array = npt.NDArray[np.float64]

# Differences of an integral image leave rounding errors behind where a pixel has no influence.
ROUNDING = 1e-12


def sizes(configs: Mapping[str, ModelConfig]) -> pd.DataFrame:
    """One row per network: levels, channels, heads, updates of a level, of the base, parameters."""
    rows = []
    for name, config in configs.items():
        updated = [m for m, _ in schedule(config)]  # None: all levels at once
        rows.append(
            {
                "network": name,
                "levels": config.levels,
                "channels": config.channels,
                "heads": config.heads,
                "level updates": sum(config.levels if m is None else 1 for m in updated),
                "base updates": sum(m in (None, 0) for m in updated),
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
    influence: Array
    walked: Mask


def growth(config: ModelConfig, side: int, depths: Sequence[int], seed: int = 0) -> list[Reach]:
    """Reach of the middle pixel after the layers or cycles in ``depths``.

    The networks are untrained, at fixed positions and without normalisation, whose statistics run
    over all nodes.
    """
    unit = "layer" if config.schedule == "synchronous" else "V-cycle"
    middle = (side // 2, side // 2)
    found = []
    for depth in depths:
        plain = dataclasses.replace(config, depth=depth, plasticity="fixed", norm="none")
        title = f"{depth} {unit}{'s' if depth > 1 else ''}"
        found.append(Reach(title, influence(plain, side, middle, seed), walk(plain, side, middle)))
    return found


def influence(config: ModelConfig, side: int, pixel: tuple[int, int], seed: int) -> Array:
    """|∂ logits(pixel) / ∂ picture|, summed over channels and random networks, ``[side, side]``.

    Four networks, since a ReLU may be closed in one of them.
    """
    total = np.zeros((side, side))
    for draw in range(4):
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
    so do all their sources. At the start a node depends on the pixels of its cell.
    """
    graph = PyramidGraph(side, side, config.levels)
    matters = np.arange(graph.num_nodes) == graph.nodes(0)[pixel]
    for level, relations in reversed(schedule(config)):
        matters = with_sources(matters, [graph.edges(r, level)[:2] for r in relations])
    pixels = np.zeros((side, side), dtype=bool)
    for m in range(graph.levels):
        cells = matters[graph.nodes(m)]
        pixels |= np.kron(cells, np.ones((2**m, 2**m), dtype=bool))[:side, :side]
    return pixels


class Coefficients(NamedTuple):
    """One softmax of one update of one level.

    Attributes:
        update: which update of the network, counted from 0.
        level: of the destination nodes.
        relations: of the source nodes, in the order of the taps.
        alpha: coefficients (eq. 17), ``[heads, taps, H_m, W_m]``; zero where no tap exists.
    """

    update: int
    level: int
    relations: tuple[Relation, ...]
    alpha: Array


def coefficients(model: NGAT, image: Tensor) -> list[Coefficients]:
    """Every attention coefficient of a forward pass over one picture ``[1, 3, H, W]``.

    A copy of the network runs on the reference engine; fused engines never store them.
    """
    found: list[Coefficients] = []
    plain = NGAT(dataclasses.replace(model.config, engine="reference")).to(image.dtype).eval()
    plain.load_state_dict(model.state_dict())

    def hook(number: int, update: PyramidGATConv) -> Callable[..., Tensor]:
        def noted(h: Any, level: int, maps: Any, moves: Any, attend: Any) -> Tensor:
            for groups, er in update.softmaxes(maps, level, moves):
                relations = tuple(group.relation for group in groups)
                alpha = attention_weights(groups, er)[0].double().numpy()
                found.append(Coefficients(number, level, relations, alpha))
            return PyramidGATConv.update(update, h, level, maps, moves, attend)

        return noted

    for number, module in enumerate(plain.updates):
        update = cast(PyramidGATConv, module)
        update.update = hook(number, update)  # type: ignore[method-assign]
    with torch.no_grad():
        plain(image)
    return found


def mean_by_tap(softmax: Coefficients) -> dict[Relation, Array]:
    """Mean coefficients of the nodes that have all taps, ``[heads, taps of the relation]``.

    Nodes at the border have fewer taps to share their attention among; they are left out where
    any other is there.
    """
    whole = np.all(softmax.alpha > 0, axis=(0, 1))
    means = softmax.alpha[:, :, whole if whole.any() else ~whole].mean(-1)
    ends = np.cumsum([TAP_COUNT[relation] for relation in softmax.relations])
    return dict(zip(softmax.relations, np.split(means, ends[:-1], axis=1), strict=True))


def direction(softmax: Coefficients) -> Array:
    """Mean displacement of a node's sources, Σ α Δ in cells of its level, ``[heads, 3, H, W]``."""
    displacement = np.concatenate([HOME_DISPLACEMENT[relation] for relation in softmax.relations])
    mean: Array = np.einsum("ktyx,td->kdyx", softmax.alpha, displacement)
    return mean


def deviation(softmax: Coefficients) -> Array:
    """Distance of each node's mean displacement from its head's, in cells, ``[heads, H, W]``."""
    displaced = direction(softmax)
    apart: Array = np.linalg.norm(displaced - displaced.mean((2, 3), keepdims=True), axis=1)
    return apart


SIDES = {
    "right": (1, 0, 0),
    "left": (-1, 0, 0),
    "down": (0, 1, 0),
    "up": (0, -1, 0),
    "to the parent": (0, 0, 1),
    "to the children": (0, 0, -1),
}


def main_directions(softmax: Coefficients) -> list[tuple[str, float]]:
    """The side of :data:`SIDES` nearest to each head's mean displacement, and its length in cells.

    The mean is over all nodes.
    """
    mean = direction(softmax).mean((2, 3))
    nearest = (mean @ np.array(list(SIDES.values())).T).argmax(1)
    lengths = np.linalg.norm(mean, axis=1).tolist()
    return [(list(SIDES)[k], length) for k, length in zip(nearest, lengths, strict=True)]


MIRRORS: dict[str, Callable[[Tensor], Tensor]] = {
    "left and right": lambda t: t.flip(-1),
    "up and down": lambda t: t.flip(-2),
    "rows and columns": lambda t: t.transpose(-1, -2),
}


def symmetry(config: ModelConfig, side: int = 32, seed: int = 0) -> pd.DataFrame:
    """How much a mirrored picture's prediction differs from the mirrored prediction.

    Untrained networks of every kind of position term, at fixed positions, in float64. Zero means
    that the network cannot tell one side from the other.

    Returns:
        one row per kind, a column per mirror: the largest difference of base logits, as a share
        of their standard deviation.
    """
    rows = []
    for kind in ("none", "linear", "table"):
        changed = dataclasses.replace(config, position=kind, plasticity="fixed")
        with seeded(torch.device("cpu"), seed), torch.no_grad():
            model = NGAT(changed).double().eval()
            image = torch.rand(1, 3, side, side, dtype=torch.float64)
            plain = model(image).logits[0]
            row: dict[str, object] = {"position_term": kind}
            for name, mirror in MIRRORS.items():
                difference = model(mirror(image)).logits[0] - mirror(plain)
                row[name] = (difference.abs().max() / plain.std()).item()
        rows.append(row)
    return pd.DataFrame(rows)


def engines(names: Sequence[str] = ("cpu", "dgl"), side: int = 24, seed: int = 0) -> pd.DataFrame:
    """Largest differences to the reference engine, in value and in gradient.

    Args:
        names: engines; those that are not installed are left out.
        side: rows and columns of the destination level.

    Returns:
        one row per engine, dtype and softmax (``joint`` over all 14 taps, or one relation).
    """
    rows = []
    softmaxes: dict[str, tuple[Relation, ...]] = {
        "joint": RELATIONS, "king": ("king",), "child": ("child",)
    }  # fmt: skip
    for dtype in (torch.float64, torch.float32):
        for softmax, relations in softmaxes.items():
            # Two pictures, four heads of four channels, into level 1 of a pyramid.
            shape, below = (2, 4, 4, side, side), (2 * side - 1, 2 * side)
            inputs = converted(*case(shape, relations, below=below, seed=seed), dtype)
            expected = results(*inputs, "reference")
            for name in filter(installed, names):
                pairs = zip(results(*inputs, name), expected, strict=True)
                value, *gradients = [(a - b).abs().max().item() for a, b in pairs]
                kind = str(dtype).removeprefix("torch.")
                rows.append((name, kind, softmax, value, max(gradients)))
    return pd.DataFrame(rows, columns=["engine", "dtype", "softmax", "value", "gradient"])
