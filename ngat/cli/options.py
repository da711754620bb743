"""What the commands share: options that mean the same everywhere, and how they end."""

from __future__ import annotations

import ast
import contextlib
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from ngat.errors import InputError
from ngat.system.files import read_json
from ngat.system.process import terminable

Data = Annotated[
    str, typer.Option(help="synthetic, rings, dsb2018, or a folder with images/ and masks/.")
]
Root = Annotated[Path, typer.Option(help="Folder that holds dsb2018/ and the tables of types.")]
DataSeed = Annotated[int, typer.Option(min=0, help="Seed of the drawn data sets.")]
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


# Options that are empty unless they are given, and the commands where --weights is one of them.
_MAY_BE_EMPTY = ("--name", "--label", "--only", "--preset", "--start", "--threads", "--engines")
_SHIPPED = ("explorer", "reproduce")


def check_words(words: Sequence[str]) -> None:
    """Refuse a word without a letter: as the name of a file it would be the current folder.

    Raises:
        InputError: there is one.
    """
    for before, word in pairwise(["", *words]):
        option, sign, value = word.partition("=") if word.startswith("--") else (before, "=", word)
        if value or not sign or option in _MAY_BE_EMPTY:
            continue
        if option == "--weights" and words[0] in _SHIPPED:
            continue
        what = option if option.startswith("-") else "An argument"
        raise InputError(f"{what} is empty; give a value, or . for the folder you are in.")


def check_out(out: Path, inputs: Sequence[Path], *endings: str) -> None:
    """Refuse, before any work, an output file that is an input, or a thing of another kind.

    Args:
        out: the file to be written.
        inputs: files, and folders all of whose files are inputs.
        endings: that its name may have.

    Raises:
        InputError: it can't be written there, or would replace an input.
    """
    if not out.name.lower().endswith(endings):
        raise InputError(f"--out {out}: give a name that ends in {' or '.join(endings)}.")
    if os.path.isdir(out):
        raise InputError(f"--out {out}: is a folder; give the name of a file.")
    for path in inputs:
        if os.path.exists(path) and any(
            os.path.exists(place) and os.path.samefile(place, path)
            for place in (out, *([out.parent] if os.path.isdir(path) else []))
        ):
            raise InputError(f"--out {out}: is an input or among them; choose another place.")


def check_table(out: Path) -> None:
    """Refuse a table beside which the JSON file that says how it was made would replace another.

    Tables of this program have such a file, which is replaced.

    Raises:
        InputError: ``out`` is no name of a table, or that file was not written by this program.
    """
    check_out(out, (), ".csv", ".csv.gz")
    path = out.with_suffix(".json")
    if os.path.exists(path):
        remedy = f"it would be replaced beside {out.name}; move it, or choose another --out"
        if not {"command", "commit", "versions"} <= set(read_json(path, remedy)):
            raise InputError(f"{path}: is no record of a table; {remedy}.")


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
