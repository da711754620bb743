"""Notebook 6: how long it trains, where its weights go, and its logs."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pandas as pd
import pytest
from tiny import SMALL, rings

from ngat.config import preset
from ngat.data import Sample
from ngat.errors import InputError
from ngat.paper import artifacts
from ngat.paper.session import Session, open_session
from ngat.paper.study import training as study
from ngat.training.weights import load_weights


def session_in(folder: Path, **changes: object) -> Session:
    session = open_session("rings", "smoke", str(folder / "run"), 3, "")
    return dataclasses.replace(session, top=folder, **changes)  # type: ignore[arg-type]


def test_budgets(tmp_path: Path) -> None:
    drawn = session_in(tmp_path)
    real = session_in(tmp_path, data="dsb2018")
    by_hand = study.budget(drawn, in_run=False)
    assert by_hand.preset.train.steps == study.FEW
    assert by_hand.preset.train.seed == 3
    assert not by_hand.keep
    assert study.budget(real, in_run=False).preset.train.steps == study.FEW

    in_run = study.budget(drawn, in_run=True)
    assert in_run.preset == preset("smoke", seed=3, steps=study.SHORT)
    assert study.FEW < study.SHORT < preset("smoke").train.steps
    assert (in_run.minutes, in_run.train, in_run.keep) == (None, None, True)

    # Where weights of the whole schedule are committed, a short run's are not used.
    drawn = session_in(tmp_path, data="synthetic")
    assert study.budget(drawn, in_run=True).keep
    committed = tmp_path / "data/weights/synthetic-smoke.safetensors"
    committed.parent.mkdir(parents=True)
    committed.touch()
    assert not study.budget(drawn, in_run=True).keep
    assert study.budget(drawn, in_run=True, steps=50).keep
    assert study.budget(dataclasses.replace(drawn, profile="full"), in_run=True).keep

    # Real pictures in minutes: few pictures, by the clock, however fast the device is.
    short = study.budget(real, in_run=True)
    assert short.minutes == study.MINUTES
    assert short.train == 200
    assert short.preset.train.steps > 100_000

    full = study.budget(dataclasses.replace(real, profile="full"), in_run=True)
    assert full.preset == preset("companion", seed=3)
    assert (full.minutes, full.train) == (None, None)

    assert study.budget(drawn, in_run=False, steps=7).preset.train.steps == 7
    assert study.budget(drawn, in_run=False, steps=7).keep
    assert study.budget(drawn, in_run=False, minutes=0.5).minutes == 0.5


class Rings(Session):
    """A session whose pictures are few and small."""

    def samples(self, split: str, limit: int | None = None) -> list[Sample]:
        return rings(split, min(limit or 4, 4))


def test_training_keeps_weights_only_when_asked_and_starts_afresh(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = {k: v for k, v in SMALL.items() if k not in ("steps", "validate_every")}
    monkeypatch.setattr(study, "preset", lambda name, **kw: preset(name, **{**made, **kw}))
    session = Rings(**vars(session_in(tmp_path)))
    given = study.budget(session, in_run=False, steps=12)
    trained, folder = study.train_here(session, given._replace(keep=False))
    assert trained.steps == 12
    assert not artifacts.trained(session).exists()

    curves = study.of_folder(folder)
    assert curves.log["step"].tolist() == [10, 12]
    assert study.relative(curves).iloc[0] == 1
    assert study.relative(curves).iloc[1] == pytest.approx(
        curves.log["loss"][1] / curves.log["loss"][0]
    )

    again, _ = study.train_here(session, given)
    assert study.of_folder(folder).log["step"].tolist() == [10, 12]
    assert again.average_f1 == trained.average_f1
    assert load_weights(artifacts.weights(session)).preset == given.preset

    # What is not meant to be used leaves nothing of an earlier training either.
    study.train_here(session, given._replace(keep=False))
    assert not artifacts.trained(session).exists()


def test_a_run_that_was_stopped_goes_on_to_the_same_losses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = {k: v for k, v in SMALL.items() if k not in ("steps", "validate_every")}
    monkeypatch.setattr(study, "preset", lambda name, **kw: preset(name, **{**made, **kw}))
    session = Rings(**vars(session_in(tmp_path)))
    whole, resumed = study.stopped_and_resumed(session)
    checkpoints = [session.run / "training" / name for name in ("whole", "resumed")]
    assert all((folder / "checkpoint.safetensors").is_file() for folder in checkpoints)
    assert resumed.log["step"].tolist() == [10, 20, 30]
    assert resumed.log["loss"].tolist() == whole.log["loss"].tolist()


def test_stored_logs_lie_by_data(tmp_path: Path) -> None:
    log = pd.DataFrame({"step": [10], "loss": [0.5]})
    validation = pd.DataFrame({"step": [10], "dice": [0.5], "jaccard": [0.4]})
    for folder, kinds in (("rings", ("balanced", "bce")), (".", ("bce",))):
        where = tmp_path / "data" / "results" / folder
        where.mkdir(parents=True, exist_ok=True)
        for kind in kinds:
            log.to_csv(where / f"training-{kind}.log.csv", index=False)
            validation.to_csv(where / f"training-{kind}.validation.csv", index=False)
    session = session_in(tmp_path)
    assert {kind: len(runs) for kind, runs in study.stored(session).items()} == {
        "bce": 1, "balanced": 1
    }  # fmt: skip
    assert list(study.stored(dataclasses.replace(session, data="dsb2018"))) == ["bce"]
    assert study.stored(dataclasses.replace(session, data="synthetic")) == {}
    with pytest.raises(InputError, match="cannot be read"):
        study.of_folder(tmp_path)
    log.to_csv(tmp_path / "log.csv", index=False)
    log.to_csv(tmp_path / "validation.csv", index=False)
    with pytest.raises(InputError, match="is no table of a training run"):
        study.of_folder(tmp_path)


def test_figure_8_compares_real_runs_once_both_are_there(tmp_path: Path) -> None:
    log = pd.DataFrame({"step": [10], "loss": [0.5]})
    validation = pd.DataFrame({"step": [10], "dice": [0.5], "jaccard": [0.4]})
    session = session_in(tmp_path)
    live = study.Curves(log, validation)

    def keep(folder: str, kind: str) -> None:
        where = tmp_path / "data" / "results" / folder
        where.mkdir(parents=True, exist_ok=True)
        log.to_csv(where / f"training-{kind}.log.csv", index=False)
        validation.to_csv(where / f"training-{kind}.validation.csv", index=False)

    # Half a pair compares with nothing, and least of all with a run of another length.
    keep("rings", "bce")
    found, pictures = study.compared(session, live)
    assert list(found) == ["balanced"]
    assert found["balanced"][0] is live
    assert pictures == session.source
    keep("rings", "balanced")
    keep(".", "bce")
    found, pictures = study.compared(session, live)
    assert list(found) == ["bce", "balanced"]
    assert found["balanced"][0] is not live
    assert pictures == session.source
    keep(".", "balanced")
    found, pictures = study.compared(session, live)
    assert list(found) == ["bce", "balanced"]
    assert "Data Science Bowl" in pictures
    assert [len(runs) for runs in found.values()] == [1, 1]
    for seed in (1, 2):
        keep(".", f"bce-{seed}")
    runs = study.compared(session, live)[0]["bce"]
    assert study.final(runs, "dice").tolist() == [0.5] * 3
    assert study.seen(runs, "dice").shape == (1, 3)


def test_memory_is_said_in_words() -> None:
    assert study.memory().split()[1] in ("MiB", "GiB")
