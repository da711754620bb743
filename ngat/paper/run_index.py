"""The page that a run of all notebooks ends with; it opens in a browser without a server."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ngat.paper.index import PAPER_ITEMS

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


@dataclass(frozen=True)
class Row:
    """One notebook on the page: file stem, title, ``finished`` or ``failed``, wall seconds."""

    stem: str
    title: str
    status: str
    seconds: float
    error: str = ""


def page(run: Path, rows: Sequence[Row], facts: Mapping[str, Any]) -> str:
    """The page's HTML: notebooks, then the tables and figures that lie in ``run`` now.

    Args:
        run: the run's folder; every link is relative to it, so that it can be moved and sent.
        rows: the notebooks in their order.
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
        _notebooks(rows),
    ]
    for kind, suffix, show in (("tables", "csv", _table), ("figures", "png", _figure)):
        names = [name for item in PAPER_ITEMS for name in getattr(item, kind)]
        found = {path.stem: path for path in sorted((run / kind).glob(f"*.{suffix}"))}
        first = [show(run, found.pop(name)) for name in names if name in found]
        others = [show(run, path) for path in found.values()]
        if first:
            parts += [f"<h2>{kind.capitalize()} of the paper</h2>", *first]
        if others:  # folded: a run has dozens
            said = f"{len(others)} further {kind}"
            parts += [f"<details><summary>{said}</summary>", *others, "</details>"]
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


def _notebooks(rows: Iterable[Row]) -> str:
    lines = ["<table><tr><th>notebook</th><th></th><th>status</th><th>seconds</th></tr>"]
    for row in rows:
        target = quote(f"notebooks/{row.stem}")
        said = f"{row.status}: {row.error}" if row.error else row.status
        lines.append(
            f'<tr><td><a href="{target}.html">{escape(row.title or row.stem)}</a></td>'
            f'<td><a href="{target}.ipynb">ipynb</a></td>'
            f'<td class="{escape(row.status)}">{escape(said)}</td><td>{row.seconds:.0f}</td></tr>'
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
