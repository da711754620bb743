"""OpenMP's waiting policy: set by commands and notebooks, left alone by the library."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

NAMES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")


def after(code: str, found: dict[str, str]) -> str:
    """The two variables in a fresh process that has run some code."""
    environment = {name: value for name, value in os.environ.items() if name not in NAMES}
    done = subprocess.run(
        [sys.executable, "-c", f"import os; {code}; print(*map(os.environ.get, {NAMES}))"],
        env=environment | found,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_importing_the_library_changes_nothing() -> None:
    assert after("import ngat; ngat.attend", {}) == "None None"


@pytest.mark.parametrize(
    ("found", "left"),
    [({}, "PASSIVE 2000"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE None")],
)
def test_waiting_threads_sleep_in_notebooks_unless_the_user_wants_otherwise(
    found: dict[str, str], left: str
) -> None:
    assert after("from ngat.paper.session import open_session", found) == left


def test_commands_set_it_before_torch_is_loaded() -> None:
    code = (
        "import sys; sys.argv[1:] = ['--version']; from ngat.cli import main\ntry: main()\n"
        "except SystemExit: assert 'torch' not in sys.modules\n"
    )
    assert after(f"exec({code!r})", {}).splitlines()[-1] == "PASSIVE 2000"
