"""Progress bars for whatever takes more than two seconds."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

Item = TypeVar("Item")


def bar(count: ProgressColumn | None = None, *, progress: bool = True) -> Progress:
    """A bar on stderr; silent where stderr is no terminal or ``progress`` is off.

    ``count`` is the column that shows how far it is; by default "done/total".
    """
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        count or MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=not (progress and sys.stderr.isatty()),
    )


def track(
    items: Iterable[Item], label: str, *, total: int | None = None, progress: bool = True
) -> Iterator[Item]:
    """Yield ``items`` while a bar counts them."""
    with bar(progress=progress) as display:
        yield from display.track(items, total=total, description=label)
