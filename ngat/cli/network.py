"""``ngat train``, ``ngat choose``, ``ngat evaluate`` and ``ngat gpu``: networks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ngat.cli.options import (
    Data,
    DataSeed,
    Device,
    Limit,
    Quiet,
    Root,
    Set,
    Tta,
    assignments,
    command_line,
    echo_results,
    interruptible,
    names,
)
from ngat.errors import InputError

app = typer.Typer()


@app.command()
def train(
    out: Annotated[Path, typer.Option(help="The run's folder.")],
    data: Data = "synthetic",
    preset: Annotated[
        str, typer.Option(help="companion (by default), paper, smoke, unet, fpn or maskrcnn.")
    ] = "",
    minutes: Annotated[
        float | None, typer.Option(help="End after so many minutes, whatever steps remain.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where the run in this folder stopped.")
    ] = False,
    start: Annotated[
        str,
        typer.Option(help="Weights to go on from: a file, or `shipped` for those of ngat segment."),
    ] = "",
    parameter: Set = None,
    device: Device = "auto",
    root: Root = Path("data"),
    data_seed: DataSeed = 0,
    limit: Limit = None,
    pipeline: Annotated[
        str, typer.Option(help="Where patches are made: host, device, or auto (with a GPU, there).")
    ] = "auto",
    captured: Annotated[
        bool, typer.Option("--captured", help="Record a step as a CUDA graph, if that is possible.")
    ] = False,
    contrast: Annotated[
        Path | None,
        typer.Option(help="File that keeps the images' contrast, if the device makes patches."),
    ] = None,
    no_thresholds: Annotated[
        bool, typer.Option("--no-thresholds", help="Choose none; ngat choose does it later.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Train a network; keep the best by validation, with its thresholds, in best.safetensors."""
    with interruptible("Stopped; the same command with --resume goes on from the last checkpoint."):
        from ngat.config import preset as preset_of

        first = None
        if start:
            from ngat.segmentation.network import shipped_weights
            from ngat.training.weights import load_weights

            first = load_weights(shipped_weights() if start == "shipped" else Path(start))
            if preset not in ("", first.preset.name):
                raise InputError(
                    f"--preset {preset}: the weights of --start are of {first.preset.name}; "
                    "leave out --preset."
                )
            preset = first.preset.name
        chosen = preset_of(preset or "companion", **assignments(parameter))

        from ngat.data import load
        from ngat.training.trainer import train as run

        where: Any = {"root": root, "seed": data_seed, "limit": limit, "progress": not quiet}
        trained = run(
            chosen,
            load(data, "train", masks=chosen.train.masks, **where),
            load(data, "val", **where),
            out,
            minutes=minutes,
            resume=resume,
            device=device,
            pipeline=pipeline,  # type: ignore[arg-type]  # train says what is wrong with it
            captured=captured,
            thresholds=not no_thresholds,
            progress=not quiet,
            command=command_line(),
            data=data,
            start=first,
            contrast=contrast,
        )
    typer.echo(
        f"{trained.best}: average F1 {trained.average_f1:.3f} on validation, "
        f"{trained.steps} steps, {trained.minutes:.1f} minutes"
    )


@app.command()
def choose(
    weights: Annotated[Path, typer.Option(help="A file that ngat train wrote; it is replaced.")],
    data: Data = "synthetic",
    tta: Tta = False,
    device: Device = "auto",
    root: Root = Path("data"),
    data_seed: DataSeed = 0,
    limit: Limit = None,
    quiet: Quiet = False,
) -> None:
    """Choose a network's thresholds anew, on validation pictures, and store them with it."""
    with interruptible("Stopped; the file is as it was."):
        from ngat.data import load
        from ngat.training.distributed import find_device
        from ngat.training.validation import store_thresholds

        samples = load(data, "val", root=root, seed=data_seed, limit=limit, progress=not quiet)
        if not samples:
            raise InputError(f"{data}: there is no validation picture to choose on.")
        on = find_device(device)
        history = store_thresholds(weights, samples, on, tta=tta, again=True, progress=not quiet)
    # Mask R-CNN has one score, with and without flips.
    name = "thresholds_tta" if tta and "thresholds_tta" in history else "thresholds"
    typer.echo(f"{weights}: {name} {history[name]}")


@app.command()
def evaluate(
    out: Annotated[Path, typer.Option(help="Folder of the result files.")],
    data: Data = "synthetic",
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    weights: Annotated[Path | None, typer.Option(help="A file that ngat train wrote.")] = None,
    method: Annotated[
        str,
        typer.Option(
            help="ngat, or a baseline: untrained, otsu, otsu_watershed, classical_one, "
            "classical_per_type."
        ),
    ] = "ngat",
    tuned: Annotated[
        Path | None,
        typer.Option(
            help="A file that ngat tune-classical wrote; ROOT/results/classical.json by default."
        ),
    ] = None,
    preset: Annotated[str, typer.Option(help="Of the untrained network.")] = "companion",
    masks: Annotated[
        str, typer.Option(help="Annotation to count against, published or corrected.")
    ] = "published",
    name: Annotated[str, typer.Option(help="Common beginning of the files' names.")] = "",
    label: Annotated[str, typer.Option(help="The method's name in tables.")] = "",
    tta: Tta = False,
    device: Device = "auto",
    root: Root = Path("data"),
    data_seed: DataSeed = 0,
    limit: Limit = None,
    quiet: Quiet = False,
) -> None:
    """Count a method's nuclei against the annotation; write counts, run lengths, provenance."""
    with interruptible("Stopped; nothing was written."):
        from ngat.data import load
        from ngat.evaluation.evaluator import CLASSICAL
        from ngat.evaluation.evaluator import evaluate as run

        if tta and method not in ("ngat", "untrained"):
            raise InputError(f"--tta is for networks; leave it out with --method {method}.")
        if masks == "corrected" and data != "dsb2018":
            raise InputError(f"--masks corrected is for dsb2018; leave it out with --data {data}.")
        if method in CLASSICAL:
            tuned = tuned or root / "results" / "classical.json"
        where: Any = {"root": root, "seed": data_seed, "limit": limit, "progress": not quiet}
        # What is wrong with masks and method, load and evaluate say.
        written = run(
            load(data, split, masks=masks, **where),  # type: ignore[arg-type]
            out,
            data=data,
            masks=masks,  # type: ignore[arg-type]
            method=method,  # type: ignore[arg-type]
            weights=weights,
            tuned=tuned,
            preset=preset,
            name=name,
            label=label,
            tta=tta,
            device=device,
            seed=data_seed,
            command=command_line(),
            progress=not quiet,
        )
    echo_results(written)


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
    only: Annotated[
        str, typer.Option(help="Steps to do, as kernels,step,training; all where it is empty.")
    ] = "",
    root: Root = Path("data"),
) -> None:
    """Kernel tests, trainings, benchmarks and predictions on a GPU, within so many minutes."""
    from ngat.gpu.plan import GpuPlan, afterwards, write_data
    from ngat.gpu.session import run
    from ngat.training.distributed import find_device

    with interruptible("Stopped; the same call again goes on."):
        if rehearse:
            root = work / "data"
            write_data(root)
        else:
            find_device("cuda")
        plan = GpuPlan(minutes, work, root, rehearse, start, names(only))
        whole = run(plan.steps, out, work, minutes, device=plan.device, say=typer.echo)
    if lines := afterwards(out):
        typer.echo("\nThen, where the whole store is:")
        typer.echo("\n".join(lines))
    if not whole:
        raise typer.Exit(1)
