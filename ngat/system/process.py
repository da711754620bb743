"""How a command behaves: Ctrl-C and SIGTERM, threads that wait for work, progress bars.

A signal is a request that is granted at the next safe moment, or an exception. How threads wait is
set by commands and notebooks, never by ``import ngat``.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from types import FrameType
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

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """A signal asked for the end.

    Attributes:
        number: which; the command's exit code is 128 more, as a shell has it.
    """

    def __init__(self, sentence: str = "", number: int = signal.SIGINT) -> None:
        super().__init__(sentence)
        self.number = int(number)


class Request(threading.Event):
    """Set by the first signal, whose ``number`` it keeps."""

    number: int = signal.SIGINT


@contextlib.contextmanager
def stop_requests() -> Iterator[Request]:
    """An event that SIGINT and SIGTERM set; a second signal acts at once, as usual.

    Outside the main thread, where Python takes no signals, the event is never set.
    """
    asked = Request()
    with contextlib.ExitStack() as handlers:

        def ask(number: int, frame: FrameType | None) -> None:
            asked.number = number
            asked.set()
            handlers.close()

        handlers.enter_context(handling(ask, *SIGNALS))
        yield asked


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM raises :class:`Interrupted` in the block, so that it is tidied up as by Ctrl-C."""

    def end(number: int, frame: FrameType | None) -> None:
        raise Interrupted(number=number)

    with handling(end, signal.SIGTERM):
        yield


@contextlib.contextmanager
def handling(
    handler: Callable[[int, FrameType | None], object], *numbers: signal.Signals
) -> Iterator[None]:
    """Signals go to ``handler`` during the block, in the main thread; elsewhere nothing changes."""
    with keeping(*numbers) as ours:
        for number in numbers if ours else ():
            signal.signal(number, handler)
        yield


@contextlib.contextmanager
def keeping(*numbers: signal.Signals) -> Iterator[bool]:
    """The handlers of signals are after the block what they were; gives whether they can be set."""
    if threading.current_thread() is not threading.main_thread():
        yield False
        return
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        yield True
    finally:
        for number, one in before.items():
            # None: a handler that was not set from Python, and cannot be.
            signal.signal(number, signal.SIG_DFL if one is None else one)


# OpenMP threads that wait for work shall soon sleep. Where cores are shared (two engines, the
# thread that draws patches, other programs) threads that spin took a training step on two cores
# from 0.3 s to 2.4 s. GNU's, which torch has on Linux, may spin for as long as waking one takes,
# some ten microseconds: without it a step on two cores took a fifth longer.
WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "2000"}


def sleep_while_waiting() -> None:
    """Set :data:`WAITING` in this process's environment, unless the user has set either variable.

    It has an effect only before torch is first loaded.
    """
    if not WAITING.keys() & os.environ.keys():
        os.environ.update(WAITING)


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
