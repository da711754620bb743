"""The command line: thin, each command calls one function of the library.

Libraries that take long to load are imported by the commands that need them.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

import ngat
from ngat.cli import benchmark as cli_benchmark
from ngat.cli import classical as cli_classical
from ngat.cli import data as cli_data
from ngat.cli import network as cli_network
from ngat.cli import study as cli_study
from ngat.cli.options import Commands, Set, assignments
from ngat.errors import InputError
from ngat.system.files import space_for

app = typer.Typer(
    name="ngat",
    cls=Commands,
    help="Neuroplastic graph attention networks for nuclei segmentation.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(cli_data.app, name="data")
app.add_typer(cli_benchmark.app, name="benchmark")
app.command()(cli_network.train)
app.command()(cli_network.choose)
app.command()(cli_network.evaluate)
app.command()(cli_network.predict)
app.command()(cli_study.ablate)
app.command()(cli_study.leave_out)
app.command()(cli_study.fates)
app.command()(cli_classical.tune_classical)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(ngat.__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


@app.command()
def score(
    predicted: Annotated[Path, typer.Argument(help="Folder of label images, or a CSV of RLE.")],
    annotated: Annotated[Path, typer.Argument(help="The same of what is really there.")],
    out: Annotated[Path | None, typer.Option(help="CSV file with one line per image.")] = None,
) -> None:
    """Score anyone's nuclei by the challenge's protocol, per image and pooled."""
    from ngat.evaluation.scoring import score as run
    from ngat.system.files import replacing
    from ngat.system.progress import track

    found = run(predicted, annotated, progress=lambda ids: track(ids, "Score"))
    if out is not None:
        with replacing(out) as beside:
            found.images.to_csv(beside, index=False, lineterminator="\n")
    typer.echo(found.images.to_string(index=False, float_format=lambda value: f"{value:.4f}"))
    for measure, value in found.summary._asdict().items():
        typer.echo(f"{measure}: {value:.4f}" if isinstance(value, float) else f"{measure}: {value}")
    if found.unscored:
        typer.echo(f"not annotated, not scored: {', '.join(found.unscored)}", err=True)


@app.command()
def tables(
    results: Annotated[Path, typer.Option(help="Folder of result files.")] = Path("data/results"),
    out: Annotated[Path, typer.Option(help="Folder of the tables.")] = Path("data/tables"),
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
) -> None:
    """Make tables 1 and 2 from result files, as CSV and Markdown."""
    from ngat.evaluation.results import runs_in
    from ngat.evaluation.tables import write_tables

    for path in write_tables(runs_in(results), out, seed=seed):
        typer.echo(str(path))


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
    """Rewrite the README's tables from the committed result files."""
    from ngat.paper.readme import refresh

    stale = refresh(root, check=check)
    typer.echo(
        "README.md is up to date."
        if not stale
        else "README.md is out of date; run: ngat readme"
        if check
        else "README.md was rewritten."
    )
    if stale and check:
        raise typer.Exit(1)


def main() -> None:
    """Entry point: bad input and a full disk end with a sentence on stderr and exit code 2."""
    try:
        with space_for("A file"):
            app(prog_name="ngat")
    except InputError as error:
        typer.echo(str(error), err=True)
        sys.exit(2)
