"""Training (sections 4.1 and 4.2): AdamW, one-cycle rate, validation, checkpoints, a log.

Step k of a run depends on the configuration, the data and k alone: patches and dropout are drawn
from (seed, k), and a checkpoint holds all other state. A run that was killed at any moment and is
resumed therefore has, on the CPU, the same losses to the last digit. With a limit in minutes the
learning rate follows the clock, and no two runs are equal.

A run's folder holds ``config.json``, ``provenance.json``, ``log.csv``, ``validation.csv``,
``best.safetensors`` and ``last.safetensors`` (weights) and ``checkpoint.safetensors`` (what
resuming needs).
"""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from rich.progress import Progress as Bar

from ngat.baselines.networks import Network, build
from ngat.config import Preset
from ngat.data import Sample, data_name, leave_out
from ngat.errors import InputError
from ngat.system.files import held
from ngat.system.process import Interrupted, bar, stop_requests
from ngat.training.device.patches import DevicePatches, patches_for
from ngat.training.distributed import Team, team
from ngat.training.patches import Patches
from ngat.training.run_folder import RunFolder, TrainingState
from ngat.training.statistics import without_dropout
from ngat.training.step import Optimisation, position, seeded
from ngat.training.validation import store_thresholds, validate
from ngat.training.weights import Weights

LOG_EVERY = 10  # steps per line of the log
CHECKPOINT_SECONDS = 45.0
# With a time limit, at most this share of the time goes into validation before the last one.
VALIDATION_SHARE = 0.1


class TrainingDiverged(InputError):
    """The loss is no longer a finite number."""


class TrainingInterrupted(Interrupted):
    """A signal asked for the end; a checkpoint was written."""


class Trained(NamedTuple):
    """A finished run: the best weights, their validation's average F1, steps and minutes."""

    best: Path
    average_f1: float
    steps: int
    minutes: float


def train(
    preset: Preset,
    samples_train: Sequence[Sample],
    samples_val: Sequence[Sample],
    out: Path | str,
    *,
    minutes: float | None = None,
    resume: bool = False,
    device: str = "auto",
    pipeline: Literal["auto", "host", "device"] = "auto",
    captured: bool = False,
    progress: bool = True,
    thresholds: bool = True,
    command: str | Sequence[str] = "ngat.training.trainer.train",
    data: str = "",
    on_step: Callable[[int], None] | None = None,
    start: Weights | None = None,
    contrast: Path | None = None,
) -> Trained:
    """Train a network, keep the best by validation, and choose its thresholds.

    Args:
        preset: the whole configuration.
        samples_train, samples_val: annotated pictures; those of the type that ``preset`` trains
            without are left out of both.
        out: the run's folder.
        minutes: end after this time even if steps remain; the rate reaches zero in time. On the
            CPU these are minutes of one core, summed over cores; on a GPU, of the clock. The last
            validation and the choice of thresholds come on top.
        resume: go on from the folder's checkpoint; start if there is none yet. A run that was
            finished goes on where ``minutes`` are more than it has had.
        device: see :func:`ngat.training.distributed.team`.
        pipeline: where patches are made: by threads of the ``host`` (:mod:`ngat.training.patches`),
            or all at once on the ``device`` (:mod:`ngat.training.device.patches`), as a GPU and
            Mask R-CNN want it.
        captured: see :class:`ngat.training.step.Optimisation`.
        progress: show a bar on a terminal, and a line per validation elsewhere.
        thresholds: choose thresholds at the end; else ``ngat choose`` does it later, elsewhere.
        command, data: for the provenance.
        on_step: called after every step with the number of steps done.
        start: a trained network of the same architecture to go on from, instead of random values;
            its minutes and steps count in those of the weights.
        contrast: file that keeps the contrast of the images for other trainings on them, where
            patches are made on the device (:func:`ngat.training.device.prepared.prepared`).

    Raises:
        InputError: no pictures, a network to start from of another architecture, an unknown type to
            leave out, an unwritable folder, a folder that holds another run or in which another
            process trains, a full disk, or a configuration that makes no network.
        TrainingDiverged: the loss is NaN or infinite.
        TrainingInterrupted: after SIGINT or SIGTERM, with a checkpoint written.
    """
    out = Path(out)
    samples_train = leave_out(samples_train, preset.train.held_out)
    samples_val = leave_out(samples_val, preset.train.held_out)
    if not samples_val:
        raise InputError("There is no validation picture; choose a data set that has some.")
    if minutes is not None and not 0 < minutes < math.inf:
        raise InputError(f"minutes must be a positive number; got {minutes}.")
    if pipeline not in ("auto", "host", "device"):
        raise InputError(f"pipeline {pipeline!r} is unknown; choose auto, host or device.")
    if start is not None:  # images may be shown otherwise than before
        known = replace(start.preset.model, contrast=preset.model.contrast)
        if preset.model != known:
            raise InputError("The weights to start from are of another architecture; leave it.")
    with team(device) as members, contextlib.ExitStack() as stack:
        with seeded(members.device, preset.train.seed):
            model = build(preset.model)
        # Before anything else uses the GPU: images are prepared by forks of this process.
        patches = patches_for(model, samples_train, preset, members, pipeline, contrast)
        if start is not None:
            model.load_state_dict(start.model.state_dict())
        model = model.to(members.device)
        optimisation = Optimisation(model, preset, members, captured=captured)
        folder = RunFolder(
            out,
            preset,
            samples_train,
            start,
            command=command,
            device=str(members.device),
            data=data_name(data),
            processes=members.world,
            parameters=sum(p.numel() for p in model.parameters()),
        )
        if members.leads:
            stack.enter_context(held(out, "a training run"))
        at = folder.begin(model, optimisation, resume=resume, leads=members.leads)
        if minutes is not None:
            at.minutes = minutes
            # A finished run that is given more time goes on, at the rate that is due there.
            at.finished &= at.step >= preset.train.steps or at.seconds >= 60 * minutes
        shown = progress and members.leads
        run = TrainingRun(
            preset, samples_val, members, model, patches, optimisation, folder, at, shown
        )
        try:
            if not at.finished:
                run.fit(on_step)
        finally:
            # What it wraps holds on to the group of processes, which ends below.
            del run.optimisation, optimisation
        if thresholds and members.leads:
            store_thresholds(folder.best, samples_val, members.device, progress=shown)
        return Trained(folder.best, at.best_f1, at.step, at.seconds / 60)


@dataclass
class TrainingRun:
    """What a run works with, and its steps; put together by :func:`train`."""

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
    rate: float = 0.0  # of the last step; what is due where the time is over before one

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
                at.window_seconds += time.monotonic() - last
                if at.step % LOG_EVERY == 0 or at.step == config.steps:
                    self._log(display)
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
                self._log(display)
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

    def _log(self, display: Bar) -> None:
        """Write a line of means over the window, and begin the next window."""
        at = self.at
        loss, norm, *levels = (value / at.window_steps for value in self._window())
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
        unused = self.preset.train.steps  # patches that no step sees
        model = without_dropout(self.model, self.patches.batches, unused, self.team)
        result = validate(model, samples, members=self.team)
        at.seconds = at.validated_at = self._clock()
        (at.validation_seconds,) = self.team.maximum([at.seconds - began])
        at.validated = at.step
        if better := result.average_f1 > at.best_f1:
            at.best_f1, at.best_step = result.average_f1, at.step
        if self.team.leads:
            self.folder.validated(model if better else None, at, result)
        if self.progress and not sys.stderr.isatty():
            found = f"Dice {result.dice:.3f}, average F1 {result.average_f1:.3f}"
            told = f"step {at.step}, {at.seconds / 60:.1f} min: {found} (best {at.best_f1:.3f})"
            print(told, file=sys.stderr, flush=True)

    def _save(self) -> None:
        """Write the checkpoint and the last weights, unless the network has diverged."""
        self.at.window = self._window()
        self.at.seconds = self._clock()
        if self.team.leads:
            self.folder.save(self.model, self.optimisation, self.at)

    def _clock(self) -> float:
        """Seconds of training, over all sessions: the time that budgets are measured by.

        On the CPU, the time of all cores that this process has used: a minute of one core is the
        same work on a busy machine as on a quiet one.
        """
        cpu = self.team.device.type == "cpu"
        return (time.process_time() if cpu else time.monotonic()) - self.began
