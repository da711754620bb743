"""Files whole or absent, one process at a time, a full disk; with real limits and processes."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import processes
import pytest
from command import inside
from tiny import SMALL, tiny

from ngat.errors import InputError
from ngat.model import NGAT
from ngat.system.files import DiskFull, held, locked, replacing, space_for, write_json
from ngat.system.provenance import commit
from ngat.system.tables import read_table
from ngat.training.weights import save_weights


def half_write(path: Path, error: Exception) -> None:
    with replacing(path) as beside:
        beside.write_text("half")
        raise error


def test_a_file_is_whole_or_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, 1)
    with pytest.raises(RuntimeError):
        half_write(path, RuntimeError())
    assert path.read_text() == "1\n"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_no_space_is_one_sentence(tmp_path: Path, number: int) -> None:
    path = tmp_path / "a.csv"
    with pytest.raises(DiskFull, match=r"a\.csv: cannot be written .*; free some space and run"):
        half_write(path, OSError(number, os.strerror(number)))
    assert not list(tmp_path.iterdir())
    with pytest.raises(FileNotFoundError), space_for(path):
        open(tmp_path / "absent")  # noqa: SIM115 - it does not open


def test_writing_back_waits_for_its_turn(tmp_path: Path) -> None:
    """Four processes count to 25 each in one file."""
    code = """
from pathlib import Path
from ngat.system.files import locked, write_json
import json
path = Path("count.json")
for _ in range(25):
    with locked(path):
        write_json(path, (json.loads(path.read_text()) if path.exists() else 0) + 1)
"""
    for process in [processes.start(code, cwd=tmp_path) for _ in range(4)]:
        code_, _, err = processes.end(process)
        assert code_ == 0, err
    assert json.loads((tmp_path / "count.json").read_text()) == 100
    assert [path.name for path in tmp_path.iterdir()] == ["count.json"]


def test_a_folder_and_a_file_are_held_by_one(tmp_path: Path) -> None:
    with held(tmp_path / "run", "a run"):
        again = held(tmp_path / "run", "a run")
        with pytest.raises(InputError, match="run: another process works on a run there"), again:
            pass
        with pytest.raises(BlockingIOError, match="other"), held(tmp_path / "b", "b"):
            raise BlockingIOError(errno.EAGAIN, "other")
    with held(tmp_path / "run", "a run"), held(tmp_path / "f.json", "a search", folder=False):
        pass
    assert not list((tmp_path / "run").iterdir())
    (tmp_path / "file").touch()
    for lock in (held(tmp_path / "file/x", "a run"), locked(tmp_path / "file/x")):
        with pytest.raises(InputError, match="cannot be written"), lock:
            pass


def test_without_locks_in_the_file_system_it_goes_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("ngat.system.files.fcntl.flock", none)
    with held(tmp_path, "a run"), locked(tmp_path / "a"):
        write_json(tmp_path / "a", 1)
    assert (tmp_path / "a").read_text() == "1\n"


def test_tables_have_exactly_their_columns(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b\n1,x\n")
    assert read_table(path, ("a", "b"), "trials", "ngat try")["a"].tolist() == [1]
    for columns in (("b", "a"), ("a",), ("a", "b", "c")):
        with pytest.raises(InputError, match="is no table of trials; make it with `ngat try`"):
            read_table(path, columns, "trials", "ngat try")
    with pytest.raises(InputError, match="cannot be read as CSV"):
        read_table(tmp_path / "absent.csv", (), "trials", "ngat try")


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """No file may grow beyond so many bytes: the nearest that a test gets to a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


SETTINGS = " ".join(
    f"--set {k}={v}" for k, v in {**SMALL, "steps": 2, "engine": "reference"}.items()
)
RINGS = "--data rings --limit 2 --device cpu --quiet"


@pytest.mark.parametrize(
    ("line", "written"),
    [
        (f"train --preset smoke {RINGS} {SETTINGS} --out o", "best.safetensors"),
        (f"evaluate --method otsu {RINGS} --out o", "rings-test-otsu.counts.csv"),
        (f"evaluate --weights w.safetensors {RINGS} --out o", "rings-test-smoke-components.counts"),
        (f"ablate --only base --seeds 1 --steps 1 {RINGS} --out o/a.csv", "best.safetensors"),
        (f"leave-out --steps 1 --networks smoke {RINGS} --out o/l.csv", "best.safetensors"),
        ("tables --results res --out o", "table1.csv"),
    ],
)
def test_a_full_disk_ends_every_command_with_one_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    line: str,
    written: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    chosen = tiny(engine="reference")
    save_weights("w.safetensors", NGAT(chosen.model), chosen, {})
    # The sweeps' networks as small as the others.
    small = {k: v for k, v in SMALL.items() if k not in ("steps", "validate_every", "patch")}
    monkeypatch.setattr(
        "ngat.training.variants.preset",
        lambda name, **kw: tiny(**{**small, "engine": "reference", **kw, "patch": 32}),
    )

    if line.startswith("tables"):
        words = f"evaluate --method otsu {RINGS} --out res"
        assert inside(capsys, monkeypatch, *words.split())[0] == 0
    with files_up_to(5000 if "best" in written else 600):
        code, _, said = inside(capsys, monkeypatch, *line.split())
    assert code == 2
    assert f"{written}" in said
    assert "cannot be written (File too large); free some space" in said
    assert said.count("\n") == 1
    left = [path.name for path in Path("o").rglob("*") if path.is_file()]
    assert not [name for name in left if name.startswith(".") or name == written]


ABLATE = """
import sys, time
from pathlib import Path
from test_sweep import line
from ngat.training.sweep import Sweep
from ngat.cli import main
def slow(self, variant, folder):
    if variant.factor == "base":
        return line(variant).assign(steps=100)
    Path("begun").touch()
    time.sleep(60)
Sweep.lines = slow
sys.argv = "ngat ablate --quiet --data rings --limit 2 --out o.csv".split()
main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_sweep_with_a_sentence(tmp_path: Path, number: signal.Signals) -> None:
    process = processes.start(ABLATE, cwd=tmp_path)
    processes.wait_for((tmp_path / "begun").exists, process)
    process.send_signal(number)
    assert processes.end(process) == (
        128 + number,
        "",
        "Stopped; the same command goes on where it was.\n",
    )
    # What is there is whole, and says where it comes from.
    assert (tmp_path / "o.csv").read_text().count("\n") == 2
    assert json.loads((tmp_path / "o.json").read_text())["data"] == "rings"
    assert not list(tmp_path.glob(".*"))


README = """
import sys, time
from pathlib import Path
from ngat.paper import readme
from ngat.cli import main
def slow(*_, **__):
    Path("begun").touch()
    time.sleep(60)
readme.refresh = slow
sys.argv = ["ngat", "readme"]
main()
"""


def test_a_signal_ends_a_command_that_says_nothing_of_its_own(tmp_path: Path) -> None:
    process = processes.start(README, cwd=tmp_path)
    processes.wait_for((tmp_path / "begun").exists, process)
    process.send_signal(signal.SIGTERM)
    code, out, err = processes.end(process)
    assert (code, out, err) == (143, "", "Stopped; no file was left half written.\n")


def test_asking_for_the_commit_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the question, cut off by a signal, leaves a lock that stops the user's own git."""
    source = tmp_path / "ngat/__init__.py"
    source.parent.mkdir()
    source.write_text("1")
    monkeypatch.setattr("ngat.__file__", str(source))

    def git(*words: str) -> str:
        me = ("-c", "user.name=n", "-c", "user.email=n@n", "-c", "commit.gpgsign=false")
        done = subprocess.run(["git", *me, *words], cwd=tmp_path, capture_output=True, check=True)
        return done.stdout.decode().strip()

    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "first")
    index = tmp_path / ".git/index"
    before = index.read_bytes()
    os.utime(source, (1, 1))  # what git would note in its index
    assert commit() == git("rev-parse", "HEAD")
    assert index.read_bytes() == before
    source.write_text("2")
    assert commit() == git("rev-parse", "HEAD") + "+"


def test_a_folder_in_the_place_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.json").mkdir()
    with pytest.raises(InputError, match=r"a\.json: is a folder; give the name of a file"):
        write_json(tmp_path / "a.json", 1)
    assert not list((tmp_path / "a.json").iterdir())

    def refused(*_: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr("ngat.system.files.os.replace", refused)
    with pytest.raises(InputError, match=r"b\.json: cannot be written \(Operation not permitted"):
        write_json(tmp_path / "b.json", 1)
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_no_field_of_a_table_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    for lines, where in (("1,2,3\n", "a line"), ("1,2\n3,4,5\n", "line 3")):
        path.write_text(f"a,b\n{lines}")
        with pytest.raises(InputError, match=rf"t\.csv: {where} has more fields than the header"):
            read_table(path, ("a", "b"), "trials", "ngat try")
