"""What every reader of files makes of one: arrays by named axes, or one sentence for a failure.

Axes have the letters of the TIFF readers: Y and X are the plane, C channels, S the samples of a
colour, and whatever else there is (Z depth, T time, Q unknown, …) numbers pages.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from numbers import Integral
from typing import Any

import numpy as np
import numpy.typing as npt

from ngat.errors import InputError

Array = npt.NDArray[Any]
# Position on every axis but Y, X and S; rows; columns → [h, w], or [h, w, S].
Read = Callable[[dict[str, int], slice, slice], Array]


@dataclass(frozen=True)
class Stack:
    """What one series of a file holds.

    Attributes:
        name: the file, for sentences.
        axes: a letter for each side of ``shape``.
        read: a region of one plane, as the file stores it.
        whole: all of it, for axes of other names; None where that cannot be had.
        channel_names: by C, where the file knows them.
        pixel_size: micrometres (y, x), where the file knows them.
        colour: its samples are red, green and blue.
        alpha: how the last sample is transparency: ``straight``, ``premultiplied``, or empty.
        orientation: EXIF's number, 1 to 8, of how the stored picture is to be turned.
        inverted: the smallest value is white.
        levels: number of magnifications stored, the largest first.
    """

    name: str
    axes: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    read: Read
    whole: Callable[[], Array] | None = None
    channel_names: tuple[str, ...] = ()
    pixel_size: tuple[float, float] | None = None
    colour: bool = False
    alpha: str = ""
    orientation: int = 1
    inverted: bool = False
    levels: int = 1

    def size(self, axis: str) -> int:
        """Length of an axis; 1 where there is none of that name."""
        return self.shape[self.axes.index(axis)] if axis in self.axes else 1

    @property
    def page_axes(self) -> list[str]:
        """Axes that number pages, without those of length 1."""
        return [a for a in self.axes if a not in "YXCS" and self.size(a) > 1]

    @property
    def pages(self) -> int:
        """How many pages there are."""
        return prod(self.size(a) for a in self.page_axes)

    def page(self, number: int) -> dict[str, int]:
        """Position on the page axes of one page; the last axis runs fastest."""
        sides = [self.size(a) for a in self.page_axes]
        places = np.unravel_index(number, sides) if sides else ()
        return dict.fromkeys(self.axes, 0) | {
            a: int(i) for a, i in zip(self.page_axes, places, strict=True)
        }


def array_stack(name: str, array: Any, axes: str, **more: Any) -> Stack:
    """A stack of an array, in memory or in a file."""

    def read(place: dict[str, int], rows: slice, columns: slice) -> Array:
        return region(array, axes, place, rows, columns)

    dtype = np.dtype(array.dtype)
    return Stack(name, axes, tuple(array.shape), dtype, read, lambda: np.asarray(array[:]), **more)


def region(array: Any, axes: str, place: dict[str, int], rows: slice, columns: slice) -> Array:
    """A region of one plane of an array with these axes, samples last; see :data:`Read`."""
    where = {"Y": rows, "X": columns, "S": slice(None)}
    part = np.asarray(array[tuple(where.get(a, place.get(a, 0)) for a in axes)])
    order = [a for a in axes if a in "YXS"]
    return np.moveaxis(part, [order.index(a) for a in "YXS" if a in order], range(len(order)))


def renamed(stack: Stack, axes: str) -> Stack:
    """The stack with axes as the user says (option ``--axes``).

    Three samples are a colour, a fourth is transparency.

    Raises:
        InputError: letters are missing or too many, or the data cannot be read that way.
    """
    axes = str(axes).upper()
    shape = " x ".join(map(str, stack.shape))
    if len(axes) != len(stack.shape) or len(set(axes)) != len(axes) or not set("YX") <= set(axes):
        raise InputError(
            f"{stack.name}: --axes {axes or repr(axes)} does not fit {shape} (the file says "
            f"{stack.axes}); give one letter for each side, Y and X among them."
        )
    in_plane = [(a, i) for i, a in enumerate(axes) if a in "YXS"]
    if in_plane == [(a, i) for i, a in enumerate(stack.axes) if a in "YXS"]:
        # Only the numbering of planes has other names.
        names, inner = dict(zip(axes, stack.axes, strict=True)), stack.read

        def read(place: dict[str, int], rows: slice, columns: slice) -> Array:
            return inner({names[a]: i for a, i in place.items()}, rows, columns)

        stack = replace(stack, axes=axes, read=read, channel_names=())
    elif stack.whole is None:
        raise InputError(f"{stack.name}: cannot be read as --axes {axes}; save it as TIFF.")
    else:
        stack = array_stack(
            stack.name, stack.whole(), axes, pixel_size=stack.pixel_size, inverted=stack.inverted
        )
    samples = stack.size("S")
    if stack.colour or "S" not in axes:
        return stack
    return replace(stack, colour=samples in (3, 4), alpha="straight" if samples in (2, 4) else "")


def choose_page(stacks: Sequence[Stack], page: int | None) -> tuple[Stack, int]:
    """The stack that holds a page, and the page's number in it.

    Raises:
        InputError: there are several and none is chosen, or fewer than that.
    """
    stack = stacks[0]
    total = sum(s.pages for s in stacks)
    if page is None:
        if total == 1:
            return stack, 0
        sides = ", ".join(f"{a}={stack.size(a)}" for a in stack.page_axes)
        held = f"{total} pages" + (f" ({sides})" if sides and len(stacks) == 1 else "")
        hint = ""
        if len(stack.axes) == 3 and stack.shape[-1] <= 16 and stack.pages > stack.shape[-1]:
            hint = ", or, if its last side is channels, --axes YXC"
        elif len(stack.page_axes) == 1 and total <= 8 and "C" not in stack.axes:
            letters = stack.axes.replace(stack.page_axes[0], "C")
            hint = f", or, if they are channels, --axes {letters}"
        raise InputError(
            f"{stack.name}: holds {held}; choose one with --page 0 to {total - 1} or every one "
            f"with --page all{hint}."
        )
    if not isinstance(page, Integral) or not 0 <= page < total:
        raise InputError(f"{stack.name}: has no page {page}; choose --page 0 to {total - 1}.")
    for stack in stacks:
        if page < stack.pages:
            break
        page -= stack.pages
    return stack, page


def choose_channels(stack: Stack, channel: str | int | None) -> tuple[int, ...]:
    """Numbers of the one or three channels that a network is to see.

    Channels are those of axis C, else the samples without transparency.

    Raises:
        InputError: there are several and none is chosen, or not that one.
    """
    count, names = channels_of(stack)
    name, known = stack.name, f" ({', '.join(names)})" if any(names) else ""
    if channel is None:
        if stack.colour and stack.size("C") == 1:
            return tuple(range(min(count, 3)))
        if count == 1:
            return (0,)
        raise InputError(
            f"{name}: holds {count} channels{known}; choose that of the nuclei with --channel, "
            "for example --channel 0, or three as red, green and blue with --channel 0,1,2."
        )
    chosen = []
    for word in str(channel).split(","):
        word = word.strip()
        if word in names:
            chosen.append(names.index(word))
        elif word.isdecimal() and int(word) < count:
            chosen.append(int(word))
        else:
            them = f"choose --channel 0 to {count - 1}{known}"
            them = them if count > 1 else "it has one, so leave out --channel"
            raise InputError(f"{name}: has no channel {word!r}; {them}.")
    if len(chosen) not in (1, 3):
        raise InputError(f"{name}: --channel names one channel or three; got {len(chosen)}.")
    return tuple(chosen)


def channels_of(stack: Stack) -> tuple[int, tuple[str, ...]]:
    """Number of channels without transparency, and their names (numbers where it has none)."""
    if "C" in stack.axes and stack.size("C") > 1:
        count = stack.size("C")
    else:
        count = stack.size("S") - bool(stack.alpha)
    names = stack.channel_names
    if stack.colour and count == 3 and stack.size("C") == 1:
        names = ("red", "green", "blue")
    if len(names) != count or len(set(names)) != count:
        names = tuple(str(i) for i in range(count)) if count > 1 else ("intensity",)
    return count, names


def block_means(pixels: npt.NDArray[Any], step: int) -> npt.NDArray[np.float32]:
    """Means over blocks of ``step × step`` pixels, and over what is left at the far edges."""
    sums = pixels.astype(np.float64)
    for axis in (0, 1):
        starts = np.arange(0, pixels.shape[axis], step)
        counts = np.minimum(starts + step, pixels.shape[axis]) - starts
        sums = np.add.reduceat(sums, starts, axis=axis)
        sums /= counts.reshape([-1 if i == axis else 1 for i in range(sums.ndim)])
    return sums.astype(np.float32)


# The most that is read into memory at once. What is larger must be in a form that is read by
# region: tiled or striped TIFF, OME-Zarr.
MAX_BYTES = 1 << 30

_lock, _inside, _before = threading.Lock(), 0, contextlib.ExitStack()


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """No warnings, nor what tifffile logs of damage. Several threads may be inside at once.

    For all of them the state before is kept once; each for itself would restore another's silence.
    """
    global _inside
    with _lock:
        _inside += 1
        if _inside == 1:
            _before.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")
            log = logging.getLogger("tifffile")
            _before.callback(setattr, log, "disabled", log.disabled)
            log.disabled = True
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                _before.close()


@contextlib.contextmanager
def reading(name: str, what: str = "picture") -> Iterator[None]:
    """Turn whatever a reader raises on a damaged file into one sentence that begins with its name.

    Every exception is meant: a flipped bit can fail anywhere in a decoder, as ZeroDivisionError
    or struct.error as well as by a class of the decoder's own. What readers log about damage is
    left out, for the sentence says it.

    Raises:
        InputError: anything inside failed.
    """
    try:
        with silent():
            yield
    except InputError:
        raise
    except MemoryError as error:
        raise InputError(
            f"{name}: needs more memory than there is; save it as tiled TIFF or cut it."
        ) from error
    except OSError as error:
        if error.strerror is None:
            raise InputError(_damaged(name, what, error)) from error
        raise InputError(
            f"{name}: cannot be read ({error.strerror}); check the file name."
        ) from error
    except Exception as error:
        raise InputError(_damaged(name, what, error)) from error


def check_size(name: str, shape: tuple[int, ...], itemsize: int) -> None:
    """Refuse what a header promises beyond :data:`MAX_BYTES`, before memory is spent on it."""
    if min(shape, default=0) < 1:
        raise InputError(f"{name}: has no pixels ({_times(shape)}); get the file again.")
    if prod(shape) * itemsize > MAX_BYTES:
        raise InputError(
            f"{name}: {_times(shape)} values are more than is read at once; "
            "save the picture as tiled TIFF or OME-Zarr, or cut it."
        )


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(str(side) for side in shape)


def _damaged(name: str, what: str, error: BaseException) -> str:
    reason = (str(error) or type(error).__name__).splitlines()[0]
    reason = "".join(c for c in reason if c.isprintable())[:120].rstrip(". ")
    return f"{name}: not a readable {what} ({reason}); get the file again, or save it anew."
