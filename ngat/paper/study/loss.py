"""Loss and gradient of a node by its error, its place in the picture and its level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from ngat.baselines.networks import build
from ngat.config import LossConfig, preset
from ngat.data import Sample
from ngat.loss import binary_cross_entropy, field, field_of, focal_loss, loss_of
from ngat.model import Output
from ngat.training.patches import Patches
from ngat.training.step import seeded

Array = npt.NDArray[np.float64]


def curves(gammas: Sequence[float], points: int = 199) -> pd.DataFrame:
    """Loss of a node over p_t, and its gradient at the node's logit (α = 1).

    Returns:
        one row per curve and point: ``curve`` (``cross-entropy``, eq. 22, or focal with its γ,
        eq. 23), ``p``, ``loss`` and ``gradient``, |∂L/∂logit|; the derivative is negative.
    """
    p = torch.linspace(0, 1, points + 2, dtype=torch.float64)[1:-1]
    y = torch.ones_like(p)
    found = []
    for gamma in (None, *gammas):
        logits = torch.logit(p).requires_grad_()
        if gamma is None:
            name, loss = "cross-entropy", binary_cross_entropy(logits, y)
        else:
            name, loss = f"focal, γ = {gamma:g}", focal_loss(logits, y, gamma, 1.0)
        (slope,) = torch.autograd.grad(loss.sum(), logits)
        values = {"p": p.numpy(), "loss": loss.detach().numpy(), "gradient": -slope.numpy()}
        found.append(pd.DataFrame({"curve": name, **values}))
    return pd.concat(found, ignore_index=True)


def field_map(reading: str, z: float, points: int = 101) -> Array:
    """A reading of the field of eq. 24 over x and y in [0, 1], ``[points, points]``, rows are y."""
    at = torch.linspace(0, 1, points, dtype=torch.float64)
    y, x = torch.meshgrid(at, at, indexing="ij")
    return field(x, y, torch.full_like(x, z), reading).numpy()


def forward(samples: Sequence[Sample], seed: int = 0) -> Output:
    """An untrained smoke network's output with targets, on a batch of patches."""
    chosen = preset("smoke", augment=False, seed=seed)
    with seeded(torch.device("cpu"), seed), torch.no_grad():
        patches = Patches(samples, chosen.train, contrast=chosen.model.contrast)
        image, targets = patches.batch(0)
        output: Output = build(chosen.model)(image, targets[:, : chosen.model.outputs])
    return output


def node_losses(output: Output, config: LossConfig) -> list[Array]:
    """Focal loss of every node's nucleus logit times the field (eq. 25), ``[H_m, W_m]`` a level."""
    assert output.targets is not None
    found = []
    for m, (logits, y) in enumerate(zip(output.logits, output.targets, strict=True)):
        loss = focal_loss(logits[:, :1], y[:, :1], config.gamma, config.alpha)
        weighted = loss * field_of(output, m, config.field)
        found.append(weighted[0, 0].double().numpy())
    return found


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
    nodes = np.array([logits[0, 0].numel() for logits in output.logits])
    table = {"level": np.arange(len(nodes)), "nodes": nodes / nodes.sum()}
    leaves = [logits.detach().requires_grad_() for logits in output.logits]
    there = output._replace(logits=leaves)
    losses = {
        "base_only": loss_of(there, replace(config, kind="focal"))[0],
        "alike": alike(there, config),
        "equal": loss_of(there, replace(config, level_decay=1.0))[0],
        "balanced": loss_of(there, config)[0],
    }
    for name, loss in losses.items():
        gradients = torch.autograd.grad(loss, leaves, materialize_grads=True)
        sums = np.array([gradient.abs().sum().item() for gradient in gradients])
        table[name] = sums / sums.sum()
    return pd.DataFrame(table)


def twice_the_base(output: Output) -> Output:
    """The same output with every base node there twice."""
    lists = cast(tuple[list[Tensor], ...], output)
    return Output(*([torch.cat([base, base], dim=-1), *above] for base, *above in lists))
