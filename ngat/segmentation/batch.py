"""Many pictures, one after the other: each is done, skipped or failed, and the rest goes on."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

import ngat
from ngat.errors import InputError
from ngat.io.picture import Picture, open_picture, open_pictures
from ngat.segmentation.files import (
    FORMAT,
    Input,
    disk_error,
    path_digest,
    read_record,
    write_results,
)
from ngat.segmentation.find import find_nuclei
from ngat.segmentation.formats import DEFAULT, FORMATS
from ngat.segmentation.measure import typical_diameter
from ngat.segmentation.network import Segmenter, TrainedNetwork, chosen_magnification, trained
from ngat.segmentation.tasks import IN_TURN, Tasks
from ngat.segmentation.tiles import TILE
from ngat.system.files import DiskFull, held
from ngat.thresholds import Method

# Larger pictures are worked on in files instead of memory.
IN_MEMORY = 1 << 24

Status = Literal["done", "skipped", "failed"]


@dataclass(frozen=True)
class Options:
    """Options of ``ngat segment``, the same for every picture.

    Attributes:
        channel, page, level, axes: as in :func:`ngat.io.open_picture`; page may be ``all``.
        diameter, scale: instead of the magnification that the network finds.
        method: how maps become nuclei.
        formats: names of :data:`ngat.segmentation.formats.FORMATS`.
        weights: a file; None takes the one that is shipped.
        device, tta: as in :class:`ngat.segmentation.network.TrainedNetwork`.
        panels: as in :func:`ngat.segmentation.find.find_nuclei`.
        tile: side of tiles as the network sees them.
    """

    channel: str | None = None
    page: str | None = None
    level: int = 0
    axes: str | None = None
    diameter: float | None = None
    scale: float | None = None
    method: Method = "split"
    formats: tuple[str, ...] = DEFAULT
    weights: Path | None = None
    device: str = "cpu"
    tta: bool = False
    panels: bool = True
    tile: int = TILE

    def network(self) -> TrainedNetwork:
        """The network that is asked for, loaded once."""
        return trained(self.weights, self.device, self.tta)

    @property
    def reading(self) -> dict[str, Any]:
        """What of a file is read, its page apart."""
        return {"channel": self.channel, "level": self.level, "axes": self.axes}

    def chosen(self) -> dict[str, Any]:
        """What decides which nuclei are found."""
        left_out = ("formats", "weights", "device", "tile", "page")
        return {k: v for k, v in asdict(self).items() if k not in left_out}


@dataclass(frozen=True)
class FilePage:
    """A page of a file and the options: from these any process opens picture and network."""

    path: Path
    page: int | None
    options: Options

    def __call__(self) -> tuple[Picture, Segmenter]:
        picture = open_picture(self.path, page=self.page, **self.options.reading)
        return picture, self.options.network()


class PictureOutcome(NamedTuple):
    """The result of a picture; ``remark`` says why it failed, or notes what a user should know."""

    path: Path
    name: str
    status: Status
    nuclei: int | None = None
    magnification: float | None = None
    diameter: float | None = None
    remark: str = ""


def segment_file(
    item: Input,
    out: Path,
    options: Options,
    *,
    overwrite: bool = False,
    tasks: Tasks = IN_TURN,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[PictureOutcome]:
    """Find the nuclei of one file and write them; of several pages, of each.

    Args:
        overwrite: make anew what is finished already.
        tasks, progress: as in :func:`ngat.segmentation.find.find_nuclei`.

    Raises:
        DiskFull: there is no space; nothing half-written is left.
    """
    outcomes = []

    def failed(name: str, remark: object) -> None:
        outcomes.append(PictureOutcome(item.path, name, "failed", remark=str(remark)))

    try:
        for picture, name, page in _pages(item, options):
            source = FilePage(item.path, page, options)
            try:
                outcomes.append(_segment(source, name, picture, out, overwrite, tasks, progress))
            except DiskFull:
                raise
            except InputError as error:
                failed(name, error)
    except DiskFull:
        raise
    except InputError as error:
        failed(item.name, error)
    except (MemoryError, RuntimeError) as error:
        remedy = _memory_remedy(error)
        if not remedy:
            raise
        failed(item.name, f"{item.path}: needs more memory than {remedy}.")
    return outcomes


def _memory_remedy(error: Exception) -> str:
    """What memory was short, and what to do; nothing where the error is another one."""
    if isinstance(error, torch.OutOfMemoryError):
        return "the GPU has free; end other programs there, or add --device cpu"
    # Torch has no error of its own for the CPU's memory.
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
        return "there is; save it as tiled TIFF, or cut it"
    return ""


def segment_files(
    items: Sequence[Input],
    out: Path,
    options: Options,
    done: Callable[[list[PictureOutcome]], None],
    *,
    overwrite: bool = False,
    tasks: Tasks = IN_TURN,
) -> None:
    """:func:`segment_file` of each, as tasks; ``done`` is told the outcomes of every file."""
    if tasks.client is not None:  # whose workers may be in other folders
        items = [item._replace(path=item.path.absolute()) for item in items]
        out = out.resolve()
    work = partial(segment_file, out=out, options=options, overwrite=overwrite)
    tasks.run(work, items, done)


def _pages(item: Input, options: Options) -> Iterator[tuple[Picture, str, int | None]]:
    """Pictures of a file, the names of their results, and their numbers."""
    if options.page == "all":
        for number, picture in enumerate(open_pictures(item.path, **options.reading)):
            yield picture, f"{item.name}_p{number:03d}", number
        return
    page = int(options.page) if options.page is not None else None
    yield open_picture(item.path, page=page, **options.reading), item.name, page


def _segment(
    source: FilePage,
    name: str,
    picture: Picture,
    out: Path,
    overwrite: bool,
    tasks: Tasks,
    progress: Callable[[int, int], None],
) -> PictureOutcome:
    path, options = source.path, source.options
    network = options.network()
    record_path = out / f"{name}.json"
    made_of: dict[str, Any] = {
        "input": str(path),
        "input_sha256": path_digest(path, quick=True),
        "page": source.page,
        "options": options.chosen(),
        "weights": network.identity,
    }
    forms = {f"{FORMATS[f].folder}/{name}{FORMATS[f].suffix}": FORMATS[f] for f in options.formats}
    earlier = _finished(out, record_path, made_of, overwrite)
    if earlier is not None and set(forms) <= set(earlier["outputs"]):
        values = (earlier[k] for k in ("nuclei", "magnification", "diameter_px"))
        return PictureOutcome(path, name, "skipped", *values)
    with contextlib.ExitStack() as kept:
        folder = None
        if picture.shape[0] * picture.shape[1] > IN_MEMORY:
            folder = _work_folder(out, name, {**made_of, "tile": options.tile})
            kept.enter_context(held(folder, "this picture"))
        try:
            found = find_nuclei(
                picture,
                network,
                options.method,
                magnification=chosen_magnification(options.diameter, options.scale),
                panels=options.panels,
                tile=options.tile,
                folder=folder,
                source=replace(source, path=path.resolve()),
                tasks=tasks,
                progress=progress,
            )
        except OSError as error:
            raise disk_error(error, out) from error
        diameter: float | None = typical_diameter(found.table["area"]) if len(found.table) else None
        record = {
            "format": FORMAT,
            "ngat": ngat.__version__,
            **made_of,
            "pixel_size_um": picture.pixel_size,
            "magnification": found.magnification,
            "thresholds": asdict(network.thresholds(options.method)),
            "nuclei": len(found.table),
            "diameter_px": diameter,
            "notes": list(found.notes),
        }
        writers = {
            output: lambda path, form=form: form.write(path, found, picture, name)
            for output, form in forms.items()
        }
        write_results(out, record_path, record, writers)
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
            with contextlib.suppress(OSError):  # others are still worked on
                folder.parent.rmdir()
    numbers = (len(found.table), found.magnification, diameter)
    return PictureOutcome(path, name, "done", *numbers, "; ".join(found.notes))


def _finished(
    out: Path, record_path: Path, made_of: dict[str, Any], overwrite: bool
) -> dict[str, Any] | None:
    """The record of this very picture that holds still, if there is one.

    Raises:
        InputError: the record is of another picture, or of other options.
    """
    record = read_record(record_path)
    if record is None:
        return None
    if record["input_sha256"] != made_of["input_sha256"]:
        if Path(record["input"]).resolve() != Path(made_of["input"]).resolve():
            raise InputError(
                f"{record_path}: is of another picture, {record['input']}; choose another --out."
            )
        return None
    there = all((out / name).exists() for name in record["outputs"])
    if overwrite or not (record.get("finished") and there):
        return None
    if (record.get("page") or 0) != (made_of["page"] or 0) or any(
        record.get(key) != made_of[key] for key in ("options", "weights")
    ):
        raise InputError(
            f"{record_path}: was made of another page, or with other options or weights; add "
            "--overwrite to make it anew, or choose another --out."
        )
    return record


def _work_folder(out: Path, name: str, made_with: dict[str, Any]) -> Path:
    """The folder of a large picture's planes; other pictures and options have others."""
    key = hashlib.sha256(repr(sorted(made_with.items())).encode()).hexdigest()[:16]
    folder = out / ".ngat-tiles" / f"{name.replace('/', '_')}-{key}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error(error, out) from error
    return folder


def summary(outcomes: Sequence[PictureOutcome]) -> str:
    """A table of all pictures by name, and a line that counts them; of none, nothing."""
    if not outcomes:
        return ""
    rows = [("picture", "status", "nuclei", "diameter", "magnification", "remark")]
    for o in sorted(outcomes, key=lambda outcome: outcome.name):
        numbers = (
            "" if o.nuclei is None else str(o.nuclei),
            "" if o.diameter is None else f"{o.diameter:.1f} px",
            "" if o.magnification is None else f"{o.magnification:.2f}",
        )
        rows.append((o.name, o.status, *numbers, o.remark if o.status != "failed" else "see above"))
    widths = [max(len(row[i]) for row in rows) for i in range(6)]
    lines = ["  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)).rstrip() for r in rows]
    counts = {s: sum(o.status == s for o in outcomes) for s in ("done", "skipped", "failed")}
    lines.append(", ".join(f"{n} {status}" for status, n in counts.items()))
    return "\n".join(lines)
