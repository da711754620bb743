"""Sweeps: tables that several processes add to, runs that go on, and tables that are refused."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import processes
import pytest
from tiny import SMALL, rings

from ngat.config import Preset, preset
from ngat.data import TYPES, fingerprint
from ngat.errors import InputError
from ngat.system.files import held, write_json
from ngat.system.process import Interrupted
from ngat.training import sweep as module
from ngat.training import variants
from ngat.training.sweep import COLUMNS, Pictures, Sweep, read
from ngat.training.trainer import TrainingDiverged, TrainingInterrupted
from ngat.training.variants import BASE, HELD_OUT, Variant

NAMES = TYPES[:2]
SCORES = ("dice", "jaccard", "accuracy", "average_f1", "components_f1")


def typed(split: str, count: int) -> list:
    """Pictures of two types, turn by turn."""
    return [replace(s, type=NAMES[n % 2]) for n, s in enumerate(rings(split, count))]


PICTURES = Pictures(typed("train", 4), typed("val", 2), typed("val", 3))


def a_sweep(path: Path, steps: int | None = 3, **options: Any) -> Sweep:
    return Sweep(path, PICTURES, steps, device="cpu", progress=False, **options)


def line(variant: Variant, score: float = 0.5, seconds: float = 1.5) -> pd.DataFrame:
    row = (*variant, "all", 3, 99, seconds, 2, *[score] * len(SCORES))
    return pd.DataFrame([row], columns=list(COLUMNS))


def base(seed: int, network: str = "smoke") -> Variant:
    return Variant(network, BASE, BASE, seed)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    made = {k: v for k, v in SMALL.items() if k not in ("steps", "validate_every")}

    def smaller(name: str, **given: Any) -> Preset:
        return preset(name, **{**made, **given, "patch": 32})

    monkeypatch.setattr(variants, "preset", smaller)


# Both wait for each other after reading the table, then add a line at a time.
SCRIPT = """
import sys, time
from pathlib import Path
from test_sweep import a_sweep, base, line
from ngat.training.sweep import Sweep
name, other = sys.argv[1:]
def lines(self, variant, folder=None):
    Path(f"{name}.ready").touch()
    while not Path(f"{other}.ready").exists():
        time.sleep(0.005)
    time.sleep(0.01)
    return line(variant)
Sweep.lines = lines
mine = [base(seed, name) for seed in range(8)]
a_sweep(Path("out.csv")).run(mine + [base(seed, "both") for seed in range(2)])
"""


def test_two_processes_lose_no_line(tmp_path: Path) -> None:
    both = [
        processes.start(SCRIPT, *names, cwd=tmp_path) for names in (("one", "two"), ("two", "one"))
    ]
    for process in both:
        code, _, err = processes.end(process)
        assert code == 0, err
    with (tmp_path / "out.csv").open(newline="") as file:
        found = sorted((row["network"], int(row["seed"])) for row in csv.DictReader(file))
    assert found == sorted(
        [(name, seed) for name in ("one", "two") for seed in range(8)] + [("both", 0), ("both", 1)]
    )
    assert not list(tmp_path.glob(".*")), "no lock is left"


def test_a_run_that_another_process_does_or_has_done_is_left_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out.csv"
    ran: list[Variant] = []

    def lines(self: Sweep, variant: Variant, folder: Path) -> pd.DataFrame:
        ran.append(variant)
        if variant == base(0):  # meanwhile, elsewhere
            Sweep._add(self, line(base(1), 0.9))
        return line(variant)

    monkeypatch.setattr(Sweep, "lines", lines)
    with held(tmp_path / "out.runs" / "smoke-base-base-2-3steps", "a run", folder=False):
        assert a_sweep(path).run([base(seed) for seed in range(4)]) == 2
    assert ran == [base(0), base(3)]
    assert read(path)["dice"].tolist() == [0.9, 0.5, 0.5]
    assert a_sweep(path).run([base(seed) for seed in range(4)]) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.csv", "out.json"]


def test_what_a_stopped_run_left_is_no_start_for_one_of_another_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = []

    def stopped(self: Sweep, variant: Variant, folder: Path) -> pd.DataFrame:
        folders.append(folder)
        raise Interrupted(number=15)

    monkeypatch.setattr(Sweep, "lines", stopped)
    for steps, minutes in ((3, None), (4, None), (None, 10.0), (None, 12.0), (3, None)):
        with pytest.raises(Interrupted):
            a_sweep(tmp_path / "out.csv", steps, minutes=minutes).run([base(0)])
    assert len(set(folders)) == 4
    assert folders[0] == folders[-1]


def test_runs_have_a_line_per_type_and_go_on_where_they_stopped(
    small: None, tmp_path: Path
) -> None:
    out = tmp_path / "out.csv"
    chosen = [base(0), Variant("smoke", "loss", "bce", 0), base(1)]
    chosen += [Variant("companion", HELD_OUT, NAMES[0], 0)]
    sweep = a_sweep(out)
    assert sweep.run(chosen[:1]) == 1
    first = out.read_text()
    assert sweep.run(chosen) == 3
    assert out.read_text().startswith(first)
    assert sweep.run(chosen) == 0
    assert not (tmp_path / "out.runs").exists()
    with out.open() as file:
        lines = list(csv.DictReader(file))
    assert tuple(lines[0]) == COLUMNS
    kinds = [("all", "3"), (NAMES[0], "2"), (NAMES[1], "1")]
    assert [(one["type"], one["images"]) for one in lines] == [*kinds * 3, (NAMES[0], "2")]
    table = read(out)
    assert table[list(SCORES)].stack().between(0, 1).all()
    whole, one, other = (table["average_f1"][k] for k in range(3))
    assert whole == pytest.approx((2 * one + other) / 3, abs=1e-5)
    told = module._origin(out)
    seconds = table["seconds"][[0, 3, 6, 9]].sum()
    assert told["minutes"] == pytest.approx(seconds / 60, abs=0.006)
    assert told["data_fingerprint"] == fingerprint(PICTURES.scored)
    # The same seed and change give the same numbers; another seed gives others.
    again = sweep.lines(chosen[0])
    assert again[list(SCORES)].to_numpy().tolist() == table[list(SCORES)][:3].to_numpy().tolist()
    assert table["accuracy"][0] != table["accuracy"][6]


def test_a_run_without_a_type_trains_without_it(
    small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = {}
    real: Callable[..., Any] = module.train

    def spy(chosen: Preset, *arguments: Any, **options: Any) -> Any:
        seen[chosen.train.held_out] = arguments[:2]
        return real(chosen, *arguments, **options)

    monkeypatch.setattr(module, "train", spy)
    found = a_sweep(tmp_path / "o.csv").lines(Variant("smoke", HELD_OUT, NAMES[1], 0))
    assert list(seen) == [NAMES[1]], "train itself leaves the type out, as its own test shows"
    assert found["type"].tolist() == [NAMES[1]]


def test_runs_end_by_the_clock_if_asked(small: None, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    sweep = a_sweep(out, None, minutes=0.005)
    assert sweep.run([base(0), base(1)]) == 2
    table = read(out)
    assert table["steps"].between(1, 599).all(), "the clock ended them, not the schedule"
    with pytest.raises(InputError, match=r"holds runs with 0\.005 minutes each, not 5"):
        a_sweep(out, None, minutes=5).run([base(0)])


def test_runs_by_the_clock_are_not_added_to_runs_by_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Sweep, "lines", lambda self, variant, folder: line(variant))
    out = tmp_path / "out.csv"
    assert a_sweep(out).run([base(0)]) == 1
    with pytest.raises(InputError, match="holds runs with no minutes each, not 5"):
        a_sweep(out, None, minutes=5).run([base(1)])


def test_the_record_names_the_device_that_did_the_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Sweep, "lines", lambda self, variant, folder: line(variant))
    monkeypatch.setattr(module, "find_device", lambda device: f"{device}:0")
    monkeypatch.setattr(module, "provenance", lambda *_, device, **__: {"hardware": device})
    assert Sweep(tmp_path / "out.csv", PICTURES, 3, device="cuda").run([base(0)]) == 1
    assert json.loads((tmp_path / "out.json").read_text()) == {"hardware": "cuda:0"}


def test_a_run_that_was_stopped_goes_on_from_its_checkpoint(
    small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ends as the run that was never stopped; its own advice to add --resume is not repeated."""
    whole = a_sweep(tmp_path / "whole.csv", 6).lines(base(0))
    real: Callable[..., Any] = module.train
    steps: list[int] = []

    def stopped(*arguments: Any, **options: Any) -> Any:
        def on_step(step: int) -> None:
            if step == 3:
                raise TrainingInterrupted("the same command with --resume goes on", 15)

        monkeypatch.setattr("ngat.training.trainer.CHECKPOINT_SECONDS", 0.0)
        return real(*arguments, **options, on_step=on_step)

    monkeypatch.setattr(module, "train", stopped)
    sweep = a_sweep(tmp_path / "out.csv", 6)
    with pytest.raises(Interrupted) as error:
        sweep.run([base(0)])
    assert (str(error.value), error.value.number) == ("", 15)
    monkeypatch.setattr(module, "train", lambda *a, **k: real(*a, **k, on_step=steps.append))
    assert sweep.run([base(0)]) == 1
    assert steps == [3, 4, 5, 6]
    found = read(tmp_path / "out.csv")
    np.testing.assert_array_equal(found[list(SCORES)], whole[list(SCORES)])


def test_a_run_that_diverges_has_no_score_and_ends_no_sweep(
    small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverge(*_: object, **__: object) -> None:
        raise TrainingDiverged("by step 2")

    monkeypatch.setattr(module, "train", diverge)
    assert a_sweep(tmp_path / "out.csv").run([base(0), base(1)]) == 2
    table = read(tmp_path / "out.csv")
    assert table[list(SCORES)].isna().all(axis=None)
    assert (table["parameters"] > 0).all()
    assert a_sweep(tmp_path / "out.csv").run([base(0), base(1)]) == 0


def test_other_tables_are_refused(tmp_path: Path) -> None:
    """Else the same call on other data would keep all runs and say that nothing was missing."""
    out = tmp_path / "out.csv"
    mine = a_sweep(out)
    line(base(0)).to_csv(out, index=False)
    assert mine.run([base(0)]) == 0, "a table without a word of where it comes from"
    with pytest.raises(InputError, match="holds runs of 3 steps, not 4"):
        a_sweep(out, 4).run([base(0)])
    beside = tmp_path / "out.json"
    write_json(beside, {"data_fingerprint": fingerprint(PICTURES.scored)})
    assert mine.run([base(0)]) == 0
    write_json(beside, {"data_fingerprint": "other"})
    with pytest.raises(InputError, match=r"out\.csv: holds runs that were scored on other pict"):
        mine.run([base(0)])
    beside.write_text("[]")
    with pytest.raises(InputError, match=r"out\.json: holds no JSON object; delete it"):
        mine.run([base(0)])
    beside.unlink()
    for content in (b"a,b\n1,2\n", b"seed,steps,seconds,dice\n1,2,3,4\n"):
        out.write_bytes(content)
        with pytest.raises(InputError, match="is no table of runs; make it with `ngat ablate`"):
            mine.run([base(0)])
    out.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"out\.csv: cannot be read as CSV"):
        mine.run([base(0)])
    with pytest.raises(InputError, match="no picture to score"):
        Sweep(out, Pictures([], [], [])).run([base(0)])
