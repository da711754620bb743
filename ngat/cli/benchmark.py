"""``ngat benchmark``: attention, network, scaling and tiles."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ngat.cli.options import Data, Quiet, Root, command_line, interruptible, names
from ngat.errors import InputError

if TYPE_CHECKING:
    from ngat.benchmark.worker import Plan

app = typer.Typer(help="Measure speed and memory, side by side with others.", no_args_is_help=True)

Threads = Annotated[str, typer.Option(help="Numbers of threads; 1,2 where there are two cores.")]
Where = Annotated[str, typer.Option(help="cpu or cuda.")]
Dtype = Annotated[str, typer.Option(help="float32 or bfloat16.")]
Engines = Annotated[str, typer.Option(help="Names, for example cpu,dgl_gatconv; all by default.")]
Rounds = Annotated[int, typer.Option("--repeats", help="At most so many rounds of each size.")]
Seconds = Annotated[float, typer.Option(help="Begin no further round of a size after so long.")]


@app.command()
def attention(
    sides: Annotated[str, typer.Option(help="Base sides of the pictures.")] = "64,128,256,512",
    batches: Annotated[str, typer.Option(help="Pictures at once.")] = "1,4",
    most_pixels: Annotated[
        int, typer.Option(help="Leave out sizes with more pixels in a batch.")
    ] = 512 * 512,
    levels: Annotated[int, typer.Option(help="Levels of the pyramid.")] = 4,
    heads: Annotated[int, typer.Option(help="Attention heads, which share the channels.")] = 4,
    channels: Annotated[int, typer.Option(help="Width of a node's embedding.")] = 32,
    layers: Annotated[
        str, typer.Option(help="typed (as in the companion) and joint (as published).")
    ] = "typed,joint",
    threads: Threads = "",
    device: Where = "cpu",
    dtype: Dtype = "float32",
    engines: Engines = "",
    compile_sides: Annotated[
        str, typer.Option(help="Sides for torch.compile, which takes minutes for each.")
    ] = "256",
    no_compile: Annotated[bool, typer.Option("--no-compile", help="No torch.compile.")] = False,
    memory_side: Annotated[int, typer.Option(help="Side for peak memory; 0 for none.")] = 256,
    first_side: Annotated[int, typer.Option(help="Side for the first call; 0 for none.")] = 256,
    default_side: Annotated[
        int, typer.Option(help="Side for the allocator as it comes; 0 for none.")
    ] = 256,
    repeats: Rounds = 15,
    seconds: Seconds = 6.0,
    out: Annotated[Path | None, typer.Option(help="CSV file; provenance beside it.")] = None,
    quiet: Quiet = False,
) -> None:
    """One layer, as the presets run it, on all engines, DGL, PyG and torch.compile.

    NGAT_SIMD=avx2 keeps everything to the instructions of a processor without AVX-512.
    """
    from ngat.benchmark.attention import LayerPlan
    from ngat.benchmark.report import attention_report

    plan = LayerPlan(
        sides=_numbers(sides, "sides"),
        batches=_numbers(batches, "batches"),
        most_pixels=most_pixels,
        levels=levels,
        heads=heads,
        channels=channels,
        layers=names(layers),
        compiled=() if no_compile else _numbers(compile_sides, "compile-sides"),
        memory_side=memory_side,
        first_side=first_side,
        default_side=default_side,
        threads=_numbers(threads, "threads"),
        device=device,
        dtype=dtype,
        engines=names(engines),
        rounds=repeats,
        seconds=seconds,
    )
    _measure(plan, attention_report, out, quiet)


@app.command()
def network(
    preset: Annotated[str, typer.Option(help="paper, companion or smoke.")] = "companion",
    batch: Annotated[int, typer.Option(help="Of a training step; 0: the preset's own.")] = 0,
    patch: Annotated[int, typer.Option(help="Its pictures' side; 0: the preset's own.")] = 0,
    side: Annotated[int, typer.Option(help="Side of the picture of the inference.")] = 256,
    threads: Threads = "",
    device: Where = "cpu",
    dtype: Dtype = "float32",
    engines: Engines = "",
    repeats: Rounds = 15,
    seconds: Seconds = 60.0,
    out: Annotated[Path | None, typer.Option(help="CSV file; provenance beside it.")] = None,
    quiet: Quiet = False,
) -> None:
    """Training step and inference of a preset on all engines, beside MONAI's BasicUNet."""
    from ngat.benchmark.network import NetworkPlan
    from ngat.benchmark.report import network_report

    plan = NetworkPlan(
        preset=preset,
        batch=batch,
        patch=patch,
        side=side,
        threads=_numbers(threads, "threads"),
        device=device,
        dtype=dtype,
        engines=names(engines),
        rounds=repeats,
        seconds=seconds,
    )
    _measure(plan, network_report, out, quiet)


@app.command()
def scaling(
    out: Annotated[Path, typer.Option(help="CSV file, which a later run adds to.")],
    pictures: Annotated[
        str, typer.Option(help="Sides, and the share of each picture that is tissue.")
    ] = "2500:1,5000:1,10000:0.25,20000:0.25",
    workers: Annotated[str, typer.Option(help="Numbers of threads, tiles at once.")] = "1,2",
    split_sides: Annotated[
        str, typer.Option(help="Sides of the maps that split divides.")
    ] = "2500,5000,10000",
    quiet: Quiet = False,
) -> None:
    """Time and memory of ngat segment by picture size, and of split alone.

    Pictures are drawn. Each row is written at once; a stopped run goes on with the same command.
    """
    with _measuring("Stopped; the same command goes on after the last row that was written."):
        from ngat.benchmark.scaling import benchmark_scaling, scaling_report

        tables = benchmark_scaling(
            out,
            _shares(pictures),
            _numbers(workers, "workers"),
            _numbers(split_sides, "split-sides"),
            command=command_line(),
            quiet=quiet,
        )
    _print(scaling_report(*tables), {}, out)


@app.command()
def tiles(
    out: Annotated[Path, typer.Option(help="CSV file; provenance beside it.")],
    data: Data = "dsb2018",
    root: Root = Path("data"),
    images: Annotated[int, typer.Option(help="How many pictures of the validation split.")] = 20,
    sides: Annotated[str, typer.Option(help="Sides of the tiles.")] = "160,224,320",
    weights: Annotated[Path | None, typer.Option(help="Instead of the shipped ones.")] = None,
    quiet: Quiet = False,
) -> None:
    """Nuclei and probabilities by tiles beside those of the whole picture, on real pictures."""
    with _measuring():
        from ngat.benchmark.tiles import benchmark_tiles, suitable, tiles_report
        from ngat.data import load

        chosen = suitable(load(data, "val", root=root, progress=not quiet), images)
        table = benchmark_tiles(
            chosen,
            _numbers(sides, "sides"),
            out,
            weights=weights,
            command=command_line(),
            progress=lambda name: None if quiet else typer.echo(name, err=True),
        )
    _print(tiles_report(table), {}, out)


def _shares(text: str) -> tuple[tuple[int, float], ...]:
    try:
        pairs = [word.partition(":") for word in names(text)]
        return tuple((int(side), float(share or 1)) for side, _, share in pairs)
    except ValueError as error:
        raise InputError(f"--pictures {text}: write for example 2500:1,20000:0.25.") from error


def _measure(
    plan: Plan, report: Callable[[Any], Iterable[str]], out: Path | None, quiet: bool
) -> None:
    """Measure a plan, and print its table and what could not be measured."""
    from ngat.benchmark.worker import benchmark

    with _measuring():
        frame, notes = benchmark(plan, out, command=command_line(), quiet=quiet)
    _print(report(frame), notes, out)


@contextlib.contextmanager
def _measuring(stopped: str = "Stopped; nothing was written.") -> Iterator[None]:
    """A worker's failure and Ctrl-C end with a sentence."""
    from ngat.benchmark.worker import BenchmarkFailed

    with interruptible(stopped):
        try:
            yield
        except BenchmarkFailed as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(1) from error


def _print(lines: Iterable[str], notes: dict[str, str], out: Path | None) -> None:
    typer.echo("\n".join(lines).strip())
    for name, reason in notes.items():
        typer.echo(f"\nnot measured: {name}: {reason}")
    if out is not None:
        typer.echo(f"\n{out}")


def _numbers(text: str, option: str) -> tuple[int, ...]:
    try:
        return tuple(int(word) for word in names(text))
    except ValueError as error:
        raise InputError(f"--{option} {text}: give whole numbers, for example 64,128.") from error
