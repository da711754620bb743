"""Leave one type out: train without a type of picture, test on it (the paper's main claim).

For each network, one run sees all types and one run per type does without it, all at one small,
equal and stated budget and at half resolution. A line says how well a run does on the test pictures
of one type: the run with all types on each of them, every other run on the type that it never saw.
All at default thresholds, with the last network: nothing is chosen.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from ngat.config import Preset, preset
from ngat.data.sample import TYPES, Sample
from ngat.errors import InputError
from ngat.system.progress import track
from ngat.training.run_table import Line, read_runs, write_runs
from ngat.training.trainer import train
from ngat.training.validation import validate
from ngat.training.weights import load_weights

NETWORKS = ("companion", "unet")
RUN = ("network", "without", "seed")
COLUMNS = (
    *("network", "without", "type", "seed", "steps", "parameters", "seconds", "images"),
    *("dice", "average_f1", "components_f1"),
)


class Trial(NamedTuple):
    """A run to be: its network, the type it does without (or none), and the seed."""

    network: str
    without: str
    seed: int

    def preset(self, steps: int) -> Preset:
        """The whole configuration: half resolution, patches of 160 pixels."""
        return preset(
            self.network,
            steps=steps,
            seed=self.seed,
            without=self.without,
            shrink=2,
            patch=160,
            coarse=0.0,
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
    steps: int,
    train_on: Sequence[Sample],
    validate_on: Sequence[Sample],
    test_on: Sequence[Sample],
    *,
    device: str = "auto",
) -> list[Line]:
    """Train a network and test it on the types in question; gives lines with :data:`COLUMNS`."""
    began = time.monotonic()
    with TemporaryDirectory() as folder:
        train(
            trial.preset(steps),
            train_on,
            validate_on,
            folder,
            device=device,
            progress=False,
            command="ngat leave-out",
        )
        seconds = time.monotonic() - began
        model = load_weights(Path(folder) / "last.safetensors").model
    lines = []
    for kind in TYPES if not trial.without else (trial.without,):
        pictures = [sample for sample in test_on if sample.type == kind]
        if not pictures:
            continue
        scored = validate(model, pictures)
        found = {
            **trial._asdict(),
            "type": kind,
            "steps": steps,
            "parameters": sum(p.numel() for p in model.parameters()),
            "seconds": round(seconds, 1),
            "images": len(pictures),
            **{name: round(getattr(scored, name), 6) for name in COLUMNS[8:]},
        }
        lines.append({name: str(found[name]) for name in COLUMNS})
    return lines


def leave_out(
    out: Path,
    trials: Sequence[Trial],
    steps: int,
    train_on: Sequence[Sample],
    validate_on: Sequence[Sample],
    test_on: Sequence[Sample],
    *,
    device: str = "auto",
    progress: bool = True,
) -> int:
    """Do the runs that ``out`` lacks and add their lines; returns how many runs were added.

    The file is whole after every run: stopped, the same call goes on.

    Raises:
        InputError: the file holds something else, or runs of another number of steps; no picture
            is left to train or to test on.
    """
    if not test_on:
        raise InputError("There is no test picture; choose a data set that has some.")
    lines = read_runs(out, COLUMNS, steps, "left-out types")
    there = {tuple(line[name] for name in RUN) for line in lines}
    missing = [trial for trial in trials if tuple(map(str, trial)) not in there]
    for trial in track(missing, "Leave one type out", progress=progress):
        lines += run_one(trial, steps, train_on, validate_on, test_on, device=device)
        write_runs(out, COLUMNS, lines)
    return len(missing)
