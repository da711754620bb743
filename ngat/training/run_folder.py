"""The files of a training run: configuration, logs, weights, checkpoint."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ngat.baselines.networks import Network
from ngat.config import Preset, to_dict
from ngat.data.sample import TYPES
from ngat.system.files import write_json
from ngat.training.checkpoint import TrainingState, load_checkpoint, save_checkpoint
from ngat.training.run_log import RunLog
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
        """Go back to the checkpoint. Raises InputError where it is damaged or another run's."""
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
