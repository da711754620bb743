"""``ngat ablate``, ``leave-out``, ``error-types``, ``robustness`` and ``tune-classical``."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ngat.cli.options import (
    Data,
    DataSeed,
    Device,
    Limit,
    Quiet,
    Root,
    check_table,
    command_line,
    interruptible,
    names,
)
from ngat.errors import InputError

if TYPE_CHECKING:
    from ngat.training.variants import Variant

app = typer.Typer()

Steps = Annotated[int | None, typer.Option(help="Training steps of every run.")]
Minutes = Annotated[
    float | None, typer.Option(help="Instead of steps: minutes of one core for every run.")
]
Scored = Annotated[
    str, typer.Option("--split", help="What runs are scored on, val or test; val by default.")
]
Table = Annotated[Path, typer.Option(help="The CSV file, lines of each run; gone on with.")]


@app.command()
def ablate(
    out: Table,
    data: Data = "synthetic",
    steps: Steps = None,
    minutes: Minutes = None,
    base: Annotated[
        str, typer.Option("--preset", help="The base; smoke, on dsb2018 companion by default.")
    ] = "",
    seeds: Annotated[int, typer.Option(help="Runs of each variant.")] = 3,
    only: Annotated[str, typer.Option(help="Factors, for example levels,loss.")] = "",
    split: Scored = "val",
    device: Device = "auto",
    root: Root = Path("data"),
    limit: Limit = None,
    quiet: Quiet = False,
) -> None:
    """Train and score a network with one thing changed at a time."""
    from ngat.training.variants import ablations

    base = base or ("companion" if data == "dsb2018" else "smoke")
    variants = ablations(base, names(only), seeds)
    _sweep(
        out, lambda _: variants, data, split, _budget(steps, minutes, 100), minutes, device, root,
        limit, quiet,
    )  # fmt: skip


@app.command()
def leave_out(
    out: Table,
    data: Data = "synthetic",
    steps: Steps = None,
    minutes: Minutes = None,
    seeds: Annotated[int, typer.Option(help="Runs of each.")] = 1,
    networks: Annotated[str, typer.Option(help="Presets.")] = "companion,unet",
    split: Scored = "val",
    device: Device = "auto",
    root: Root = Path("data"),
    limit: Limit = None,
    quiet: Quiet = False,
) -> None:
    """Train without a type of picture and score on it, type by type."""
    from ngat.training.variants import left_out

    presets = [name.strip() for name in networks.split(",")]
    left_out(presets, seeds=seeds)  # says what is wrong with them before pictures are read
    _sweep(
        out, lambda types: left_out(presets, types, seeds), data, split,
        _budget(steps, minutes, 300), minutes, device, root, limit, quiet,
    )  # fmt: skip


def _sweep(
    out: Path,
    variants: Callable[[list[str]], list[Variant]],
    data: str,
    split: str,
    steps: int | None,
    minutes: float | None,
    device: str,
    root: Path,
    limit: int | None,
    quiet: bool,
) -> None:
    """Read pictures and do the runs that ``variants`` makes of their types."""
    with interruptible("Stopped; the same command goes on where it was."):
        from ngat.data import TYPES, load
        from ngat.training.sweep import Pictures, Sweep

        check_table(out)
        if split not in ("val", "test"):
            raise InputError(f"split {split!r} is unknown; choose val or test.")
        # Generated pictures are scored on another seed's, which nothing was tuned on.
        seed, show = 0 if data == "dsb2018" else 1, not quiet
        pictures = Pictures(
            load(data, "train", root=root, limit=limit, progress=show),
            load(data, "val", root=root, limit=limit, progress=show),
            load(data, split, root=root, seed=seed, limit=limit, progress=show),
        )
        seen, scored = ({s.type for s in part} for part in (pictures.train, pictures.scored))
        chosen = variants([kind for kind in TYPES if kind in seen & scored])
        added = Sweep(out, pictures, steps, minutes, device, show, command_line(), data, split).run(
            chosen
        )
    typer.echo(f"{out}: {added} runs added")


@app.command()
def error_types(
    out: Annotated[Path, typer.Option(help="The CSV file.")],
    runs: Annotated[str, typer.Option(help="Result files' common beginnings, by commas.")],
    results: Annotated[Path, typer.Option(help="Folder of the result files.")] = Path(
        "data/results"
    ),
    data: Data = "synthetic",
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    root: Root = Path("data"),
    data_seed: DataSeed = 0,
    limit: Limit = None,
    quiet: Quiet = False,
) -> None:
    """Count nuclei found, merged, split and missed by type, size and whether they touch."""
    with interruptible("Stopped; nothing was written."):
        from ngat.data import fingerprint, load
        from ngat.evaluation import error_types as study
        from ngat.system.provenance import provenance, write_with_provenance

        began = time.monotonic()
        check_table(out)
        nuclei = study.committed(results, [name.strip() for name in runs.split(",")])
        samples = load(data, split, root=root, seed=data_seed, limit=limit, progress=not quiet)
        table = study.count(nuclei, samples, progress=not quiet)
        minutes = (time.monotonic() - began) / 60
        told = provenance(
            command_line(), None, fingerprint(samples), minutes, data=data, split=split
        )
        write_with_provenance(out, table, told)
    typer.echo(study.by(table, "type").to_string(index=False))
    typer.echo(str(out))


@app.command()
def robustness(
    weights: Annotated[Path, typer.Option(help="A file that ngat train wrote.")],
    out: Annotated[Path, typer.Option(help="The CSV file.")],
    data: Data = "dsb2018",
    root: Root = Path("data"),
    panels: Annotated[
        bool, typer.Option("--panels", help="Search images side by side one by one; those changes.")
    ] = False,
    device: Device = "auto",
    data_seed: DataSeed = 0,
    limit: Limit = None,
    quiet: Quiet = False,
) -> None:
    """Score a network on validation images changed as other laboratories would change them."""
    with interruptible("Stopped; the same command goes on with the next change."):
        from ngat.data import fingerprint, load
        from ngat.evaluation import robustness as study
        from ngat.system.files import sha256
        from ngat.system.provenance import provenance
        from ngat.training.distributed import find_device
        from ngat.training.weights import load_weights

        began = time.monotonic()
        check_table(out)
        loaded = load_weights(weights, on := find_device(device))
        samples = load(data, "val", root=root, seed=data_seed, limit=limit, progress=not quiet)
        told = provenance(
            command_line(), None, fingerprint(samples), 0.0, device=str(on), data=data, split="val"
        )
        told |= {"weights_sha256": sha256(weights), "panels": panels}
        table = study.fill(
            out, loaded, samples, told, began=began, panels=panels, progress=not quiet
        )
    typer.echo(table.to_string(index=False))
    typer.echo(str(out))


def _budget(steps: int | None, minutes: float | None, default: int) -> int | None:
    """The steps of every run, or None where it ends by its minutes."""
    if steps is not None and minutes is not None:
        raise InputError("Give --steps or --minutes: every run ends by one of them.")
    if minutes is not None and not 0 < minutes < math.inf:
        raise InputError(f"minutes must be a positive number; got {minutes}.")
    if steps is not None and steps < 1:
        raise InputError(f"steps must be at least 1; got {steps}.")
    return None if minutes is not None else steps or default


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
        where: Any = {"root": root, "seed": data_seed, "progress": not quiet}
        # load says what is wrong with masks
        samples = load(data, "train", masks=masks, **where)  # type: ignore[arg-type]
        tuned = tune(samples, out, plan, data=data, command=command_line(), progress=not quiet)
    for name, score in tuned.average_f1.items():
        typer.echo(f"{name}: average F1 {score:.3f} on the pictures that it was tuned on")
