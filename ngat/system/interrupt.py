"""Ctrl-C and SIGTERM: a request that is granted at the next safe moment, or an exception."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

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
