"""What a run of the notebooks has done, and what each notebook's outcome depends on.

All by content: cells, parameters, the files that parameters name, the package, ``data/``, and the
weights and results that other notebooks left in the run's folder.

A run ends with a page that opens in a browser without a server.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from ngat.paper.notebook import needs, read
from ngat.paper.status import PAPER_ITEMS
from ngat.system.files import earlier_json, sha256, write_json

STATE = "state.json"
# What a notebook may read of what another has written.
SHARED = ("weights", "results")
# What a run leaves in its folder.
LEFT = (STATE, "index.html", "notebooks", "figures", "tables", *SHARED)


@dataclass(frozen=True)
class Record:
    """What is known of one notebook of a run.

    Attributes:
        key: digest of all that its outcome depends on (:meth:`State.key`).
        status: ``finished``, ``failed`` or ``stopped``.
        seconds: wall time.
        error: the sentence of a failure.
        wrote: files below :data:`SHARED` that it wrote.
    """

    key: str
    status: str
    seconds: float
    error: str = ""
    wrote: Sequence[str] = ()


class State:
    """The records of a run, kept in ``state.json`` in its folder.

    Args:
        run: the folder.
        parameters: what all notebooks of the run are given.
    """

    def __init__(self, run: Path, parameters: Mapping[str, Any]) -> None:
        self.run, self.parameters = run, dict(parameters)
        earlier, records = _stored(run / STATE)
        self.records = records if earlier == self.parameters else {}

    def finished(self, stem: str, key: str) -> bool:
        """Whether a notebook ran to its end with everything as it is now."""
        record = self.records.get(stem)
        return record is not None and record.status == "finished" and record.key == key

    def forget(self, stem: str) -> None:
        """A notebook is about to run: until it ends, nothing is known of it but what it wrote."""
        if stem in self.records:
            self.note(stem, replace(self.records[stem], key="", status="stopped", error=""))

    def note(self, stem: str, record: Record) -> None:
        """Write down at once how a notebook ended, so that nothing finished is ever repeated."""
        self.records[stem] = record
        notebooks = {name: asdict(record) for name, record in sorted(self.records.items())}
        write_json(self.run / STATE, {"parameters": self.parameters, "notebooks": notebooks})

    def key(self, path: Path, facts: Mapping[str, Any]) -> str:
        """Digest of all that a notebook's outcome depends on now.

        Args:
            path: the notebook.
            facts: its parameters, and digests of the files that these name, of the package and of
                ``data/``.
        """
        own = {
            name
            for stem, record in self.records.items()
            if stem >= path.stem
            for name in record.wrote
        }
        others = {name: sha256(self.run / name) for name in self.written() if name not in own}
        before = {
            stem: record.key for stem, record in self.records.items() if stem[:2] in needs(path)
        }
        cells = [[cell.cell_type, cell.source] for cell in read(path).cells]
        text = json.dumps([cells, facts, others, before], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def written(self) -> dict[str, tuple[int, int]]:
        """Files below :data:`SHARED` with what changes whenever one is written."""
        files = (path for folder in SHARED for path in sorted((self.run / folder).rglob("*")))
        return {
            path.relative_to(self.run).as_posix(): (path.stat().st_ino, path.stat().st_mtime_ns)
            for path in files
            if path.is_file() and not path.name.startswith(".")
        }


def set_aside(run: Path, parameters: Mapping[str, Any]) -> Path | None:
    """Move what a run with other parameters left in a folder into a folder of its own there.

    A notebook would take the other run's weights and results for its own.

    Returns:
        where it lies now; None where there was no such run.
    """
    old, _ = _stored(run / STATE)
    # A run's folder that was moved or copied is still the same run.
    if old is None or {**old, "run_dir": ""} == {**parameters, "run_dir": ""}:
        return None
    number = 1
    while (aside := run / f"earlier-{number}").exists():
        number += 1
    aside.mkdir()
    for name in LEFT:
        if (run / name).exists():
            os.replace(run / name, aside / name)
    return aside


def folder_digest(folder: Path) -> str:
    """SHA-256 over names and contents of the files below a folder."""
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith("."):
            found.update(f"{path.relative_to(folder).as_posix()} {sha256(path)}\n".encode())
    return found.hexdigest()


def _stored(path: Path) -> tuple[dict[str, Any] | None, dict[str, Record]]:
    """Parameters and records in a state file; no parameters where there is no such file."""
    try:
        stored = earlier_json(path)
        records = {stem: Record(**record) for stem, record in stored["notebooks"].items()}
        return dict(stored["parameters"]), records
    except (KeyError, TypeError, ValueError, AttributeError):
        return None, {}


PAGE = Path(__file__).with_name("run.html")
ROWS = 40  # of a table that the page shows; the file has all of them
# Of tables and figures, the files that lie beside each other.
KINDS = {"tables": {"CSV": ".csv", "Markdown": ".md"}, "figures": {"PNG": ".png", "PDF": ".pdf"}}


def page(run: Path, records: Mapping[tuple[str, str], Record], facts: Mapping[str, Any]) -> str:
    """The page's HTML: notebooks, then the tables and figures that lie in ``run`` now.

    Args:
        run: the run's folder; every link is relative to it, so that it can be moved and sent.
        records: by file stem and title of the notebooks, in their order.
        facts: parameters of the run, shown on top.
    """
    environment = Environment(autoescape=True, trim_blocks=True, undefined=StrictUndefined)
    environment.filters["rounded"] = rounded
    environment.globals["ROWS"] = ROWS
    return environment.from_string(PAGE.read_text(encoding="utf-8")).render(
        name=run.name,
        facts=[
            f"{key}: {value}" for key, value in facts.items() if key != "run_dir" and value != ""
        ],
        records=records,
        shown={kind: _shown(run, kind) for kind in KINDS},
        files=[
            path.relative_to(run).as_posix()
            for folder in sorted(SHARED)
            for path in sorted((run / folder).rglob("*"))
            if path.is_file()
        ],
    )


def _shown(run: Path, kind: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The paper's tables or figures in a run's folder, in the paper's order, and the others."""
    found: dict[str, dict[str, Any]] = {}
    main, *_ = KINDS[kind].values()
    for path in sorted((run / kind).glob(f"*{main}")):
        beside = {name: path.with_suffix(suffix) for name, suffix in KINDS[kind].items()}
        files = {n: one.relative_to(run).as_posix() for n, one in beside.items() if one.is_file()}
        found[path.stem] = {"name": path.stem, "files": files, "lines": []}
        if kind == "tables":
            with open(path, newline="", encoding="utf-8") as file:
                found[path.stem]["lines"] = list(csv.reader(file))
    names = [name for item in PAPER_ITEMS for name in getattr(item, kind)]
    return [found.pop(name) for name in names if name in found], list(found.values())


def rounded(cell: str) -> str:
    """A number with decimals to four significant digits; other text as it is."""
    try:
        return cell if "." not in cell else f"{float(cell):.4g}"
    except ValueError:
        return cell
