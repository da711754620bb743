"""Leave one type out: train without a type of picture, test on it (the paper's main claim).

For each network, one run sees all types and one run per type does without it, all at one small,
equal and stated budget of steps or minutes. A line says how well a run does on the test pictures
of one type: the run with all types on each of them, every other run on the type that it never saw.
All at default thresholds, with the last network: nothing is chosen. The magnification is found as
for any image, without the annotation.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ngat.config import Preset, preset
from ngat.data.sample import TYPES
from ngat.errors import InputError
from ngat.training.sweep import Pictures, Table, sweep, train_once
from ngat.training.validation import validate

NETWORKS = ("companion", "unet")
COLUMNS = (
    *("network", "without", "type", "seed", "steps", "parameters", "seconds", "images"),
    *("dice", "average_f1", "components_f1"),
)


class Trial(NamedTuple):
    """A run to be: its network, the type it does without (or none), and the seed."""

    network: str
    without: str
    seed: int

    def preset(self, steps: int | None) -> Preset:
        """The whole configuration: the network's own, for fewer steps (None: its schedule's)."""
        own = preset(self.network)
        steps = own.train.steps if steps is None else steps
        return preset(
            self.network,
            steps=steps,
            seed=self.seed,
            held_out=self.without,
            validate_every=steps,
            validate_images=5,
        )


def plan(networks: Sequence[str] = NETWORKS, seeds: int = 1) -> list[Trial]:
    """All runs, seed by seed and network by network, so that what is stopped early compares."""
    return [
        Trial(network, without, seed)
        for seed in range(seeds)
        for without in ("", *TYPES)
        for network in networks
    ]


def run_one(
    trial: Trial,
    steps: int | None,
    pictures: Pictures,
    *,
    device: str = "auto",
    minutes: float | None = None,
) -> list[dict[str, Any]]:
    """Train a network and test it on the types in question; gives lines with :data:`COLUMNS`."""
    model, seconds, done = train_once(
        trial.preset(steps), pictures, device=device, command="ngat leave-out", minutes=minutes
    )
    lines = []
    for kind in TYPES if not trial.without else (trial.without,):
        tested = [sample for sample in pictures.scored if sample.type == kind]
        if not tested:
            continue
        scored = validate(model, tested, known_size=False)
        found = {
            **trial._asdict(),
            "type": kind,
            "steps": done,
            "parameters": sum(p.numel() for p in model.parameters()),
            "seconds": round(seconds, 1),
            "images": len(tested),
            **{name: round(getattr(scored, name), 6) for name in COLUMNS[8:]},
        }
        lines.append(found)
    return lines


def table(path: Path) -> Table:
    """The table of left-out types in a file."""
    return Table(path, COLUMNS, Trial._fields, "left-out types", "ngat leave-out")


def leave_out(
    out: Path,
    trials: Sequence[Trial],
    steps: int | None,
    pictures: Pictures,
    *,
    minutes: float | None = None,
    device: str = "auto",
    progress: bool = True,
) -> int:
    """Do the runs that ``out`` lacks and add their lines; returns how many runs were added.

    Every run has so many ``steps``, or, where these are None, ``minutes``.

    Raises:
        InputError: as :func:`ngat.training.sweep.sweep`; no picture is left to train or to test on.
    """
    if not pictures.scored:
        raise InputError("There is no test picture; choose a data set that has some.")
    return sweep(
        table(out),
        steps,
        trials,
        lambda trial: run_one(trial, steps, pictures, device=device, minutes=minutes),
        "Leave one type out",
        progress=progress,
    )
