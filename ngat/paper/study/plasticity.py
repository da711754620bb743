"""How far nodes move, what makes them move, and what no weights can make them do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import pandas as pd
import torch
from torch import Tensor, nn

from ngat.config import ModelConfig, Preset, preset
from ngat.data import Sample
from ngat.data.normalize import as_tensor
from ngat.graph import PyramidGraph
from ngat.loss import loss_of
from ngat.model import NGAT, Output
from ngat.paper.study.network import graph_network
from ngat.plasticity import Placement, Plasticity
from ngat.projection import integral_image, project
from ngat.training.patches import Patches
from ngat.training.step import Objective, learning_rate, parameter_groups, position, seeded

MIXED = (0.05, 0.95)  # a node with a share of nucleus between these sees an edge


def trained_briefly(chosen: Preset, samples: Sequence[Sample]) -> tuple[NGAT, list[float]]:
    """A network after ``chosen.train.steps`` steps, in evaluation mode, and its losses.

    The steps are those of :func:`ngat.training.trainer.train`, without validation and files.
    """
    config, device = chosen.train, torch.device("cpu")
    patches = Patches(samples, config, contrast=chosen.model.contrast)
    with seeded(device, config.seed):
        model = NGAT(graph_network(chosen))
    objective = Objective(model, chosen.loss)
    optimiser = torch.optim.AdamW(parameter_groups(model, config.weight_decay), betas=(0.9, 0.99))
    losses = []
    for step in range(config.steps):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(position(step, 0.0, None, config), config)
        optimiser.zero_grad(set_to_none=True)
        with seeded(device, config.seed, step):
            loss, _ = objective(*patches.batch(step))
            loss.backward()
        nn.utils.clip_grad_norm_(objective.parameters(), config.clip)
        optimiser.step()
        losses.append(loss.item())
    return model.eval(), losses


def place(model: NGAT, sample: Sample) -> Placement:
    """Positions of a network's nodes over a picture."""
    with torch.no_grad():
        seen = as_tensor(sample.image, model.config.contrast)
        placement: Placement = model.plasticity(seen, graph_of(model, sample))
    return placement


def graph_of(model: NGAT, sample: Sample) -> PyramidGraph:
    """The graph that a network lays over a picture."""
    return PyramidGraph(sample.labels.shape[0], sample.labels.shape[1], model.config.levels)


def nucleus_share(placement: Placement, sample: Sample) -> list[Tensor]:
    """Share of nucleus under every node's pyramid at its present position, ``[H_m, W_m]``."""
    integral = integral_image(torch.from_numpy(sample.labels > 0)[None, None])
    return [project(integral, zeta)[0][0, 0] for zeta in placement.positions]


def moves_by_level(placed: Sequence[tuple[Placement, Sample]]) -> pd.DataFrame:
    """How far the nodes of each level moved, over some pictures.

    Returns:
        one row per level above the base: ``level``, ``nodes``; ``x``, ``y`` (cells) and ``z``
        (levels) of the mean move, which all nodes share; ``spread_x``, ``spread_y``, ``spread_z``,
        the standard deviation over nodes, which is what adapts to the picture; ``edge`` and
        ``elsewhere``, the mean length of the move less the common one, of nodes that see an edge
        of a nucleus and of those that see only nucleus or only background.
    """
    rows = []
    for m in range(1, len(placed[0][0].moves)):
        moves = torch.cat([placement.moves[m][0].flatten(1) for placement, _ in placed], dim=1)
        share = torch.cat([nucleus_share(*pair)[m].flatten() for pair in placed])
        mean = moves.mean(1)
        own = (moves - mean[:, None]).norm(dim=0)
        mixed = (share > MIXED[0]) & (share < MIXED[1])
        spread = moves.std(1)
        rows.append(
            {
                "level": m,
                "nodes": moves.shape[1],
                **dict(zip("xyz", mean.tolist(), strict=True)),
                **dict(zip(("spread_x", "spread_y", "spread_z"), spread.tolist(), strict=True)),
                "edge": own[mixed].mean().item(),
                "elsewhere": own[~mixed].mean().item(),
            }
        )
    return pd.DataFrame(rows)


def heights_around_edges(placement: Placement, sample: Sample, level: int) -> dict[str, float]:
    """Mean change of the height in levels, by what lies below the nodes of a level at home.

    ``edge``: the border of a nucleus. ``beside``: none, but below one of the eight neighbours.
    ``elsewhere``: neither.
    """
    mask = torch.from_numpy(sample.labels > 0)[None, None].double()
    share = nn.functional.avg_pool2d(mask, 2**level, ceil_mode=True)
    edge = (share > MIXED[0]) & (share < MIXED[1])
    near = nn.functional.max_pool2d(edge.double(), 3, stride=1, padding=1) > 0
    z = placement.moves[level][:, 2:3]
    places = {"edge": edge, "beside": near & ~edge, "elsewhere": ~near}
    return {name: z[place].mean().item() for name, place in places.items()}


class Cut(nn.Module):
    """A plasticity whose gradient flows through some of its outcomes only.

    Args:
        through: ``features``, ``moves`` (which reach the attention's position term) or both.
    """

    def __init__(self, plasticity: Plasticity, through: Sequence[str]) -> None:
        super().__init__()
        self.plasticity = plasticity
        self.through = through

    def forward(self, image: Tensor, graph: PyramidGraph) -> Placement:
        """As :meth:`ngat.plasticity.Plasticity.forward`."""
        placement: Placement = self.plasticity(image, graph)
        cut = {
            name: [value.detach() for value in getattr(placement, name)]
            for name in ("features", "moves")
            if name not in self.through
        }
        return placement._replace(**cut)


def hidden_spread(model: NGAT, sample: Sample) -> float:
    """How much ξ's last hidden values differ from node to node, relative to their size.

    Their standard deviation over all nodes of all levels, over their root mean square.
    """
    seen: list[Tensor] = []
    assert model.plasticity.xi is not None
    last = model.plasticity.xi.layers[-1]
    handle = last.register_forward_pre_hook(
        lambda _, inputs: seen.append(inputs[0].movedim(1, -1).flatten(0, -2))
    )
    try:
        place(model, sample)
    finally:
        handle.remove()
    values = torch.cat(seen)
    return float(values.std(0).norm() / values.square().mean(0).sqrt().norm())


def gradient_paths(samples: Sequence[Sample], seed: int = 0) -> pd.DataFrame:
    """Size of the loss's gradient at ξ's last layer: by way of features, of attention, of both.

    Returns:
        one row per way: ``through`` and ``gradient`` (Euclidean norm).
    """
    chosen = preset("smoke", batch=2, patch=64, augment=False, seed=seed)
    image, targets = Patches(samples, chosen.train, contrast=chosen.model.contrast).batch(0)
    ways = {
        "features and attention": ("features", "moves"),
        "features alone": ("features",),
        "attention alone": ("moves",),
        "neither": (),
    }
    rows = []
    for name, through in ways.items():
        with seeded(image.device, seed):
            model = NGAT(graph_network(chosen))
            wake(model.plasticity)
        assert model.plasticity.xi is not None
        last = cast(Tensor, model.plasticity.xi.layers[-1].weight)
        model.plasticity = Cut(model.plasticity, through)  # type: ignore[assignment]
        loss, _ = loss_of(cast(Output, model(image, targets[:, :2])), chosen.loss)
        loss.backward()
        rows.append(
            {"through": name, "gradient": 0.0 if last.grad is None else last.grad.norm().item()}
        )
    return pd.DataFrame(rows)


def wake(plasticity: Plasticity, scale: float = 0.1) -> None:
    """Give ξ's last layer random weights: it starts at zero, as the identity."""
    assert plasticity.xi is not None
    nn.init.normal_(cast(Tensor, plasticity.xi.layers[-1].weight), std=scale)


def bounds(
    scales: Sequence[float], picture: Tensor, draws: int = 10, seed: int = 0
) -> pd.DataFrame:
    """Extreme moves under random weights of some sizes; no weights can leave the bounds.

    Args:
        scales: standard deviations of all of ξ's weights and biases.
        picture: ``[1, 3, H, W]``.
        draws: how often weights of each size are drawn.

    Returns:
        one row per scale: ``scale``; ``sideways``, largest |x| or |y| in cells; ``lowest`` and
        ``highest``, ratio of heights to home; ``gap``, smallest distance of neighbours of a level
        along a row or a column in cells; ``base``, largest move of a base node.
    """
    config = ModelConfig(levels=4, plasticity="xi")
    graph = PyramidGraph(picture.shape[2], picture.shape[3], config.levels)
    rows = []
    for scale in scales:
        for draw in range(draws):
            with seeded(picture.device, seed, draw), torch.no_grad():
                plasticity = Plasticity(config)
                for parameter in plasticity.parameters():
                    nn.init.normal_(parameter, std=scale)
                placement = plasticity(picture, graph)
            moves = torch.cat([m.flatten(2) for m in placement.moves[1:]], dim=2)
            gaps = [
                1 + torch.diff(m[:, axis], dim=-1 - axis).min().item()
                for m in placement.moves[1:]
                for axis in (0, 1)
            ]
            rows.append(
                {
                    "scale": scale,
                    "sideways": moves[:, :2].abs().max().item(),
                    "lowest": 2 ** moves[:, 2].min().item(),
                    "highest": 2 ** moves[:, 2].max().item(),
                    "gap": min(gaps),
                    "base": placement.moves[0].abs().max().item(),
                }
            )
    extremes = {"sideways": "max", "lowest": "min", "highest": "max", "gap": "min", "base": "max"}
    return pd.DataFrame(rows).groupby("scale", as_index=False).agg(extremes)
