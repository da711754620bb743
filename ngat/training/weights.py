"""Weights files: safetensors with the configuration and the training's provenance inside.

A weights file needs nothing beside it, and holds no code: reading one from a stranger is safe.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ngat.baselines.networks import Network, build
from ngat.config import Preset, from_dict, to_dict
from ngat.errors import InputError
from ngat.system.files import replacing

FORMAT = "ngat-weights-1"
# The largest rival has some million parameters; more than this is some other file.
MAX_BYTES = 1 << 30


class Weights(NamedTuple):
    """A trained network and how it was made."""

    model: Network
    preset: Preset
    provenance: dict[str, Any]


def save_weights(
    path: Path | str, model: Network, preset: Preset, provenance: Mapping[str, Any]
) -> None:
    """Write a network, whole or not at all.

    Args:
        path: ``.safetensors`` by custom.
        model: on any device.
        preset: what ``model`` was built and trained with.
        provenance: what else is known of the training; plain values (JSON).
    """
    metadata = {
        "configuration": json.dumps(to_dict(preset), sort_keys=True),
        "provenance": json.dumps(dict(provenance), sort_keys=True),
    }
    write_tensors(path, model.state_dict(), FORMAT, metadata)


def load_weights(path: Path | str, device: str | torch.device = "cpu") -> Weights:
    """Read a network in evaluation mode.

    Raises:
        InputError: absent, truncated, not safetensors, not from this program, or tensors that do
            not fit the configuration.
    """
    tensors, metadata = read_tensors(path, FORMAT)
    try:
        preset = from_dict(json.loads(metadata["configuration"]))
        provenance = json.loads(metadata["provenance"])
        if not isinstance(provenance, dict):
            raise ValueError("its provenance is not a dictionary")
        # Building draws random weights that are replaced at once; the caller's generator is spared.
        with torch.random.fork_rng(devices=[]):
            model = build(preset.model)
        model.load_state_dict(tensors)
    except (KeyError, ValueError, RuntimeError, TypeError) as error:
        reason = str(error).split("\n\t")[0].splitlines()[0]
        raise InputError(
            f"{path}: does not hold a network of this version of ngat ({reason}); train it again."
        ) from error
    if not all(bool(torch.isfinite(t).all()) for t in tensors.values()):
        raise InputError(f"{path}: holds weights that are NaN or infinite; train it again.")
    return Weights(model.to(device).eval(), preset, provenance)


def write_tensors(
    path: Path | str, tensors: Mapping[str, Tensor], kind: str, metadata: Mapping[str, str]
) -> None:
    """Write named tensors and text to a safetensors file, whole or not at all."""
    whole = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    # All text in one entry: safetensors keeps no order between entries, and the same network
    # should give the same bytes.
    text = json.dumps({"format": kind, **metadata})
    with replacing(path) as beside:
        # Written by Python, whose errors say what is wrong with the disk; safetensors' own do not.
        beside.write_bytes(save(whole, metadata={"ngat": text}))


def read_tensors(path: Path | str, kind: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read what :func:`write_tensors` wrote.

    Raises:
        InputError: absent, truncated, not safetensors, or of another kind.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path}: is too large for weights of ngat; check the file name.")
        with safe_open(path, framework="pt") as file:
            metadata = _text((file.metadata() or {}).get("ngat", ""))
            if metadata.pop("format", None) != kind:
                raise InputError(f"{path}: holds no {kind}; give a file that `ngat train` wrote.")
            return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118
    except OSError as error:
        reason = error.strerror or "it is no file"
        raise InputError(
            f"{path}: cannot be read ({reason}); check the name, or make it with `ngat train`."
        ) from error
    except (SafetensorError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: is truncated or not a safetensors file; get it again."
        ) from error


def _text(content: str) -> dict[str, str]:
    try:
        found = json.loads(content)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
