"""What the commands share: options that mean the same everywhere, and how they end."""

from __future__ import annotations

import ast
import contextlib
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from ngat.errors import InputError
from ngat.system.process import terminable

Data = Annotated[
    str, typer.Option(help="synthetic, rings, dsb2018, or a folder with images/ and masks/.")
]
Root = Annotated[Path, typer.Option(help="Folder that holds dsb2018/ and the tables of types.")]
DataSeed = Annotated[int, typer.Option(help="Seed of the drawn data sets.")]
Limit = Annotated[int | None, typer.Option(help="Only so many pictures of each split.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Tta = Annotated[
    bool,
    typer.Option("--tta", help="Average over a picture and its three flips: four times the work."),
]
Set = Annotated[list[str] | None, typer.Option("--set", help="A parameter, name=value.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress on stderr.")]


def assignments(texts: list[str] | None) -> dict[str, Any]:
    """``steps=20`` as names and plain values; what is no Python literal is a string.

    Raises:
        InputError: a text is no assignment, or a name is there twice.
    """
    found: dict[str, Any] = {}
    for text in texts or []:
        name, sign, value = text.partition("=")
        if not sign or not name.isidentifier():
            raise InputError(f"--set {text}: write it as name=value.")
        if name in found:
            raise InputError(f"--set {name} is there twice; keep one of them.")
        try:
            found[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            found[name] = value
    return found


def names(text: str) -> tuple[str, ...]:
    """``levels, loss`` as its words."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


@contextlib.contextmanager
def interruptible(sentence: str) -> Iterator[None]:
    """Ctrl-C ends the command with a sentence and exit code 130, SIGTERM with 143.

    An interruption that has something to say itself, says that.
    """
    try:
        with terminable():
            yield
    except KeyboardInterrupt as error:
        typer.echo(str(error) or sentence, err=True)
        raise typer.Exit(128 + getattr(error, "number", signal.SIGINT)) from error


class Commands(TyperGroup):
    """A group of commands each of which ends with a sentence, whatever interrupts it."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; its own sentence on an interruption comes before this general one."""
        with interruptible("Stopped; no file was left half written."):
            return super().invoke(ctx)


def echo_results(written: Sequence[Path]) -> None:
    """Print table 1 of the result files that a command wrote, and their paths."""
    from ngat.evaluation.results import read_run
    from ngat.evaluation.tables import printed, table1

    suffix = ".counts.csv"
    runs = [read_run(str(p)[: -len(suffix)]) for p in written if p.name.endswith(suffix)]
    typer.echo(printed(table1(runs, with_published=False)).to_string(index=False))
    for path in written:
        typer.echo(str(path))


def command_line() -> list[str]:
    """The command as the user gave it, for provenance."""
    return ["ngat", *sys.argv[1:]]
