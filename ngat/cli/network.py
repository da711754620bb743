"""``ngat train``, ``ngat choose``, ``ngat evaluate`` and ``ngat predict``."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

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
    interruptible,
)
from ngat.errors import InputError


def train(
    out: Annotated[Path, typer.Option(help="The run's folder.")],
    data: Data = "synthetic",
    preset: Annotated[
        str, typer.Option(help="paper, companion, smoke, unet or fpn.")
    ] = "companion",
    minutes: Annotated[
        float | None, typer.Option(help="End after so many minutes, whatever steps remain.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where the run in this folder stopped.")
    ] = False,
    parameter: Set = None,
    device: Device = "auto",
    root: Root = Path("data"),
    data_seed: DataSeed = 0,
    limit: Limit = None,
    quiet: Quiet = False,
) -> None:
    """Train a network; keep the best by validation, with its thresholds, in best.safetensors."""
    with interruptible("Stopped; the same command with --resume goes on from the last checkpoint."):
        from ngat.config import preset as preset_of

        chosen = preset_of(preset, **assignments(parameter))

        from ngat.data import load
        from ngat.training.trainer import train as run

        samples = load(
            data,
            "train",
            root=root,
            seed=data_seed,
            limit=limit,
            masks=chosen.train.masks,
            progress=not quiet,
        )
        held_out = load(data, "val", root=root, seed=data_seed, limit=limit, progress=not quiet)
        trained = run(
            chosen,
            samples,
            held_out,
            out,
            minutes=minutes,
            resume=resume,
            device=device,
            progress=not quiet,
            command=command_line(),
            data=data,
        )
    typer.echo(
        f"{trained.best}: average F1 {trained.average_f1:.3f} on validation, "
        f"{trained.steps} steps, {trained.minutes:.1f} minutes"
    )


def choose(
    weights: Annotated[Path, typer.Option(help="A file that ngat train wrote; it is replaced.")],
    data: Data = "synthetic",
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
        where = find_device(device)
        history = store_thresholds(weights, samples, where, again=True, progress=not quiet)
    for name in ("thresholds", "thresholds_tta"):
        typer.echo(f"{weights}: {name} {history[name]}")


def evaluate(
    out: Annotated[Path, typer.Option(help="Folder of the result files.")],
    data: Data = "synthetic",
    split: Annotated[str, typer.Option(help="train, val, test; of dsb2018 also stage2.")] = "test",
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

        if method in CLASSICAL:
            tuned = tuned or root / "results" / "classical.json"
        samples = load(
            data,
            split,
            root=root,
            seed=data_seed,
            limit=limit,
            masks=masks,  # type: ignore[arg-type]  # load says what is wrong with it
            progress=not quiet,
        )
        written = run(
            samples,
            out,
            # Other truth is another measurement: no figure may take it for the protocol's.
            data=data if masks == "published" else f"{data}, {masks} masks",
            method=method,  # type: ignore[arg-type]  # and so does evaluate
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
    from ngat.evaluation.results import read_run
    from ngat.evaluation.tables import printed, table1

    suffix = ".counts.csv"
    runs = [read_run(str(p)[: -len(suffix)]) for p in written if p.name.endswith(suffix)]
    typer.echo(printed(table1(runs, with_published=False)).to_string(index=False))
    for path in written:
        typer.echo(str(path))


def predict(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="PNG, TIFF or JPEG.")],
    weights: Annotated[Path, typer.Option(help="A file that ngat train wrote.")],
    out: Annotated[Path, typer.Option(help="Folder of the label images.")],
    method: Annotated[str, typer.Option(help="split or components.")] = "split",
    tta: Tta = False,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Find the nuclei in pictures: label images in OUT, and their outlines in OUT/outlines."""
    from ngat.inference import METHODS
    from ngat.segmentation.pictures import predict_files
    from ngat.training.distributed import find_device
    from ngat.training.weights import load_weights

    if method not in METHODS:
        raise InputError(f"Unknown method {method!r}; known: {', '.join(METHODS)}.")
    twice = [stem for stem, count in Counter(path.stem for path in images).items() if count > 1]
    if twice:
        raise InputError(f"Two pictures are called {twice[0]}; predict them into two folders.")
    with interruptible("Stopped; the pictures named above are done."):
        loaded = load_weights(weights, find_device(device))
        for path, count in predict_files(
            loaded,
            images,
            out,
            method,
            tta=tta,
            progress=not quiet,
        ):
            typer.echo(f"{path}: {count} nuclei")
