"""Tiles and files as tasks of Dask: on threads of this process, or on a cluster.

What is lost with a worker of a cluster is done again by another one; so a task writes whole files
or none, under names that depend on the work alone. Workers must see the same folders.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

import torch

from ngat.errors import InputError, MissingDependency

RETRIES = 3
# As many threads at most: each takes the memory of a tile. Cores beyond that work within tiles.
MOST = 4


def usual_threads() -> int:
    """One for each core that torch uses, up to :data:`MOST`."""
    return min(torch.get_num_threads(), MOST)


def connect(address: str) -> Any:
    """A client of a running cluster.

    Raises:
        MissingDependency: distributed is not installed.
        InputError: there is no such scheduler.
    """
    try:
        from distributed import Client
    except ModuleNotFoundError as error:
        raise MissingDependency(
            "--scheduler needs Dask's distributed, which is not installed; install it with "
            "pip install 'ngat[cluster]'."
        ) from error
    try:
        return Client(address, timeout="10s", set_as_default=False)
    except (OSError, ValueError) as error:
        raise InputError(
            f"--scheduler {address}: there is no such scheduler; start one with `dask scheduler`."
        ) from error


@dataclass(frozen=True)
class Tasks:
    """Runs tasks, several at once.

    Attributes:
        threads: of this process, which share its cores with torch's own threads.
        client: of a cluster (:func:`connect`) that does the tasks instead.
        stopped: asked after every task; the others are then left undone.
    """

    threads: int = 1
    client: Any = None
    stopped: Callable[[], bool] = lambda: False

    def run(
        self, work: Callable[[Any], Any], items: Sequence[Any], done: Callable[[Any], None]
    ) -> None:
        """Do ``work`` of every item; ``done`` gets each result in this thread, in any order.

        Raises:
            KeyboardInterrupt: it was stopped; ``done`` got all that this process finished.
        """

        def report(result: Any) -> None:
            done(result)
            if self.stopped():
                raise KeyboardInterrupt

        if self.client is not None:
            from dask.delayed import delayed
            from distributed import as_completed

            tasks = [delayed(work, pure=False)(item) for item in items]
            futures = self.client.compute(tasks, retries=RETRIES)
            for future in as_completed(futures, loop=self.client.loop):
                report(future.result())
        elif min(self.threads, len(items)) < 2:
            for item in items:
                report(work(item))
        else:
            self._on_threads(work, items, done, report)

    def _on_threads(
        self,
        work: Callable[[Any], Any],
        items: Sequence[Any],
        done: Callable[[Any], None],
        report: Callable[[Any], None],
    ) -> None:
        """Dask's threaded scheduler; whatever happens, its threads have ended before this returns.

        Torch's own threads get the cores that are left, so that no core has two.
        """
        from dask.base import compute
        from dask.delayed import delayed

        finished: SimpleQueue[Any] = SimpleQueue()

        def keep(item: Any) -> None:
            finished.put(work(item))

        def ended(*_: Any) -> None:
            while not finished.empty():
                report(finished.get())

        cores = torch.get_num_threads()
        each = (max(1, cores // self.threads),)
        try:
            with ThreadPoolExecutor(self.threads, "ngat-task", torch.set_num_threads, each) as pool:
                compute(
                    *(delayed(keep, pure=False)(item) for item in items),
                    scheduler="threads",
                    pool=pool,
                    callbacks=[(None, None, None, ended, None)],
                )
        finally:
            torch.set_num_threads(cores)
            while not finished.empty():
                done(finished.get())


IN_TURN = Tasks()  # one after the other
