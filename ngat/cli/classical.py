"""``ngat tune-classical``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ngat.cli.options import Data, DataSeed, Quiet, Root, command_line, interruptible

app = typer.Typer()


@app.command()
def tune_classical(
    out: Annotated[Path, typer.Option(help="The JSON file; gone on with.")],
    data: Data = "synthetic",
    trials: Annotated[int, typer.Option(help="Settings tried, per type and for all.")] = 300,
    pictures: Annotated[int, typer.Option(help="Training pictures of each type.")] = 40,
    seed: Annotated[int, typer.Option(help="Of the search and of the pictures drawn.")] = 0,
    masks: Annotated[
        str, typer.Option(help="Annotation to tune for, published or corrected.")
    ] = "published",
    root: Root = Path("data"),
    data_seed: DataSeed = 0,
    quiet: Quiet = False,
) -> None:
    """Tune the classical pipeline on training pictures: per type, and one setting for all."""
    from ngat.system.files import held

    goes_on = "Stopped; the same command goes on after the last whole trial."
    with interruptible(goes_on), held(out, "a search", folder=False):
        from ngat.baselines.classical_search import SearchPlan
        from ngat.baselines.classical_tuning import tune
        from ngat.data import load

        plan = SearchPlan(trials, pictures, seed)
        samples = load(
            data,
            "train",
            root=root,
            seed=data_seed,
            masks=masks,  # type: ignore[arg-type]  # load says what is wrong with it
            progress=not quiet,
        )
        tuned = tune(samples, out, plan, data=data, command=command_line(), progress=not quiet)
    for name, score in tuned.average_f1.items():
        typer.echo(f"{name}: average F1 {score:.3f} on the pictures that it was tuned on")
