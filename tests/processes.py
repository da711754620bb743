"""Other processes of a test: started, waited for, and asked what they said.

They are forked off a server that has loaded what takes seconds to load. What a process does while
it starts is therefore not tested by them; that is done where a test starts an interpreter.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

SERVER = multiprocessing.get_context("forkserver")
# None of them computes anything when it is loaded, so that no thread is lost by forking.
SERVER.set_forkserver_preload(
    [
        "ngat.cli",
        "ngat.training.trainer",
        "ngat.training.sweep",
        "ngat.training.validation",
        "ngat.segmentation.batch",
        "ngat.evaluation.evaluator",
        "ngat.paper.reproduce",
        "ngat.paper.readme",
        "ngat.data.synthetic",
        "torch._dynamo",  # by the first optimiser
    ]
)
TESTS = Path(__file__).parent


class Process:
    """Python code in a process of its own, with what it says in files; as ``subprocess.Popen``."""

    def __init__(
        self,
        code: str,
        arguments: Sequence[str],
        cwd: Path,
        environment: Mapping[str, str],
        log: Path | None = None,
    ) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="ngat-process-")
        self._said = [log or Path(self._folder.name, name) for name in ("out", "err")]
        given = (code, [*arguments], cwd, {**environment}, self._said)
        # Daemonic, so that one that a failed test forgets ends with the tests.
        self._process = SERVER.Process(target=_do, args=given, daemon=True)
        self._process.start()
        assert self._process.pid
        self.pid = self._process.pid

    def poll(self) -> int | None:
        """The exit code of one that has ended; the negative signal if that ended it."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end; the exit code."""
        self._process.join(timeout)
        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired("python", timeout or 0.0)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL, unless it has ended."""
        self._process.kill()

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for the end; stdout and stderr."""
        self.wait(timeout)
        out, err = (path.read_text() if path.exists() else "" for path in self._said)
        return out, err


def _do(
    code: str, arguments: list[str], cwd: Path, environment: dict[str, str], said: list[Path]
) -> None:
    """In the new process: as if an interpreter had been started with the code."""
    # It takes Ctrl-C, also where the process of the tests ignores it, as one that a shell started
    # in the background does: children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, path in zip((1, 2), said, strict=True):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, number)
        os.close(file)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["-c", *arguments]
    sys.path[:0] = [str(path) for path in (TESTS, *TESTS.iterdir()) if path.is_dir()]
    exec(code, {"__name__": "__main__"})


def start(code: str, *arguments: object, cwd: Path, **environment: str) -> Process:
    """Run Python code, which may import the tests' helpers, in its own process."""
    return Process(code, [*map(str, arguments)], cwd, {**os.environ, **environment})


def ngat(*words: object, cwd: Path, **environment: str) -> Process:
    """The command ``ngat`` in its own process."""
    code = "import sys; from ngat.cli import main; sys.argv[0] = 'ngat'; main()"
    return start(code, *words, cwd=cwd, **environment)


def end(process: Process, timeout: float = 120) -> tuple[int, str, str]:
    """Wait for a process: its exit code, stdout and stderr."""
    out, err = process.communicate(timeout)
    return process.wait(), out, err


def wait_for(done: Callable[[], bool], process: Process, seconds: float = 120) -> None:
    """Wait until something is done while a process still runs."""
    deadline = time.monotonic() + seconds
    while not done():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
