"""A run that takes a second: small pictures, a small network, few steps."""

from typing import Any

import numpy as np
from safetensors.numpy import load_file

from ngat.config import Preset, preset
from ngat.data.synthetic import load_rings

SMALL: dict[str, Any] = {
    "levels": 3,
    "channels": 8,
    "heads": 2,
    "norm_groups": 2,
    "depth": 1,
    "steps": 14,
    "batch": 4,
    "patch": 16,
    "validate_every": 5,
}


def tiny(**overrides: Any) -> Preset:
    """The smoke preset, made tiny."""
    return preset("smoke", **{**SMALL, **overrides})


def rings(split: str = "train", limit: int = 6) -> list:
    """A few ring pictures of 40 × 40 pixels."""
    return load_rings(split, seed=3, limit=limit, size=40)


def log_of(folder: Any, name: str = "log.csv") -> list[list[str]]:
    """A log without the columns that tell the time."""
    header, *rows = [line.split(",") for line in (folder / name).read_text().splitlines()]
    keep = [i for i, n in enumerate(header) if n not in ("minutes", "patches_per_second")]
    return [[row[i] for i in keep] for row in (header, *rows)]


def tensors_of(path: Any) -> dict[str, np.ndarray]:
    """Tensors of a weights file, by another reader."""
    return load_file(path)
