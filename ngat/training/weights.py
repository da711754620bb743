"""Weights files: safetensors with the configuration and the training's provenance inside.

A weights file needs nothing beside it, and holds no code: reading one from a stranger is safe.

Files that must be small (Mask R-CNN's take 150 MB else) hold eight bits a number: every row of a
matrix or kernel is divided by its own largest value over 127 and rounded; vectors stay as they
are. What is scored is the network that the compact file holds. ``python -m ngat.training.weights
FROM TO`` rewrites a file so.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ngat.baselines.networks import Network, build
from ngat.config import Preset, from_dict, to_dict
from ngat.errors import InputError
from ngat.system.files import check_regular, replacing
from ngat.training.distributed import find_device

FORMAT = "ngat-weights-1"
SCALE = "/scale"  # behind the name of a tensor: what its whole numbers are multiplied by
# The largest rival has some million parameters; more than this is some other file.
MAX_BYTES = 1 << 30
# The largest numbers that a configuration in a file may ask for; a network of ten million levels
# would be built for hours before its tensors were found not to fit.
MAX_SIZES = {
    "levels": 12,
    "channels": 1024,
    "heads": 64,
    "depth": 64,
    "norm_groups": 256,
    "plasticity_steps": 64,
    "plasticity_width": 1024,
    "width": 512,
    "outputs": 16,
}


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
            not fit the configuration; or no such device.
    """
    where = find_device(str(device))
    tensors, metadata = read_tensors(path, FORMAT)
    try:
        preset = from_dict(json.loads(metadata["configuration"]))
        provenance = json.loads(metadata["provenance"])
        if not isinstance(provenance, dict):
            raise ValueError("its provenance is not a dictionary")
        for name, value in asdict(preset.model).items():
            if isinstance(value, int) and value > MAX_SIZES.get(name, value):
                raise ValueError(f"{name} is {value}, more than {MAX_SIZES[name]}")
        # Building draws random weights that are replaced at once; the caller's generator is spared.
        with torch.random.fork_rng(devices=[]):
            model = build(preset.model)
        model.load_state_dict(expanded(tensors))
    except (KeyError, ValueError, RuntimeError, TypeError) as error:
        reason = str(error).split("\n\t")[0].splitlines()[0]
        raise InputError(
            f"{path}: does not hold a network of this version of ngat ({reason}); train it again."
        ) from error
    if not all(bool(torch.isfinite(t).all()) for t in tensors.values()):
        raise InputError(f"{path}: holds weights that are NaN or infinite; train it again.")
    # With it a prediction knows the thresholds that were chosen for its network.
    cast(Any, model).provenance = provenance
    return Weights(model.to(where).eval(), preset, provenance)


def write_tensors(
    path: Path | str, tensors: Mapping[str, Tensor], kind: str, metadata: Mapping[str, str]
) -> None:
    """Write named tensors and text to a safetensors file, whole or not at all."""
    whole = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    # All text in one entry: safetensors keeps no order between entries, and the same network
    # should give the same bytes.
    text = json.dumps({"format": kind, **metadata, "checksum": _checksum(whole, metadata)})
    with replacing(path) as beside:
        # Written by Python, whose errors say what is wrong with the disk; safetensors' own do not.
        beside.write_bytes(save(whole, metadata={"ngat": text}))


def read_tensors(path: Path | str, kind: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read what :func:`write_tensors` wrote.

    Raises:
        InputError: absent, truncated, not safetensors, of another kind, or not as it was written.
            Files of earlier versions have no checksum to tell that by.
    """
    if not isinstance(path, str | Path):
        raise InputError(f"Weights are in a file, whose name is text; got {path!r}.")
    path = Path(path)
    try:
        check_regular(path)
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path}: is too large for weights of ngat; check the file name.")
        with safe_open(path, framework="pt") as file:
            metadata = _text((file.metadata() or {}).get("ngat", ""))
            if metadata.pop("format", None) != kind:
                raise InputError(f"{path}: holds no {kind}; give a file that `ngat train` wrote.")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except InputError:
        raise
    except (SafetensorError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: is truncated or not a safetensors file; get it again."
        ) from error
    except (OSError, ValueError) as error:  # the latter where no file can be called so
        reason = getattr(error, "strerror", None) or "it is no file"
        raise InputError(
            f"{path}: cannot be read ({reason}); check the name, or make it with `ngat train`."
        ) from error
    checksum = metadata.pop("checksum", None)
    if checksum is not None and checksum != _checksum(tensors, metadata):
        raise InputError(f"{path}: is damaged (its checksum differs); get it again.")
    return tensors, metadata


def _checksum(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """SHA-256 of all names, shapes and values, and of the text."""
    digest = hashlib.sha256(json.dumps(dict(metadata), sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _text(content: str) -> dict[str, str]:
    try:
        found = json.loads(content)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def reduced(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors with their matrices and kernels as whole numbers and scales."""
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if tensor.ndim < 2 or tensor.numel() < 1024 or not tensor.is_floating_point():
            found[name] = tensor
            continue
        rows = tensor.flatten(1)
        scale = (rows.abs().amax(1) / 127).clamp(min=1e-12)
        found[name] = (rows / scale[:, None]).round().to(torch.int8).view(tensor.shape)
        found[name + SCALE] = scale
    return found


def expanded(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of :func:`reduced`, but for rounding; other tensors are given back."""
    found = {}
    for name, tensor in tensors.items():
        if name.endswith(SCALE):
            continue
        scale = tensors.get(name + SCALE)
        if scale is not None:
            tensor = tensor.float() * scale.view(-1, *(1,) * (tensor.ndim - 1))
        found[name] = tensor
    return found


def compact(source: Path | str, target: Path | str) -> None:
    """Rewrite a weights file in eight bits a number; it is read like any other.

    Raises:
        InputError: the file cannot be read.
    """
    tensors, metadata = read_tensors(source, FORMAT)
    write_tensors(target, reduced(tensors), FORMAT, metadata)


if __name__ == "__main__":
    compact(sys.argv[1], sys.argv[2])
