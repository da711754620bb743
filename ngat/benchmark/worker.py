"""A benchmark's jobs, in processes of their own.

Threads, allocator and caches are settled when a process starts.

A job is a function of a module, called there with a :class:`Setting` and plain arguments. What it
finds comes back as rows of the result file (:data:`ngat.benchmark.rows.COLUMNS`) and as notes on
what could not be measured. The worker prints progress on stderr.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

import pandas as pd

from ngat.benchmark.measure import ALLOCATORS, SURROUNDINGS, restrictions
from ngat.benchmark.rows import write
from ngat.system.files import write_json
from ngat.system.provenance import provenance


class BenchmarkFailed(RuntimeError):
    """A worker ended with an error of its own."""


class Setting(NamedTuple):
    """What a process is started with; ``allocator`` is a key of :data:`ALLOCATORS`."""

    threads: int = 1
    allocator: str = "kept"
    device: str = "cpu"


class WorkerResult(NamedTuple):
    """Rows of the result file, and by engine why something is missing."""

    rows: list[dict[str, Any]]
    notes: dict[str, str]


Job = Callable[..., WorkerResult]


class Plan(Protocol):
    """What is measured: :class:`~ngat.benchmark.attention.LayerPlan` or ``NetworkPlan``."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def device(self) -> str: ...

    def measure(self, jobs: Jobs) -> None:
        """Do the plan's jobs."""
        ...


class Jobs:
    """Does one job after the other; keeps what they find in ``rows`` and ``notes``.

    Args:
        device: that all jobs measure.
        quiet: no progress on stderr.
    """

    def __init__(self, device: str, quiet: bool) -> None:
        self.device, self.quiet = device, quiet
        self.environment: dict[str, str] = {}
        self.rows: list[dict[str, Any]] = []
        self.notes: dict[str, str] = {}

    def do(self, job: Job, threads: int = 1, allocator: str = "kept", **arguments: Any) -> None:
        """Do a job, see :func:`run`."""
        setting = Setting(threads, allocator, self.device)
        found = run(job, arguments, setting, environment=self.environment, quiet=self.quiet)
        # Numbers without a time, such as of parameters, are the same with any threads.
        self.rows.extend(row for row in found.rows if row not in self.rows)
        self.notes.update(found.notes)

    def say(self, text: str) -> None:
        """Tell the user what comes next."""
        if not self.quiet:
            print(text, file=sys.stderr, flush=True)


def benchmark(
    plan: Plan,
    out: Path | str | None = None,
    *,
    command: str | Sequence[str] = "ngat.benchmark.worker.benchmark",
    quiet: bool = False,
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Measure a plan.

    Args:
        plan: what is measured.
        out: CSV file; its provenance goes beside it with the suffix ``.json``.
        command: for the provenance.
        quiet: no progress on stderr.

    Returns:
        the table (:mod:`ngat.benchmark.rows`), and by engine why something is missing.

    Raises:
        BenchmarkFailed: a worker ended with an error.
    """
    began = time.perf_counter()
    jobs = Jobs(plan.device, quiet)
    plan.measure(jobs)
    frame = write(out, jobs.rows)
    if out is not None:
        record = provenance(
            command,
            0,
            None,
            (time.perf_counter() - began) / 60,
            device=plan.device,
            plan=asdict(plan),
            **SURROUNDINGS,
            not_measured=jobs.notes,
        )
        write_json(Path(out).with_suffix(".json"), record)
    return frame, jobs.notes


def run(
    job: Job,
    arguments: Mapping[str, Any],
    setting: Setting,
    *,
    environment: Mapping[str, str] | None = None,
    quiet: bool = False,
) -> WorkerResult:
    """Do a job in a fresh process and wait for it.

    Args:
        job: a function of a module, whose first argument is a setting.
        arguments: the others; plain values.
        environment: further variables.
        quiet: keep the worker's progress off stderr.

    Raises:
        BenchmarkFailed: with the last line that the worker left on stderr.
    """
    with tempfile.TemporaryDirectory(prefix="ngat-benchmark-") as folder:
        answer = Path(folder) / "answer.json"
        name = job.__module__, job.__qualname__
        told = {"job": name, "setting": setting, "answer": str(answer), "arguments": arguments}
        threads = str(setting.threads)
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
        done = subprocess.run(
            [sys.executable, "-m", "ngat.benchmark.worker", json.dumps(told)],
            env=inherited
            | ALLOCATORS[setting.allocator]
            | {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "KINETO_LOG_LEVEL": "9"}
            | restrictions()
            | dict(environment or {}),
            stdout=subprocess.DEVNULL,  # libraries say hello there
            stderr=subprocess.PIPE if quiet else None,
            text=True,
        )
        if done.returncode or not answer.is_file():
            last = (done.stderr or "see above").strip().splitlines()[-1]
            raise BenchmarkFailed(f"The benchmark's job {job.__name__} failed: {last}")
        return WorkerResult(**json.loads(answer.read_text(encoding="utf-8")))


def main() -> None:
    """Do the job given as JSON in the only argument."""
    told = json.loads(sys.argv[1])
    setting = Setting(*told["setting"])
    import torch

    torch.set_num_threads(setting.threads)
    module, name = told["job"]
    found = getattr(import_module(module), name)(setting, **told["arguments"])
    Path(told["answer"]).write_text(json.dumps(found._asdict()), encoding="utf-8")


if __name__ == "__main__":
    main()
