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
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ngat.paper.notebook import needs, read
from ngat.paper.status import PAPER_ITEMS
from ngat.system.files import sha256, write_json

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
    wrote: tuple[str, ...] = ()


class State:
    """The records of a run, kept in ``state.json`` in its folder.

    Args:
        run: the folder.
        parameters: what all notebooks of the run are given.
    """

    def __init__(self, run: Path, parameters: Mapping[str, Any]) -> None:
        self.run, self.parameters = run, dict(parameters)
        self.records: dict[str, Record] = {}
        stored = _stored(run / STATE)
        if stored["parameters"] == self.parameters:
            self.records = stored["notebooks"]

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

    def key(
        self,
        path: Path,
        given: Mapping[str, Any],
        files: Mapping[str, str],
        around: Mapping[str, str],
    ) -> str:
        """Digest of all that a notebook's outcome depends on now.

        Args:
            path: the notebook.
            given: its parameters.
            files: digests of the files that its parameters name.
            around: digests of the package and of ``data/``.
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
        text = json.dumps(
            [cells, dict(given), dict(files), dict(around), others, before], sort_keys=True
        )
        return hashlib.sha256(text.encode()).hexdigest()

    def written(self) -> dict[str, tuple[int, int]]:
        """Files below :data:`SHARED` with what changes whenever one is written."""
        found = {}
        for folder in SHARED:
            for path in sorted((self.run / folder).rglob("*")):
                if path.is_file() and not path.name.startswith("."):
                    stat = path.stat()
                    name = path.relative_to(self.run).as_posix()
                    found[name] = (stat.st_ino, stat.st_mtime_ns)
        return found


def set_aside(run: Path, parameters: Mapping[str, Any]) -> Path | None:
    """Move what a run with other parameters left in a folder into a folder of its own there.

    A notebook would take the other run's weights and results for its own.

    Returns:
        where it lies now; None where there was no such run.
    """
    old = _stored(run / STATE)["parameters"]
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


def digest(folder: Path) -> str:
    """SHA-256 over names and contents of the files below a folder."""
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith("."):
            found.update(f"{path.relative_to(folder).as_posix()} {sha256(path)}\n".encode())
    return found.hexdigest()


def _stored(path: Path) -> dict[str, Any]:
    """Parameters and records in a state file; no parameters where there is no such file."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        records = {
            stem: Record(**{**record, "wrote": tuple(record.get("wrote", ()))})
            for stem, record in stored["notebooks"].items()
        }
        return {"parameters": dict(stored["parameters"]), "notebooks": records}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {"parameters": None, "notebooks": {}}


# Rows of a table shown on the page; the file has all of them.
ROWS = 40
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem;
       color: #1b1b1b; background: #fff; }
h1, h2, h3 { line-height: 1.2; } h2 { margin-top: 2.5rem; border-bottom: 1px solid #ccc; }
table { border-collapse: collapse; display: block; overflow-x: auto; margin: .5rem 0 1.5rem; }
th, td { padding: .25rem .75rem; border-bottom: 1px solid #ddd; text-align: left;
         font-variant-numeric: tabular-nums; }
th { border-bottom: 2px solid #555; } a { color: #0057a3; }
.failed { color: #b03a00; font-weight: 600; }
figure { margin: 1rem 0 2rem; } figure img { max-width: 100%; height: auto; }
"""


def page(run: Path, records: Mapping[tuple[str, str], Record], facts: Mapping[str, Any]) -> str:
    """The page's HTML: notebooks, then the tables and figures that lie in ``run`` now.

    Args:
        run: the run's folder; every link is relative to it, so that it can be moved and sent.
        records: by file stem and title of the notebooks, in their order.
        facts: parameters of the run, shown on top.
    """
    shown = [f"{key}: {value}" for key, value in facts.items() if value != "" and key != "run_dir"]
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>NGAT: {escape(run.name)}</title><style>{STYLE}</style></head><body>",
        f"<h1>NGAT: {escape(run.name)}</h1>",
        f"<p>{escape(' · '.join(shown))}</p>",
        "<h2>Notebooks</h2>",
        _notebooks(records),
    ]
    for kind, suffix, show in (("tables", "csv", _table), ("figures", "png", _figure)):
        names = [name for item in PAPER_ITEMS for name in getattr(item, kind)]
        found = {path.stem: path for path in sorted((run / kind).glob(f"*.{suffix}"))}
        first = [show(run, found.pop(name)) for name in names if name in found]
        others = [show(run, path) for path in found.values()]
        if first:
            parts += [f"<h2>{kind.capitalize()} of the paper</h2>", *first]
        if others:  # folded: a run has dozens
            summary = f"{len(others)} further {kind}"
            parts += [f"<details><summary>{summary}</summary>", *others, "</details>"]
    files = [
        path
        for folder in ("results", "weights")
        for path in sorted((run / folder).rglob("*"))
        if path.is_file()
    ]
    if files:
        items = "".join(f"<li>{_link(run, path)}</li>" for path in files)
        parts += ["<h2>Result files</h2>", f"<ul>{items}</ul>"]
    return "\n".join([*parts, "</body></html>", ""])


def _link(run: Path, path: Path, text: str = "") -> str:
    relative = path.relative_to(run).as_posix()
    return f'<a href="{escape(quote(relative))}">{escape(text or relative)}</a>'


def _notebooks(records: Mapping[tuple[str, str], Record]) -> str:
    lines = ["<table><tr><th>notebook</th><th></th><th>status</th><th>seconds</th></tr>"]
    for (stem, title), record in records.items():
        target = quote(f"notebooks/{stem}")
        status = f"{record.status}: {record.error}" if record.error else record.status
        lines.append(
            f'<tr><td><a href="{target}.html">{escape(title or stem)}</a></td>'
            f'<td><a href="{target}.ipynb">ipynb</a></td>'
            f'<td class="{escape(record.status)}">{escape(status)}</td>'
            f"<td>{record.seconds:.0f}</td></tr>"
        )
    return "\n".join([*lines, "</table>"])


def _table(run: Path, path: Path) -> str:
    with open(path, newline="", encoding="utf-8") as file:
        lines = list(csv.reader(file))
    heading = f"<h3>{escape(path.stem)}</h3><p>{_link(run, path, 'CSV')}"
    if (beside := path.with_suffix(".md")).is_file():
        heading += f" · {_link(run, beside, 'Markdown')}"
    cells = [
        "<tr>" + "".join(f"<{tag}>{escape(rounded(cell))}</{tag}>" for cell in line) + "</tr>"
        for tag, part in (("th", lines[:1]), ("td", lines[1 : ROWS + 1]))
        for line in part
    ]
    left_out = len(lines) - 1 - ROWS
    more = f"<p>{left_out} more rows in the file.</p>" if left_out > 0 else ""
    return "\n".join([heading + "</p>", "<table>", *cells, "</table>", more])


def rounded(cell: str) -> str:
    """A number with decimals to four significant digits; other text as it is."""
    try:
        return cell if "." not in cell else f"{float(cell):.4g}"
    except ValueError:
        return cell


def _figure(run: Path, path: Path) -> str:
    source = escape(quote(path.relative_to(run).as_posix()))
    links = _link(run, path, "PNG")
    if (beside := path.with_suffix(".pdf")).is_file():
        links += f" · {_link(run, beside, 'PDF')}"
    return (
        f'<figure><img src="{source}" alt="{escape(path.stem)}" loading="lazy">'
        f"<figcaption>{escape(path.stem)} ({links})</figcaption></figure>"
    )
