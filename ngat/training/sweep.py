"""Sweeps: variants of a network, trained at one small, equal and stated budget, and their scores.

All runs of a seed see the same patches in the same order, and all are scored on the same pictures
with the last weights at the default thresholds, so that nothing but the change, and the seed, tells
two lines apart. The magnification is found, as for any image. A budget of minutes favours what
learns fast; it says little of what is best after a day.

The table grows by whole runs. A run that is stopped or killed goes on from its checkpoint when the
same command is given again, and several processes may work on one table: each takes a run that no
other one has.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ngat.baselines.networks import build
from ngat.data import TYPES, Sample, fingerprint
from ngat.errors import InputError
from ngat.system.files import Busy, held, locked, read_json
from ngat.system.process import Interrupted, track
from ngat.system.provenance import provenance, write_with_provenance
from ngat.system.tables import read_table
from ngat.training.distributed import find_device
from ngat.training.trainer import TrainingDiverged, TrainingInterrupted, train
from ngat.training.validation import Scores, score_one
from ngat.training.variants import Variant
from ngat.training.weights import load_weights

ALL = "all"  # the line that is the mean over pictures of all types
_TEXT = ("network", "factor", "variant", "type")
_WHOLE = ("seed", "steps", "parameters", "images")
COLUMNS = (
    *Variant._fields,
    *("type", "steps", "parameters", "seconds", "images"),
    *Scores._fields,
)


class Pictures(NamedTuple):
    """What every run of a sweep trains on, is validated on and is scored on."""

    train: Sequence[Sample]
    validation: Sequence[Sample]
    scored: Sequence[Sample]


def read(path: Path) -> pd.DataFrame:
    """All lines of a table, with :data:`COLUMNS`; empty where a run has no such number.

    A run has a line per type of picture that it is scored on, and one of type ``all``, the mean
    over all pictures, unless it does without a type.

    Raises:
        InputError: it cannot be read, or is no such table.
    """
    return read_table(
        path, COLUMNS, "runs", "ngat ablate",
        dtype=dict.fromkeys(_TEXT, str) | dict.fromkeys(_WHOLE, "Int64"),
        keep_default_na=False, na_values={name: [""] for name in {*COLUMNS} - {*_TEXT}},
    )  # fmt: skip


def _origin(path: Path) -> dict[str, Any]:
    """What the file beside a table says of where its numbers come from; nothing if there is none.

    Raises:
        InputError: it is damaged.
    """
    beside = path.with_suffix(".json")
    found = read_json(beside, f"delete it, or move {path.name} away", absent={})
    return {"data_fingerprint": None, **found} if beside.exists() else {}


@dataclass(frozen=True)
class Sweep:
    """Runs at one budget, and the table that they fill.

    Attributes:
        path: the CSV file; a JSON file beside it says where its numbers come from, and a folder
            beside it holds what unfinished runs need to go on.
        pictures: of every run.
        steps: of every run; None where they end by ``minutes``, after any number of steps.
        minutes: of every run, as :func:`ngat.training.trainer.train` counts them.
        device, progress: as there.
        command, data, split: for the provenance.
    """

    path: Path
    pictures: Pictures
    steps: int | None = None
    minutes: float | None = None
    device: str = "auto"
    progress: bool = True
    command: str | Sequence[str] = "ngat.training.sweep"
    data: str = ""
    split: str = ""

    def run(self, variants: Sequence[Variant]) -> int:
        """Do the runs that the table lacks and that no other process does; returns how many.

        Raises:
            InputError: there is no picture to score, or the table holds something else or runs that
                were scored on other pictures or had another budget.
            Interrupted: after SIGINT or SIGTERM.
        """
        if not self.pictures.scored:
            raise InputError("There is no picture to score; choose a data set that has some.")
        added, elsewhere = 0, 0
        for number, variant in enumerate(variants, 1):
            if variant in self._done():
                continue
            budget = f"{self.minutes:g}min" if self.minutes else f"{self.steps}steps"
            folder = self._unfinished / "-".join(map(str, (*variant, budget))).replace(" ", "_")
            try:
                with held(folder, "a run", folder=False):
                    if variant in self._done():  # another process has meanwhile
                        continue
                    lines = self.lines(variant, folder)
                    self._add(lines)
                    shutil.rmtree(folder, ignore_errors=True)
            except Busy:
                elsewhere += 1
                continue
            added += 1
            self._tell(f"run {number} of {len(variants)}: {_sentence(lines)}")
        if elsewhere:
            self._tell(f"{elsewhere} runs are left to other processes that do them")
        else:
            with suppress(OSError):  # none is there, or others still work in it
                self._unfinished.rmdir()
        return added

    def lines(self, variant: Variant, folder: Path | None = None) -> pd.DataFrame:
        """Train one variant and score it; its lines, with :data:`COLUMNS`.

        A run whose loss becomes NaN or infinite has lines without scores.

        Args:
            folder: where it goes on from what a stopped call has left; by default it starts anew.

        Raises:
            InputError, Interrupted: as :func:`ngat.training.trainer.train`.
        """
        if folder is None:
            with TemporaryDirectory() as temporary:
                return self.lines(variant, Path(temporary))
        chosen = variant.preset(self.steps)
        kept = [s for s in self.pictures.scored if variant.held_out in ("", s.type)]
        try:
            trained = train(
                chosen,
                self.pictures.train,
                self.pictures.validation,
                folder,
                minutes=self.minutes,
                resume=True,
                device=self.device,
                progress=self.progress and sys.stderr.isatty(),
                thresholds=False,
                command=self.command,
                data=self.data,
            )
        except TrainingInterrupted as error:
            # Its advice is to add --resume, which a sweep does by itself.
            raise Interrupted(number=error.number) from error
        except TrainingDiverged as error:
            self._tell(f"{', '.join(map(str, variant))}: {error}")
            steps, seconds = self.steps or 0, 0.0
            scores = np.full((len(kept), len(Scores._fields)), np.nan)
        else:
            steps, seconds = trained.steps, 60 * trained.minutes
            model = load_weights(folder / "last.safetensors", find_device(self.device)).model
            scores = np.array([
                score_one(model, sample, known_size=False)
                for sample in track(kept, "Score", progress=self.progress)
            ])  # fmt: skip
        own = np.array([sample.type for sample in kept])
        parameters = sum(p.numel() for p in build(chosen.model).parameters())
        rows = []
        for kind in (ALL, *TYPES) if not variant.held_out else (variant.held_out,):
            of = scores[(own == kind) | (kind == ALL)]
            if len(of):
                told = (kind, steps, parameters, round(seconds, 1), len(of))
                rows.append([*variant, *told, *of.mean(axis=0).round(6)])
        return pd.DataFrame(rows, columns=list(COLUMNS)).astype(dict.fromkeys(_WHOLE, "Int64"))

    @property
    def _unfinished(self) -> Path:
        return self.path.with_suffix(".runs")

    def _done(self) -> set[tuple[Any, ...]]:
        """The runs in the table. Raises InputError where they are not of this sweep."""
        if not self.path.exists():
            return set()
        table, origin = read(self.path), _origin(self.path)
        refused = ""
        if self.steps is not None and (other := set(table["steps"]) - {self.steps}):
            refused = f"runs of {min(other)} steps, not {self.steps}"
        if origin.get("data_fingerprint", self._fingerprint) != self._fingerprint:
            refused = "runs that were scored on other pictures"
        if origin and (minutes := origin.get("minutes_each")) != self.minutes:
            refused = f"runs with {minutes or 'no'} minutes each, not {self.minutes or 'none'}"
        if refused:
            raise InputError(f"{self.path}: holds {refused}; give another file.")
        return set(table[list(Variant._fields)].itertuples(index=False, name=None))

    @cached_property
    def _fingerprint(self) -> str:
        return fingerprint(self.pictures.scored)

    def _add(self, lines: pd.DataFrame) -> None:
        """Add the lines of a run to what the table holds now, and say where they come from."""
        with locked(self.path):
            if self.path.exists():
                lines = pd.concat([read(self.path), lines], ignore_index=True)
            budget: dict[str, Any] = {"steps": self.steps}
            if self.minutes is not None:
                budget["minutes_each"] = self.minutes
            told = provenance(
                self.command,
                None,
                self._fingerprint,
                # Of all runs, whatever calls made them.
                lines.drop_duplicates(list(Variant._fields))["seconds"].sum() / 60,
                device=str(find_device(self.device)),
                data=self.data,
                split=self.split,
                **budget,
            )
            write_with_provenance(self.path, lines, told)

    def _tell(self, sentence: str) -> None:
        if self.progress:
            print(sentence, file=sys.stderr, flush=True)


def _sentence(lines: pd.DataFrame) -> str:
    first = lines.iloc[0]
    return (
        f"{first['network']}, {first['factor']} {first['variant']}, seed {first['seed']}: average "
        f"F1 {first['average_f1']:.3f} of {first['images']} pictures ({first['type']}) after "
        f"{first['steps']} steps, {first['seconds'] / 60:.1f} min"
    )
