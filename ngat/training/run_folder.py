"""The files of a training run: configuration, logs, weights, checkpoint."""

from __future__ import annotations

import contextlib
import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from ngat.baselines.networks import Network
from ngat.config import Preset, to_dict
from ngat.data.sample import TYPES
from ngat.errors import InputError
from ngat.system.files import replacing, space_for, write_json
from ngat.training.checkpoint import TrainingState, load_checkpoint, save_checkpoint
from ngat.training.validation import Scores, Validated
from ngat.training.weights import save_weights


class RunFolder:
    """A run's folder; see :mod:`ngat.training.trainer` for what lies in it.

    Args:
        path: the folder.
        preset: the run's configuration.
        fingerprint: of the training pictures.
        history: provenance of the weights, without what changes as the run goes on.
    """

    def __init__(
        self, path: Path, preset: Preset, fingerprint: str, history: Mapping[str, Any]
    ) -> None:
        self.path, self.preset = path, preset
        self.fingerprint, self.history = fingerprint, history
        self.checkpoint = path / "checkpoint.safetensors"
        self.best = path / "best.safetensors"

    def begin(self) -> None:
        """Write the configuration. Raises InputError where nothing can be written."""
        write_json(self.path / "config.json", to_dict(self.preset))

    @contextlib.contextmanager
    def logs(self, step: int) -> Iterator[None]:
        """Open both logs, cut back to ``step``."""
        levels = [f"loss_{m}" for m in range(self.preset.model.levels)]
        columns = ["step", "minutes", "loss", *levels]
        columns += ["learning_rate", "gradient_norm", "patches_per_second"]
        scores = ["step", "minutes", *Scores._fields, *TYPES]
        with (
            RunLog(self.path / "log.csv", columns, step) as self._log,
            RunLog(self.path / "validation.csv", scores, step) as self._scores,
        ):
            yield

    def log(
        self, at: TrainingState, loss: float, levels: Sequence[float], rate: float, norm: float
    ) -> None:
        """A line of means over the window. Levels that the loss does not look at stay empty."""
        missing = [None] * (self.preset.model.levels - len(levels))
        speed = at.window_steps * self.preset.train.batch / max(at.window_seconds, 1e-9)
        self._log.write(at.step, [at.seconds / 60, loss, *levels, *missing, rate, norm, speed])

    def validated(self, at: TrainingState, result: Validated) -> None:
        """A line of validation."""
        per_type = [result.per_type.get(kind) for kind in TYPES]
        means = [getattr(result, name) for name in Scores._fields]
        self._scores.write(at.step, [at.seconds / 60, *means, *per_type])

    def keep(self, model: Network, at: TrainingState, result: Validated) -> None:
        """Write the best weights."""
        self._weights(self.best, model, at, {"validation": result._asdict()})

    def save(self, model: Network, optimiser: torch.optim.Optimizer, at: TrainingState) -> None:
        """Write the last weights, their provenance for the logs, and the checkpoint."""
        history = self._weights(self.path / "last.safetensors", model, at, {})
        write_json(self.path / "provenance.json", history)
        save_checkpoint(self.checkpoint, model, optimiser, at, self.preset, self.fingerprint)

    def load(self, model: Network, optimiser: torch.optim.Optimizer) -> TrainingState:
        """Go back to the checkpoint. Raises InputError where it is damaged or another run's.

        A stretch that started from weights still counts what was before when it is resumed.
        """
        with contextlib.suppress(OSError, ValueError, AttributeError):
            told = json.loads((self.path / "provenance.json").read_text(encoding="utf-8"))
            if "before" in told:
                self.history = {"before": told["before"], **self.history}
        return load_checkpoint(self.checkpoint, model, optimiser, self.preset, self.fingerprint)

    def _weights(
        self, path: Path, model: Network, at: TrainingState, more: Mapping[str, Any]
    ) -> dict[str, Any]:
        before = self.history.get("before", {})
        minutes = at.seconds / 60 + before.get("minutes", 0.0)
        steps = at.step + before.get("steps", 0)
        history = {**self.history, "steps": steps, "minutes": round(minutes, 2), **more}
        save_weights(path, model, self.preset, history)
        return history


class RunLog:
    """Lines of numbers whose first column is the step, kept in ``path``.

    Opening an existing log cuts it back to ``step``: what was written after the last checkpoint,
    whole or in part, is done again by the run that goes on.

    Args:
        path: the file.
        columns: names; ``step`` comes first.
        step: keep lines up to this step; 0 starts anew.

    Raises:
        InputError: the file has other columns, or cannot be written.
    """

    def __init__(self, path: Path, columns: Sequence[str], step: int = 0) -> None:
        kept: list[list[str]] = []
        if step and path.exists():
            # The last line may have been cut by the kill.
            text = path.read_text(encoding="utf-8", errors="replace")
            header, *rows = list(csv.reader(text[: text.rfind("\n") + 1].splitlines())) or [[]]
            if header != list(columns):
                raise InputError(f"{path}: has other columns; start the run again.")
            whole = (row for row in rows if len(row) == len(columns) and row[0].isdecimal())
            kept = [row for row in whole if int(row[0]) <= step]
        with replacing(path) as beside, beside.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows([list(columns), *kept])
        self._path = path
        self._file = path.open("a", newline="", encoding="utf-8")
        self._writer = csv.writer(self._file, lineterminator="\n")

    def write(self, step: int, values: Sequence[float | None]) -> None:
        """Append a line; seven digits, empty where there is no value. Raises DiskFull."""
        with space_for(self._path):
            self._append([step, *("" if v is None else f"{v:.7g}" for v in values)])

    def _append(self, line: Sequence[object]) -> None:
        self._writer.writerow(line)
        self._file.flush()

    def __enter__(self) -> RunLog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # After a full disk the buffer still holds the line, and closing would try it again.
        with contextlib.suppress(OSError):
            self._file.close()
