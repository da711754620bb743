"""Leave one type out: what each run sees, what it is tested on, going on where it stopped."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
from tiny import SMALL, rings

from ngat.config import preset
from ngat.data.sample import TYPES
from ngat.errors import InputError
from ngat.training import leave_out as study
from ngat.training import sweep
from ngat.training.leave_out import COLUMNS, Trial, leave_out, plan
from ngat.training.sweep import Pictures

NAMES = TYPES[:2]


def typed(split: str, count: int):
    """Pictures of two types, turn by turn."""
    return [replace(s, type=NAMES[n % 2]) for n, s in enumerate(rings(split, count))]


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, set[str], set[str]]]:
    """Small networks, and what types each training got: (left out, train, validation)."""
    made = {k: v for k, v in SMALL.items() if k not in ("steps", "validate_every", "patch")}
    monkeypatch.setattr(
        study, "preset", lambda name, **kw: preset(name, **{**made, **kw, "patch": 32})
    )
    calls: list[tuple[str, set[str], set[str]]] = []
    real = sweep.train

    def spy(chosen, train, val, *arguments, **options):
        without = chosen.train.held_out
        calls.append((without, {s.type for s in train}, {s.type for s in val}))
        return real(chosen, train, val, *arguments, **options)

    monkeypatch.setattr(sweep, "train", spy)
    return calls


def test_plan_compares_from_the_first_runs_on() -> None:
    trials = plan(("companion", "unet"), seeds=2)
    assert len(trials) == 2 * 2 * (1 + len(TYPES))
    assert trials[:3] == [("companion", "", 0), ("unet", "", 0), ("companion", TYPES[0], 0)]


def test_the_configuration_leaves_the_type_out_and_is_the_networks_own() -> None:
    made, own = Trial("companion", TYPES[2], 3).preset(17), preset("companion")
    assert (made.train.held_out, made.train.seed, made.train.steps) == (TYPES[2], 3, 17)
    assert made.model == own.model
    assert (made.train.sized, made.train.patch) == (True, own.train.patch)
    by_the_clock = Trial("companion", TYPES[2], 3).preset(None)
    assert by_the_clock.train.steps == own.train.steps


def test_lines_and_going_on(seen: list, tmp_path: Path) -> None:
    out = tmp_path / "left.csv"
    trials = [Trial("companion", "", 0), Trial("companion", NAMES[0], 0)]
    data = Pictures(typed("train", 4), typed("val", 2), typed("test", 3))
    assert leave_out(out, trials[:1], 2, data, device="cpu", progress=False) == 1
    assert leave_out(out, trials, 2, data, device="cpu", progress=False) == 1
    assert leave_out(out, trials, 2, data, device="cpu", progress=False) == 0
    with out.open() as file:
        lines = list(csv.DictReader(file))
    assert tuple(lines[0]) == COLUMNS
    found = [(line["without"], line["type"], line["images"]) for line in lines]
    # With all types every type is tested; else the one that was left out.
    assert found == [("", NAMES[0], "2"), ("", NAMES[1], "1"), (NAMES[0], NAMES[0], "2")]
    assert [call[0] for call in seen] == ["", NAMES[0]]
    seconds = float(lines[0]["seconds"]) + float(lines[2]["seconds"])
    assert study.table(out).minutes(2) == pytest.approx(seconds / 60)
    with pytest.raises(InputError, match="holds runs of 2 steps, not 3"):
        leave_out(out, trials, 3, data, device="cpu", progress=False)


def test_bad_tables_and_no_pictures(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no test picture"):
        leave_out(tmp_path / "a.csv", plan(), 1, Pictures([], [], []), progress=False)
    (tmp_path / "b.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="no table of left-out types"):
        leave_out(tmp_path / "b.csv", plan(), 1, Pictures([], [], typed("test", 1)), progress=False)
