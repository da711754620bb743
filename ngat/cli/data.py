"""``ngat data``: fetch, verify and store the 2018 Data Science Bowl, and split it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ngat.cli.options import Root, interruptible
from ngat.errors import InputError

app = typer.Typer(help="The 2018 Data Science Bowl (BBBC038).", no_args_is_help=True)


@app.command()
def prepare(
    source: Annotated[
        Path | None, typer.Option(help="Folder of the published zips, or of what they unpack to.")
    ] = None,
    download: Annotated[
        bool, typer.Option("--download", help="Fetch them from the Broad Institute first.")
    ] = False,
    root: Root = Path("data"),
) -> None:
    """Verify the published files and write the compact store."""
    from ngat.data.download import download as fetch
    from ngat.data.dsb2018 import prepare as store

    if (source is None) != download:
        raise InputError("Give either --source DIR or --download.")
    with interruptible("Stopped; no store was written. The same command starts it again."):
        if source is None:
            source = fetch(root / "dsb2018" / "published")
        typer.echo(str(store(source, root / "dsb2018")))


@app.command()
def pack(
    root: Root = Path("data"),
    out: Annotated[
        Path | None, typer.Option(help="The file; ROOT/dsb2018/pack.zip by default.")
    ] = None,
) -> None:
    """Write training and validation as one file under 45 MB, which is read where no store is.

    And beside it the contrast of the training images, which takes minutes to find.
    """
    from ngat.config import preset
    from ngat.data import load
    from ngat.data.pack import write_pack
    from ngat.training.device.prepared import FILE, contrasts
    from ngat.training.patches import Patches

    with interruptible("Stopped; the same command goes on."):
        path = write_pack(root, out)
        chosen = preset("companion")
        samples = load("dsb2018", "train", root=root, masks=chosen.train.masks)
        beside = path.with_name(FILE)
        beside.unlink(missing_ok=True)
        contrasts(Patches(samples, chosen.train, contrast=chosen.model.contrast), beside)
    for written in (path, beside):
        typer.echo(f"{written}: {written.stat().st_size / 1e6:.1f} MB")


@app.command()
def types(
    source: Annotated[Path, typer.Option(help="The published table, image_types.csv.")],
    root: Root = Path("data"),
) -> None:
    """Rebuild the table of image types and groups."""
    from ngat.data.split import write_types

    path = root / "image_types.csv"
    if source.is_dir():
        source = source / "image_types.csv"
    typer.echo(f"{path}: {write_types(source, path)} images")


@app.command()
def split(
    root: Root = Path("data"),
    seed: Annotated[int, typer.Option(help="Another seed is another split.")] = 0,
) -> None:
    """Assign the pictures to train, val and test, whole groups at a time."""
    from ngat.data.split import write_split

    path = root / "split.csv"
    sizes = write_split(root / "image_types.csv", root / "dsb2018", path, seed=seed)
    typer.echo(f"{path}: " + ", ".join(f"{count} {name}" for name, count in sizes.items()))


@app.command()
def describe(
    out: Annotated[Path, typer.Option(help="The CSV file to write, a line per picture.")],
    root: Root = Path("data"),
) -> None:
    """Write each picture's number of nuclei, their size and crowding: facts, no pictures."""
    from ngat.data import SPLITS, load
    from ngat.paper.study.dataset import pictures
    from ngat.system.tables import write_table

    with interruptible("Stopped; nothing was written."):
        table = pictures(s for part in SPLITS for s in load("dsb2018", part, root=root))
        write_table(out, table.sort_values(["split", "image_id"]))
    typer.echo(f"{out}: {len(table)} pictures, {table['nuclei'].sum()} nuclei")
