"""Loss and gradient of a node by its error, its place in the picture and its level."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from ngat.baselines.networks import build
from ngat.config import LossConfig, preset
from ngat.data import Sample
from ngat.data.normalize import as_tensor
from ngat.loss import binary_cross_entropy, field, field_of, focal_loss, loss_of
from ngat.model import NGAT, Output
from ngat.training.patches import Patches
from ngat.training.step import seeded

Array = npt.NDArray[np.float64]


def curves(gammas: Sequence[float], points: int = 199) -> pd.DataFrame:
    """Loss of a node over p_t, and its gradient at the node's logit (α = 1).

    Returns:
        one row per curve and point: ``curve`` (``cross-entropy``, eq. 22, or focal with its γ,
        eq. 23), ``p``, ``loss`` and ``gradient``, the derivative −∂L/∂logit.
    """
    p = torch.linspace(0, 1, points + 2, dtype=torch.float64)[1:-1]
    found = []
    for gamma in (None, *gammas):
        logits = torch.logit(p).requires_grad_()
        y = torch.ones_like(p)
        if gamma is None:
            loss = binary_cross_entropy(logits, y)
        else:
            loss = focal_loss(logits, y, gamma, 1.0)
        (slope,) = torch.autograd.grad(loss.sum(), logits)
        name = "cross-entropy" if gamma is None else f"focal, γ = {gamma:g}"
        values = {"p": p.numpy(), "loss": loss.detach().numpy(), "gradient": -slope.numpy()}
        found.append(pd.DataFrame({"curve": name, **values}))
    return pd.concat(found, ignore_index=True)


def field_map(reading: str, z: float, points: int = 101) -> Array:
    """A reading of the field of eq. 24 over x and y in [0, 1], ``[points, points]``, rows are y."""
    at = torch.linspace(0, 1, points, dtype=torch.float64)
    y, x = torch.meshgrid(at, at, indexing="ij")
    return field(x, y, torch.full_like(x, z), reading).numpy()


def at_offset(cells: float, z: float = 0.01) -> float:
    """The default field's value at a low node that moved up or down by so many cells."""
    half, height = torch.tensor(0.5, dtype=torch.float64), torch.tensor(z, dtype=torch.float64)
    return float(field(half, half + cells, height))


def negative_share(z: float, points: int = 1000) -> float:
    """Share of the unit square on which the sum of the field's components is negative."""
    at = (torch.arange(points, dtype=torch.float64) + 0.5) / points  # centres: no node on an edge
    y, x = torch.meshgrid(at, at, indexing="ij")
    return float((field(x, y, torch.full_like(x, z), "sum") < 0).double().mean())


def forward(samples: Sequence[Sample], seed: int = 0) -> Output:
    """An untrained smoke network's output with targets, on a batch of patches."""
    chosen = preset("smoke", augment=False, seed=seed)
    with seeded(torch.device("cpu"), seed), torch.no_grad():
        patches = Patches(samples, chosen.train, contrast=chosen.model.contrast)
        image, targets = patches.batch(0)
        output: Output = build(chosen.model)(image, targets[:, : chosen.model.outputs])
    return output


def on_picture(model: NGAT, sample: Sample) -> Output:
    """A trained network's output on a whole picture, with the annotated mask as its target."""
    mask = torch.from_numpy(sample.labels > 0)[None, None].float()
    with torch.no_grad():
        output: Output = model(as_tensor(sample.image, model.config.contrast), mask)
    return output


def node_losses(output: Output, config: LossConfig | None = None) -> list[Array]:
    """Focal loss of every node's nucleus logit times the field (eq. 25), ``[H_m, W_m]`` a level."""
    config = config or LossConfig()
    assert output.targets is not None
    return [
        (
            focal_loss(logits[:, :1], y[:, :1], config.gamma, config.alpha)
            * field_of(output, m, config.field)
        )[0, 0]
        .double()
        .numpy()
        for m, (logits, y) in enumerate(zip(output.logits, output.targets, strict=True))
    ]


def alike(output: Output, config: LossConfig) -> Tensor:
    """The focal loss averaged over all nodes of all levels alike: no balance between levels."""
    assert output.targets is not None
    totals, count = [], 0
    for logits, y in zip(output.logits, output.targets, strict=True):
        totals.append(focal_loss(logits, y, config.gamma, config.alpha).sum())
        count += logits.numel()
    return torch.stack(totals).sum() / count


def gradient_shares(output: Output) -> pd.DataFrame:
    """How the gradient is shared out among levels: the part of Σ |∂L/∂logit| of each.

    Returns:
        one row per level: ``level``, its share of the ``nodes``, and its share of the gradient of
        ``base_only`` (eq. 23 on base nodes), ``alike`` (all nodes one mean), ``equal`` (levels
        averaged first, then weighted alike) and ``balanced`` (the default: weights that halve).
    """
    config = LossConfig()
    losses = {
        "base_only": dataclasses.replace(config, kind="focal"),
        "alike": None,
        "equal": dataclasses.replace(config, level_decay=1.0),
        "balanced": config,
    }
    nodes = np.array([logits[0, 0].numel() for logits in output.logits])
    table = {"level": np.arange(len(nodes)), "nodes": nodes / nodes.sum()}
    for name, chosen in losses.items():
        leaves = [logits.detach().requires_grad_() for logits in output.logits]
        there = output._replace(logits=leaves)
        loss = alike(there, config) if chosen is None else loss_of(there, chosen)[0]
        loss.backward()
        sums = [0.0 if leaf.grad is None else leaf.grad.abs().sum().item() for leaf in leaves]
        table[name] = np.array(sums) / sum(sums)
    return pd.DataFrame(table)


def twice_the_base(output: Output) -> Output:
    """The same output with every base node there twice."""
    assert output.targets is not None

    def doubled(levels: list[Tensor]) -> list[Tensor]:
        return [torch.cat([levels[0], levels[0]], dim=-1), *levels[1:]]

    return Output(
        doubled(output.logits),
        doubled(output.positions),
        doubled(output.moves),
        doubled(output.valid),
        doubled(output.targets),
    )
