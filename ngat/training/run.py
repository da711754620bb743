"""A training run as it goes: steps, log, validation, checkpoint."""

from __future__ import annotations

import contextlib
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from rich.progress import Progress as Bar

from ngat.baselines.networks import build, finds_nuclei
from ngat.config import Preset
from ngat.data import Sample
from ngat.errors import InputError
from ngat.system.process import Interrupted, bar, stop_requests
from ngat.training.device.patches import DevicePatches
from ngat.training.distributed import Team
from ngat.training.patches import Batch, Patches
from ngat.training.run_folder import RunFolder, TrainingState
from ngat.training.step import Optimisation, position, seeded
from ngat.training.validation import Scores, score_one, store_thresholds, summary

LOG_EVERY = 10  # steps per line of the log
CHECKPOINT_SECONDS = 45.0
# With a time limit, at most this share of the time goes into validation before the last one.
VALIDATION_SHARE = 0.1


class TrainingDiverged(InputError):
    """The loss is no longer a finite number."""


class TrainingInterrupted(Interrupted):
    """A signal asked for the end; a checkpoint was written."""


class TrainingRun:
    """What a run works with; :func:`ngat.training.trainer.train` starts it."""

    folder: RunFolder

    def __init__(
        self,
        preset: Preset,
        samples_train: Sequence[Sample],
        samples_val: Sequence[Sample],
        members: Team,
        progress: bool,
        pipeline: str = "auto",
        captured: bool = False,
        contrast: Path | None = None,
    ) -> None:
        self.config, self.team = preset.train, members
        self.samples_val = samples_val
        self.progress = progress and members.leads
        cuda = members.device.type == "cuda"
        with seeded(members.device, preset.train.seed):
            model = build(preset.model)
        self.patches: Patches | DevicePatches
        if pipeline == "device" or (pipeline == "auto" and (cuda or finds_nuclei(model))):
            # Before anything else uses the GPU: images are prepared by forks of this process.
            self.patches = DevicePatches(
                samples_train,
                preset.train,
                contrast=preset.model.contrast,
                device=members.device,
                rank=members.rank,
                world=members.world,
                kept=contrast,
            )
        else:
            self.patches = Patches(
                samples_train,
                preset.train,
                contrast=preset.model.contrast,
                workers=max(1, (os.cpu_count() or 2) // members.world - 1) if cuda else 1,
                rank=members.rank,
                world=members.world,
            )
        self.model = model.to(members.device)
        self.optimisation = Optimisation(self.model, preset, members, captured=captured)
        self.at = TrainingState()

    def fit(self, on_step: Callable[[int], None] | None) -> None:
        """Steps until the schedule ends."""
        at, config = self.at, self.config
        self.sums = torch.tensor(at.window, dtype=torch.float64, device=self.team.device)
        self.began = self._now() - at.seconds
        saved = last = time.monotonic()
        with contextlib.ExitStack() as stack:
            if self.team.leads:
                stack.enter_context(self.folder.logs(at.step))
            asked = stack.enter_context(stop_requests())
            display = stack.enter_context(bar(progress=self.progress))
            task = display.add_task("Train", total=config.steps, completed=at.step)
            batches = self.patches.batches(at.step, config.steps)
            stack.callback(batches.close)
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
                self._step(batch)
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

    def choose(self) -> None:
        """Choose the best network's thresholds on validation and store them with it."""
        if not self.team.leads:
            return
        store_thresholds(
            self.folder.best, self.samples_val, self.team.device, progress=self.progress
        )

    def _step(self, batch: Batch) -> None:
        at = self.at
        place = position(at.step, at.seconds, at.minutes, self.config)
        # Read once per line of the log: on a GPU, reading waits for the step to end.
        self.rate, values = self.optimisation.step(batch, at.step, place)
        at.step += 1
        at.window_steps += 1
        self.sums = values if self.sums.numel() == 0 else self.sums + values

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
                f"(now {self.config.learning_rate:g})."
            )
        return sums

    def _log(self, display: Bar, last: float) -> None:
        """Write a line of means over the window, and begin the next window."""
        at = self.at
        loss, norm, *levels = (value / at.window_steps for value in self._window())
        at.window_seconds += time.monotonic() - last
        if self.team.leads:
            self.folder.log(at, loss, levels, self.rate, norm)
        place = position(at.step, at.seconds, at.minutes, self.config)
        best = f", best F1 {at.best_f1:.3f}" if at.best_f1 >= 0 else ""
        display.update(
            display.task_ids[0],
            completed=round(place * self.config.steps),
            description=f"Train: loss {loss:.4f}{best}",
        )
        at.window_steps, at.window_seconds = 0, 0.0
        self.sums = self.sums.new_zeros(0)

    def _validation_due(self) -> bool:
        at = self.at
        if at.step % self.config.validate_every:
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
        samples = self.samples_val[: self.config.validate_images or None]
        scores = [
            score_one(self.model, sample) if i % self.team.world == self.team.rank else Scores()
            for i, sample in enumerate(samples)
        ]
        flat = self.team.sum([value for row in scores for value in row])
        n = len(Scores._fields)
        result = summary(samples, [flat[i : i + n] for i in range(0, len(flat), n)])
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
        """Seconds of training, over all sessions."""
        return self._now() - self.began

    def _now(self) -> float:
        """The clock that budgets are measured by, in seconds.

        On the CPU, the time of all cores that this process has used: a minute of one core is the
        same work on a busy machine as on a quiet one.
        """
        return time.process_time() if self.team.device.type == "cpu" else time.monotonic()
