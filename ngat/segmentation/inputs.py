"""Which pictures a command means: files, folders, patterns; and how their results are named."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from ngat.errors import InputError
from ngat.io.picture import PICTURE_SUFFIXES, is_picture
from ngat.segmentation.formats import FORMATS


class Input(NamedTuple):
    """A picture file, and the name of its results: a path without an ending, as of sub-folders."""

    path: Path
    name: str


def find_inputs(words: Sequence[str], out: Path) -> list[Input]:
    """The pictures that are meant, each once, in the order given; those of a folder by name.

    Args:
        words: files, folders (searched with their sub-folders) and patterns such as ``*.tif``.
        out: the folder of results; what lies in it is no input of a folder that holds it.

    Raises:
        InputError: a word means no picture.
    """
    _stems.cache_clear()
    found: dict[Path, Input] = {}
    alone = []
    for word in words:
        path = Path(word)
        if path.is_dir() and path.suffix.lower() != ".zarr":
            paths = [p for p in _inside(path) if not _is_result(p, out, path)]
            base = path
        elif path.exists() or not glob.has_magic(word):
            if not path.exists():
                raise InputError(f"{word}: there is no such file or folder; check the name.")
            alone.append(path)
            continue
        else:
            matches = sorted(Path(p) for p in glob.glob(word, recursive=True))
            base = _plain_part(word)
            paths = [p for p in matches if is_picture(p) and not _is_result(p, out, base)]
        if not paths:
            raise InputError(
                f"{word}: holds no picture ({', '.join(PICTURE_SUFFIXES)}); check the name."
            )
        for p in paths:
            found.setdefault(p.resolve(), Input(p, _name(p, base)))
    for item in _named_alone(alone):
        found.setdefault(item.path.resolve(), item)
    return list(found.values())


def part_of(inputs: Sequence[Input], part: str | None) -> list[Input]:
    """Every N-th of the pictures, from the K-th: a job array's share, which no other job has.

    Args:
        part: ``K/N`` with K from 1 to N; None is all.

    Raises:
        InputError: it is written otherwise.
    """
    if part is None:
        return list(inputs)
    first, _, every = part.partition("/")
    if not (first.isdecimal() and every.isdecimal() and 1 <= int(first) <= int(every)):
        raise InputError(f"--part {part}: give K/N with K from 1 to N, for example 3/100.")
    return list(inputs[int(first) - 1 :: int(every)])


def _named_alone(paths: Sequence[Path]) -> Iterator[Input]:
    """Files that were named one by one: without their folders, if that leaves no two alike."""
    short = [_name(path, path.parent) for path in paths]
    distinct = {path.resolve(): name.lower() for path, name in zip(paths, short, strict=True)}
    if max(Counter(distinct.values()).values(), default=1) == 1:
        yield from map(Input, paths, short)
        return
    base = Path(os.path.commonpath([path.resolve().parent for path in paths]))
    for path in paths:
        yield Input(path, _name(path.resolve(), base))


def _name(path: Path, base: Path) -> str:
    """``sub/cells`` for ``base/sub/cells.tif``; with the ending where another is named alike."""
    stem = _stem(path.name)
    alike = _stems(path.parent).get(stem.lower(), 0)
    if alike > 1:
        stem = f"{stem}_{path.suffix.removeprefix('.')}"
    return (path.parent.relative_to(base) / stem).as_posix()


def _stem(name: str) -> str:
    stem = Path(name).stem
    return stem[:-4] if stem.lower().endswith(".ome") and len(stem) > 4 else stem


@lru_cache(maxsize=64)
def _stems(folder: Path) -> Counter[str]:
    """How many pictures of a folder have each name, whatever the ending."""
    return Counter(_stem(p.name).lower() for p in folder.iterdir() if is_picture(p))


def _inside(folder: Path) -> Iterator[Path]:
    """Pictures in a folder and its sub-folders, by name; hidden folders are passed over."""
    for entry in sorted(folder.iterdir()):
        if is_picture(entry):
            yield entry
        elif entry.is_dir() and not entry.name.startswith("."):
            yield from _inside(entry)


def _is_result(path: Path, out: Path, base: Path) -> bool:
    """Does a picture found in a folder lie among the results?"""
    inside, folder = path.resolve(), out.resolve()
    if not inside.is_relative_to(folder):
        return False
    if not base.resolve().is_relative_to(folder):
        return True
    return inside.relative_to(folder).parts[0] in {form.folder for form in FORMATS.values()}


def _plain_part(pattern: str) -> Path:
    """The folders of a pattern before the first that is a pattern itself."""
    parts = []
    for part in Path(pattern).parts[:-1]:
        if glob.has_magic(part):
            break
        parts.append(part)
    return Path(*parts)
