"""``ngat ablate``, ``leave-out``, ``error-types``, ``robustness`` and ``tune-classical``."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ngat.cli.options import Data, DataSeed, Device, Limit, Quiet, Root, command_line, interruptible
from ngat.errors import InputError

if TYPE_CHECKING:
    from ngat.data.sample import Sample
    from ngat.training.sweep import Table

app = typer.Typer()

Steps = Annotated[int | None, typer.Option(help="Training steps of every run.")]
Minutes = Annotated[
    float | None, typer.Option(help="Instead of steps: minutes of one core for every run.")
]


@app.command()
def ablate(
    out: Annotated[Path, typer.Option(help="The CSV file, a line per run; gone on with.")],
    data: Data = "synthetic",
    steps: Steps = None,
    minutes: Minutes = None,
    base: Annotated[
        str, typer.Option("--preset", help="The base; smoke, on dsb2018 companion by default.")
    ] = "",
    seeds: Annotated[int, typer.Option(help="Runs of each variant.")] = 3,
    only: Annotated[str, typer.Option(help="Factors, for example levels,loss.")] = "",
    device: Device = "auto",
    root: Root = Path("data"),
    limit: Limit = None,
    quiet: Quiet = False,
) -> None:
    """Train and score a network with one thing changed at a time."""
    with interruptible("Stopped; the same command goes on after the last whole run."):
        from ngat.data import load
        from ngat.training import ablation
        from ngat.training.sweep import Pictures

        steps = _budget(steps, minutes, 100)
        base = base or ("companion" if data == "dsb2018" else "smoke")
        factors = [name.strip() for name in only.split(",") if name.strip()]
        variants = ablation.plan(factors, seeds, base)
        # Generated pictures are scored on another seed's, which nothing was tuned on.
        seed = 0 if data == "dsb2018" else 1
        part = "val" if data == "dsb2018" else "test"
        show = not quiet
        pictures = Pictures(
            load(data, "train", root=root, limit=limit, progress=show),
            load(data, "val", root=root, limit=5, progress=show),
            load(data, part, root=root, seed=seed, limit=limit, progress=show),
        )
        table = ablation.table(out)
        with _told(table, pictures.scored, data, part, steps, minutes, preset=base):
            added = ablation.ablate(
                out,
                variants,
                steps,
                pictures,
                minutes=minutes,
                base=base,
                device=device,
                progress=show,
            )
    typer.echo(f"{out}: {added} runs added")


@app.command()
def leave_out(
    out: Annotated[Path, typer.Option(help="The CSV file, a line per run and type; gone on with.")],
    data: Data = "synthetic",
    steps: Steps = None,
    minutes: Minutes = None,
    seeds: Annotated[int, typer.Option(help="Runs of each.")] = 1,
    networks: Annotated[str, typer.Option(help="Presets.")] = "companion,unet",
    device: Device = "auto",
    root: Root = Path("data"),
    limit: Limit = None,
    quiet: Quiet = False,
) -> None:
    """Train without a type of picture and test on it, type by type."""
    with interruptible("Stopped; the same command goes on after the last whole run."):
        from ngat.config import preset
        from ngat.data import load
        from ngat.training import leave_out as study
        from ngat.training.sweep import Pictures

        steps = _budget(steps, minutes, 300)
        if seeds < 1:
            raise InputError(f"seeds must be at least 1; got {seeds}.")
        names = [preset(name.strip()).name for name in networks.split(",")]
        show, seed = not quiet, 0 if data == "dsb2018" else 1
        pictures = Pictures(
            load(data, "train", root=root, limit=limit, progress=show),
            load(data, "val", root=root, limit=limit, progress=show),
            load(data, "test", root=root, seed=seed, limit=limit, progress=show),
        )
        trials = study.plan(names, seeds)
        with _told(study.table(out), pictures.scored, data, "test", steps, minutes):
            added = study.leave_out(
                out, trials, steps, pictures, minutes=minutes, device=device, progress=show
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
    quiet: Quiet = False,
) -> None:
    """Count nuclei found, merged, split and missed by type, size and whether they touch."""
    with interruptible("Stopped; nothing was written."):
        from ngat.data import fingerprint, load
        from ngat.evaluation import error_types as study
        from ngat.system.files import replacing, write_json
        from ngat.system.provenance import provenance

        began = time.monotonic()
        nuclei = study.committed(results, [name.strip() for name in runs.split(",")])
        samples = load(data, split, root=root, seed=data_seed, progress=not quiet)
        table = study.count(nuclei, samples, progress=not quiet)
        with replacing(out) as beside:
            table.to_csv(beside, index=False, lineterminator="\n")
        minutes = (time.monotonic() - began) / 60
        told = provenance(
            command_line(), None, fingerprint(samples), minutes, data=data, split=split
        )
        write_json(out.with_suffix(".json"), told)
    typer.echo(study.by(table, "type").to_string(index=False))
    typer.echo(str(out))


@app.command()
def robustness(
    weights: Annotated[Path, typer.Option(help="A file that ngat train wrote.")],
    out: Annotated[Path, typer.Option(help="The CSV file.")],
    data: Data = "dsb2018",
    root: Root = Path("data"),
    device: Device = "auto",
    data_seed: DataSeed = 0,
    limit: Limit = None,
    quiet: Quiet = False,
) -> None:
    """Score a network on validation images changed as other laboratories would change them."""
    with interruptible("Stopped; nothing was written."):
        from ngat.data import fingerprint, load
        from ngat.evaluation.robustness import robustness as study
        from ngat.system.files import replacing, write_json
        from ngat.system.provenance import provenance
        from ngat.training.distributed import find_device
        from ngat.training.weights import load_weights

        began = time.monotonic()
        loaded = load_weights(weights, find_device(device))
        samples = load(data, "val", root=root, seed=data_seed, limit=limit, progress=not quiet)
        table = study(loaded, samples, progress=not quiet)
        with replacing(out) as beside:
            table.to_csv(beside, index=False, lineterminator="\n")
        minutes = (time.monotonic() - began) / 60
        told = provenance(
            command_line(), None, fingerprint(samples), minutes, data=data, split="val"
        )
        write_json(out.with_suffix(".json"), {**told, "training": loaded.provenance})
    typer.echo(table.to_string(index=False))
    typer.echo(str(out))


@contextlib.contextmanager
def _told(
    table: Table,
    scored: Sequence[Sample],
    data: str,
    split: str,
    steps: int | None,
    minutes: float | None = None,
    **common: str,
) -> Iterator[None]:
    """Write a table's provenance beside it, from the first run on; keep it if none was added.

    Raises InputError where the table's runs were scored on other pictures, had other minutes, or
    differ in what else all of them have in ``common``.
    """
    from ngat.data import fingerprint
    from ngat.system.files import write_json
    from ngat.system.provenance import provenance

    budget = {**common, "minutes_each": minutes} if minutes is not None else dict(common)
    table.check(scored, budget)
    before = len(table.lines(steps))
    try:
        yield
    finally:
        after = len(table.lines(steps))
        if after and (after > before or not table.origin.exists()):
            told = provenance(
                command_line(),
                None,
                fingerprint(scored),
                table.minutes(steps),
                data=data,
                split=split,
                steps=steps,
                **budget,
            )
            write_json(table.origin, told)


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
