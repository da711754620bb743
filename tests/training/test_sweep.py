"""Sweeps: tables that several processes add to, and runs that a signal ends."""

from __future__ import annotations

import csv
from pathlib import Path

import processes
import pytest
from tiny import rings, tiny

from ngat.data.sample import fingerprint
from ngat.errors import InputError
from ngat.system.files import write_json
from ngat.system.process import Interrupted
from ngat.training import sweep as module
from ngat.training.run import TrainingInterrupted
from ngat.training.sweep import Pictures, Table, sweep, train_once

COLUMNS = ("name", "seed", "steps", "seconds", "score")


def table(path: Path) -> Table:
    return Table(path, COLUMNS, ("name", "seed"), "trials", "ngat try")


def line(trial: tuple[str, int], score: float = 0.5) -> dict[str, object]:
    name, seed = trial
    return {"name": name, "seed": seed, "steps": 3, "seconds": 1.5, "score": score}


# Both wait for each other after reading the table, then add a line at a time.
SCRIPT = """
import sys, time
from pathlib import Path
from test_sweep import line, sweep, table
name, other = sys.argv[1:]
def run(trial):
    Path(f"{name}.ready").touch()
    while not Path(f"{other}.ready").exists():
        time.sleep(0.005)
    time.sleep(0.01)
    return [line(trial)]
trials = [(name, seed) for seed in range(8)] + [("both", seed) for seed in range(2)]
sweep(table(Path("out.csv")), 3, trials, run, "", progress=False)
"""


def test_two_processes_lose_no_line(tmp_path: Path) -> None:
    both = [
        processes.start(SCRIPT, *names, cwd=tmp_path) for names in (("one", "two"), ("two", "one"))
    ]
    for process in both:
        code, _, err = processes.end(process)
        assert code == 0, err
    with (tmp_path / "out.csv").open(newline="") as file:
        found = sorted((row["name"], int(row["seed"])) for row in csv.DictReader(file))
    assert found == sorted(
        [(name, seed) for name in ("one", "two") for seed in range(8)] + [("both", 0), ("both", 1)]
    )
    assert not list(tmp_path.glob(".*")), "no lock is left"


def test_a_run_that_another_process_has_done_meanwhile_is_kept(tmp_path: Path) -> None:
    mine = table(tmp_path / "out.csv")
    ran: list[tuple[str, int]] = []

    def run(trial: tuple[str, int]) -> list[dict[str, object]]:
        ran.append(trial)
        if trial == ("a", 0):  # meanwhile, elsewhere
            for other in (("a", 0), ("a", 1)):
                mine.add(3, [{k: str(v) for k, v in line(other, score=0.9).items()}])
        return [line(trial)]

    assert sweep(mine, 3, [("a", 0), ("a", 1), ("a", 2)], run, "", progress=False) == 2
    assert ran == [("a", 0), ("a", 2)]
    assert [row["score"] for row in mine.lines(3)] == ["0.9", "0.9", "0.5"]
    assert mine.minutes(3) == pytest.approx(4.5 / 60)


def test_a_table_of_another_kind_is_refused(tmp_path: Path) -> None:
    mine = table(tmp_path / "out.csv")
    mine.path.write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="is no table of trials; make it with `ngat try`"):
        mine.lines(3)
    mine.path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"out\.csv: cannot be read as CSV"):
        mine.lines(3)


def test_a_table_of_other_pictures_is_refused(tmp_path: Path) -> None:
    """Else the same call on other data would keep all runs and say that nothing was missing."""
    mine, pictures = table(tmp_path / "out.csv"), rings(limit=2)
    mine.check(pictures)
    mine.add(3, [{k: str(v) for k, v in line(("a", 0)).items()}])
    mine.check(pictures)  # an older table without a word of where it comes from
    write_json(mine.origin, {"data_fingerprint": fingerprint(pictures)})
    mine.check(pictures)
    with pytest.raises(InputError, match=r"out\.csv: holds runs that were scored on other pict"):
        mine.check(rings("val", 2))
    budget = {"minutes_each": 7.0, "preset": "companion"}
    mine.check(pictures, budget)  # an older origin that says nothing of it
    write_json(mine.origin, {"data_fingerprint": fingerprint(pictures), **budget})
    mine.check(pictures, budget)
    with pytest.raises(InputError, match=r"holds runs with minutes_each 7\.0, not 5\.0"):
        mine.check(pictures, {**budget, "minutes_each": 5.0})
    mine.origin.write_text("[]")
    with pytest.raises(InputError, match=r"out\.json: is no provenance of"):
        mine.check(pictures)


def test_a_stopped_run_does_not_advise_to_resume_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its folder is a temporary one; the sweep itself is what goes on."""

    def stop(*_: object, **__: object) -> None:
        raise TrainingInterrupted("the same command with --resume goes on", 15)

    monkeypatch.setattr(module, "train", stop)
    with pytest.raises(Interrupted) as stopped:
        train_once(tiny(), Pictures(rings(), [], []), device="cpu", command="")
    assert str(stopped.value) == ""
    assert stopped.value.number == 15
