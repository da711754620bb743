"""An interpreter for rehearsals, ``forked_steps.py -m ngat gpu …``: steps are forked, not started.

That a step is a process which is started, timed and asked to end is tested in test_gpu_session.
"""

from __future__ import annotations

import runpy
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import processes

MODULE = """
import os, runpy, sys
os.setsid()
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


class Step(processes.Process):
    """What ``ngat.gpu.session`` starts: an interpreter, ``-m``, the module and its arguments."""

    def __init__(
        self, words: Sequence[str], *, stdout: Any, env: Mapping[str, str], **_: object
    ) -> None:
        assert list(words[:2]) == [sys.executable, "-m"], words
        super().__init__(MODULE, words[2:], Path.cwd(), env, Path(stdout.name))


if __name__ == "__main__":
    from ngat.gpu import session

    session.subprocess = SimpleNamespace(  # type: ignore[attr-defined]
        Popen=Step, STDOUT=subprocess.STDOUT, TimeoutExpired=subprocess.TimeoutExpired
    )
    assert sys.argv[1] == "-m"
    sys.argv = sys.argv[2:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
