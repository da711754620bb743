"""The compact store: all pictures and annotations in one zip file that can be carried around.

Inside: ``images/<id>.webp`` (lossless), ``published/<id>.png`` and, where there is one,
``corrected/<id>.png`` (16-bit label images), ``manifest.csv`` with sizes, counts and content
hashes, ``about.json`` with the hashes of the files it was made from. Any zip tool opens it.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import zipfile
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from ngat.errors import InputError
from ngat.system.files import replacing

FILE = "store.zip"
FORMAT = 1
AHEAD = 8  # pictures that wait in memory while the codecs work
Masks = Literal["published", "corrected"]

_REMEDY = "prepare it again: ngat data prepare --source DIR"


@dataclass(frozen=True)
class Entry:
    """One picture on its way into the store; ``corrected`` is None where nothing was corrected."""

    image_id: str
    source: str
    image: npt.NDArray[np.uint8]
    published: npt.NDArray[np.int32]
    corrected: npt.NDArray[np.int32] | None = None


@dataclass(frozen=True)
class Row:
    """One line of the manifest. Hashes are of content (:func:`content_hash`), not of files."""

    image_id: str
    source: str
    height: int
    width: int
    nuclei: int
    nuclei_corrected: int
    image_sha256: str
    published_sha256: str
    corrected_sha256: str


def content_hash(array: npt.NDArray[Any]) -> str:
    """SHA-256 of an array's shape and values, whatever the file format, type or byte order."""
    kind = "u1" if array.dtype == np.uint8 else "<i4"
    values = np.ascontiguousarray(array, dtype=kind)
    digest = hashlib.sha256(f"{kind} {values.shape}\n".encode())
    digest.update(values.tobytes())
    return digest.hexdigest()


def write(folder: Path, entries: Iterable[Entry], about: dict[str, Any]) -> Path:
    """Write a store whole or not at all; ``entries`` may be a generator, ``about`` it may fill.

    Raises:
        InputError: the folder cannot be written.
    """
    path = folder / FILE
    with replacing(path) as beside:
        try:
            with zipfile.ZipFile(beside, "w") as file:
                rows = []
                for row, files in _encoded(entries):
                    rows.append(row)
                    for name, data in files.items():
                        _add(file, name, data)
                _add(file, "manifest.csv", _manifest(rows), zipfile.ZIP_DEFLATED)
                about = {"format": FORMAT, **about}
                _add(file, "about.json", json.dumps(about, indent=2, sort_keys=True).encode())
        except OSError as error:
            raise InputError(
                f"{path}: cannot be written ({error.strerror}); choose another output folder."
            ) from error
    return path


def _encoded(entries: Iterable[Entry]) -> Iterator[tuple[Row, dict[str, bytes]]]:
    """Encode in threads, in order and a few ahead: the codecs let go of the interpreter."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        ahead: deque[Future[tuple[Row, dict[str, bytes]]]] = deque()
        for entry in entries:
            ahead.append(pool.submit(_encode, entry))
            if len(ahead) > AHEAD:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _encode(entry: Entry) -> tuple[Row, dict[str, bytes]]:
    name, published, corrected = entry.image_id, entry.published, entry.corrected
    files = {
        f"images/{name}.webp": _encode_image(entry.image),
        f"published/{name}.png": _encode_labels(published),
    }
    if corrected is not None:
        files[f"corrected/{name}.png"] = _encode_labels(corrected)
    height, width = published.shape
    row = Row(
        name,
        entry.source,
        height,
        width,
        int(published.max()),
        int((published if corrected is None else corrected).max()),
        content_hash(entry.image),
        content_hash(published),
        "" if corrected is None else content_hash(corrected),
    )
    return row, files


def _encode_image(image: npt.NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    # More effort would save 1 MB of 50 and take three times as long. A gray picture costs no more
    # as three equal channels: the codec stores their differences.
    Image.fromarray(image).save(stream, "WEBP", lossless=True, quality=0, method=2)
    return stream.getvalue()


def _encode_labels(labels: npt.NDArray[np.int32]) -> bytes:
    if labels.max() > np.iinfo(np.uint16).max:
        raise InputError(f"{labels.max()} nuclei in one picture are more than 16 bits can number.")
    stream = io.BytesIO()
    Image.fromarray(labels.astype(np.uint16)).save(stream, "PNG", optimize=True)
    return stream.getvalue()


def _manifest(rows: list[Row]) -> bytes:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([f.name for f in fields(Row)])
    writer.writerows(asdict(row).values() for row in rows)
    return stream.getvalue().encode()


def _add(
    file: zipfile.ZipFile, name: str, data: bytes, compression: int = zipfile.ZIP_STORED
) -> None:
    # A fixed date: the same content gives the same file.
    info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    info.external_attr = 0o644 << 16
    file.writestr(info, data, compression)


class Store:
    """A store opened for reading.

    ``rows`` is the manifest by image id, in the order written; ``about`` names the files the
    store was made from. Use it in a ``with`` block.

    Raises:
        InputError: no store there, or not a whole one.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        if not self.path.exists():
            raise InputError(
                f"{self.path}: the 2018 Data Science Bowl is not prepared; run: "
                "ngat data prepare --source DIR"
            )
        try:
            self._file = zipfile.ZipFile(self.path)
            self.about: dict[str, Any] = json.loads(self._file.read("about.json"))
            self.rows = {row.image_id: row for row in self._rows()}
        except (OSError, zipfile.BadZipFile, EOFError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"{self.path}: the store is damaged; {_REMEDY}") from error
        if self.about.get("format") != FORMAT:
            raise InputError(f"{self.path}: the store is of another version; {_REMEDY}")

    def _rows(self) -> Iterator[Row]:
        text = self._file.read("manifest.csv").decode()
        numbers = {"height", "width", "nuclei", "nuclei_corrected"}
        for line in csv.DictReader(io.StringIO(text)):
            yield Row(**{k: int(v) if k in numbers else v for k, v in line.items()})  # type: ignore[arg-type]

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def image(self, image_id: str) -> npt.NDArray[np.uint8]:
        """The picture, ``uint8 [H, W, 3]``, checked against its hash."""
        image = self._decode(f"images/{image_id}.webp").astype(np.uint8)
        return self._checked(image, image_id, self.rows[image_id].image_sha256)

    def labels(self, image_id: str, masks: Masks = "published") -> npt.NDArray[np.int32]:
        """Its nuclei, ``int32 [H, W]``, checked; published ones where none were corrected."""
        row = self.rows[image_id]
        if masks == "published" or not row.corrected_sha256:
            masks, expected = "published", row.published_sha256
        else:
            expected = row.corrected_sha256
        labels = self._decode(f"{masks}/{image_id}.png").astype(np.int32)
        return self._checked(labels, image_id, expected)

    def _decode(self, name: str) -> npt.NDArray[Any]:
        try:
            return np.asarray(Image.open(io.BytesIO(self._file.read(name))))
        except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise InputError(f"{self.path}: {name} is damaged; {_REMEDY}") from error

    def _checked(self, array: npt.NDArray[Any], image_id: str, expected: str) -> npt.NDArray[Any]:
        if content_hash(array) != expected:
            raise InputError(f"{self.path}: {image_id} does not match its hash; {_REMEDY}")
        return array
