"""A benchmark's plan, and its jobs in processes of their own.

Threads, allocator and caches are settled when a process starts.

A job is a generator of a module, called there with a :class:`Setting` and further arguments. It
yields rows of a result file, and notes on what could not be measured. The worker prints progress on
stderr.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import pandas as pd
import torch

from ngat.benchmark.measure import cores
from ngat.benchmark.rows import record, write
from ngat.errors import InputError, MissingDependency
from ngat.system.process import WAITING

# Settings of glibc's malloc, which it reads when a process starts. By default large blocks go back
# to the system when they are freed, and every call takes them anew, page fault by page fault;
# on a virtual machine that can double a layer's time. "kept" keeps them: all engines are measured
# so. "returned" gives everything back at once: how peak memory is measured.
ALLOCATORS: dict[str, dict[str, str]] = {
    "kept": {
        "MALLOC_ARENA_MAX": "1",
        "MALLOC_MMAP_MAX_": "0",
        "MALLOC_TOP_PAD_": str(256 << 20),
        "MALLOC_TRIM_THRESHOLD_": str(1 << 46),
    },
    "default": {},
    "returned": {
        "MALLOC_ARENA_MAX": "1",
        "MALLOC_MMAP_THRESHOLD_": str(64 << 10),
        "MALLOC_TOP_PAD_": "0",
        "MALLOC_TRIM_THRESHOLD_": "0",
    },
}


class BenchmarkFailed(RuntimeError):
    """A worker ended with an error of its own."""


class Setting(NamedTuple):
    """What a process is started with; ``allocator`` is a key of :data:`ALLOCATORS`."""

    threads: int = 1
    allocator: str = "kept"
    device: str = "cpu"


class Note(NamedTuple):
    """Why something of an engine is missing."""

    engine: str
    reason: str


Row = dict[str, Any]
Found = Iterator[Row | Note]
Result = tuple[list[Row], dict[str, str]]  # rows, and notes by engine
Job = Callable[..., Found]
Task = tuple[Job, Setting, dict[str, Any]]  # the last: the job's other arguments


@dataclass(frozen=True)
class Plan:
    """What is measured, and how long.

    Attributes:
        threads: one process each; empty for 1 and, where there are two cores, 2.
        device: ``cpu`` or ``cuda``.
        dtype: ``float32`` or ``bfloat16`` (of a whole network: by autocast).
        engines: keys of ``LABELS``; empty for all that suit the device.
        rounds, seconds: of what takes turns: at most so many rounds, and none begun after so long
            (but 3).

    Raises:
        InputError: what cannot be measured here.
    """

    LABELS: ClassVar[Mapping[str, str]] = {}
    ENGINES_ON: ClassVar[Mapping[str, tuple[str, ...]]] = {}

    threads: tuple[int, ...] = ()
    device: str = "cpu"
    dtype: str = "float32"
    engines: tuple[str, ...] = ()
    rounds: int = 15
    seconds: float = 6.0

    def __post_init__(self) -> None:
        if self.device.partition(":")[0] not in ("cpu", "cuda"):
            raise InputError(f"Unknown device {self.device!r}; known: cpu, cuda, cuda:N.")
        if self.device != "cpu" and not torch.cuda.is_available():
            raise InputError("There is no CUDA device here; use --device cpu.")
        if self.dtype not in ("float32", "bfloat16"):
            raise InputError(f"Unknown dtype {self.dtype!r}; known: float32, bfloat16.")
        for count in self.threads:
            if not 1 <= count <= cores():
                raise InputError(
                    f"{count} threads cannot be measured on {cores()} cores; change --threads."
                )
        for engine in self.engines:
            if engine not in self.LABELS:
                raise InputError(f"Unknown engine {engine!r}; known: {', '.join(self.LABELS)}.")
        if self.rounds < 1:
            raise InputError("A benchmark needs a round; change --repeats.")

    @property
    def caches(self) -> tuple[str, ...]:
        """Variables that name folders of compiled code which are empty at the start."""
        return ()

    @property
    def of_threads(self) -> tuple[int, ...]:
        """Numbers of threads."""
        return self.threads or ((1, 2) if cores() > 1 and self.device == "cpu" else (1,))

    @property
    def of_engines(self) -> tuple[str, ...]:
        """Names of the engines."""
        return self.engines or self.ENGINES_ON[self.device.partition(":")[0]]

    def tasks(self) -> Iterator[Task]:
        """The jobs, in order."""
        raise NotImplementedError


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
    rows: list[Row] = []
    notes: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="ngat-benchmark-") as folder:
        caches = {name: str(Path(folder) / name.lower()) for name in plan.caches}
        for job, setting, arguments in plan.tasks():
            found, missing = run(job, setting, arguments, environment=caches, quiet=quiet)
            # Numbers without a time, such as of parameters, are the same with any threads.
            rows.extend(row for row in found if row not in rows)
            notes.update(missing)
    frame = write(out, rows)
    if out is not None:
        record(
            out,
            command,
            began,
            device=plan.device,
            plan=asdict(plan),
            allocators=ALLOCATORS,
            waiting={name: os.environ.get(name, "") for name in WAITING},
            not_measured=notes,
        )
    return frame, notes


def run(
    job: Job,
    setting: Setting,
    arguments: Mapping[str, Any],
    *,
    environment: Mapping[str, str] | None = None,
    quiet: bool = False,
) -> Result:
    """Do a job in a fresh process and wait for it.

    Args:
        job: a generator of a module, whose first argument is the setting.
        arguments: the others.
        environment: further variables.
        quiet: keep the worker's progress off stderr.

    Raises:
        BenchmarkFailed: with the last line that the worker left on stderr.
    """
    threads = str(setting.threads)
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
    with tempfile.TemporaryDirectory(prefix="ngat-benchmark-") as folder:
        asked, answer = Path(folder) / "asked", Path(folder) / "answer"
        asked.write_bytes(pickle.dumps((job, setting, arguments)))
        done = subprocess.run(
            [sys.executable, "-m", "ngat.benchmark.worker", asked, answer],
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
        found: Result = pickle.loads(answer.read_bytes())
    return found


def do(job: Job, setting: Setting, arguments: Mapping[str, Any]) -> Result:
    """Do a job in this process."""
    rows: list[Row] = []
    notes: dict[str, str] = {}
    try:
        for found in job(setting, **arguments):
            if isinstance(found, dict):
                rows.append(found)
            else:
                notes[found.engine] = found.reason
    except MissingDependency as error:
        notes[arguments["engine"]] = str(error)
    return rows, notes


def restrictions() -> dict[str, str]:
    """Variables that keep torch's own libraries, too, to the instructions that ours may use."""
    if os.environ.get("NGAT_SIMD") != "avx2":
        return {}
    return {
        "ATEN_CPU_CAPABILITY": "avx2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
    }


def main(asked: Path, answer: Path) -> None:
    """Do the job that lies in one file, and leave what it finds in the other."""
    job, setting, arguments = pickle.loads(asked.read_bytes())
    torch.set_num_threads(setting.threads)
    answer.write_bytes(pickle.dumps(do(job, setting, arguments)))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
