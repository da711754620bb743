"""The published layout ``<id>/images/*.png``, ``<id>/masks/*.png``, from a zip or a folder.

A zip is read in place, never unpacked; names that would leave its folder are refused all the
same, since such a file was not made by the publisher. Pictures are read as ``uint8`` RGB,
mask files as sets of pixels.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from ngat.errors import InputError

# Far above anything published: the largest picture takes 2 MB, all of stage 2 less than 1 GB.
MAX_FILE_BYTES = 64 * 2**20
MAX_TOTAL_BYTES = 8 * 2**30
MAX_FILES = 200_000

_ID = re.compile(r"[0-9A-Za-z_-]{1,100}")
# Names of files, and folders that end with "/"; and what reads a file.
Listing = tuple[list[str], Callable[[str], bytes]]


@dataclass(frozen=True)
class Archive:
    """What one archive holds.

    Attributes:
        name: file or folder, as messages name it.
        path: where it lies.
        images: picture files by image id.
        masks: mask files by image id, sorted; empty where a mask folder holds none.
        read: bytes of one of these files.
    """

    name: str
    path: Path
    read: Callable[[str], bytes]
    images: dict[str, list[str]] = field(default_factory=dict)
    masks: dict[str, list[str]] = field(default_factory=dict)

    def image(self, image_id: str) -> str:
        """The one picture file of an image."""
        files = self.images.get(image_id, [])
        if len(files) != 1:
            raise InputError(
                f"{self.name}: {image_id}/images holds {len(files)} pictures instead of 1; "
                "get the archive again."
            )
        return files[0]


def locate(source: Path, stem: str) -> Path | None:
    """``source/stem.zip`` (preferred) or the folder ``source/stem``, if either is there."""
    for path in (source / f"{stem}.zip", source / stem):
        if path.exists():
            return path
    return None


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Archive]:
    """List an archive and keep it open for reading.

    Raises:
        InputError: no zip, a truncated or damaged one, one with unsafe names or absurd sizes.
    """
    with contextlib.ExitStack() as kept:
        names, read = _folder(path) if path.is_dir() else _zip(path, kept)
        archive = Archive(path.name, path, read)
        for name in names:
            _place(archive, name)
        for files in archive.masks.values():
            files.sort()
        yield archive


def _zip(path: Path, kept: contextlib.ExitStack) -> Listing:
    try:
        file = kept.enter_context(zipfile.ZipFile(path))
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise InputError(
            f"{path.name}: not a whole zip file ({error}); download it again."
        ) from error
    _check_entries(path.name, file.infolist())

    def read(name: str) -> bytes:
        try:
            with file.open(name) as stream:
                return stream.read(MAX_FILE_BYTES)
        except (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
            raise InputError(
                f"{path.name}: {name} is damaged ({error}); download the archive again."
            ) from error

    return file.namelist(), read


def _check_entries(name: str, entries: list[zipfile.ZipInfo]) -> None:
    if len(entries) > MAX_FILES or sum(e.file_size for e in entries) > MAX_TOTAL_BYTES:
        raise InputError(
            f"{name}: unpacks to far more than the published archive; download it again."
        )
    seen = set()
    for entry in entries:
        shown = entry.filename[:120]
        # zipfile cuts a name at NUL and turns the platform's separator into "/".
        names = {entry.filename, entry.orig_filename}
        if any(_unsafe(n) for n in names) or stat.S_ISLNK(entry.external_attr >> 16):
            raise InputError(
                f"{name}: entry {shown!r} points outside its folder; this is not the published "
                "archive, download it from the official site."
            )
        if entry.file_size > MAX_FILE_BYTES:
            raise InputError(
                f"{name}: entry {shown!r} unpacks to {entry.file_size} bytes; this is not the "
                "published archive, download it from the official site."
            )
        if entry.filename in seen:
            raise InputError(f"{name}: entry {shown!r} is there twice; download the archive again.")
        seen.add(entry.filename)


def _unsafe(name: str) -> bool:
    return (
        name.startswith("/")
        or "\\" in name
        or "\0" in name
        or re.match("[A-Za-z]:", name) is not None
        or ".." in name.split("/")
    )


def _folder(path: Path) -> Listing:
    def read(name: str) -> bytes:
        try:
            if (path / name).stat().st_size > MAX_FILE_BYTES:
                raise InputError(f"{path.name}/{name}: too large for a picture; get it again.")
            return (path / name).read_bytes()
        except OSError as error:
            raise InputError(
                f"{path.name}/{name}: cannot be read ({error.strerror}); check the file."
            ) from error

    names = []
    for folder, folders, files in os.walk(path):
        inner = Path(folder).relative_to(path)
        names += [(inner / name).as_posix() + "/" for name in folders]
        names += [(inner / name).as_posix() for name in files]
    return names, read


def _place(archive: Archive, name: str) -> None:
    """File an entry ``…/<id>/images|masks/<file>`` under its image; pass over all others."""
    parts = name.split("/")
    if len(parts) < 3 or parts[0] == "__MACOSX" or parts[-1].startswith("."):
        return
    image_id, kind, file = parts[-3:]
    files_of = {"images": archive.images, "masks": archive.masks}.get(kind)
    if files_of is None:
        return
    if not _ID.fullmatch(image_id):
        raise InputError(f"{archive.name}: {image_id[:120]!r} is no image id; get it again.")
    files = files_of.setdefault(image_id, [])
    if file:  # The name of a folder ends with "/", so that its last part is empty.
        files.append(name)


FORMATS = ("PNG", "TIFF", "JPEG")
# The largest picture of the challenge has 1.5 million pixels. A header that promises more than
# this is refused before memory is spent on it.
MAX_PIXELS = 2**26

_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    OverflowError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


def decode_picture(data: bytes, name: str) -> npt.NDArray[np.uint8]:
    """Read a published picture as ``uint8 [H, W, 3]``.

    One channel becomes three equal ones; a palette is looked up; alpha is dropped (the
    challenge's is 255 everywhere). Any other picture: :func:`ngat.data.own.read_rgb`.

    Raises:
        InputError: not a readable PNG, TIFF or JPEG, too large, or of more than 8 bits. The
            sentence starts with ``name``.
    """
    picture = _open(data, name)
    if picture.mode[0] in "IF":
        raise InputError(f"{name}: has more than 8 bits, as no published picture; get it again.")
    return np.asarray(picture.convert("RGB"))


def decode_mask(data: bytes, name: str) -> tuple[tuple[int, int], npt.NDArray[np.int64]]:
    """Read a mask file as ((height, width), pixels inside).

    Pixels are ascending row-major numbers from 0, row · W + column; inside is whatever is not 0.

    Raises:
        InputError: not a readable picture, or no pixel inside.
    """
    mask = _open(data, name)
    if mask.mode[0] in "IF":
        # Converting 16 bits to 8 would lose small values.
        mask = Image.fromarray(np.asarray(mask) != 0)
    mask = mask.convert("L")
    box = mask.getbbox()
    if box is None:
        raise InputError(f"{name}: the mask is empty; delete the file or get it again.")
    # Most masks fill a small corner of their picture: search only there.
    left, top, _, _ = box
    rows, columns = np.nonzero(np.asarray(mask.crop(box)))
    return (mask.height, mask.width), (rows + top) * mask.width + (columns + left)


def _open(data: bytes, name: str) -> Image.Image:
    try:
        picture = Image.open(io.BytesIO(data), formats=FORMATS)
        if picture.width * picture.height > MAX_PIXELS:
            raise InputError(
                f"{name}: {picture.width} x {picture.height} pixels are more than "
                f"{MAX_PIXELS}; cut the picture into smaller ones."
            )
        picture.load()
    except InputError:
        raise
    except _DAMAGE as error:
        raise InputError(
            f"{name}: not a readable {', '.join(FORMATS)} picture; get the file again."
        ) from error
    return picture
