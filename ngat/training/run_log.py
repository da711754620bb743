"""A CSV log that grows line by line and survives a kill."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from ngat.errors import InputError
from ngat.system.files import replacing, space_for


class RunLog:
    """Lines of numbers whose first column is the step, kept in ``path``.

    Opening an existing log cuts it back to ``step``: what was written after the last checkpoint,
    whole or in part, is done again by the run that goes on.

    Args:
        path: the file.
        columns: names; ``step`` comes first.
        step: keep lines up to this step; 0 starts anew.

    Raises:
        InputError: the file has other columns, or cannot be written.
    """

    def __init__(self, path: Path, columns: Sequence[str], step: int = 0) -> None:
        kept: list[list[str]] = []
        if step and path.exists():
            # The last line may have been cut by the kill.
            text = path.read_text(encoding="utf-8", errors="replace")
            header, *rows = list(csv.reader(text[: text.rfind("\n") + 1].splitlines())) or [[]]
            if header != list(columns):
                raise InputError(f"{path}: has other columns; start the run again.")
            whole = (row for row in rows if len(row) == len(columns) and row[0].isdecimal())
            kept = [row for row in whole if int(row[0]) <= step]
        with replacing(path) as beside, beside.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows([list(columns), *kept])
        self._path = path
        self._file = path.open("a", newline="", encoding="utf-8")
        self._writer = csv.writer(self._file, lineterminator="\n")

    def write(self, step: int, values: Sequence[float | None]) -> None:
        """Append a line; seven digits, empty where there is no value. Raises DiskFull."""
        with space_for(self._path):
            self._append([step, *("" if v is None else f"{v:.7g}" for v in values)])

    def _append(self, line: Sequence[object]) -> None:
        self._writer.writerow(line)
        self._file.flush()

    def __enter__(self) -> RunLog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # After a full disk the buffer still holds the line, and closing would try it again.
        with contextlib.suppress(OSError):
            self._file.close()
