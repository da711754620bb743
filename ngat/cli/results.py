"""``ngat score`` and ``tables``, ``peers``, ``reproduce``, ``readme`` and ``explorer``.

Label images and result files, counted; the notebooks, and what is generated from results.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ngat.cli.options import (
    Data,
    DataSeed,
    Limit,
    Quiet,
    Root,
    Set,
    assignments,
    check_out,
    command_line,
    echo_results,
    interruptible,
    names,
)

app = typer.Typer()


@app.command()
def score(
    predicted: Annotated[Path, typer.Argument(help="Folder of label images, or a CSV of RLE.")],
    annotated: Annotated[Path, typer.Argument(help="The same of what is really there.")],
    out: Annotated[Path | None, typer.Option(help="CSV file with one line per image.")] = None,
) -> None:
    """Score anyone's nuclei by the challenge's protocol, per image and pooled."""
    from ngat.evaluation.scoring import score as run
    from ngat.system.process import track
    from ngat.system.tables import write_table

    if out is not None:
        check_out(out, (predicted, annotated), ".csv", ".csv.gz")
    found = run(predicted, annotated, progress=lambda ids: track(ids, "Score"))
    if out is not None:
        write_table(out, found.images)
    typer.echo(found.images.to_string(index=False, float_format=lambda value: f"{value:.4f}"))
    for measure, value in found.summary._asdict().items():
        typer.echo(f"{measure}: {value:.4f}" if isinstance(value, float) else f"{measure}: {value}")
    if found.unscored:
        typer.echo(f"not annotated, not scored: {', '.join(found.unscored)}", err=True)


@app.command()
def tables(
    results: Annotated[Path, typer.Option(help="Folder of result files.")] = Path("data/results"),
    out: Annotated[Path, typer.Option(help="Folder of the tables.")] = Path("data/tables"),
    seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap.")] = 0,
) -> None:
    """Make tables 1 and 2 from result files, as CSV and Markdown."""
    from ngat.evaluation.results import runs_in
    from ngat.evaluation.tables import write_tables

    for path in write_tables(runs_in(results), out, seed=seed):
        typer.echo(str(path))


peers = typer.Typer(
    help="StarDist and Cellpose, trained on the same split (make peers).", no_args_is_help=True
)


@peers.command()
def export(
    out: Annotated[Path, typer.Option(help="Folder of the pictures; replaced as a whole.")],
    data: Data = "synthetic",
    root: Root = Path("data"),
    data_seed: DataSeed = 0,
    limit: Limit = None,
    quiet: Quiet = False,
) -> None:
    """Write pictures and training labels as files that any program reads; no test labels."""
    with interruptible("Stopped; the folder is as it was."):
        from ngat.config import TrainConfig
        from ngat.data import load
        from ngat.evaluation.peers import export as run

        # Training labels are those that our networks are trained on.
        where: Any = {"root": root, "seed": data_seed, "limit": limit, "progress": not quiet}
        parts = {"train": load(data, "train", masks=TrainConfig().masks, **where)}
        parts |= {split: load(data, split, **where) for split in ("val", "test")}
        written = run(parts, out, data=data, progress=not quiet)
    counts = ", ".join(f"{len(samples)} {split}" for split, samples in parts.items())
    typer.echo(f"{out}: {counts}" + ("" if written else ", as before"))


@peers.command("score")
def score_peer(
    found: Annotated[Path, typer.Option(help="The peer's run: labels/SPLIT/ and told.json.")],
    out: Annotated[Path, typer.Option(help="Folder of the result files.")],
    data: Data = "synthetic",
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    root: Root = Path("data"),
    data_seed: DataSeed = 0,
    limit: Limit = None,
    quiet: Quiet = False,
) -> None:
    """Count a peer's label images; write counts, run lengths and provenance."""
    with interruptible("Stopped; nothing was written."):
        from ngat.data import load
        from ngat.evaluation.peers import score as run

        samples = load(data, split, root=root, seed=data_seed, limit=limit, progress=not quiet)
        written = run(found, samples, out, data=data, command=command_line(), progress=not quiet)
    echo_results(written)


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
            only=names(only),
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
    images: Annotated[list[Path], typer.Argument(help="Pictures of any kind.")],
    out: Annotated[Path, typer.Option(help="The page, one HTML file.")],
    weights: Annotated[str, typer.Option(help="A weights file; the shipped one if empty.")] = "",
) -> None:
    """Make a page on which a click shows what a pixel attends to."""
    from ngat.data.own import read_rgb
    from ngat.errors import InputError
    from ngat.model import NGAT
    from ngat.paper.figures.explorer import write_page
    from ngat.paper.study.explorer import explore
    from ngat.segmentation.network import shipped_weights
    from ngat.training.weights import load_weights

    check_out(out, [*images, *([Path(weights)] if weights else [])], ".html")
    path = Path(weights) if weights else shipped_weights()
    model = load_weights(path).model
    if not isinstance(model, NGAT):
        raise InputError(f"{path}: is no graph attention network; give weights of one.")
    explored = [explore(model, read_rgb(image), image.name) for image in images]
    typer.echo(write_page(explored, f"weights {path.name}", out))
