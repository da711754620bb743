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
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from rich.progress import Progress as Bar
from torch import Tensor, nn

from ngat.baselines.networks import Network, build, finds_nuclei
from ngat.config import LossConfig, Preset
from ngat.data.sample import Sample, fingerprint, leave_out
from ngat.errors import InputError
from ngat.loss import loss_of
from ngat.system.files import held
from ngat.system.interrupt import Interrupted, stop_requests
from ngat.system.precision import autocast, scaler
from ngat.system.progress import bar
from ngat.system.provenance import provenance
from ngat.training.checkpoint import TrainingState
from ngat.training.device.captured import Passes, recorder_for
from ngat.training.device.patches import DevicePatches
from ngat.training.distributed import Team, team
from ngat.training.patches import Batch, Patches
from ngat.training.run_folder import RunFolder
from ngat.training.schedule import learning_rate, parameter_groups, position, seeded
from ngat.training.validation import Scores, score_one, store_thresholds, summary
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


class Objective(nn.Module):
    """Network and loss as one module, so that DistributedDataParallel sees the whole step."""

    def __init__(self, model: Network, config: LossConfig) -> None:
        super().__init__()
        self.model = model
        self.config = config

    def forward(self, image: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The loss of a batch, and the mean loss of every level ``[M]``."""
        if finds_nuclei(self.model):
            with autocast(image.device):
                own: Tensor = self.model.losses(image, targets)  # type: ignore[operator]
            return own, own.detach()[None]
        with autocast(image.device):
            output = self.model(image, targets[:, : self.model.config.outputs])
        output = output._replace(logits=[logits.float() for logits in output.logits])
        loss, per_level = loss_of(output, self.config)
        return loss, torch.stack(per_level)


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
        captured: launch the passes of a step as one CUDA graph, where there is one process with a
            GPU and the network's work does not depend on what it finds.
        progress: show a bar on a terminal, and a line per validation elsewhere.
        thresholds: choose thresholds at the end; else ``ngat choose`` does it later, elsewhere.
        command, data: for the provenance.
        on_step: called after every step with the number of steps done.
        start: a trained network of the same architecture to go on from, instead of random values.

    Raises:
        InputError: no pictures, a network to start from of another architecture, an unknown type to
            leave out, an unwritable folder, a folder that holds another run or in which another
            process trains, a full disk, or a configuration that makes no network.
        TrainingDiverged: the loss is NaN or infinite.
        TrainingInterrupted: after SIGINT or SIGTERM, with a checkpoint written.
    """
    out = Path(out)
    samples_train = leave_out(samples_train, preset.train.without)
    samples_val = leave_out(samples_val, preset.train.without)
    if not samples_val:
        raise InputError("There is no validation picture; choose a data set that has some.")
    if minutes is not None and not 0 < minutes < math.inf:
        raise InputError(f"minutes must be a positive number; got {minutes}.")
    if pipeline not in ("auto", "host", "device"):
        raise InputError(f"pipeline {pipeline!r} is unknown; choose auto, host or device.")
    if preset.train.steps < 1 or preset.train.validate_every < 1:
        raise InputError("steps and validate_every must be at least 1.")
    if start is not None and start.preset.model != preset.model:
        raise InputError(
            "The weights to start from are of another architecture; leave it as it is."
        )
    with team(device) as members, contextlib.ExitStack() as stack:
        run = _Run(preset, samples_train, samples_val, members, progress, pipeline, captured)
        if start is not None:
            run.model.load_state_dict(start.model.state_dict())
        pictures = fingerprint(samples_train)
        history = provenance(
            command,
            preset.train.seed,
            pictures,
            0.0,
            device=str(members.device),
            data=data,
            preset=preset.name,
            without=preset.train.without,
            processes=members.world,
            parameters=sum(p.numel() for p in run.model.parameters()),
        )
        if members.leads:
            stack.enter_context(held(out, "a training run"))
        run.folder = RunFolder(out, preset, pictures, history)
        if run.folder.checkpoint.exists():
            if not resume:
                raise InputError(
                    f"{out}: holds a run already; add --resume, or choose another folder."
                )
            run.at = run.folder.load(run.model, run.optimiser)
        elif members.leads:
            run.folder.begin()
        if minutes is not None:
            run.at.minutes = minutes
            # A finished run that is given more time goes on, at the rate that is due there.
            run.at.finished &= run.at.step >= preset.train.steps or run.at.seconds >= 60 * minutes
        try:
            if not run.at.finished:
                run.fit(on_step)
        finally:
            del run.passes  # a wrapped objective holds on to the processes' group, which ends below
        if thresholds:
            run.choose()
        return Trained(run.folder.best, run.at.best_f1, run.at.step, run.at.seconds / 60)


class _Run:
    """What a training run works with; :func:`train` is the door."""

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
                instances=finds_nuclei(model),
                rank=members.rank,
                world=members.world,
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
        objective = members.wrap(
            # The other losses look at the base alone, and the coarse heads go without gradient.
            Objective(self.model, preset.loss),
            all_used=preset.loss.kind == "balanced",
        )
        self.optimiser = torch.optim.AdamW(
            parameter_groups(self.model, preset.train.weight_decay),
            lr=preset.train.learning_rate,
            betas=(0.9, 0.99),
            fused=cuda,
        )
        self.scaler = scaler(members.device)
        captured = captured and members.world == 1 and not finds_nuclei(self.model)
        recorder = recorder_for(members.device) if captured else None
        self.passes = Passes(objective, self.scaler, recorder)
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
        at, config = self.at, self.config
        place = position(at.step, at.seconds, at.minutes, config)
        if place < config.coarse:
            batch = batch.halved()
        self.rate = learning_rate(place, config)
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate
        self.model.train()
        with seeded(self.team.device, config.seed, at.step, self.team.rank):
            loss, per_level = self.passes(batch.to(self.team.device))
        self.scaler.unscale_(self.optimiser)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), config.clip)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        if self.scaler.is_enabled():  # a step whose scaled gradients overflowed is skipped
            norm = norm.nan_to_num(0.0, 0.0, 0.0)
        at.step += 1
        at.window_steps += 1
        # Read once per line of the log: on a GPU, reading waits for the step to end.
        values = torch.cat([loss[None], norm.detach()[None], per_level]).double()
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
            self.folder.save(self.model, self.optimiser, self.at)

    def _clock(self) -> float:
        """Seconds of training, over all sessions."""
        return self._now() - self.began

    def _now(self) -> float:
        """The clock that budgets are measured by, in seconds.

        On the CPU, the time of all cores that this process has used: a minute of one core is the
        same work on a busy machine as on a quiet one.
        """
        return time.process_time() if self.team.device.type == "cpu" else time.monotonic()
