"""The record of a picture's results: how they were made, and which files may be replaced."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ngat.errors import InputError
from ngat.system.files import FULL, DiskFull, locked, sha256, write_json

FORMAT = "ngat-segmentation-1"


def read_record(path: Path) -> dict[str, Any] | None:
    """What an earlier run wrote; None where there is no such file.

    Raises:
        InputError: the file is another program's.
    """
    if not path.exists():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["format"] != FORMAT or not isinstance(record["outputs"], dict):
            raise ValueError
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: was not written by ngat segment; move it, or choose another --out."
        ) from error
    return dict(record)


def is_complete(record: Mapping[str, Any], out: Path) -> bool:
    """Were all files written, and are they still there?"""
    return bool(record.get("finished")) and all((out / name).exists() for name in record["outputs"])


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
    with _telling(out), locked(record_path):
        earlier = read_record(record_path) or {"outputs": {}}
        known = {name: _hashes(value) for name, value in earlier["outputs"].items()}
        for name in writers:
            _check_ours(out / name, known.get(name, []))
        # What a process that was killed has left there is nobody's.
        beside = record_path.with_name(f".{record_path.name}.parts")
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir()
        try:
            outputs = {}
            paths = {name: beside / f"{i}{Path(name).suffix}" for i, name in enumerate(writers)}
            for name, write in writers.items():
                write(paths[name])
                outputs[name] = _digest(paths[name])
            others = {name: hashes for name, hashes in known.items() if name not in outputs}
            ours = {name: [*known.get(name, []), digest] for name, digest in outputs.items()}
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
def _telling(out: Path) -> Iterator[None]:
    """Errors of the disk, by whatever call, as the sentence of :func:`told`."""
    try:
        yield
    except InputError as error:
        if isinstance(error.__cause__, OSError):
            raise told(error.__cause__, out) from error
        raise
    except OSError as error:
        raise told(error, out) from error


def told(error: OSError, out: Path) -> InputError:
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
    if path.is_symlink() or _digest(path) not in hashes:
        raise InputError(
            f"{path}: was changed since ngat wrote it; move it, or choose another --out."
        )


def _digest(path: Path) -> str:
    """SHA-256 of a file; of a folder, of its files' names and contents."""
    if not path.is_dir():
        return sha256(path)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    lines = [f"{file.relative_to(path).as_posix()} {sha256(file)}\n" for file in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _hashes(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)
