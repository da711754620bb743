"""Notebook 6: a short training, and training logs in the form of figure 8."""

from __future__ import annotations

import contextlib
import resource
import shutil
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch

from ngat.config import Preset, preset
from ngat.paper import artifacts
from ngat.paper.session import Session
from ngat.system.files import replacing
from ngat.system.tables import read_table
from ngat.training.trainer import Trained, TrainingInterrupted, train

# Steps of a training by hand, which only shows that it works; of one in a run, which two slow cores
# finish well within two minutes; and minutes of one on real pictures.
FEW, SHORT, MINUTES = 30, 200, 2.0
KINDS = {"bce": "binary cross-entropy", "balanced": "balanced focal loss"}


class Budget(NamedTuple):
    """Preset, minutes and pictures of a training.

    Attributes:
        preset: the configuration, with its number of steps.
        minutes: end by the clock, if given.
        train, validate: pictures to load, all if None.
        keep: whether its weights are meant to be used.
    """

    preset: Preset
    minutes: float | None
    train: int | None
    validate: int | None
    keep: bool


def budget(session: Session, *, in_run: bool, steps: int = 0, minutes: float = 0.0) -> Budget:
    """Length of a training: a few steps interactively, the profile's in a run, or as given.

    In a run the short form is the ``smoke`` preset on a schedule of :data:`SHORT` steps, at whose
    end the rate is zero as at the end of the whole one; on real pictures it ends by the clock. Its
    weights are used where none are committed, which come from the whole schedule.

    Args:
        session: its profile chooses the preset: ``smoke``, or ``companion`` for ``full``.
        in_run: whether `ngat reproduce` runs this; else :data:`FEW` steps are enough.
        steps, minutes: if not zero, these instead.
    """
    name = "companion" if session.full else "smoke"
    chosen = preset(name, seed=session.seed)
    real = session.data == "dsb2018"
    asked = bool(steps or minutes)
    by_hand = not (in_run or asked)
    if by_hand:
        steps = FEW
    elif not (asked or session.full):
        steps, minutes = (0, MINUTES) if real else (SHORT, 0.0)
    # By the clock there is no last step; the rate follows the minutes.
    total = steps or (1_000_000 if minutes else chosen.train.steps)
    every = min(chosen.train.validate_every, total)
    train, validate = (200, 15) if real and not session.full else (None, None)
    if by_hand:
        # The first five are of five types. Real pictures are up to twenty times as large.
        train, validate = 10, 3 if real else 5
    return Budget(
        preset=preset(name, seed=session.seed, steps=total, validate_every=every),
        minutes=minutes or None,
        train=train,
        validate=validate,
        keep=asked or (in_run and (session.full or not artifacts.committed(session))),
    )


def train_here(session: Session, given: Budget) -> tuple[Trained, Path]:
    """Train by a budget into the session's folder; returns what came of it and the folder.

    A short form starts afresh each time, the full one goes on where it stopped. Weights that are
    meant to be used are copied to where :func:`ngat.paper.artifacts.weights` finds them; others
    leave none of an earlier training there.
    """
    out = session.run / "training" / f"{session.data}-{given.preset.name}-{given.preset.loss.kind}"
    if not session.full:
        shutil.rmtree(out, ignore_errors=True)
    trained = train(
        given.preset,
        session.samples("train", limit=given.train),
        session.samples("val", limit=given.validate),
        out,
        minutes=given.minutes,
        resume=session.full,
        progress=False,
        command=f"notebook 06, {session.data}, {session.profile}",
        data=session.data,
    )
    if given.keep:
        with replacing(artifacts.trained(session)) as beside:
            shutil.copyfile(trained.best, beside)
    else:
        artifacts.trained(session).unlink(missing_ok=True)
    return trained, out


def stopped_and_resumed(session: Session) -> tuple[Curves, Curves]:
    """The logs of a few steps in one go, and of the same steps with a stop halfway.

    The stop is a signal, as a lost runtime sends it; the second run goes on from its checkpoint.
    """
    given = budget(session, in_run=False)

    def stop(step: int) -> None:
        if step == given.preset.train.steps // 2:
            signal.raise_signal(signal.SIGTERM)

    pictures = session.samples("train", limit=given.train), session.samples("val", limit=1)
    logs = []
    for name, halt in (("whole", None), ("resumed", stop)):
        out = session.run / "training" / name
        shutil.rmtree(out, ignore_errors=True)
        common: dict[str, Any] = {"progress": False, "data": session.data, "thresholds": False}
        with contextlib.suppress(TrainingInterrupted):
            train(given.preset, *pictures, out, on_step=halt, **common)
        train(given.preset, *pictures, out, resume=True, **common)
        logs.append(of_folder(out))
    return logs[0], logs[1]


class Curves(NamedTuple):
    """A run's logs: ``log`` has a line per ten steps, ``validation`` one per validation."""

    log: pd.DataFrame
    validation: pd.DataFrame


def read(log: Path, validation: Path) -> Curves:
    """Read the two logs of a run.

    Raises:
        InputError: one of them is missing or has other columns.
    """
    made = "a training run", "ngat train"
    return Curves(
        read_table(log, ("step", "loss"), *made, exact=False),
        read_table(validation, ("step", "dice", "jaccard"), *made, exact=False),
    )


def of_folder(folder: Path) -> Curves:
    """The logs of a run's folder."""
    return read(folder / "log.csv", folder / "validation.csv")


def results_of(session: Session) -> Path:
    """The folder of the committed results of this session's data."""
    folder = session.top / "data" / "results"
    return folder if session.data == "dsb2018" else folder / session.data


def stored(session: Session) -> dict[str, list[Curves]]:
    """The committed logs of this session's data by loss, in the order of :data:`KINDS`.

    They are ``data/results/<data>/training-<loss>.log.csv`` and ``….validation.csv``, or
    ``training-<loss>-<seed>.…`` of several seeds; of the real data they lie in ``data/results``.
    """
    found = {}
    for kind in KINDS:
        logs = sorted(results_of(session).glob(f"training-{kind}*.log.csv"))
        runs = [(log, log.with_name(log.name.replace(".log.", ".validation."))) for log in logs]
        if curves := [read(*run) for run in runs if run[1].is_file()]:
            found[kind] = curves
    return found


def compared(session: Session, live: Curves) -> tuple[dict[str, list[Curves]], str]:
    """The curves of figure 8 by loss, a run per seed, and what pictures they were trained on.

    Committed runs of both losses are of equal length: on real pictures, else on this session's
    data. Without a pair the ``live`` run stands alone, since nothing compares with its length.
    """
    for of in (replace(session, data="dsb2018"), session):
        found = stored(of)
        if set(found) == set(KINDS):
            return found, of.source
    return {"balanced": [live]}, session.source


def relative(curves: Curves) -> pd.Series:
    """The training loss over its first logged value, by step: two losses have no common unit."""
    loss = curves.log.set_index("step")["loss"]
    return loss / loss.iloc[0]


def seen(runs: Sequence[Curves], metric: str) -> pd.DataFrame:
    """A metric of validation pictures by step, a column per run."""
    return pd.concat([run.validation.set_index("step")[metric] for run in runs], axis=1)


def final(runs: Sequence[Curves], metric: str) -> pd.Series:
    """A metric after the last step, of each run."""
    return seen(runs, metric).iloc[-1].reset_index(drop=True)


def memory() -> str:
    """The most memory that this process has held, on the GPU where there is one."""
    if torch.cuda.is_available():
        return f"{torch.cuda.max_memory_allocated() / 2**30:.2f} GiB on the GPU"
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit:,.0f} MiB"
