"""``ngat peers``: pictures for other programs, and their label images counted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ngat.cli.options import (
    Data,
    DataSeed,
    Limit,
    Quiet,
    Root,
    command_line,
    echo_results,
    interruptible,
)

app = typer.Typer(
    help="StarDist and Cellpose, trained on the same split (make peers).", no_args_is_help=True
)


@app.command()
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
        masks = {"train": TrainConfig().masks}
        parts = {
            split: load(
                data,
                split,
                root=root,
                seed=data_seed,
                limit=limit,
                masks=masks.get(split, "published"),
                progress=not quiet,
            )
            for split in ("train", "val", "test")
        }
        written = run(parts, out, data=data, progress=not quiet)
    counts = ", ".join(f"{len(samples)} {split}" for split, samples in parts.items())
    typer.echo(f"{out}: {counts}" + ("" if written else ", as before"))


@app.command()
def score(
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
