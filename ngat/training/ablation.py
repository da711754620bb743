"""Ablations at one small, equal and stated budget: change one thing, train, score, write a line.

The base is a preset with fewer steps or minutes: ``smoke`` on generated pictures, ``companion`` on
real ones, where nuclei have one size in training and the magnification is found. All runs see the
same patches in the same order (they depend on the seed and the step alone), and are scored on the
same pictures at the default thresholds, so that nothing but the change, and the seed, tells two
lines apart. A budget of minutes favours what learns fast; it says little of what is best after a
day.
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
# What another base than ``smoke`` has besides.
BESIDES: dict[str, dict[str, dict[str, Any]]] = {
    "levels": {"4": {"levels": 4}},
    "norm": {"group": {"norm": "group"}},
    "magnification": {"not learnt": {"sized": False, "outputs": 2}},
    "contrast": {kind: {"contrast": kind} for kind in ("plain", "percentile")},
}
# Both, in the order of reading.
EVERY = {**FACTORS, **{key: {**FACTORS.get(key, {}), **more} for key, more in BESIDES.items()}}
# The smoke preset's own value of each factor, for reading.
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


def factors_of(base: str) -> dict[str, dict[str, dict[str, Any]]]:
    """What is changed of a base, see :data:`FACTORS`; never to what the base has anyway."""
    if base == "smoke":
        return FACTORS
    own = preset(base)
    return {
        factor: {
            name: changes
            for name, changes in variants.items()
            if factor == BASE or preset(base, **changes) != own
        }
        for factor, variants in EVERY.items()
    }


class Variant(NamedTuple):
    """One line to be: what is changed, to what, and the seed."""

    factor: str
    variant: str
    seed: int

    def preset(self, steps: int | None, base: str = "smoke") -> Preset:
        """The whole configuration, for so many steps (None: those of the base's schedule)."""
        changes = factors_of(base)[self.factor][self.variant]
        steps = preset(base).train.steps if steps is None else steps
        return preset(
            base, steps=steps, seed=self.seed, validate_every=steps, validate_images=5, **changes
        )


def plan(only: Sequence[str] = (), seeds: int = 3, base: str = "smoke") -> list[Variant]:
    """All variants of some factors (or of all), each with every seed; the base is always there.

    Seed by seed, so that what is stopped early is complete for the first seeds.

    Raises:
        InputError: an unknown factor, or no seed.
    """
    factors = factors_of(base)
    for factor in only:
        if factor not in factors:
            raise InputError(f"Unknown factor {factor!r}; known: {', '.join(factors)}.")
    if seeds < 1:
        raise InputError(f"seeds must be at least 1; got {seeds}.")
    chosen = [factor for factor in factors if not only or factor in (BASE, *only)]
    return [
        Variant(factor, name, seed)
        for seed in range(seeds)
        for factor in chosen
        for name in factors[factor]
    ]


def run_one(
    variant: Variant,
    steps: int | None,
    pictures: Pictures,
    *,
    device: str = "auto",
    minutes: float | None = None,
    base: str = "smoke",
) -> dict[str, Any]:
    """Train one variant and score it; gives a line with :data:`COLUMNS`."""
    chosen = variant.preset(steps, base)
    model, seconds, done = train_once(
        chosen, pictures, device=device, command="ngat ablate", minutes=minutes
    )
    scored = validate(model, pictures.scored, known_size=False)
    return {
        **variant._asdict(),
        "steps": done,
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
    steps: int | None,
    pictures: Pictures,
    *,
    minutes: float | None = None,
    base: str = "smoke",
    device: str = "auto",
    progress: bool = True,
) -> int:
    """Run what is missing in ``out`` and add a line for each; returns how many were added.

    Every run has so many ``steps``, or, where these are None, ``minutes``.

    Raises:
        InputError: as :func:`ngat.training.sweep.sweep`.
    """
    return sweep(
        table(out),
        steps,
        variants,
        lambda variant: [
            run_one(variant, steps, pictures, device=device, minutes=minutes, base=base)
        ],
        "Ablations",
        progress=progress,
    )
