"""Other processes of a test: started, waited for, and asked what they said."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

TESTS = Path(__file__).parent


def start(code: str, *arguments: object, cwd: Path, **environment: str) -> subprocess.Popen[str]:
    """Run Python code, which may import the tests' helpers, in its own process.

    It takes Ctrl-C, also where the process of the tests ignores it, as one that a shell started in
    the background does: children inherit that.
    """
    code = f"import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n{code}"
    folders = [TESTS, *(path for path in TESTS.iterdir() if path.is_dir()), TESTS.parent]
    paths = [*map(str, folders), os.environ.get("PYTHONPATH", "")]
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ngat(*words: object, cwd: Path, **environment: str) -> subprocess.Popen[str]:
    """The command ``ngat`` in its own process."""
    code = "import sys; from ngat.cli import main; sys.argv[0] = 'ngat'; main()"
    return start(code, *words, cwd=cwd, **environment)


def end(process: subprocess.Popen[str], timeout: float = 120) -> tuple[int, str, str]:
    """Wait for a process: its exit code, stdout and stderr."""
    out, err = process.communicate(timeout=timeout)
    return process.returncode, out, err


def wait_for(
    done: Callable[[], bool], process: subprocess.Popen[str], seconds: float = 120
) -> None:
    """Wait until something is done while a process still runs."""
    deadline = time.monotonic() + seconds
    while not done():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
