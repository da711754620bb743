"""``ngat segment``."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ngat.cli.options import Device, Quiet, Tta, interruptible
from ngat.errors import InputError

if TYPE_CHECKING:
    from ngat.segmentation.batch import Options, PictureOutcome
    from ngat.segmentation.files import Input

app = typer.Typer()

PANEL = "Which part of a file"


@app.command()
def segment(
    images: Annotated[
        list[str], typer.Argument(metavar="IMAGE...", help="Files, folders, or patterns in quotes.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the results.")],
    form: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            help="labels, overlay, table, geojson, rois, rle, zarr or all; several by commas.",
        ),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="A file that ngat train wrote, instead of the shipped one.")
    ] = None,
    diameter: Annotated[
        float | None, typer.Option(help="Of a typical nucleus in pixels; else it is found.")
    ] = None,
    scale: Annotated[
        float | None, typer.Option(help="Resize pictures by this factor for the network.")
    ] = None,
    channel: Annotated[
        str | None,
        typer.Option(help="Number or name of the nuclear channel.", rich_help_panel=PANEL),
    ] = None,
    page: Annotated[
        str | None, typer.Option(help="Number of the page, or all.", rich_help_panel=PANEL)
    ] = None,
    level: Annotated[
        int, typer.Option(help="Of a pyramid; 0 is the largest.", rich_help_panel=PANEL)
    ] = 0,
    axes: Annotated[
        str | None,
        typer.Option(help="Letters of the sides, for example CYX.", rich_help_panel=PANEL),
    ] = None,
    method: Annotated[str, typer.Option(help="split or components.")] = "split",
    tta: Tta = False,
    panels: Annotated[
        bool,
        typer.Option(
            help="Search pictures side by side one by one, without margins and scale bars."
        ),
    ] = True,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Make anew what is finished already.")
    ] = False,
    part: Annotated[
        str | None, typer.Option(help="K/N: only every N-th picture from the K-th, for job arrays.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Files or tiles at once; else one a core, up to 4.")
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="Address of a Dask cluster, for example tcp://host:8786.")
    ] = None,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Find the nuclei in pictures of any kind, size and number.

    Results go into OUT by their kind: labels/, overlay/, tables/ and so on, with a record of how
    each was made. No input is ever changed, nor any file that this command did not write. What is
    finished is skipped, so that a stopped run goes on with the same command.
    """
    from ngat.segmentation.batch import Options
    from ngat.segmentation.files import find_inputs, part_of
    from ngat.segmentation.formats import DEFAULT, chosen_formats
    from ngat.segmentation.network import chosen_magnification
    from ngat.system.files import check_writable
    from ngat.thresholds import METHODS
    from ngat.training.distributed import find_device

    if method not in METHODS:
        raise InputError(f"Unknown method {method!r}; known: {', '.join(METHODS)}.")
    if page is not None and page != "all" and not page.isdecimal():
        raise InputError(f"--page {page}: give a number from 0, or all.")
    chosen_magnification(diameter, scale)
    options = Options(
        channel=channel,
        page=page,
        level=level,
        axes=axes,
        diameter=diameter,
        scale=scale,
        method=method,
        formats=chosen_formats(form or DEFAULT),
        weights=Path(os.path.realpath(weights)) if weights is not None else None,
        device=str(find_device(device)),
        tta=tta,
        panels=panels,
    )
    with interruptible("Stopped; what is finished is kept, and the same command goes on."):
        closed: list[str] = []
        found = find_inputs(images, out, closed.append)
        inputs = part_of(found, part)
        # Bad weights or an unusable folder end the command, not every picture.
        options.network()
        for sentence in closed:
            typer.echo(sentence, err=True)
        if not inputs:
            typer.echo(f"--part {part}: no picture of {len(found)} falls into it.")
        else:
            check_writable(out)
        failed = _each(inputs, out, options, overwrite, threads, scheduler, not quiet)
    if failed or closed:
        raise typer.Exit(1)


def _each(
    inputs: Sequence[Input],
    out: Path,
    options: Options,
    overwrite: bool,
    threads: int | None,
    scheduler: str | None,
    shown: bool,
) -> bool:
    """Do all pictures with a progress bar, until a signal asks for the end; did one fail?"""
    from ngat.inference import WHOLE
    from ngat.segmentation.batch import IN_MEMORY, segment_file, segment_files, summary
    from ngat.segmentation.tasks import Tasks, connect, usual_threads
    from ngat.system.process import bar, stop_requests

    outcomes: list[PictureOutcome] = []
    with contextlib.ExitStack() as stack:
        stack.callback(lambda: typer.echo(summary(outcomes), nl=bool(outcomes)))
        asked = stack.enter_context(stop_requests())
        display = stack.enter_context(bar(progress=shown))
        client = stack.enter_context(connect(scheduler)) if scheduler else None
        tasks = Tasks(threads or usual_threads(), client, asked.is_set)
        pictures = display.add_task("Pictures", total=len(inputs))
        parts = display.add_task("Tiles", total=1, visible=False)

        def progress(done: int, total: int) -> None:
            display.update(parts, completed=done, total=total, visible=total > 5)

        def report(found: list[PictureOutcome]) -> None:
            outcomes.extend(found)
            for outcome in found:
                if outcome.status == "failed":
                    typer.echo(outcome.remark, err=True)
            display.advance(pictures)

        # Tasks are the tiles of large pictures, and other pictures as a whole.
        most = IN_MEMORY if client is not None else WHOLE
        alone = client is None and min(tasks.threads, len(inputs)) < 2
        cut = [alone or _pixels(item.path, options) > most for item in inputs]
        whole = [item for item, tiled in zip(inputs, cut, strict=True) if not tiled]
        segment_files(whole, out, options, report, overwrite=overwrite, tasks=tasks)
        for item in itertools.compress(inputs, cut):
            report(
                segment_file(
                    item, out, options, overwrite=overwrite, tasks=tasks, progress=progress
                )
            )
            if asked.is_set():
                raise KeyboardInterrupt
    return any(outcome.status == "failed" for outcome in outcomes)


def _pixels(path: Path, options: Options) -> int:
    """Of the first picture in a file; none where it cannot be opened, which is said later."""
    from ngat.io.picture import open_pictures

    try:
        first = next(open_pictures(path, channel="0", level=options.level, axes=options.axes))
    except (InputError, StopIteration):
        return 0
    return first.shape[0] * first.shape[1]
