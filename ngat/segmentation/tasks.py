"""Tiles and files as tasks of Dask: on threads of this process, or on a cluster.

A task writes whole files or none, under names that depend on the work alone. What is lost with a
worker is done again by another one, and doing it twice does no harm. Workers of a cluster must see
the same folders.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import torch

from ngat.errors import InputError, MissingDependency
from ngat.inference import Method, Thresholds
from ngat.io.picture import open_picture, open_pictures
from ngat.segmentation.batch import Options, PictureOutcome, segment_file
from ngat.segmentation.files import Input
from ngat.segmentation.find import Map
from ngat.segmentation.job import PictureJob
from ngat.segmentation.tiles import Grid

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

    def files(
        self,
        items: Sequence[Input],
        out: Path,
        options: Options,
        overwrite: bool,
        done: Callable[[list[PictureOutcome]], None],
    ) -> None:
        """Whole files, see :func:`ngat.segmentation.batch.segment_file`."""
        if self.client is not None:  # whose workers may be in other folders
            items = [item._replace(path=item.path.resolve()) for item in items]
            out = out.resolve()
        work = partial(segment_file, out=out, options=options, overwrite=overwrite)
        self.run(work, items, done)

    def tiles(self, path: Path | None = None, options: Options | None = None) -> Map:
        """A way for :func:`ngat.segmentation.find.find` to have the tiles of a picture done.

        Args:
            path, options: from which a cluster's workers open it. A picture without a file, or
                whose planes are kept in memory, is done by this process.
        """

        def run(
            work: Callable[[PictureJob, int], Any],
            job: PictureJob,
            numbers: Sequence[int],
            done: Callable[[Any], None],
        ) -> None:
            if self.client is None or path is None or options is None or job.folder is None:
                replace(self, client=None).run(partial(work, job), numbers, done)
            else:
                part = _Part.of(job, job.folder, path, options)
                self.run(partial(_work, work, part), numbers, done)

        return run


@dataclass(frozen=True)
class _Part:
    """What another process needs to open a picture and to work on one of its tiles."""

    path: Path
    page: int | None
    options: Options
    grid: Grid
    method: Method
    thresholds: Thresholds
    folder: Path

    @classmethod
    def of(cls, job: PictureJob, folder: Path, path: Path, options: Options) -> _Part:
        page = int(options.page) if options.page not in (None, "all") else None
        if options.page == "all":
            page = next(
                number
                for number, picture in enumerate(open_pictures(path, **options.reading))
                if (picture.place, picture.shape) == (job.picture.place, job.picture.shape)
            )
        chosen = (job.grid, job.method, job.thresholds)
        return cls(path.resolve(), page, options, *chosen, folder.resolve())


def _work(work: Callable[[PictureJob, int], Any], part: _Part, number: int) -> None:
    work(_opened(part), number)


@lru_cache(maxsize=2)
def _opened(part: _Part) -> PictureJob:
    options = part.options
    picture = open_picture(part.path, page=part.page, **options.reading)
    network = options.network()
    job = PictureJob(picture, network, part.grid, {}, part.method, part.thresholds, part.folder)
    plan = job.known("plan") or {}
    job.survey = {name: values for name, values in plan.items() if name != "numbers"}
    return job
