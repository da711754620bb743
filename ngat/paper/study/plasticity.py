"""How far nodes move, what makes them move, and what no weights can make them do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

import pandas as pd
import torch
from torch import Tensor, nn

from ngat.baselines.networks import build
from ngat.config import ModelConfig, Preset, preset
from ngat.data import Sample
from ngat.data.normalize import as_tensor
from ngat.graph import PyramidGraph
from ngat.loss import loss_of
from ngat.model import NGAT
from ngat.plasticity import Placement, Plasticity
from ngat.projection import integral_image, project
from ngat.training.distributed import team
from ngat.training.patches import Patches
from ngat.training.step import Optimisation, position, seeded

MIXED = (0.05, 0.95)  # a node with a share of nucleus between these sees an edge


def trained_briefly(chosen: Preset, samples: Sequence[Sample]) -> tuple[NGAT, list[float]]:
    """A network after ``chosen.train.steps`` steps, in evaluation mode, and its losses.

    The steps are those of :func:`ngat.training.trainer.train`, without validation and files.
    """
    patches = Patches(samples, chosen.train, contrast=chosen.model.contrast)
    losses = []
    with team("cpu") as alone:
        with seeded(alone.device, chosen.train.seed):
            model = cast(NGAT, build(chosen.model))
        optimisation = Optimisation(model, chosen, alone)
        for step in range(chosen.train.steps):
            place = position(step, 0.0, None, chosen.train)
            _, values = optimisation.step(patches.batch(step), step, place)
            losses.append(values[0].item())
    return model.eval(), losses


def place(model: NGAT, sample: Sample) -> Placement:
    """Positions of a network's nodes over a picture."""
    height, width = sample.labels.shape
    graph = PyramidGraph(height, width, model.config.levels)
    with torch.no_grad():
        placement: Placement = model.plasticity(
            as_tensor(sample.image, model.config.contrast), graph
        )
    return placement


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
        ``elsewhere``, the mean distance of a node's z from the common one, of nodes that see an
        edge of a nucleus and of those that see only nucleus or only background.
    """
    shares = [nucleus_share(*pair) for pair in placed]
    rows = []
    for m in range(1, len(shares[0])):
        moves = torch.cat([placement.moves[m][0].flatten(1) for placement, _ in placed], dim=1)
        share = torch.cat([of_picture[m].flatten() for of_picture in shares])
        mean, spread = moves.mean(1), moves.std(1)
        own = (moves[2] - mean[2]).abs()
        mixed = (share > MIXED[0]) & (share < MIXED[1])
        row: dict[str, float] = {"level": m, "nodes": moves.shape[1]}
        row |= dict(zip("xyz", mean.tolist(), strict=True))
        row |= dict(zip(("spread_x", "spread_y", "spread_z"), spread.tolist(), strict=True))
        row |= {"edge": own[mixed].mean().item(), "elsewhere": own[~mixed].mean().item()}
        rows.append(row)
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


def last_layer(plasticity: Plasticity) -> nn.Linear:
    """The last layer of ξ, whose output is the move before its bounds."""
    assert plasticity.xi is not None
    return cast(nn.Linear, plasticity.xi.layers[-1])


class Spread(NamedTuple):
    """How much ξ's last hidden values differ from node to node.

    Attributes:
        deviation: their standard deviation over all nodes of all levels, root mean square.
        relative: the same over the root mean square of the values themselves.
    """

    deviation: float
    relative: float


def hidden_spread(model: NGAT, sample: Sample) -> Spread:
    """Spread of ξ's last hidden values over a picture."""
    seen: list[Tensor] = []
    handle = last_layer(model.plasticity).register_forward_pre_hook(
        lambda _, inputs: seen.append(inputs[0].movedim(1, -1).flatten(0, -2))
    )
    place(model, sample)
    handle.remove()
    values = torch.cat(seen)
    deviation = values.std(0).square().mean().sqrt()
    return Spread(float(deviation), float(deviation / values.square().mean().sqrt()))


def untrained_spreads(config: ModelConfig, sample: Sample, seed: int = 0) -> dict[str, Spread]:
    """Spread of an untrained ξ's hidden values behind three squashing functions, same weights."""
    squashes: dict[str, Callable[[Tensor], Tensor]] = {
        "σ(x), as published": torch.sigmoid,
        "σ(x) − ½, centred": lambda x: torch.sigmoid(x) - 0.5,
        "2σ(2x) − 1, centred and steeper": torch.tanh,
    }
    found = {}
    for name, squash in squashes.items():
        with seeded(torch.device("cpu"), seed):
            model = NGAT(config).eval()
        assert model.plasticity.xi is not None
        model.plasticity.xi.squash = squash
        found[name] = hidden_spread(model, sample)
    return found


def gradient_paths(samples: Sequence[Sample], seed: int = 0) -> pd.DataFrame:
    """Size of the loss's gradient at ξ's last layer: by way of features, of attention, of both.

    The network is untrained, but ξ's last layer has random weights (:func:`wake`). Attention
    depends on ξ through the moves, which its position term reads. A way is closed by detaching what
    leads along it.

    Returns:
        one row per way: ``through`` and ``gradient`` (Euclidean norm).
    """
    chosen = preset("smoke", batch=2, patch=64, augment=False, seed=seed)
    image, targets = Patches(samples, chosen.train, contrast=chosen.model.contrast).batch(0)
    closed = {
        "features and attention": (),
        "features alone": ("moves",),
        "attention alone": ("features",),
        "neither": ("features", "moves"),
    }
    rows = []
    for name, detached in closed.items():
        with seeded(image.device, seed):
            model = cast(NGAT, build(chosen.model))
            wake(model.plasticity)
        model.plasticity.register_forward_hook(
            lambda _, inputs, placement, names=detached: placement._replace(
                **{n: [value.detach() for value in getattr(placement, n)] for n in names}
            )
        )
        loss, _ = loss_of(model(image, targets[:, :2]), chosen.loss)
        loss.backward()
        gradient = last_layer(model.plasticity).weight.grad
        rows.append((name, 0.0 if gradient is None else gradient.norm().item()))
    return pd.DataFrame(rows, columns=["through", "gradient"])


def wake(plasticity: Plasticity, scale: float = 0.1) -> None:
    """Give ξ's last layer random weights: it starts at zero, as the identity."""
    nn.init.normal_(last_layer(plasticity).weight, std=scale)


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
        along a row or a column in cells; ``base``, largest move of a base node; ``invalid``, most
        nodes of one draw under whose pyramids less than a pixel lies.
    """
    config = ModelConfig(levels=4, plasticity="xi")
    graph = PyramidGraph(picture.shape[2], picture.shape[3], config.levels)
    rows = []
    for scale, draw in [(scale, draw) for scale in scales for draw in range(draws)]:
        with seeded(picture.device, seed, draw), torch.no_grad():
            plasticity = Plasticity(config)
            for parameter in plasticity.parameters():
                nn.init.normal_(parameter, std=scale)
            placement = plasticity(picture, graph)
        base, *above = placement.moves
        moves = torch.cat([m.flatten(2) for m in above], dim=2)
        gaps = [torch.diff(m[:, axis], dim=-1 - axis).min() for m in above for axis in (0, 1)]
        rows.append(
            {
                "scale": scale,
                "sideways": moves[:, :2].abs().max().item(),
                "lowest": 2 ** moves[:, 2].min().item(),
                "highest": 2 ** moves[:, 2].max().item(),
                "gap": 1 + min(gaps).item(),
                "base": base.abs().max().item(),
                "invalid": sum(int((~valid).sum()) for valid in placement.valid),
            }
        )
    extremes = dict.fromkeys(("sideways", "highest", "base", "invalid"), "max")
    extremes |= dict.fromkeys(("lowest", "gap"), "min")
    return pd.DataFrame(rows).groupby("scale", as_index=False).agg(extremes)
