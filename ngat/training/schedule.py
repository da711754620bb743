"""How a run moves: place in the schedule, learning rate, decay, and chance without global state."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from ngat.config import TrainConfig


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
    """Torch's chance inside the block comes from ``seed`` alone; outside, nothing changes."""
    devices = [device] if device.type == "cuda" else []
    # A seed sequence takes (1, 2) and (1, 2, 0) for the same; with their number they differ.
    entropy = np.random.SeedSequence([len(seed), *seed]).generate_state(1, np.uint64)
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(int(entropy[0]) >> 1)
        yield
