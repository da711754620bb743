"""The engines, found by name: plain torch for all, and what is faster somewhere.

An engine is a module with ``attend(groups, er)``: one level's attention. It may replace two more
things: ``forward_pass(model, placement, attend)``, the message passing of a whole forward pass
from the placed nodes to the logits, and ``projection()``, a :class:`ngat.projection.Projector`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from importlib import import_module
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ngat.attention.taps import TapGroup
from ngat.errors import InputError, MissingDependency

Attend = Callable[[Sequence[TapGroup], Tensor], Tensor]

# Modules, loaded when first asked for.
ENGINES = {
    "reference": "ngat.attention.reference",
    "dgl": "ngat.engines.dgl",
    "cpu": "ngat.engines.cpu.attend",
    "cuda": "ngat.engines.cuda.attend",
}


class Engine(NamedTuple):
    """What computes a forward pass.

    Attributes:
        attend: :func:`ngat.attention.attend` by this engine.
        message_passing: instead of :meth:`ngat.model.NGAT.message_passing`; None where the engine
            has none for the type of number.
        projection: the same for :class:`ngat.projection.Projector`.
    """

    attend: Attend
    message_passing: Callable[[Any, Any, Attend], list[Tensor]] | None
    projection: Any


def find_engine(name: str, like: Tensor) -> Engine:
    """The engine of this name for tensors such as ``like``.

    Raises:
        InputError: as :func:`resolve`.
        MissingDependency: the engine's package is not installed.
    """
    from ngat.attention import attend

    name = resolve(name, like)
    module = import_module(ENGINES[name])
    fused = like.dtype in (torch.float32, torch.float64)
    return Engine(
        partial(attend, engine=name),
        getattr(module, "forward_pass", None) if fused else None,
        module.projection() if fused and hasattr(module, "projection") else None,
    )


def resolve(name: str, like: Tensor) -> str:
    """Name of the engine that serves ``like``: ``auto`` picks by device and what is installed.

    Raises:
        InputError: no engine has this name, or it serves another device than that of ``like``.
    """
    device = like.device.type  # the fast engines bear the names of their devices
    if name == "auto":
        return device if device in ENGINES and installed(device) else "reference"
    if name not in ENGINES:
        raise InputError(f"Unknown attention engine {name!r}; known: auto, {', '.join(ENGINES)}.")
    if name == "cpu" and device != "cpu":
        raise InputError(
            f"The engine 'cpu' computes on the CPU, but the tensors are on {device!r}: move them "
            "there, or choose the engine 'auto'."
        )
    return name


@cache
def installed(name: str) -> bool:
    """Whether what an engine needs can be loaded here."""
    try:
        import_module(ENGINES[name])
    except MissingDependency:
        return False
    return True
