"""Tables that long work adds to, run by run: whole after every run, so that it can go on."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from ngat.errors import InputError
from ngat.system.files import replacing

Line = dict[str, str]


def read_runs(path: Path, columns: Sequence[str], steps: int, what: str) -> list[Line]:
    """The lines of a table; none if there is no such file yet.

    Args:
        columns: which it must have, ``steps`` among them.
        steps: training steps of every run.
        what: what the table holds, for the message.

    Raises:
        InputError: the file holds something else, or runs of another number of steps.
    """
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != tuple(columns):
            raise InputError(f"{path}: is no table of {what}; choose another file.")
        lines = list(reader)
    for line in lines:
        if line["steps"] != str(steps):
            raise InputError(
                f"{path}: holds runs of {line['steps']} steps, not {steps}; give another file."
            )
    return lines


def write_runs(path: Path, columns: Sequence[str], lines: Sequence[Line]) -> None:
    """Write the table beside and put it in place."""
    with replacing(path) as beside, beside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)


def minutes(path: Path, run: Sequence[str]) -> float:
    """How long the runs in a table trained, added up over it, whatever call made them.

    A clock around one call would forget what earlier calls, stopped or finished, have done.

    Args:
        run: columns that tell one run from another; it may have several lines.
    """
    with path.open(newline="", encoding="utf-8") as file:
        seconds = {
            tuple(line[name] for name in run): float(line["seconds"])
            for line in csv.DictReader(file)
        }
    return sum(seconds.values()) / 60
