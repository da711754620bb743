"""Variants of a network that are trained and compared: one thing changed, or one type left out.

The base is a preset: ``smoke`` on generated pictures, ``companion`` on real ones, where nuclei
have one size in training and the magnification is found. :mod:`ngat.training.sweep` trains all of
them at one budget.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ngat.config import Preset, preset
from ngat.data import TYPES
from ngat.errors import InputError

BASE = "base"
# The factor of runs that do without a type of picture (the paper's main claim).
HELD_OUT = "type left out"
# What can be changed, by what it is called: parameters of :func:`ngat.config.preset`. One value of
# each factor is the base's own.
FACTORS: dict[str, dict[str, dict[str, Any]]] = {
    "levels": {str(levels): {"levels": levels} for levels in (1, 2, 3, 4, 5)},
    "plasticity": {kind: {"plasticity": kind} for kind in ("xi", "fixed", "table")},
    "aggregator": {kind: {"aggregator": kind} for kind in ("gat", "gcn", "mlp")},
    "position term": {kind: {"position": kind} for kind in ("table", "none", "linear")},
    "loss": {kind: {"kind": kind} for kind in ("balanced", "bce", "focal")},
    "loss field": {kind: {"field": kind} for kind in ("norm", "none", "sum", "patch")},
    "norm": {kind: {"norm": kind} for kind in ("none", "batch", "group")},
    "residual": {"on": {"residual": True}, "off": {"residual": False}},
    "dropout": {"0": {"dropout": 0.0}, "0.1": {"dropout": 0.1}},
    "relations": {kind: {"relations": kind} for kind in ("typed", "joint")},
    "schedule": {
        "V-cycle": {"schedule": "vcycle"},
        "synchronous": {"schedule": "synchronous", "depth": 4},
        "as published": {
            "schedule": "synchronous",
            "depth": 6,
            "relations": "joint",
            "position": "linear",
            "dropout": 0.1,
            "norm": "group",
        },
    },
}
# What matters only where nuclei differ in size and pictures in contrast: on real images.
OF_REAL: dict[str, dict[str, dict[str, Any]]] = {
    "magnification": {
        "learnt": {"sized": True, "outputs": 3},
        "not learnt": {"sized": False, "outputs": 2},
    },
    # Of 12, the base has fewer parameters than the synchronous network of 32.
    "channels": {str(count): {"channels": count} for count in (32, 12)},
    "contrast": {kind: {"contrast": kind} for kind in ("plain", "percentile", "local", "positive")},
}


def factors_of(base: str) -> dict[str, dict[str, dict[str, Any]]]:
    """All values of the factors that a base has, its own among them."""
    return {**FACTORS, **OF_REAL} if preset(base).train.sized else FACTORS


def own_values(base: str) -> dict[str, str]:
    """The base's own value of each factor."""
    own = preset(base)
    return {
        factor: value
        for factor, values in factors_of(base).items()
        for value, changes in values.items()
        if preset(base, **changes) == own
    }


class Variant(NamedTuple):
    """A run to be: the preset, what is changed of it, to what, and the seed."""

    network: str
    factor: str
    variant: str
    seed: int

    @property
    def held_out(self) -> str:
        """The type of picture that it does without; empty for none."""
        return self.variant if self.factor == HELD_OUT else ""

    def preset(self, steps: int | None) -> Preset:
        """The whole configuration, for so many steps (None: those of the preset's schedule)."""
        changes: dict[str, Any] = {"held_out": self.held_out}
        if self.factor not in (BASE, HELD_OUT):
            changes |= factors_of(self.network)[self.factor][self.variant]
        steps = preset(self.network).train.steps if steps is None else steps
        return preset(
            self.network,
            steps=steps,
            seed=self.seed,
            validate_every=steps,
            validate_images=5,
            **changes,
        )


def ablations(base: str, only: Sequence[str] = (), seeds: int = 3) -> list[Variant]:
    """A base, and all variants of some of its factors (or of all), each with every seed.

    Seed by seed, so that what is stopped early is complete for the first seeds.

    Raises:
        InputError: an unknown preset or factor, a network without these factors, or no seed.
    """
    other = "network" in vars(preset(base).model)
    if other and set(only) != {BASE}:
        raise InputError(
            f"The preset {base} has nothing to ablate; choose one of this network, or only {BASE}."
        )
    # Another network has a base alone, to be seen beside this one's.
    factors, own = ({}, {}) if other else (factors_of(base), own_values(base))
    for factor in set(only) - {BASE}:
        if factor not in factors:
            raise InputError(f"Unknown factor {factor!r}; known: {', '.join([BASE, *factors])}.")
    return [
        variant
        for seed in _seeds(seeds)
        for variant in (
            Variant(base, BASE, BASE, seed),
            *(
                Variant(base, factor, value, seed)
                for factor, values in factors.items()
                if not only or factor in only
                for value in values
                if value != own.get(factor)
            ),
        )
    ]


def left_out(
    networks: Sequence[str], types: Sequence[str] = TYPES, seeds: int = 1
) -> list[Variant]:
    """Each network with all types of picture, and without each of them in turn.

    Seed by seed and network by network, so that what is stopped early compares.

    Raises:
        InputError: an unknown preset, or no seed.
    """
    return [
        Variant(preset(network).name, *what, seed)
        for seed in _seeds(seeds)
        for what in ((BASE, BASE), *((HELD_OUT, kind) for kind in types))
        for network in networks
    ]


def _seeds(count: int) -> range:
    if count < 1:
        raise InputError(f"seeds must be at least 1; got {count}.")
    return range(count)
