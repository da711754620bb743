"""The files of a training run: configuration, logs, weights, checkpoint.

A checkpoint is all that a training run needs to go on as if nothing had happened.
Network, optimiser and counters in one safetensors file, whole or not at all; no pickle. Nothing
else has a state: patches and dropout are drawn anew from (seed, step).
"""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ngat.baselines.networks import Network
from ngat.config import Preset, from_dict, to_dict
from ngat.data import TYPES, Sample, fingerprint
from ngat.errors import InputError
from ngat.system.files import earlier_json, replacing, space_for, write_json
from ngat.system.provenance import provenance
from ngat.training.step import Optimisation
from ngat.training.validation import Scores, Validated
from ngat.training.weights import Weights, read_tensors, save_weights, write_tensors

FORMAT = "ngat-checkpoint-1"


@dataclass
class TrainingState:
    """Where a run stands; changed in place as it goes.

    Attributes:
        step: optimiser steps done.
        seconds: time spent, over all sessions.
        minutes: the time limit, if there is one.
        best_f1, best_step: the best validation so far.
        validated, validated_at, validation_seconds: step, time and cost of the last validation.
        window, window_steps, window_seconds: sums since the last line of the log.
        finished: the schedule has come to its end.
        scaler: by how much the loss is scaled, where gradients are of float16.
    """

    step: int = 0
    seconds: float = 0.0
    minutes: float | None = None
    best_f1: float = -1.0
    best_step: int = 0
    validated: int = 0
    validated_at: float = 0.0
    validation_seconds: float = 0.0
    window: list[float] = dataclasses.field(default_factory=list)
    window_steps: int = 0
    window_seconds: float = 0.0
    finished: bool = False
    scaler: dict[str, Any] = dataclasses.field(default_factory=dict)


def differences(old: Any, new: Any, prefix: str = "") -> list[str]:
    """Parameters that differ, as ``name: old, now new``."""
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            found
            for key in sorted(old.keys() | new.keys())
            for found in differences(old.get(key), new.get(key), key)
        ]
    return [] if old == new else [f"{prefix}: {old}, now {new}"]


class RunFolder:
    """A run's folder; see :mod:`ngat.training.trainer` for what lies in it.

    Args:
        path: the folder.
        preset: the run's configuration.
        samples: that are trained on.
        start: the weights that the run starts from, whose steps and minutes count, if any.
        command, device, more: for the provenance of the weights.

    Attributes:
        history: provenance of the weights, without what changes as the run goes on.
    """

    def __init__(
        self,
        path: Path,
        preset: Preset,
        samples: Sequence[Sample],
        start: Weights | None,
        *,
        command: str | Sequence[str],
        device: str,
        **more: Any,
    ) -> None:
        self.path, self.preset = path, preset
        self.fingerprint = fingerprint(samples)
        more |= {"preset": preset.name, "held_out": preset.train.held_out}
        seed = preset.train.seed
        self.history = provenance(command, seed, self.fingerprint, 0.0, device=device, **more)
        if start is not None:
            earlier = ("command", "commit", "minutes", "steps", "before")
            told = start.provenance
            self.history["before"] = {key: told[key] for key in earlier if key in told}
        self.checkpoint = path / "checkpoint.safetensors"
        self.best = path / "best.safetensors"

    def begin(
        self, model: Network, optimisation: Optimisation, *, resume: bool, leads: bool
    ) -> TrainingState:
        """Go back to the checkpoint if there is one; else write the configuration.

        Raises:
            InputError: a run is there and is not to be resumed; as :meth:`load`; or nothing can be
                written.
        """
        if self.checkpoint.exists():
            if not resume:
                raise InputError(
                    f"{self.path}: holds a run already; add --resume, or choose another folder."
                )
            return self.load(model, optimisation)
        if leads:
            write_json(self.path / "config.json", to_dict(self.preset))
        return TrainingState()

    def logs(self, step: int) -> None:
        """Begin both logs, or cut them back to ``step``."""
        levels = [f"loss_{m}" for m in range(self.preset.model.levels)]
        columns = ["step", "minutes", "loss", *levels]
        columns += ["learning_rate", "gradient_norm", "patches_per_second"]
        scores = ["step", "minutes", *Scores._fields, *TYPES]
        self._log = RunLog(self.path / "log.csv", columns, step)
        self._scores = RunLog(self.path / "validation.csv", scores, step)

    def log(
        self, at: TrainingState, loss: float, levels: Sequence[float], rate: float, norm: float
    ) -> None:
        """A line of means over the window. Levels that the loss does not look at stay empty."""
        missing = [None] * (self.preset.model.levels - len(levels))
        speed = at.window_steps * self.preset.train.batch / max(at.window_seconds, 1e-9)
        self._log.write(at.step, [at.seconds / 60, loss, *levels, *missing, rate, norm, speed])

    def validated(self, better: Network | None, at: TrainingState, result: Validated) -> None:
        """A line of validation; write the best weights if these are ``better``."""
        if better is not None:
            self._weights(self.best, better, at, {"validation": result._asdict()})
        per_type = [result.per_type.get(kind) for kind in TYPES]
        means = [getattr(result, name) for name in Scores._fields]
        self._scores.write(at.step, [at.seconds / 60, *means, *per_type])

    def save(self, model: Network, optimisation: Optimisation, at: TrainingState) -> None:
        """Write the last weights, their provenance for the logs, and the checkpoint."""
        history = self._weights(self.path / "last.safetensors", model, at, {})
        write_json(self.path / "provenance.json", history)
        tensors = {f"model/{name}": t for name, t in model.state_dict().items()}
        for name, parameter in model.named_parameters():
            for key, value in optimisation.optimiser.state.get(parameter, {}).items():
                tensors[f"optimiser/{key}/{name}"] = torch.as_tensor(value)
        at.scaler = optimisation.scaler.state_dict()
        metadata = {
            "state": json.dumps(dataclasses.asdict(at)),
            "configuration": json.dumps(to_dict(self.preset)),
            "data": self.fingerprint,
        }
        write_tensors(self.checkpoint, tensors, FORMAT, metadata)

    def load(self, model: Network, optimisation: Optimisation) -> TrainingState:
        """Put the checkpoint into ``model`` and ``optimisation``; say where the run stood.

        A stretch that started from weights still counts what was before when it is resumed.

        Raises:
            InputError: damaged, or of another configuration or other data.
        """
        path = self.checkpoint
        earlier = earlier_json(self.path / "provenance.json")
        if "before" in earlier:
            self.history.setdefault("before", earlier["before"])
        tensors, metadata = read_tensors(path, FORMAT)
        try:
            # A run from before a parameter existed had the parameter's default.
            stored = to_dict(from_dict(json.loads(metadata["configuration"])))
            state = TrainingState(**json.loads(metadata.get("state") or metadata["standing"]))
            pictures = metadata["data"]
        except (KeyError, ValueError, TypeError) as error:
            raise InputError(
                f"{path}: is not of this version of ngat; start the run again."
            ) from error
        if changed := differences(stored, to_dict(self.preset)):
            raise InputError(
                f"{path}: was made with other parameters ({', '.join(changed)}); resume with the "
                "same ones, or train into another folder."
            )
        if pictures != self.fingerprint:
            raise InputError(
                f"{path}: was trained on other pictures; give the same data, or another folder."
            )
        optimiser = optimisation.optimiser
        parameters, network = dict(model.named_parameters()), {}
        try:
            for whole_name, value in tensors.items():
                kind, name = whole_name.split("/", 1)
                if kind == "model":
                    network[name] = value
                    continue
                key, name = name.split("/", 1)
                parameter = parameters[name]
                # AdamW keeps its step count on the CPU unless it is fused.
                scalar = value.ndim == 0 and not optimiser.defaults.get("fused")
                optimiser.state[parameter][key] = value.to("cpu" if scalar else parameter.device)
            model.load_state_dict(network)
            if state.scaler:
                optimisation.scaler.load_state_dict(state.scaler)
        except (RuntimeError, KeyError, ValueError) as error:
            raise InputError(
                f"{path}: does not fit this version's network; start the run again."
            ) from error
        return state

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

    An existing log is cut back to ``step``: what was written after the last checkpoint,
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
        self.path = path

    def write(self, step: int, values: Sequence[float | None]) -> None:
        """Append a line; seven digits, empty where there is no value. Raises DiskFull."""
        line = [step, *("" if v is None else f"{v:.7g}" for v in values)]
        with space_for(self.path), self.path.open("a", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerow(line)
