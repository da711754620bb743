"""Weights in eight bits a number, for files that must be small (Mask R-CNN's take 150 MB else).

Every row of a matrix or kernel is divided by its own largest value over 127 and rounded; vectors
stay as they are. What is scored is the network that the compact file holds.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from ngat.training.weights import FORMAT, read_tensors, write_tensors

SCALE = "/scale"  # behind the name of a tensor: what its whole numbers are multiplied by


def compact(source: Path | str, target: Path | str) -> None:
    """Rewrite a weights file in eight bits a number; ``ngat`` reads it like any other.

    Raises:
        InputError: the file cannot be read.
    """
    tensors, metadata = read_tensors(source, FORMAT)
    write_tensors(target, reduced(tensors), FORMAT, metadata)


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


if __name__ == "__main__":
    compact(sys.argv[1], sys.argv[2])
