"""The compact store: all pictures and annotations in one zip file that can be carried around.

Inside: ``images/<id>.webp`` (lossless), ``published/<id>.png`` and, where there is one,
``corrected/<id>.png`` (16-bit label images), ``manifest.csv`` with sizes, counts and content
hashes, ``about.json`` with the hashes of the files it was made from. Any zip tool opens it.

Where it is not at hand, a pack of it (:mod:`ngat.data.pack`) is read in its place: without the
test, with one annotation an image, and with JPEG 2000 (lossless, too) where that is smaller.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import zipfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from ngat.errors import InputError
from ngat.system.files import replacing

FILE, PACK = "store.zip", "pack.zip"
FORMAT = 1
NAME = 16  # digits of an id that name a pack's files; all 64 would take a tenth of an MB
AHEAD = 8  # encoded pictures held in memory while others are encoded
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
class StoredImage:
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


# A line of the manifest, and files by their names.
Content = tuple[StoredImage, dict[str, bytes]]


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
    return write_archive(folder / FILE, encoded_in_threads(_encode, entries), about)


def write_archive(
    path: Path,
    contents: Iterable[Content],
    about: dict[str, Any],
    *,
    most_bytes: int | None = None,
) -> Path:
    """Write rows of the manifest and the files of each, whole or not at all.

    Args:
        about: what ``about.json`` says; read when all else is written.
        most_bytes: how large the file may be.

    Raises:
        InputError: the file cannot be written, or would be larger.
    """
    with replacing(path) as beside:
        with zipfile.ZipFile(beside, "w") as file:
            rows = []
            for row, files in contents:
                rows.append(row)
                for name, data in files.items():
                    _add(file, name, data)
            stream = io.StringIO()
            lines = csv.writer(stream, lineterminator="\n")
            lines.writerow([f.name for f in fields(StoredImage)])
            lines.writerows(astuple(row) for row in rows)
            manifest = stream.getvalue().encode()
            _add(file, "manifest.csv", manifest, zipfile.ZIP_DEFLATED)
            about = {"format": FORMAT, **about}
            _add(file, "about.json", json.dumps(about, indent=2, sort_keys=True).encode())
        size = beside.stat().st_size
        if most_bytes is not None and size > most_bytes:
            raise InputError(
                f"{path}: would take {size / 1e6:.1f} MB where {most_bytes / 1e6:.0f} MB are the "
                "most; leave images out of the split."
            )
    return path


def encoded_in_threads(encode: Callable[[Any], Content], items: Iterable[Any]) -> Iterator[Content]:
    """Each item's content, in order and a few ahead: the codecs let go of the interpreter."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        ahead: deque[Future[Content]] = deque()
        for item in items:
            ahead.append(pool.submit(encode, item))
            if len(ahead) > AHEAD:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _encode(entry: Entry) -> Content:
    name, published, corrected = entry.image_id, entry.published, entry.corrected
    files = {
        # More effort would save 1 MB of 50 and take three times as long. A gray picture costs no
        # more as three equal channels: the codec stores their differences.
        f"images/{name}.webp": encoded(entry.image, "WEBP", lossless=True, quality=0, method=2),
        f"published/{name}.png": label_png(published),
    }
    if corrected is not None:
        files[f"corrected/{name}.png"] = label_png(corrected)
    return row_of(entry), files


def row_of(entry: Entry) -> StoredImage:
    """The picture's line of the manifest."""
    published, corrected = entry.published, entry.corrected
    height, width = published.shape
    return StoredImage(
        entry.image_id,
        entry.source,
        height,
        width,
        int(published.max()),
        int((published if corrected is None else corrected).max()),
        content_hash(entry.image),
        content_hash(published),
        "" if corrected is None else content_hash(corrected),
    )


def encoded(pixels: npt.NDArray[Any], form: str, **options: Any) -> bytes:
    """The bytes of an image file; form and options are those of Pillow's ``save``."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, form, **options)
    return stream.getvalue()


def label_png(labels: npt.NDArray[np.int32]) -> bytes:
    """A label image of 16 bits as PNG. Raises InputError where there are more nuclei than that."""
    if labels.max(initial=0) > np.iinfo(np.uint16).max:
        raise InputError(f"{labels.max()} nuclei in one picture are more than 16 bits can number.")
    return encoded(labels.astype(np.uint16), "PNG", optimize=True)


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
        if not self.path.exists() and (folder / PACK).exists():
            self.path = folder / PACK
        if not self.path.exists():
            raise InputError(
                f"{self.path}: the 2018 Data Science Bowl is not prepared; run: "
                "ngat data prepare --source DIR"
            )
        try:
            self._file = zipfile.ZipFile(self.path)
            self.about: dict[str, Any] = json.loads(self._file.read("about.json"))
            self.rows = {row.image_id: row for row in self._rows()}
            # Files by their names without the ending, which tells their form.
            self._files = {name.rpartition(".")[0]: name for name in self._file.namelist()}
        except (OSError, zipfile.BadZipFile, EOFError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"{self.path}: the store is damaged; {_REMEDY}") from error
        if self.about.get("format") != FORMAT:
            raise InputError(f"{self.path}: the store is of another version; {_REMEDY}")

    def _rows(self) -> Iterator[StoredImage]:
        text = self._file.read("manifest.csv").decode()
        numbers = {"height", "width", "nuclei", "nuclei_corrected"}
        for line in csv.DictReader(io.StringIO(text)):
            yield StoredImage(**{k: int(v) if k in numbers else v for k, v in line.items()})  # type: ignore[arg-type]

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def image(self, image_id: str) -> npt.NDArray[np.uint8]:
        """The picture, ``uint8 [H, W, 3]``, checked against its hash."""
        image = self._decode("images", image_id).astype(np.uint8)
        if image.ndim == 2:  # grey, one channel of three equal ones
            image = np.repeat(image[:, :, None], 3, axis=2)
        return self._checked(image, image_id, self.rows[image_id].image_sha256)

    def held(self, image_id: str, masks: Masks) -> Masks:
        """Which masks :meth:`labels` gives: published ones where none were corrected."""
        return masks if self.rows[image_id].corrected_sha256 else "published"

    def labels(self, image_id: str, masks: Masks = "published") -> npt.NDArray[np.int32]:
        """Its nuclei, ``int32 [H, W]``, checked; published ones where none were corrected.

        Raises:
            InputError: damaged, or a pack that holds the other masks only.
        """
        row, masks = self.rows[image_id], self.held(image_id, masks)
        if self.path.name == PACK and f"{masks}/{image_id[:NAME]}" not in self._files:
            raise InputError(
                f"{self.path}: holds no {masks} masks of {image_id}, only what training and "
                f"validation read; make the whole store: ngat data prepare --source DIR"
            )
        labels = self._decode(masks, image_id).astype(np.int32)
        if labels.ndim == 3:  # two bytes a pixel, the lower first
            labels = labels[:, :, 0] + 256 * labels[:, :, 1]
        expected = row.published_sha256 if masks == "published" else row.corrected_sha256
        return self._checked(labels, image_id, expected)

    def _decode(self, folder: str, image_id: str) -> npt.NDArray[Any]:
        name = f"{folder}/{image_id[:NAME] if self.path.name == PACK else image_id}"
        try:
            return np.asarray(Image.open(io.BytesIO(self._file.read(self._files[name]))))
        except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise InputError(f"{self.path}: {name} is damaged; {_REMEDY}") from error

    def _checked(self, array: npt.NDArray[Any], image_id: str, expected: str) -> npt.NDArray[Any]:
        if content_hash(array) != expected:
            raise InputError(f"{self.path}: {image_id} does not match its hash; {_REMEDY}")
        return array
