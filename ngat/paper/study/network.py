"""What a network is made of."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from ngat.config import ModelConfig, Preset
from ngat.errors import InputError
from ngat.model import NGAT, schedule


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
