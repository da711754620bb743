"""OpenMP's waiting policy: set by commands and notebooks, left alone by the library."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from ngat.system.process import WAITING, sleep_while_waiting


def said(code: str) -> list[str]:
    """What a fresh process says at ``say()`` in the code, begun with neither variable."""
    environment = {name: value for name, value in os.environ.items() if name not in WAITING}
    say = f"def say(): print(*map(os.environ.get, {[*WAITING]}))"
    done = subprocess.run(
        [sys.executable, "-c", f"import os, sys\n{say}\n{code}"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def test_the_library_changes_nothing_and_a_notebook_s_threads_sleep() -> None:
    code = "import ngat; ngat.attend, ngat.train; say(); import ngat.paper.session; say()"
    assert said(code) == ["None None", "PASSIVE 2000"]


def test_commands_set_it_before_torch_is_loaded() -> None:
    code = (
        "sys.argv[1:] = ['--version']; from ngat.cli import main\ntry: main()\n"
        "except SystemExit: assert 'torch' not in sys.modules\nsay()"
    )
    assert said(code)[-1] == "PASSIVE 2000"


@pytest.mark.parametrize(("name", "value"), [("OMP_WAIT_POLICY", "ACTIVE"), ("GOMP_SPINCOUNT", "")])
def test_what_the_user_has_set_is_left(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    for other in WAITING:
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(name, value)
    sleep_while_waiting()
    assert {other: os.environ.get(other) for other in WAITING} == {
        **dict.fromkeys(WAITING),
        name: value,
    }
