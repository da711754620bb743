"""Work on the CPU, shared out among threads that live as long as the process."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, NamedTuple

import torch

# Below this many numbers in a level's update a second thread costs more than it saves.
GRAIN = 1 << 15


class Job(NamedTuple):
    """Pieces of work that any thread may do.

    Attributes:
        run: called with a thread's number and its pieces, from … to before ….
        pieces: how many there are.
        threads: how many share them.
        kept: what the addresses that ``run`` holds point to.
    """

    run: Callable[[int, int, int], None]
    pieces: int
    threads: int
    kept: Any = None


def threads_for(numbers: int) -> int:
    """As many as torch uses, unless so few numbers are too few to share."""
    return torch.get_num_threads() if numbers >= GRAIN else 1


def share(*jobs: Job) -> None:
    """Do all jobs, of which none waits for another: every thread its equal part of each, in order.

    Torch's own threads, once a product of torch's has woken them, look out for the next one for
    milliseconds and keep a core busy. Hence nothing between two jobs should be left to them.
    """
    threads = max((job.threads for job in jobs), default=1)

    def part(n: int) -> None:
        for run, pieces, among, _ in jobs:
            if n < among:
                run(n, pieces * n // among, pieces * (n + 1) // among)

    pool = workers(threads, os.getpid()) if threads > 1 else None
    others = [pool.submit(part, n) for n in range(1, threads)] if pool else []
    part(0)
    for other in others:
        other.result()


@lru_cache(maxsize=1)
def workers(threads: int, process: int) -> ThreadPoolExecutor:
    """Those threads; a forked child gets its own.

    Plain threads and kernels without the GIL, because numba's own threading layers must not be
    entered from several threads at once, and autograd may do so.
    """
    return ThreadPoolExecutor(threads, thread_name_prefix="ngat-attention")
