"""``ngat segment``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from ngat.cli.options import Device, Quiet, Tta, interruptible
from ngat.errors import InputError

app = typer.Typer()

PANEL = "Which part of a file"


@app.command()
def segment(
    images: Annotated[
        list[str],
        typer.Argument(metavar="IMAGE...", help="Files, folders, or patterns in quotes."),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the results.")],
    form: Annotated[
        list[str] | None,
        typer.Option(
            "--format", help="labels, overlay, table, geojson, rois, rle, or all; repeatable."
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
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Make anew what is finished already.")
    ] = False,
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
    from ngat.inference import METHODS
    from ngat.segmentation.batch import Options, summary
    from ngat.segmentation.formats import DEFAULT, FORMATS
    from ngat.segmentation.inputs import find_inputs
    from ngat.segmentation.network import chosen_magnification
    from ngat.training.distributed import find_device

    if method not in METHODS:
        raise InputError(f"Unknown method {method!r}; known: {', '.join(METHODS)}.")
    forms = tuple(FORMATS) if form == ["all"] else tuple(dict.fromkeys(form or DEFAULT))
    for name in forms:
        if name not in FORMATS:
            raise InputError(f"Unknown format {name!r}; known: {', '.join(FORMATS)}, all.")
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
        formats=forms,
        weights=weights.resolve() if weights is not None else None,
        device=str(find_device(device)),
        tta=tta,
    )
    with interruptible("Stopped; what is finished is kept, and the same command goes on."):
        inputs = find_inputs(images, out)
        options.network()  # a bad weights file ends the command, not every picture
        outcomes: list[Any] = []
        try:
            for some in _each(inputs, out, options, overwrite, scheduler, not quiet):
                for outcome in some:
                    outcomes.append(outcome)
                    if outcome.status == "failed":
                        typer.echo(outcome.remark, err=True)
        finally:
            if outcomes:
                typer.echo(summary(outcomes))
    if any(outcome.status == "failed" for outcome in outcomes):
        raise typer.Exit(1)


def _each(
    inputs: list[Any], out: Path, options: Any, overwrite: bool, scheduler: str | None, shown: bool
) -> Iterator[Any]:
    """Outcomes of all pictures, while a bar shows how far it is and signals are heeded."""
    from ngat.segmentation.batch import segment_file
    from ngat.segmentation.cluster import connect, files_on, tiles_on
    from ngat.segmentation.find import in_turn
    from ngat.system.process import bar, stop_requests

    with contextlib.ExitStack() as stack:
        asked = stack.enter_context(stop_requests())
        display = stack.enter_context(bar(progress=shown))
        client = stack.enter_context(connect(scheduler)) if scheduler else None
        pictures = display.add_task("Pictures", total=len(inputs))
        parts = display.add_task("Tiles", total=1, visible=False)

        def progress(done: int, total: int) -> None:
            display.update(parts, completed=done, total=total, visible=total > 5)
            if asked.is_set():
                raise KeyboardInterrupt

        here = inputs
        if client is not None:
            here = [item for item in inputs if _is_large(item.path, options)]
            small = [item for item in inputs if item not in here]
            for outcome in _until(asked, files_on(client, small, out, options, overwrite)):
                display.advance(pictures)
                yield outcome
        for item in here:
            if asked.is_set():
                raise KeyboardInterrupt
            tiles = tiles_on(client, item.path, options) if client is not None else in_turn
            yield segment_file(
                item, out, options, overwrite=overwrite, tiles=tiles, progress=progress
            )
            display.advance(pictures)


def _until(asked: Any, outcomes: Iterable[Any]) -> Iterator[Any]:
    for outcome in outcomes:
        yield outcome
        if asked.is_set():
            raise KeyboardInterrupt


def _is_large(path: Path, options: Any) -> bool:
    """Is it so large that its tiles are worth being done by several workers?"""
    from ngat.io.picture import open_pictures
    from ngat.segmentation.batch import IN_MEMORY

    try:
        first = next(open_pictures(path, channel="0", level=options.level, axes=options.axes))
    except (InputError, StopIteration):
        return False
    return first.shape[0] * first.shape[1] > IN_MEMORY
