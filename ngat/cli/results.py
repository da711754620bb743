"""``ngat score`` and ``ngat tables``: label images and result files, counted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer()


@app.command()
def score(
    predicted: Annotated[Path, typer.Argument(help="Folder of label images, or a CSV of RLE.")],
    annotated: Annotated[Path, typer.Argument(help="The same of what is really there.")],
    out: Annotated[Path | None, typer.Option(help="CSV file with one line per image.")] = None,
) -> None:
    """Score anyone's nuclei by the challenge's protocol, per image and pooled."""
    from ngat.evaluation.scoring import score as run
    from ngat.system.files import replacing
    from ngat.system.process import track

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
