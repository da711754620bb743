"""Graph attention over the pyramid: one operator, several engines (equations 15–21).

A node i attends to groups of *taps*: its king neighbourhood (9, itself included), its children (4),
its parent (1). With values z_j, the score and the update are

    e_ij = LeakyReLU(el_j + er_i + t_k)                     eq. 16 and 19
    α_ij = exp(e_ij) / Σ_k exp(e_ik)                        eq. 17
    h_i  = Σ_j α_ij z_j                                     eq. 18, 20 (σ is the model's)

where k is the tap through which i attends to j. Splitting the paper's a·(z_i ‖ z_j) into
er_i = a_d·z_i of the destination and el_j = a_s·z_j of the source (DGL's names) is exact, since
a·(z_i ‖ z_j) = a_d·z_i + a_s·z_j for a = (a_d ‖ a_s). How α depends on position is read as a term
b·Δζ_ij (eq. 19–21, L7, L8) with Δζ_ij = ζ_j − ζ_i. At home it takes one value per tap, the table t;
what moves add is separable, and therefore joins el and er (:mod:`ngat.attention.position`).

One call serves one level with one softmax over all groups that it is given: all three groups for
the paper's joint softmax, one group at a time for typed relations. Taps that lead outside the
picture do not exist, and every group keeps at least one tap at every node.

Engines: ``reference`` (plain torch, shifted views; the others are tested against it), ``dgl``
(message passing with DGL's own functions on explicit edges), ``cpu`` (fused kernels in numba) and
``cuda`` (fused kernels in Triton). An engine is a module with ``attend(groups, er)``: one level's
attention. It may replace three more things: ``forward_pass(model, placement, attend)``, the message
passing of a whole forward pass from the placed nodes to the logits, ``projection()``, a
:class:`ngat.projection.Projector`, and ``sigmoid(x)``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from importlib import import_module
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ngat.errors import InputError, MissingDependency
from ngat.graph import TAP_COUNT, Relation
from ngat.system.precision import label

# Negative slope of the LeakyReLU of eq. 16, as in Veličković et al. 2018.
SLOPE = 0.2


class TapGroup(NamedTuple):
    """One relation's sources for the nodes of one level.

    Attributes:
        relation: ``king`` (9 taps), ``child`` (4) or ``parent`` (1).
        values: z_j, ``[B, heads · D, h, w]`` at the source's level (eq. 15).
        source: el_j, ``[B, heads, h, w]``: a_s·z_j and the moved part of b·ζ_j.
        tap: t_k, ``[heads, taps]``: the home part of b·Δζ_ij.
    """

    relation: Relation
    values: Tensor
    source: Tensor
    tap: Tensor


Attend = Callable[[Sequence[TapGroup], Tensor], Tensor]


def attend(groups: Sequence[TapGroup], destination: Tensor, engine: str = "auto") -> Tensor:
    """Attention of one level's nodes over groups of taps, with one softmax over all of them.

    Args:
        groups: what the nodes attend to, at most one group per relation.
        destination: er, ``[B, heads, H_m, W_m]``.
        engine: ``auto`` or a name in :data:`ENGINES`.

    Returns:
        ``[B, heads · D, H_m, W_m]``, differentiable in every input.

    Raises:
        InputError: shapes do not fit, the batch is empty, or the engine is unknown.
        MissingDependency: the engine's package is not installed.
    """
    check(groups, destination)
    name = resolve(engine, destination)
    function: Attend = import_module(ENGINES[name]).attend
    with label("attention"):
        return function(groups, destination)


def attention_weights(groups: Sequence[TapGroup], destination: Tensor) -> Tensor:
    """The coefficients α of eq. 17, ``[B, heads, taps, H_m, W_m]``; zero where no tap exists.

    Taps stand in the order of ``groups``: a king group gives 9, children 4, a parent 1.
    """
    from ngat.attention.reference import coefficients

    check(groups, destination)
    return coefficients(groups, destination)


def check(groups: Sequence[TapGroup], destination: Tensor) -> None:
    """Refuse what no engine could serve, in one sentence.

    Raises:
        InputError: as :func:`attend`.
    """
    if destination.ndim != 4:
        raise InputError(f"er must be [B, heads, H, W]; got shape {tuple(destination.shape)}.")
    batch, heads, height, width = destination.shape
    if destination.numel() == 0:
        raise InputError(f"Attention over an empty batch or level: er is {(*destination.shape,)}.")
    if not groups:
        raise InputError("Attention needs at least one group of taps.")
    relations = [group.relation for group in groups]
    if len(set(relations)) < len(relations):
        raise InputError(f"Each relation may appear once; got {', '.join(relations)}.")
    source_sizes = {
        "king": {(height, width)},
        "child": {(2 * height - dy, 2 * width - dx) for dy in (0, 1) for dx in (0, 1)},
        "parent": {((height + 1) // 2, (width + 1) // 2)},
    }
    for group in groups:
        if group.relation not in TAP_COUNT:
            raise InputError(f"Unknown relation {group.relation!r}; known: king, child, parent.")
        size = tuple(group.source.shape[-2:])
        if size not in source_sizes[group.relation]:
            raise InputError(
                f"Level sizes do not fit: {size} cannot be the {group.relation} level of "
                f"{height} × {width} nodes."
            )
        if group.source.shape != (batch, heads, *size):
            raise InputError(f"el of {group.relation} must be {(batch, heads, *size)}.")
        values = group.values.shape
        if values[0] != batch or values[1] % heads or tuple(values[2:]) != size:
            raise InputError(
                f"z of {group.relation} must be [{batch}, {heads} · D, {size[0]}, {size[1]}]; "
                f"got {tuple(values)}."
            )
        if group.tap.shape != (heads, TAP_COUNT[group.relation]):
            raise InputError(
                f"t of {group.relation} must be {(heads, TAP_COUNT[group.relation])}; "
                f"got {tuple(group.tap.shape)}."
            )
    if len({(group.values.shape[1], group.values.dtype) for group in groups}) > 1:
        raise InputError("All groups need the same number of channels and the same dtype.")
    if not torch.is_floating_point(destination):
        raise InputError(f"Attention needs floating-point tensors; got {destination.dtype}.")


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
        sigmoid: σ of every number, with its gradient.
    """

    attend: Attend
    message_passing: Callable[[Any, Any, Attend], list[Tensor]] | None
    projection: Any
    sigmoid: Callable[[Tensor], Tensor]


def find_engine(name: str, like: Tensor) -> Engine:
    """The engine of this name for tensors such as ``like``.

    Raises:
        InputError: as :func:`resolve`.
        MissingDependency: the engine's package is not installed.
    """
    name = resolve(name, like)
    module = import_module(ENGINES[name])
    fused = like.dtype in (torch.float32, torch.float64)
    return Engine(
        partial(attend, engine=name),
        getattr(module, "forward_pass", None) if fused else None,
        module.projection() if fused and hasattr(module, "projection") else None,
        getattr(module, "sigmoid", torch.sigmoid) if fused else torch.sigmoid,
    )


def resolve(name: str, like: Tensor) -> str:
    """Name of the engine that serves ``like``: ``auto`` picks by device and what is installed.

    Raises:
        InputError: no engine has this name, or it is ``cpu`` and ``like`` lies elsewhere. The
            engine ``cuda`` refuses itself what it cannot serve.
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
