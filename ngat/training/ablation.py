"""Ablations at one small, equal and stated budget: change one thing, train, score, write a line.

The base is the ``smoke`` preset with fewer steps. All runs see the same patches in the same order
(they depend on the seed and the step alone), and are scored on the same pictures at the default
thresholds, so that nothing but the change, and the seed, tells two lines apart. A budget of minutes
favours what learns fast; it says little of what is best after a day.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ngat.config import Preset, preset
from ngat.errors import InputError
from ngat.training.sweep import Pictures, Table, sweep, train_once
from ngat.training.validation import validate

BASE = "base"
# What is changed, by what it is called: parameters of :func:`ngat.config.preset`.
FACTORS: dict[str, dict[str, dict[str, Any]]] = {
    BASE: {BASE: {}},
    "levels": {str(levels): {"levels": levels} for levels in (1, 2, 3, 5)},
    "plasticity": {kind: {"plasticity": kind} for kind in ("fixed", "table")},
    "aggregator": {kind: {"aggregator": kind} for kind in ("gcn", "mlp")},
    "position term": {kind: {"position": kind} for kind in ("none", "linear")},
    "loss": {kind: {"kind": kind} for kind in ("bce", "focal")},
    "loss field": {kind: {"field": kind} for kind in ("none", "sum", "patch")},
    "norm": {kind: {"norm": kind} for kind in ("none", "batch")},
    "residual": {"off": {"residual": False}},
    "dropout": {"0.1": {"dropout": 0.1}},
    "relations": {"joint": {"relations": "joint"}},
    "schedule": {
        "synchronous": {"schedule": "synchronous", "depth": 4},
        "as published": {
            "schedule": "synchronous",
            "depth": 6,
            "relations": "joint",
            "position": "linear",
            "dropout": 0.1,
        },
    },
}
# The base's own value of each factor, for reading.
OF_BASE = {
    "levels": "4",
    "plasticity": "xi",
    "aggregator": "gat",
    "position term": "table",
    "loss": "balanced",
    "loss field": "norm",
    "norm": "group",
    "residual": "on",
    "dropout": "0",
    "relations": "typed",
    "schedule": "V-cycle",
}
COLUMNS = (
    *("factor", "variant", "seed", "steps", "parameters", "seconds"),
    *("dice", "jaccard", "accuracy", "average_f1", "components_f1"),
)


class Variant(NamedTuple):
    """One line to be: what is changed, to what, and the seed."""

    factor: str
    variant: str
    seed: int

    def preset(self, steps: int) -> Preset:
        """The whole configuration."""
        changes = FACTORS[self.factor][self.variant]
        return preset(
            "smoke", steps=steps, seed=self.seed, validate_every=steps, validate_images=5, **changes
        )


def plan(only: Sequence[str] = (), seeds: int = 3) -> list[Variant]:
    """All variants of some factors (or of all), each with every seed; the base is always there.

    Seed by seed, so that what is stopped early is complete for the first seeds.

    Raises:
        InputError: an unknown factor, or no seed.
    """
    for factor in only:
        if factor not in FACTORS:
            raise InputError(f"Unknown factor {factor!r}; known: {', '.join(FACTORS)}.")
    if seeds < 1:
        raise InputError(f"seeds must be at least 1; got {seeds}.")
    chosen = [factor for factor in FACTORS if not only or factor in (BASE, *only)]
    return [
        Variant(factor, name, seed)
        for seed in range(seeds)
        for factor in chosen
        for name in FACTORS[factor]
    ]


def run_one(
    variant: Variant, steps: int, pictures: Pictures, *, device: str = "auto"
) -> dict[str, Any]:
    """Train one variant and score it; gives a line with :data:`COLUMNS`."""
    model, seconds = train_once(
        variant.preset(steps), pictures, device=device, command="ngat ablate"
    )
    scored = validate(model, pictures.scored)
    return {
        **variant._asdict(),
        "steps": steps,
        "parameters": sum(p.numel() for p in model.parameters()),
        "seconds": round(seconds, 1),
        **{name: round(getattr(scored, name), 6) for name in COLUMNS[6:]},
    }


def table(path: Path) -> Table:
    """The table of ablations in a file."""
    return Table(path, COLUMNS, Variant._fields, "ablations", "ngat ablate")


def ablate(
    out: Path,
    variants: Sequence[Variant],
    steps: int,
    pictures: Pictures,
    *,
    device: str = "auto",
    progress: bool = True,
) -> int:
    """Run what is missing in ``out`` and add a line for each; returns how many were added.

    Raises:
        InputError: as :func:`ngat.training.sweep.sweep`.
    """
    return sweep(
        table(out),
        steps,
        variants,
        lambda variant: [run_one(variant, steps, pictures, device=device)],
        "Ablations",
        progress=progress,
    )
