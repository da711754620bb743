"""Which precision a device computes well, and labels for torch's profiler.

bfloat16, float16 with scaled gradients, or float32. Autocast leaves norms and losses in float32;
reconstructions are brought there (:func:`exact`).
"""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import Tensor
from torch.profiler import record_function

AMPERE, VOLTA = (8, 0), (7, 0)  # since when there is bfloat16, and fast float16


def lowest(device: torch.device) -> torch.dtype:
    """The shortest type that a device computes faster than float32."""
    if device.type != "cuda":
        return torch.float32
    capability = torch.cuda.get_device_capability(device)
    if capability >= AMPERE:
        return torch.bfloat16
    return torch.float16 if capability >= VOLTA else torch.float32


def autocast(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Mixed precision where a device has it; nothing on the CPU, where it would not pay."""
    dtype = lowest(device)
    if dtype == torch.float32:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=dtype)


def scaler(device: torch.device) -> torch.amp.GradScaler:
    """What keeps gradients of float16 from vanishing; it does nothing for other types."""
    return torch.amp.GradScaler(device.type, enabled=lowest(device) == torch.float16)


def exact(values: Tensor) -> Tensor:
    """Half precision as float32; others as they are."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


LABEL = "ngat: "


def label(part: str) -> contextlib.AbstractContextManager[object]:
    """Attribute what happens inside to ``part``, where a profiler runs."""
    if torch.autograd.profiler._is_profiler_enabled:
        return record_function(LABEL + part)
    return contextlib.nullcontext()
