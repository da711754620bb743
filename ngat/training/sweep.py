"""Sweeps: many short training runs at one equal budget, a table of their scores that grows by them.

:mod:`ngat.training.ablation` changes one thing at a time, :mod:`ngat.training.leave_out` leaves out
one type of picture. The table is whole after every run, so that a stopped sweep goes on; two
processes may work on one table, and neither loses the lines of the other.
"""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, TypeVar

from ngat.baselines.networks import Network
from ngat.config import Preset
from ngat.data.sample import Sample, fingerprint
from ngat.errors import InputError
from ngat.system.files import locked, read_table, replacing
from ngat.system.process import Interrupted, track
from ngat.training.run import TrainingInterrupted
from ngat.training.trainer import train
from ngat.training.weights import load_weights

Line = dict[str, str]
Trial = TypeVar("Trial", bound=tuple[Any, ...])


class Pictures(NamedTuple):
    """What every run of a sweep trains on, is validated on and is scored on."""

    train: Sequence[Sample]
    validation: Sequence[Sample]
    scored: Sequence[Sample]


@dataclass(frozen=True)
class Table:
    """The CSV file of a sweep.

    Attributes:
        path: the file.
        columns: their names; ``steps`` and ``seconds`` are among them.
        run: columns that tell one run from another; a run may have several lines.
        what: what the table holds, for messages; ``made_by``: the command that makes it.
    """

    path: Path
    columns: tuple[str, ...]
    run: tuple[str, ...]
    what: str
    made_by: str

    def lines(self, steps: int | None) -> list[Line]:
        """All lines; none if there is no such file yet.

        Args:
            steps: of every run; None where runs end by the clock, after any number of steps.

        Raises:
            InputError: the file holds something else, or runs of another number of steps.
        """
        if not self.path.exists():
            return []
        table = read_table(
            self.path, self.columns, self.what, self.made_by, dtype=str, keep_default_na=False
        )
        for other in set(table["steps"]) - {str(steps)} if steps is not None else ():
            raise InputError(
                f"{self.path}: holds runs of {other} steps, not {steps}; give another file."
            )
        return [
            {str(name): value for name, value in row.items()} for row in table.to_dict("records")
        ]

    def add(self, steps: int | None, lines: Iterable[Line]) -> None:
        """Add the lines of a run, unless another process has added that run meanwhile."""
        with locked(self.path):
            there = self.lines(steps)
            known = {self.of(line) for line in there}
            new = [line for line in lines if self.of(line) not in known]
            with (
                replacing(self.path) as beside,
                beside.open("w", newline="", encoding="utf-8") as f,
            ):
                writer = csv.DictWriter(f, self.columns, lineterminator="\n")
                writer.writeheader()
                writer.writerows([*there, *new])

    @property
    def origin(self) -> Path:
        """The file beside it that says where the numbers come from."""
        return self.path.with_suffix(".json")

    def check(self, scored: Sequence[Sample], budget: Mapping[str, Any] | None = None) -> None:
        """Refuse a table whose runs differ from those to be added, as its origin says.

        Args:
            scored: what the runs are scored on.
            budget: what else all runs have in common, by its name in the origin.

        Raises:
            InputError: they differ, or the file that says so is damaged.
        """
        if not (self.path.exists() and self.origin.exists()):
            return
        try:
            origin = json.loads(self.origin.read_text(encoding="utf-8"))
            known = origin["data_fingerprint"]
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{self.origin}: is no provenance of {self.path}; delete it."
            ) from error
        if known != fingerprint(scored):
            raise InputError(
                f"{self.path}: holds runs that were scored on other pictures; give another file."
            )
        for name, value in (budget or {}).items():
            if origin.get(name, value) != value:
                raise InputError(
                    f"{self.path}: holds runs with {name} {origin[name]}, not {value}; give "
                    "another file."
                )

    def of(self, line: Line) -> tuple[str, ...]:
        """Which run a line belongs to."""
        return tuple(line[name] for name in self.run)

    def minutes(self, steps: int | None) -> float:
        """How long the runs in the table trained, whatever call made them.

        A clock around one call would forget what earlier calls, stopped or finished, have done.
        """
        return (
            sum({self.of(line): float(line["seconds"]) for line in self.lines(steps)}.values()) / 60
        )


def sweep(
    table: Table,
    steps: int | None,
    trials: Sequence[Trial],
    run: Callable[[Trial], list[dict[str, Any]]],
    label: str,
    *,
    progress: bool = True,
) -> int:
    """Do the runs that a table lacks and add their lines; returns how many were done.

    Args:
        table: its ``run`` columns are the fields of a trial, in order.
        steps: training steps of every run; None where they end by the clock.
        trials: all runs that the table shall have.
        run: trains and scores one; gives its lines by column.
        label: of the progress bar.

    Raises:
        InputError: the file holds something else, or runs of another number of steps.
    """

    def missing() -> list[Trial]:
        there = {table.of(line) for line in table.lines(steps)}
        return [trial for trial in trials if tuple(map(str, trial)) not in there]

    done = 0
    for trial in track(missing(), label, progress=progress):
        if trial not in missing():  # another process has done it meanwhile
            continue
        lines = run(trial)
        table.add(steps, [{name: str(line[name]) for name in table.columns} for line in lines])
        done += 1
    return done


class LastRun(NamedTuple):
    """A network as training left it, with its seconds and steps."""

    model: Network
    seconds: float
    steps: int


def train_once(
    chosen: Preset, pictures: Pictures, *, device: str, command: str, minutes: float | None = None
) -> LastRun:
    """Train a network whose files nobody needs, until its steps or minutes are over.

    The last one is given, not the best. Nothing is chosen, so that runs compare by what they
    learnt.
    """
    began = time.monotonic()
    with TemporaryDirectory() as folder:
        try:
            trained = train(
                chosen,
                pictures.train,
                pictures.validation,
                folder,
                minutes=minutes,
                device=device,
                progress=False,
                thresholds=False,
                command=command,
            )
        except TrainingInterrupted as error:
            # Its advice is to resume the run, whose folder is about to go.
            raise Interrupted(number=error.number) from error
        seconds = time.monotonic() - began
        model = load_weights(Path(folder) / "last.safetensors").model
        return LastRun(model, seconds, trained.steps)
