"""Tiles and files as tasks of a Dask cluster, whose workers see the same folders.

A task that is lost with its worker is done again by another one. Tasks write whole files or none,
under names that depend on the work alone, so doing one twice does no harm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ngat.errors import InputError, MissingDependency
from ngat.inference import Method, Thresholds
from ngat.io.picture import open_picture, open_pictures
from ngat.segmentation.batch import Options, PictureOutcome, segment_file
from ngat.segmentation.find import in_turn
from ngat.segmentation.inputs import Input
from ngat.segmentation.job import PictureJob
from ngat.segmentation.tiles import Grid

RETRIES = 3


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
            "--scheduler needs Dask, which is not installed; install it with "
            "pip install 'ngat[cluster]'."
        ) from error
    try:
        return Client(address, timeout="10s", set_as_default=False)
    except (OSError, ValueError) as error:
        raise InputError(
            f"--scheduler {address}: there is no such scheduler; start one with `dask scheduler`."
        ) from error


@dataclass(frozen=True)
class _Part:
    """What a worker needs to open a picture and to work on one of its tiles."""

    path: Path
    page: int | None
    options: Options
    grid: Grid
    method: Method
    thresholds: Thresholds
    folder: Path


def tiles_on(client: Any, path: Path, options: Options) -> Callable[..., Iterable[Any]]:
    """A way for :func:`ngat.segmentation.find.find` to have tiles done by the cluster.

    Pictures whose planes are kept in memory are done here.
    """
    from distributed import as_completed

    def run(
        work: Callable[[Any, int], Any], job: PictureJob, numbers: Sequence[int]
    ) -> Iterator[Any]:
        if job.folder is None:
            yield from in_turn(work, job, numbers)
            return
        page = int(options.page) if options.page not in (None, "all") else None
        if options.page == "all":
            pages = open_pictures(
                path, channel=options.channel, level=options.level, axes=options.axes
            )
            page = next(
                i
                for i, p in enumerate(pages)
                if (p.place, p.shape) == (job.picture.place, job.picture.shape)
            )
        part = _Part(
            path.resolve(),
            page,
            options,
            job.grid,
            job.method,
            job.thresholds,
            job.folder.resolve(),
        )
        tasks = [client.submit(_work, work, part, n, retries=RETRIES, pure=False) for n in numbers]
        yield from (task.result() for task in as_completed(tasks, loop=client.loop))

    return run


def _work(work: Callable[[Any, int], Any], part: _Part, number: int) -> None:
    work(_opened(part), number)


@lru_cache(maxsize=2)
def _opened(part: _Part) -> PictureJob:
    options = part.options
    picture = open_picture(
        part.path,
        channel=options.channel,
        page=part.page,
        level=options.level,
        axes=options.axes,
    )
    network = options.network()
    job = PictureJob(picture, network, part.grid, {}, part.method, part.thresholds, part.folder)
    plan = job.known("plan") or {}
    job.survey = {name: values for name, values in plan.items() if name != "numbers"}
    return job


def files_on(
    client: Any, items: Sequence[Input], out: Path, options: Options, overwrite: bool
) -> Iterator[list[PictureOutcome]]:
    """Whole files done by the cluster, as they are finished."""
    from distributed import as_completed

    tasks = [
        client.submit(
            segment_file,
            item,
            out.resolve(),
            options,
            overwrite=overwrite,
            retries=RETRIES,
            pure=False,
        )
        for item in items
    ]
    yield from (task.result() for task in as_completed(tasks, loop=client.loop))
