"""Files that are either whole or absent, and that one process at a time changes.

A file is written under a temporary name and renamed. Reading, changing and writing back a file is
done under :func:`locked`; long work in a folder under :func:`held`.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ngat.errors import InputError

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows has no flock, and works without
    fcntl = None  # type: ignore[assignment]

# No space, no quota, a limit on the size of files.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class DiskFull(InputError):
    """A file could not be written for want of space; what was there before is unchanged."""


class Busy(InputError):
    """Another process holds a folder or a file."""


@contextlib.contextmanager
def space_for(path: Path | str) -> Iterator[None]:
    """Report a full disk as one sentence that names the file.

    Raises:
        DiskFull: an operating system call in the block found no space.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise unwritable(path, error) from error


def unwritable(path: Path | str, error: OSError) -> InputError:
    """The sentence for a file or a folder that the system did not write; DiskFull for its own."""
    why = f"{path}: cannot be written ({error.strerror or error})"
    if error.errno in FULL:
        return DiskFull(f"{why}; free some space and run the same command again.")
    return InputError(f"{why}; choose another output folder.")


@contextlib.contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """Yield a temporary sibling of ``path``; rename it onto ``path`` when the block succeeds.

    Raises:
        InputError: the folder cannot be made or written, or ``path`` is a folder.
        DiskFull: there is no space for the file; ``path`` is as it was.
    """
    path = Path(path)
    if os.path.isdir(path):
        raise InputError(f"{path}: is a folder; give the name of a file.")
    with space_for(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
            os.close(handle)
        except OSError as error:
            raise unwritable(path, error) from error
        beside = Path(name)
        try:
            yield beside
            # mkstemp makes files private; results are meant to be read by others.
            try:
                beside.chmod(0o644)
                os.replace(beside, path)
            except OSError as error:
                raise unwritable(path, error) from error
        finally:
            beside.unlink(missing_ok=True)


def check_writable(folder: Path) -> None:
    """Raise InputError where no file can be made in a folder, which is made if absent."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise unwritable(folder, error) from error


def check_regular(path: Path) -> None:
    """Raise InputError for a pipe, say: reading it would wait for ever."""
    if os.path.exists(path) and not os.path.isfile(path):
        raise InputError(f"{path}: cannot be read (it is no regular file); save it as one.")


@contextlib.contextmanager
def locked(path: Path | str) -> Iterator[None]:
    """Wait until no other process changes ``path``, and keep others waiting during the block.

    For the moment between reading a file and writing it back. Where the file system knows no
    locks, the block runs without.

    Raises:
        InputError: the folder cannot be written.
    """
    with _lock(_beside(Path(path)), wait=True):
        yield


@contextlib.contextmanager
def held(path: Path | str, what: str, *, folder: bool = True) -> Iterator[None]:
    """Keep a folder or a file to this process as long as the block runs.

    Args:
        path: where this process writes; a folder is made if absent.
        what: what it holds, for the message to a second process: ``a training run``.
        folder: whether ``path`` is a folder.

    Raises:
        Busy: another process holds it.
        InputError: it cannot be written.
    """
    path = Path(path)
    lock = path / ".lock" if folder else _beside(path)
    try:
        with _lock(lock, wait=False):
            yield
    except BlockingIOError as error:
        if error.filename != os.fspath(lock):
            raise
        raise Busy(
            f"{path}: another process works on {what} there; wait for it, or choose another "
            f"{'folder' if folder else 'file'}."
        ) from error


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.lock")


@contextlib.contextmanager
def _lock(path: Path, *, wait: bool) -> Iterator[None]:
    """An exclusive flock on ``path``, which exists only as long as a process holds it.

    Raises BlockingIOError with that file name if another process has it and ``wait`` is off.
    """
    if fcntl is None:  # pragma: no cover
        yield
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = _open_locked(path, wait)
    except BlockingIOError:
        raise
    except OSError as error:
        raise unwritable(path.parent, error) from error
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(handle)


def _open_locked(path: Path, wait: bool) -> int:
    """The handle of the lock file, with its lock where the file system has such."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            # Its last holder may have removed the file between opening it and locking it.
            if os.path.samestat(os.fstat(handle), os.stat(path)):
                return handle
        except FileNotFoundError:
            pass
        except OSError as error:
            if error.errno in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                return handle
            os.close(handle)
            raise OSError(error.errno, error.strerror, os.fspath(path)) from error
        os.close(handle)


def write_text(path: Path | str, text: str) -> None:
    """Write a text with plain line ends, whole or not at all."""
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path | str, value: Any) -> None:
    """Write ``value`` as indented JSON with sorted keys, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True) + "\n")


def read_json(
    path: Path | str, remedy: str, *, absent: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Read a JSON object.

    Args:
        path: the file.
        remedy: what the message of an error ends with.
        absent: what there is where there is no such file; by default that is an error.

    Raises:
        InputError: it cannot be read, or is none.
    """
    if absent is not None and not Path(path).exists():
        return dict(absent)
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read, or is not JSON ({error}); {remedy}.") from error
    if not isinstance(value, dict):
        raise InputError(f"{path}: holds no JSON object; {remedy}.")
    return value


def earlier_json(path: Path | str) -> dict[str, Any]:
    """A JSON object that an earlier call may have left; empty where it is absent or damaged."""
    try:
        return read_json(path, "")
    except InputError:
        return {}


def ensure_home() -> None:
    """Give this process and those that it starts an empty home folder where there is none.

    The user of a container may have neither HOME nor an entry among the system's users; Jupyter
    does not even load then.
    """
    try:
        Path.home()
    except RuntimeError:
        home = tempfile.mkdtemp(prefix="ngat-home-")
        os.environ["HOME"] = home
        atexit.register(shutil.rmtree, home, ignore_errors=True)


def sha256(path: Path | str) -> str:
    """Hex SHA-256 of a file's bytes."""
    check_regular(Path(path))
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
