"""Batch statistics for use without dropout."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import torch

from ngat.baselines.networks import Network
from ngat.config import ModelConfig
from ngat.model import NGAT, Norm
from ngat.training.distributed import Team
from ngat.training.patches import Batch
from ngat.training.step import seeded

BATCHES = 50  # over which the statistics are means


def without_dropout(
    model: Network, batches: Callable[[int, int], Iterable[Batch]], first: int, team: Team
) -> Network:
    """A copy whose batch statistics are those of the network without dropout.

    Dropout enlarges the variance of what it is given, so the statistics that training records are
    not those of the same network after it (Li et al. 2019, "Understanding the disharmony between
    dropout and batch normalization by variance shift"). A network without either is returned as it
    is, and no batch is drawn.

    Args:
        model: any network; it stays as it is.
        batches: those of steps from the first to before the second number, as
            :meth:`ngat.training.patches.Patches.batches` has them.
        first: the first of :data:`BATCHES` steps. Of 50 steps all count equally
            (``MOMENTUM`` of :class:`ngat.model.Norm`).
        team: processes that train together; each has batches of its own, and the statistics are
            the means of all.
    """
    config = model.config
    if not isinstance(config, ModelConfig) or config.norm != "batch" or not config.dropout:
        return model
    with seeded(team.device, 0):
        seen, found = (NGAT(one).to(team.device) for one in (replace(config, dropout=0.0), config))
    seen.load_state_dict(model.state_dict())
    norms = [module for module in seen.train().modules() if isinstance(module, Norm)]
    for norm in norms:
        norm.num_batches_tracked.zero_()
    with torch.no_grad():
        for batch in batches(first, first + BATCHES):
            seen(batch.to(team.device).image)
        for values in (one for norm in norms for one in (norm.running_mean, norm.running_var)):
            mean = team.mean(values.flatten().tolist())
            values.copy_(torch.tensor(mean).view_as(values))
    found.load_state_dict(seen.state_dict())
    return found.train(model.training)
