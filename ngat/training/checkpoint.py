"""Checkpoints: all that a training run needs to go on as if nothing had happened.

Network, optimiser and counters in one safetensors file, whole or not at all; no pickle. Nothing
else has a state: patches and dropout are drawn anew from (seed, step).
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ngat.config import Preset, from_dict, to_dict
from ngat.errors import InputError
from ngat.training.weights import read_tensors, write_tensors

FORMAT = "ngat-checkpoint-1"


@dataclass
class Standing:
    """Where a run stands; changed in place as it goes.

    Attributes:
        step: optimiser steps done.
        seconds: time spent, over all sessions.
        minutes: the time limit, if there is one.
        best_f1, best_step: the best validation so far.
        validated, validated_at, validation_seconds: step, time and cost of the last validation.
        window, window_steps, window_seconds: sums since the last line of the log.
        finished: the schedule has come to its end.
    """

    step: int = 0
    seconds: float = 0.0
    minutes: float | None = None
    best_f1: float = -1.0
    best_step: int = 0
    validated: int = 0
    validated_at: float = 0.0
    validation_seconds: float = 0.0
    window: list[float] = dataclasses.field(default_factory=list)
    window_steps: int = 0
    window_seconds: float = 0.0
    finished: bool = False


def save_checkpoint(
    path: Path,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    standing: Standing,
    preset: Preset,
    data_fingerprint: str,
) -> None:
    """Write a checkpoint, whole or not at all."""
    tensors = {f"model/{name}": t for name, t in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        for key, value in optimiser.state.get(parameter, {}).items():
            tensors[f"optimiser/{key}/{name}"] = torch.as_tensor(value)
    metadata = {
        "standing": json.dumps(dataclasses.asdict(standing)),
        "configuration": json.dumps(to_dict(preset)),
        "data": data_fingerprint,
    }
    write_tensors(path, tensors, FORMAT, metadata)


def load_checkpoint(
    path: Path,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    preset: Preset,
    data_fingerprint: str,
) -> Standing:
    """Put a checkpoint into ``model`` and ``optimiser``; say where the run stood.

    Raises:
        InputError: damaged, or of another configuration or other data.
    """
    tensors, metadata = read_tensors(path, FORMAT)
    try:
        # A run from before a parameter existed had the parameter's default.
        stored = to_dict(from_dict(json.loads(metadata["configuration"])))
        standing = Standing(**json.loads(metadata["standing"]))
        fingerprint = metadata["data"]
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(f"{path}: is not of this version of ngat; start the run again.") from error
    if changed := differences(stored, to_dict(preset)):
        raise InputError(
            f"{path}: was made with other parameters ({', '.join(changed)}); resume with the same "
            "ones, or train into another folder."
        )
    if fingerprint != data_fingerprint:
        raise InputError(
            f"{path}: was trained on other pictures; give the same data, or another folder."
        )
    try:
        model.load_state_dict(_part(tensors, "model/"))
        for key in sorted(
            {name.split("/")[1] for name in tensors if name.startswith("optimiser/")}
        ):
            values = _part(tensors, f"optimiser/{key}/")
            for name, parameter in model.named_parameters():
                if name in values:
                    # AdamW keeps its step count on the CPU unless it is fused.
                    scalar = values[name].ndim == 0 and not optimiser.defaults.get("fused")
                    device = "cpu" if scalar else parameter.device
                    optimiser.state[parameter][key] = values[name].to(device)
    except (RuntimeError, IndexError) as error:
        raise InputError(
            f"{path}: does not fit this version's network; start the run again."
        ) from error
    return standing


def differences(old: Any, new: Any, prefix: str = "") -> list[str]:
    """Parameters that differ, as ``name: old, now new``."""
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            found
            for key in sorted(old.keys() | new.keys())
            for found in differences(old.get(key), new.get(key), key)
        ]
    return [] if old == new else [f"{prefix}: {old}, now {new}"]


def _part(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name[len(prefix) :]: t for name, t in tensors.items() if name.startswith(prefix)}
