"""Labels for a profiler: to which part of a network its time belongs."""

from __future__ import annotations

import contextlib

import torch
from torch.profiler import record_function

LABEL = "ngat: "


def label(part: str) -> contextlib.AbstractContextManager[object]:
    """Attribute what happens inside to ``part``, where a profiler runs."""
    if torch.autograd.profiler._is_profiler_enabled:
        return record_function(LABEL + part)
    return contextlib.nullcontext()
