"""Jobs in processes of their own: threads, allocator and caches are settled when a process starts.

A job is a dictionary: ``kind`` names a function of :data:`JOBS`, the rest are its arguments. What
it finds comes back as rows of the result file (:data:`ngat.benchmark.rows.COLUMNS`) and as notes
on what could not be measured. The worker prints progress on stderr.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ngat.benchmark.hosts import restrictions
from ngat.benchmark.measure import ALLOCATORS


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


def run(
    kind: str,
    arguments: Mapping[str, Any],
    setting: Setting,
    *,
    environment: Mapping[str, str] | None = None,
    quiet: bool = False,
) -> WorkerResult:
    """Do a job in a fresh process and wait for it.

    Args:
        kind: one of :func:`_jobs`.
        arguments: of that function; plain values.
        environment: further variables.
        quiet: keep the worker's progress off stderr.

    Raises:
        BenchmarkFailed: with the last line that the worker left on stderr.
    """
    with tempfile.TemporaryDirectory(prefix="ngat-benchmark-") as folder:
        answer = Path(folder) / "answer.json"
        job = {"kind": kind, "setting": setting, "answer": str(answer), "arguments": arguments}
        threads = str(setting.threads)
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
        done = subprocess.run(
            [sys.executable, "-m", "ngat.benchmark.worker", json.dumps(job)],
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
            raise BenchmarkFailed(f"The benchmark's job {kind} failed: {last}")
        return WorkerResult(**json.loads(answer.read_text(encoding="utf-8")))


def _jobs() -> dict[str, Callable[..., WorkerResult]]:
    # They need WorkerResult.
    from ngat.benchmark import attention_jobs, network_jobs, scaling_jobs

    return {
        "time": attention_jobs.time_layers,
        "memory": attention_jobs.memory,
        "first_call": attention_jobs.first_call,
        "network": network_jobs.time_networks,
        "segment": scaling_jobs.segment_picture,
        "split": scaling_jobs.split_maps,
    }


def main() -> None:
    """Do the job given as JSON in the only argument."""
    job = json.loads(sys.argv[1])
    setting = Setting(*job["setting"])
    import torch

    torch.set_num_threads(setting.threads)
    found = _jobs()[job["kind"]](setting, **job["arguments"])
    Path(job["answer"]).write_text(json.dumps(found._asdict()), encoding="utf-8")


if __name__ == "__main__":
    main()
