"""Fetch the published files from the Broad Bioimage Benchmark Collection (BBBC038)."""

from __future__ import annotations

import hashlib
import logging
import os
import time
import zipfile
from pathlib import Path

import pooch  # type: ignore[import-untyped]
import requests
from rich.progress import DownloadColumn

from ngat.errors import InputError
from ngat.system.files import held, read_json, sha256, unwritable, write_json
from ngat.system.process import bar

SITE = "https://data.broadinstitute.org/bbbc/BBBC038/"
STAGE1 = ("stage1_train.zip", "stage1_test.zip", "stage1_solution.csv")
STAGE2 = ("stage2_test_final.zip", "stage2_solution_final.csv")
RECORD = "download.json"
_KINDS = {".zip": "zip archive", ".csv": "table of ImageId and the like"}

ATTEMPTS = 4
PAUSE = 1.0  # seconds before the second attempt; doubled before each further one
TIMEOUT = (20, 60)  # seconds to connect, and between two pieces
PIECE = 2**16  # bytes; what is lost at most when a connection breaks

_BROKEN = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)


def download(
    out: Path | str = Path("data/dsb2018/published"),
    *,
    files: tuple[str, ...] = STAGE1 + STAGE2,
    site: str = SITE,
    progress: bool = True,
) -> Path:
    """Fetch published files into ``out`` and give it back, ready to be prepared.

    A broken download goes on where it stopped, also in a later call. The SHA-256 of each file is
    recorded in ``download.json`` when it is first seen and checked in every later call. What is no
    zip or no table of the challenge, such as a page that asks for a login, is neither kept nor
    recorded, and one that was is fetched again.

    Raises:
        InputError: no connection, a file the site does not have or gives something else for, a
            file that differs from its recorded hash, or a folder that cannot be written or that
            another process downloads into.
    """
    out = Path(out)
    with held(out, "a download"):
        return _download(out, files, site, progress)


def _download(out: Path, files: tuple[str, ...], site: str, progress: bool) -> Path:
    known = _record(out / RECORD)
    # pooch reports each step as it goes; the bar and the errors say all of it.
    pooch.get_logger().setLevel(logging.WARNING)
    for name in files:
        fetch = _Resuming(name, out, progress)
        if (out / name).is_file() and not _genuine(out / name, name):
            (out / name).unlink()
            if known.pop(name, None):
                # Also on disk: the file may be fetched by hand, and must not be held to that hash.
                write_json(out / RECORD, known)
        try:
            path = pooch.retrieve(
                site + name, known.get(name), fname=name, path=out, downloader=fetch
            )
        except InputError:
            raise
        except requests.HTTPError as error:
            raise InputError(
                f"{site + name}: {error}; try later or get the file by hand."
            ) from error
        except requests.RequestException as error:
            raise InputError(
                f"{site + name}: no connection or it broke off ({type(error).__name__}); run the "
                "same command again, it goes on where it stopped."
            ) from error
        except ValueError as error:
            raise InputError(
                f"{out / name}: {site + name} differs from the hash recorded in {out / RECORD}; if "
                "the publisher changed it, delete its line there and download again."
            ) from error
        except OSError as error:
            raise unwritable(out / name, error) from error
        if name not in known:
            known[name] = sha256(path)
            write_json(out / RECORD, known)
    return out


def _record(path: Path) -> dict[str, str]:
    known = read_json(path, "delete it", absent={})
    if not all(isinstance(value, str) for value in known.values()):
        raise InputError(f"{path}: holds other things than hashes; delete it.")
    return known


def _genuine(path: Path, name: str) -> bool:
    """Is a file what its name says: a whole zip, or a table of the challenge?"""
    if name.endswith(".zip"):
        return zipfile.is_zipfile(path)
    with path.open("rb") as file:
        return file.read(64).removeprefix(b"\xef\xbb\xbf").lstrip(b'"').startswith(b"ImageId")


class _Resuming:
    """A downloader for pooch that keeps what arrived and asks only for the rest.

    The unfinished file's name holds a token of the published version (its ETag or date, and its
    size), so that pieces of two versions are never joined.
    """

    def __init__(self, name: str, folder: Path, progress: bool) -> None:
        self.name, self.folder, self.progress = name, folder, progress

    def __call__(self, url: str, output_file: object, pooch: object) -> None:
        """Write the file at ``url`` to ``output_file``; ``pooch`` is part of its protocol.

        Raises InputError where the site gives something else than a file of that kind.
        """
        for attempt in range(ATTEMPTS):
            try:
                part = self._fetch(url)
                break
            except _BROKEN:
                if attempt == ATTEMPTS - 1:
                    raise
            time.sleep(PAUSE * 2**attempt)
        if not _genuine(part, self.name):
            with part.open("rb") as file:
                begins = file.read(40).decode("ascii", "replace").split("\n")[0].strip()
            part.unlink()
            raise InputError(
                f"{url}: gave no {_KINDS[Path(self.name).suffix]} but something that begins with "
                f"{begins!r}, perhaps a page that asks for a login; get the file by hand."
            )
        os.replace(part, str(output_file))

    def _fetch(self, url: str) -> Path:
        plain = {"Accept-Encoding": "identity"}
        with requests.head(url, headers=plain, timeout=TIMEOUT, allow_redirects=True) as head:
            head.raise_for_status()
            version = head.headers.get("ETag") or head.headers.get("Last-Modified")
            size = int(head.headers.get("Content-Length", -1))
        token = hashlib.sha256(f"{version} {size}".encode()).hexdigest()[:12]
        part = self.folder / f".{self.name}.{token}.part"
        for stale in self.folder.glob(f".{self.name}.*.part"):
            if stale != part or version is None:
                stale.unlink()
        part.touch()
        if size < part.stat().st_size:
            part.write_bytes(b"")
        if part.stat().st_size != size:
            self._append(url, part, version, size)
        if size >= 0 and part.stat().st_size != size:
            raise requests.ConnectionError(f"{part.stat().st_size} of {size} bytes arrived")
        return part

    def _append(self, url: str, part: Path, version: str | None, size: int) -> None:
        have = part.stat().st_size
        headers = {"Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
            # A weak ETag may not stand in If-Range; the token in the name has to do then.
            if version and not version.startswith("W/"):
                headers["If-Range"] = version
        with requests.get(url, headers=headers, timeout=TIMEOUT, stream=True) as answer:
            answer.raise_for_status()
            resumed = answer.status_code == 206 and answer.headers.get(
                "Content-Range", ""
            ).startswith(f"bytes {have}-")
            if answer.status_code == 206 and not resumed:
                raise requests.ConnectionError("the site answered with another range")
            with (
                part.open("ab" if resumed else "wb") as file,
                bar(DownloadColumn(), progress=self.progress) as display,
            ):
                task = display.add_task(self.name, total=size if size >= 0 else None)
                display.advance(task, have if resumed else 0)
                for piece in answer.iter_content(PIECE):
                    file.write(piece)
                    display.advance(task, len(piece))
