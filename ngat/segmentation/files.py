"""The files of ``ngat segment``: which pictures are meant, and the record of each one's results.

The record says how results were made, and which files may be replaced.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatch
from functools import lru_cache
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

from ngat.errors import InputError
from ngat.io.kinds import MICROSCOPE_SUFFIXES, PICTURE_SUFFIXES, is_picture, remedy, stem
from ngat.segmentation.formats import FORMATS
from ngat.system.files import FULL, DiskFull, earlier_json, locked, sha256, write_json


class Input(NamedTuple):
    """A picture file, and the name of its results: a path without an ending, as of sub-folders."""

    path: Path
    name: str


def _refuse(sentence: str) -> None:
    raise InputError(sentence)


def find_inputs(
    words: Sequence[str], out: Path, unreadable: Callable[[str], None] = _refuse
) -> list[Input]:
    """The pictures that are meant, each once, in the order given; those of a folder by name.

    Args:
        words: files, folders (searched with their sub-folders) and patterns such as ``*.tif``.
        out: the folder of results; what lies in it is no input of a folder that holds it.
        unreadable: gets a sentence on each sub-folder that is passed over, an error without it.

    Raises:
        InputError: a word means no picture.
    """
    _stems.cache_clear()
    found: dict[Path, Input] = {}
    alone = []
    for word in words:
        path = Path(word)
        closed: list[str] = []
        if not word:
            raise InputError("The name of a picture is empty; write . for the folder you are in.")
        if os.path.isdir(path) and path.suffix.lower() != ".zarr":
            inside = _inside(path, {_real(path)}, closed.append)
            paths = [p for p in inside if not _is_result(p, out, path)]
            base = path
        elif os.path.exists(path) or not glob.has_magic(word):
            if not os.path.exists(path):
                raise InputError(f"{word}: there is no such file or folder; check the name.")
            alone.append(path)
            continue
        else:
            base = _plain_part(word)
            matches = sorted(_matches(path, base, closed.append))
            paths = [p for p in matches if is_picture(p) and not _is_result(p, out, base)]
        for sentence in closed:
            (unreadable if paths else _refuse)(sentence)
        if not paths:
            kinds = ", ".join(PICTURE_SUFFIXES)
            raise InputError(f"{word}: holds no picture ({kinds}); {_advice(base)}.")
        for p in paths:
            found.setdefault(_real(p), Input(p, _name(p, base)))
    # Files that were named one by one: without their folders, if that leaves no two alike.
    named: dict[Path, Input] = {}
    for path in alone:
        named.setdefault(_real(path), Input(path, _name(path, path.parent)))
    if len({item.name.lower() for item in named.values()}) < len(named):
        base = Path(os.path.commonpath([path.parent for path in named]))
        named = {path: Input(item.path, _name(path, base)) for path, item in named.items()}
    for path, item in named.items():
        found.setdefault(path, item)
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


def _name(path: Path, base: Path) -> str:
    """``sub/cells`` for ``base/sub/cells.tif``; with the ending where another is named alike."""
    name = stem(path)
    if _stems(path.parent).get(name.lower(), 0) > 1:
        name = f"{name}_{path.suffix.removeprefix('.')}"
    return (path.parent.relative_to(base) / name).as_posix()


@lru_cache(maxsize=64)
def _stems(folder: Path) -> Counter[str]:
    """How many pictures of a folder have each name, whatever the ending."""
    try:
        return Counter(stem(p).lower() for p in folder.iterdir() if is_picture(p))
    except OSError:  # a folder may let its files be read, but not be listed
        return Counter()


def _inside(folder: Path, seen: set[Path], closed: Callable[[str], None]) -> Iterator[Path]:
    """Pictures in a folder and its sub-folders, by name; hidden folders are passed over.

    Links may lead back: a folder in ``seen`` is not entered again. ``closed`` gets a sentence on
    each folder that cannot be listed.
    """
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        closed(f"{folder}: cannot be read ({error.strerror}); give yourself the right to read it.")
        return
    for entry in entries:
        if is_picture(entry):
            yield entry
        elif os.path.isdir(entry) and not entry.name.startswith("."):
            real = _real(entry)
            if real not in seen:
                seen.add(real)
                yield from _inside(entry, seen, closed)


def _matches(pattern: Path, base: Path, closed: Callable[[str], None]) -> Iterator[Path]:
    """What a pattern means below its plain part; ``**`` in it is any number of folders."""
    wanted = pattern.relative_to(base).parts

    def fits(parts: tuple[str, ...], wanted: tuple[str, ...]) -> bool:
        if not wanted:
            return not parts
        if wanted[0] == "**" and fits(parts, wanted[1:]):
            return True
        left = wanted if wanted[0] == "**" else wanted[1:]
        return bool(parts) and fnmatch(parts[0], wanted[0]) and fits(parts[1:], left)

    if "**" not in wanted:
        yield from map(Path, glob.glob(str(pattern)))
    elif os.path.isdir(base):
        for path in _inside(base, {_real(base)}, closed):
            if fits(path.relative_to(base).parts, wanted):
                yield path


def _advice(folder: Path) -> str:
    """What to do with a folder without pictures."""
    foreign = sorted({p.suffix.lower() for p in folder.glob("*")} & {*MICROSCOPE_SUFFIXES})
    return f"{foreign[0]}: {remedy(foreign[0])}" if foreign else "check the name"


def _real(path: Path) -> Path:
    """Where a path leads to; unlike Path.resolve this takes links that lead to themselves."""
    return Path(os.path.realpath(path))


def _is_result(path: Path, out: Path, base: Path) -> bool:
    """Does a picture found in a folder lie among the results?"""
    inside, folder = _real(path), _real(out)
    if not inside.is_relative_to(folder):
        return False
    if not _real(base).is_relative_to(folder):
        return True
    return inside.relative_to(folder).parts[0] in {form.folder for form in FORMATS.values()}


def _plain_part(pattern: str) -> Path:
    """The folders of a pattern before the first that is a pattern itself."""
    return Path(*takewhile(lambda part: not glob.has_magic(part), Path(pattern).parts[:-1]))


FORMAT = "ngat-segmentation-1"


def read_record(path: Path) -> dict[str, Any] | None:
    """What an earlier run wrote; None where there is no such file.

    Raises:
        InputError: the file is another program's.
    """
    if not path.exists():
        return None
    record = earlier_json(path)
    if record.get("format") != FORMAT or not isinstance(record.get("outputs"), dict):
        raise InputError(
            f"{path}: was not written by ngat segment; move it, or choose another --out."
        )
    return record


def write_results(
    out: Path,
    record_path: Path,
    record: dict[str, Any],
    writers: Mapping[str, Callable[[Path], None]],
) -> None:
    """Write all files of a picture, or none.

    They are written into a folder beside, then the record names them, then they take their places:
    whatever happens in between, the next run knows which files it may replace. Another process
    that has results of this name waits.

    Args:
        out: the folder of results.
        record_path: of the record.
        record: what it is to say, without the outputs.
        writers: by the file's name inside ``out``.

    Raises:
        InputError: a file is there that was not written by this command, or was changed since.
        DiskFull: there is no space.
    """
    with _disk_errors(out), locked(record_path):
        earlier = read_record(record_path) or {"outputs": {}}
        known = {
            name: [value] if isinstance(value, str) else list(value)
            for name, value in earlier["outputs"].items()
        }
        for name in writers:
            _check_ours(out / name, known.get(name, []))
        # Left behind by a process that was killed.
        beside = record_path.with_name(f".{record_path.name}.parts")
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir()
        try:
            outputs = {}
            paths = {name: beside / f"{i}{Path(name).suffix}" for i, name in enumerate(writers)}
            for name, write in writers.items():
                write(paths[name])
                outputs[name] = path_digest(paths[name])
            others = {name: hashes for name, hashes in known.items() if name not in outputs}
            ours = {name: [*known.get(name, []), value] for name, value in outputs.items()}
            write_json(record_path, {**record, "finished": False, "outputs": ours | others})
            for name, path in paths.items():
                target = out / name
                target.parent.mkdir(parents=True, exist_ok=True)
                if target.is_dir():
                    os.replace(target, path.with_suffix(".before"))
                os.replace(path, target)
            write_json(record_path, {**record, "finished": True, "outputs": outputs | others})
        finally:
            shutil.rmtree(beside, ignore_errors=True)


@contextlib.contextmanager
def _disk_errors(out: Path) -> Iterator[None]:
    """Errors of the disk, by whatever call, as the sentence of :func:`disk_error`."""
    try:
        yield
    except InputError as error:
        if isinstance(error.__cause__, OSError):
            raise disk_error(error.__cause__, out) from error
        raise
    except OSError as error:
        raise disk_error(error, out) from error


def disk_error(error: OSError, out: Path) -> InputError:
    """The sentence for an error of the disk."""
    full = error.errno in FULL
    # Some encoders only say that they failed.
    if full or (error.errno is None and shutil.disk_usage(out).free < 1 << 20):
        return DiskFull(
            f"{out}: the disk is full; free some space, and the same command goes on where it was."
        )
    reason = error.strerror or str(error)
    return InputError(
        f"{error.filename or out}: cannot be written ({reason}); choose another --out."
    )


def _check_ours(path: Path, hashes: list[str]) -> None:
    if not path.exists() and not path.is_symlink():
        return
    if not hashes:
        raise InputError(
            f"{path}: is there already and was not written by this command; move it, or choose "
            "another --out."
        )
    if path.is_symlink() or path_digest(path) not in hashes:
        raise InputError(
            f"{path}: was changed since ngat wrote it; move it, or choose another --out."
        )


def path_digest(path: Path, *, quick: bool = False) -> str:
    """SHA-256 of a file; of a folder (OME-Zarr), of its files' names and contents.

    Args:
        quick: of a folder's files take sizes and times instead of contents.
    """
    if not path.is_dir():
        return sha256(path)
    lines = []
    for file in sorted(file for file in path.rglob("*") if file.is_file()):
        state = file.stat()
        told = f"{state.st_size} {state.st_mtime_ns}" if quick else sha256(file)
        lines.append(f"{file.relative_to(path).as_posix()} {told}\n")
    return hashlib.sha256("".join(lines).encode()).hexdigest()
