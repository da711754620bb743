"""A training run as it goes: steps, log, validation, checkpoint."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from rich.progress import Progress as Bar

from ngat.baselines.networks import Network
from ngat.config import Preset
from ngat.data.sample import Sample
from ngat.errors import InputError
from ngat.system.process import Interrupted, bar, stop_requests
from ngat.training.device.patches import DevicePatches
from ngat.training.distributed import Team
from ngat.training.patches import Patches
from ngat.training.run_folder import RunFolder, TrainingState
from ngat.training.step import Optimisation, position
from ngat.training.validation import validate

LOG_EVERY = 10  # steps per line of the log
CHECKPOINT_SECONDS = 45.0
# With a time limit, at most this share of the time goes into validation before the last one.
VALIDATION_SHARE = 0.1


class TrainingDiverged(InputError):
    """The loss is no longer a finite number."""


class TrainingInterrupted(Interrupted):
    """A signal asked for the end; a checkpoint was written."""


@dataclass
class TrainingRun:
    """What a run works with, and its steps; put together by :func:`ngat.training.trainer.train`."""

    preset: Preset
    samples_val: Sequence[Sample]
    team: Team
    model: Network
    patches: Patches | DevicePatches
    optimisation: Optimisation
    folder: RunFolder
    at: TrainingState
    progress: bool
    began: float = 0.0

    def fit(self, on_step: Callable[[int], None] | None) -> None:
        """Steps until the schedule ends."""
        at, config = self.at, self.preset.train
        self.sums = torch.tensor(at.window, dtype=torch.float64, device=self.team.device)
        self.began = self._clock() - at.seconds
        saved = last = time.monotonic()
        if self.team.leads:
            self.folder.logs(at.step)
        with (
            stop_requests() as asked,
            bar(progress=self.progress) as display,
            contextlib.closing(self.patches.batches(at.step, config.steps)) as batches,
        ):
            task = display.add_task("Train", total=config.steps, completed=at.step)
            for batch in batches:
                # All processes must come to the same conclusion.
                stop, at.seconds = self.team.maximum([asked.is_set(), self._clock()])
                if stop:
                    self._save()
                    raise TrainingInterrupted(
                        f"Stopped after step {at.step}; the same command with --resume goes on.",
                        asked.number,
                    )
                if at.minutes is not None and at.seconds >= 60 * at.minutes:
                    break
                # Read once per line of the log: on a GPU, reading waits for the step to end.
                self.rate, values = self.optimisation.step(batch, at.step, self._place())
                at.step += 1
                at.window_steps += 1
                self.sums = values if self.sums.numel() == 0 else self.sums + values
                if at.step % LOG_EVERY == 0 or at.step == config.steps:
                    self._log(display, last)
                else:
                    at.window_seconds += time.monotonic() - last
                if on_step is not None:
                    on_step(at.step)
                due = self._validation_due()
                if due:
                    self._validate()
                elapsed = self.team.maximum([time.monotonic() - saved])[0]
                if due or elapsed > CHECKPOINT_SECONDS:
                    self._save()
                    saved = time.monotonic()
                last = time.monotonic()
            if at.window_steps:
                self._log(display, last)
            display.update(task, completed=config.steps)
            if at.validated < at.step or at.best_f1 < 0:
                self._validate()
            at.finished = True
            self._save()

    def _window(self) -> list[float]:
        """Sums of loss, gradient norm and level losses since the last line of the log.

        Raises:
            TrainingDiverged: they are not finite.
        """
        sums = self.team.mean(self.sums.tolist())
        if not all(math.isfinite(value) for value in sums):
            checkpoint = self.folder.checkpoint
            kept = f"kept: {checkpoint}" if checkpoint.exists() else "no checkpoint yet"
            raise TrainingDiverged(
                f"Training diverged: by step {self.at.step} the loss or its gradient was NaN or "
                f"infinite ({kept}). Train into another folder with a smaller learning_rate "
                f"(now {self.preset.train.learning_rate:g})."
            )
        return sums

    def _log(self, display: Bar, last: float) -> None:
        """Write a line of means over the window, and begin the next window."""
        at = self.at
        loss, norm, *levels = (value / at.window_steps for value in self._window())
        at.window_seconds += time.monotonic() - last
        if self.team.leads:
            self.folder.log(at, loss, levels, self.rate, norm)
        best = f", best F1 {at.best_f1:.3f}" if at.best_f1 >= 0 else ""
        display.update(
            display.task_ids[0],
            completed=round(self._place() * self.preset.train.steps),
            description=f"Train: loss {loss:.4f}{best}",
        )
        at.window_steps, at.window_seconds = 0, 0.0
        self.sums = self.sums.new_zeros(0)

    def _place(self) -> float:
        """Place in the schedule."""
        return position(self.at.step, self.at.seconds, self.at.minutes, self.preset.train)

    def _validation_due(self) -> bool:
        at = self.at
        if at.step % self.preset.train.validate_every:
            return False
        if at.minutes is None:
            return True
        (since,) = self.team.maximum([self._clock() - at.validated_at])
        return VALIDATION_SHARE * since >= at.validation_seconds

    def _validate(self) -> None:
        """Score whole validation pictures, shared among the processes; keep the best network."""
        at = self.at
        self._window()  # never keep a network that has diverged
        began = self._clock()
        # Every data set deals its pictures round the types, so that the first few show them all.
        samples = self.samples_val[: self.preset.train.validate_images or None]
        result = validate(self.model, samples, members=self.team)
        at.seconds = at.validated_at = self._clock()
        (at.validation_seconds,) = self.team.maximum([at.seconds - began])
        at.validated = at.step
        better = result.average_f1 > at.best_f1
        if better:
            at.best_f1, at.best_step = result.average_f1, at.step
        if self.team.leads:
            if better:
                self.folder.keep(self.model, at, result)
            self.folder.validated(at, result)
        if self.progress and not sys.stderr.isatty():
            print(
                f"step {at.step}, {at.seconds / 60:.1f} min: Dice {result.dice:.3f}, "
                f"average F1 {result.average_f1:.3f} (best {at.best_f1:.3f})",
                file=sys.stderr,
                flush=True,
            )

    def _save(self) -> None:
        """Write the checkpoint and the last weights, unless the network has diverged."""
        self.at.window = self._window()
        self.at.seconds = self._clock()
        if self.team.leads:
            self.folder.save(self.model, self.optimisation.optimiser, self.at)

    def _clock(self) -> float:
        """Seconds of training, over all sessions: the time that budgets are measured by.

        On the CPU, the time of all cores that this process has used: a minute of one core is the
        same work on a busy machine as on a quiet one.
        """
        cpu = self.team.device.type == "cpu"
        return (time.process_time() if cpu else time.monotonic()) - self.began
