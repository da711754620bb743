"""``ngat gpu``: minutes on a GPU, all steps in a row."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ngat.cli.options import Root, interruptible

app = typer.Typer()


@app.command()
def gpu(
    out: Annotated[Path, typer.Option(help="Folder of the results; not more than 64 MiB.")],
    minutes: Annotated[float, typer.Option(help="Of all steps together.")] = 9.0,
    work: Annotated[
        Path, typer.Option(help="Folder for checkpoints; the same call with it goes on.")
    ] = Path("runs/gpu"),
    rehearse: Annotated[
        bool, typer.Option("--rehearse", help="Every step in small, on the CPU, generated data.")
    ] = False,
    start: Annotated[
        Path | None,
        typer.Option(help="Weights that the companion goes on from, as ngat train --start has it."),
    ] = None,
    root: Root = Path("data"),
) -> None:
    """Kernel tests, trainings, benchmarks and predictions on a GPU, within so many minutes."""
    from ngat.gpu.plan import GpuPlan, afterwards
    from ngat.gpu.rehearsal import write_data
    from ngat.gpu.session import run
    from ngat.training.distributed import find_device

    with interruptible("Stopped; the same call again goes on."):
        if rehearse:
            root = work / "data"
            write_data(root)
        else:
            find_device("cuda")
        plan = GpuPlan(minutes, work, root, rehearse, start)
        whole = run(plan.steps, out, work, minutes, device=plan.device, say=typer.echo)
    if lines := afterwards(plan, out):
        typer.echo("\nThen, where the whole store is:")
        typer.echo("\n".join(lines))
    if not whole:
        raise typer.Exit(1)
