"""One step of training: the loss of a batch (eq. 22–25), its gradient, and AdamW.

And what depends on the place in the schedule: learning rate, weight decay, and seeding.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ngat.baselines.networks import Network, finds_nuclei
from ngat.config import LossConfig, Preset, TrainConfig
from ngat.loss import loss_of
from ngat.system.precision import autocast, scaler
from ngat.training.device.captured import Passes, recorder_for
from ngat.training.distributed import Team
from ngat.training.patches import Batch


def position(step: int, seconds: float, minutes: float | None, config: TrainConfig) -> float:
    """Place in the schedule, 0 … 1: by steps, or by the clock where that is further."""
    by_steps = (step + 0.5) / config.steps
    by_clock = seconds / (60 * minutes) if minutes else 0.0
    return min(1.0, max(by_steps, by_clock))


def learning_rate(place: float, config: TrainConfig) -> float:
    """One cycle: a linear rise over ``warmup``, then a cosine down to zero."""
    if place < config.warmup:
        return config.learning_rate * place / config.warmup
    fall = (place - config.warmup) / max(1.0 - config.warmup, 1e-9)
    return config.learning_rate * 0.5 * (1.0 + math.cos(math.pi * fall))


def parameter_groups(model: nn.Module, decay: float) -> list[dict[str, Any]]:
    """AdamW's groups: matrices decay, biases, gains and position terms do not."""
    named = dict(model.named_parameters())
    decaying = [name for name, p in named.items() if name.endswith("weight") and p.ndim > 1]
    return [
        {"params": [named[name] for name in decaying], "weight_decay": decay},
        {"params": [p for name, p in named.items() if name not in decaying], "weight_decay": 0.0},
    ]


@contextlib.contextmanager
def seeded(device: torch.device, *seed: int) -> Iterator[None]:
    """Seed torch's generators inside the block; restore them on exit."""
    devices = [device] if device.type == "cuda" else []
    # A seed sequence takes (1, 2) and (1, 2, 0) for the same; with their number they differ.
    entropy = np.random.SeedSequence([len(seed), *seed]).generate_state(1, np.uint64)
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(int(entropy[0]) >> 1)
        yield


class Objective(nn.Module):
    """Network and loss as one module, so that DistributedDataParallel sees the whole step."""

    def __init__(self, model: Network, config: LossConfig) -> None:
        super().__init__()
        self.model = model
        self.config = config

    def forward(self, image: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The loss of a batch, and the mean loss of every level ``[M]``."""
        if finds_nuclei(self.model):
            with autocast(image.device):
                own: Tensor = self.model.losses(image, targets)  # type: ignore[operator]
            return own, own.detach()[None]
        with autocast(image.device):
            output = self.model(image, targets[:, : self.model.config.outputs])
        output = output._replace(logits=[logits.float() for logits in output.logits])
        loss, per_level = loss_of(output, self.config, targets[:, 3:4])
        return loss, torch.stack(per_level)


class Optimisation:
    """A network, its loss and AdamW, with gradients averaged over all processes.

    Args:
        model: the network, on the device.
        preset: the run's configuration.
        members: the processes that train it.
        captured: launch both passes as one CUDA graph, where there is one process with a GPU and
            the network's work does not depend on what it finds.
    """

    def __init__(
        self, model: Network, preset: Preset, members: Team, *, captured: bool = False
    ) -> None:
        self.model, self.config, self.team = model, preset.train, members
        objective = members.wrap(
            # The other losses look at the base alone, and the coarse heads go without gradient.
            Objective(model, preset.loss),
            all_used=preset.loss.kind == "balanced",
        )
        self.optimiser = torch.optim.AdamW(
            parameter_groups(model, preset.train.weight_decay),
            lr=preset.train.learning_rate,
            betas=(0.9, 0.99),
            fused=members.device.type == "cuda",
        )
        self.scaler = scaler(members.device)
        captured = captured and members.world == 1 and not finds_nuclei(model)
        recorder = recorder_for(members.device) if captured else None
        self.passes = Passes(objective, self.scaler, recorder)

    def step(self, batch: Batch, number: int, place: float) -> tuple[float, Tensor]:
        """Change the network by one step.

        Args:
            batch: this process's patches.
            number: steps done before; dropout is drawn from it.
            place: place in the schedule, 0 … 1.

        Returns:
            The learning rate; and ``float64 [2 + M]`` on the device: the loss, the norm of its
            gradient and the mean loss of every level.
        """
        if place < self.config.low_resolution:
            batch = batch.halved()
        rate = learning_rate(place, self.config)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.model.train()
        with seeded(self.team.device, self.config.seed, number, self.team.rank):
            loss, per_level = self.passes(batch.to(self.team.device))
        self.scaler.unscale_(self.optimiser)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        if self.scaler.is_enabled():  # a step whose scaled gradients overflowed is skipped
            norm = norm.nan_to_num(0.0, 0.0, 0.0)
        return rate, torch.cat([loss[None], norm.detach()[None], per_level]).double()
