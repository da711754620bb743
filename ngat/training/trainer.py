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
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from ngat.baselines.networks import build, finds_nuclei
from ngat.config import Preset
from ngat.data.sample import Sample, fingerprint, leave_out
from ngat.errors import InputError
from ngat.system.files import held
from ngat.system.provenance import provenance
from ngat.training.device.patches import DevicePatches
from ngat.training.distributed import team
from ngat.training.patches import Patches
from ngat.training.run import TrainingRun
from ngat.training.run_folder import RunFolder, TrainingState
from ngat.training.step import Optimisation, seeded
from ngat.training.validation import store_thresholds
from ngat.training.weights import Weights


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
        captured: launch the passes of a step as one CUDA graph, where there is one process with a
            GPU and the network's work does not depend on what it finds.
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
        ngat.training.run.TrainingDiverged: the loss is NaN or infinite.
        ngat.training.run.TrainingInterrupted: after SIGINT or SIGTERM, with a checkpoint written.
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
    if preset.train.steps < 1 or preset.train.validate_every < 1:
        raise InputError("steps and validate_every must be at least 1.")
    if start is not None and start.preset.model != preset.model:
        raise InputError(
            "The weights to start from are of another architecture; leave it as it is."
        )
    with team(device) as members, contextlib.ExitStack() as stack:
        cuda = members.device.type == "cuda"
        with seeded(members.device, preset.train.seed):
            model = build(preset.model)
        drawn = samples_train, preset.train, preset.model.contrast
        share = {"rank": members.rank, "world": members.world}
        patches: Patches | DevicePatches
        if pipeline == "device" or (pipeline == "auto" and (cuda or finds_nuclei(model))):
            # Before anything else uses the GPU: images are prepared by forks of this process.
            patches = DevicePatches(*drawn, device=members.device, kept=contrast, **share)
        else:
            workers = max(1, (os.cpu_count() or 2) // members.world - 1) if cuda else 1
            patches = Patches(*drawn, workers=workers, **share)
        if start is not None:
            model.load_state_dict(start.model.state_dict())
        model = model.to(members.device)
        optimisation = Optimisation(model, preset, members, captured=captured)
        pictures = fingerprint(samples_train)
        history = provenance(
            command,
            preset.train.seed,
            pictures,
            0.0,
            device=str(members.device),
            data=data,
            preset=preset.name,
            held_out=preset.train.held_out,
            processes=members.world,
            parameters=sum(p.numel() for p in model.parameters()),
        )
        if start is not None:
            earlier = ("command", "commit", "minutes", "steps", "before")
            history["before"] = {k: start.provenance[k] for k in earlier if k in start.provenance}
        if members.leads:
            stack.enter_context(held(out, "a training run"))
        folder, at = RunFolder(out, preset, pictures, history), TrainingState()
        if folder.checkpoint.exists():
            if not resume:
                raise InputError(
                    f"{out}: holds a run already; add --resume, or choose another folder."
                )
            at = folder.load(model, optimisation.optimiser)
        elif members.leads:
            folder.begin()
        if minutes is not None:
            at.minutes = minutes
            # A finished run that is given more time goes on, at the rate that is due there.
            at.finished &= at.step >= preset.train.steps or at.seconds >= 60 * minutes
        shown = progress and members.leads
        run = TrainingRun(
            preset, samples_val, members, model, patches, optimisation, folder, at, shown
        )
        del optimisation
        try:
            if not at.finished:
                run.fit(on_step)
        finally:
            # What it wraps holds on to the group of processes, which ends below.
            del run.optimisation
        if thresholds and members.leads:
            store_thresholds(folder.best, samples_val, members.device, progress=shown)
        return Trained(folder.best, at.best_f1, at.step, at.seconds / 60)
