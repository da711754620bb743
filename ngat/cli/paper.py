"""``ngat reproduce`` and ``ngat readme``: the notebooks, and what is generated from results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ngat.cli.options import Set, assignments

app = typer.Typer()


@app.command()
def reproduce(
    data: Annotated[
        str, typer.Option(help="synthetic, rings, dsb2018, or a folder with BBBC038's files.")
    ] = "synthetic",
    profile: Annotated[str, typer.Option(help="smoke (minutes) or full.")] = "smoke",
    name: Annotated[str, typer.Option(help="The run's folder in runs/.")] = "",
    only: Annotated[str, typer.Option(help="Numbers of notebooks, for example 03,07.")] = "",
    seed: Annotated[int, typer.Option(help="Passed to every notebook.")] = 0,
    weights: Annotated[str, typer.Option(help="A weights file to evaluate.")] = "",
    parameter: Set = None,
    fresh: Annotated[bool, typer.Option(help="Run again what is unchanged, too.")] = False,
) -> None:
    """Run the notebooks into runs/<name>/ and make a page of all tables and figures."""
    from ngat.paper.notebook import NotebookFailed
    from ngat.paper.reproduce import reproduce as run_all

    try:
        run_all(
            data=data,
            profile=profile,
            name=name,
            only=[number for number in only.split(",") if number.strip()],
            seed=seed,
            weights=weights,
            extra=assignments(parameter),
            fresh=fresh,
        )
    except NotebookFailed as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error


@app.command()
def readme(
    check: Annotated[bool, typer.Option(help="Only tell whether it is out of date.")] = False,
    root: Annotated[Path, typer.Option(help="The top of the repository.")] = Path("."),
) -> None:
    """Rewrite the tables of README.md and data/results/README.md from the result files."""
    from ngat.paper.readme import refresh

    stale = refresh(root, check=check)
    typer.echo(
        "README.md and data/results/README.md are up to date."
        if not stale
        else "README.md or data/results/README.md is out of date; run: ngat readme"
        if check
        else "README.md and data/results/README.md were rewritten."
    )
    if stale and check:
        raise typer.Exit(1)


@app.command()
def explorer(
    images: Annotated[list[Path], typer.Argument(help="Pictures: PNG, TIFF, JPEG.")],
    out: Annotated[Path, typer.Option(help="The page, one HTML file.")],
    weights: Annotated[str, typer.Option(help="A weights file; the shipped one if empty.")] = "",
) -> None:
    """Make a page on which a click shows what a pixel attends to."""
    from ngat.data.archive import read_picture
    from ngat.errors import InputError
    from ngat.model import NGAT
    from ngat.paper.explorer.nodes import explore
    from ngat.paper.explorer.page import write_page
    from ngat.segmentation.network import shipped_weights
    from ngat.training.weights import load_weights

    path = Path(weights) if weights else shipped_weights()
    model = load_weights(path).model
    if not isinstance(model, NGAT):
        raise InputError(f"{path}: is no graph attention network; give weights of one.")
    explored = [explore(model, read_picture(image), image.name) for image in images]
    typer.echo(write_page(explored, f"weights {path.name}", out))
