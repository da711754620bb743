"""What the README tells of results, made from committed files, so that they cannot drift apart."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ngat.errors import InputError
from ngat.evaluation import tables
from ngat.evaluation.results import Run, runs_in
from ngat.paper.index import COUNTERPARTS
from ngat.paper.status import RESULTS, RULES, standing
from ngat.system.files import replacing


def committed(root: Path) -> list[Run]:
    """All runs of ``data/results`` and its folders."""
    folders = sorted({path.parent for path in (root / RESULTS).rglob("*.counts.csv")})
    return [run for folder in folders for run in runs_in(folder)]


def paper(root: Path, runs: Sequence[Run]) -> str:
    """A line for every figure and table of the paper: where it is, how it is made, how far."""
    rows = []
    for here in COUNTERPARTS:
        found = standing(root, here.of, runs)
        notebook = next((root / "notebooks").glob(f"{here.notebook}_*.ipynb"), None)
        result = found.result.as_posix() if found.result else ""
        data = "DATA=../shared/dsb2018 " if found.real else ""
        rows.append(
            {
                "in the paper": f"{here.of}: {here.shows}",
                "notebook": f"[{here.notebook}](notebooks/{notebook.name})" if notebook else "",
                "command": f"`make reproduce {data}ONLY={here.notebook}`",
                "result file": f"[{Path(result).name}]({result})" if result else "–",
                "hardware": found.hardware or "–",
                "minutes": "–" if found.minutes is None else f"{found.minutes:.1f}",
                "status": found.status,
            }
        )
    return tables.markdown(pd.DataFrame(rows)) + "\n" + RULES


def measured(runs: Sequence[Run]) -> str:
    """Tables 1 and 2 and the composition in Markdown."""
    one, two = tables.table1(runs), tables.table2(runs)
    note = (
        f"Measured rows come from the files in `{RESULTS.as_posix()}/`; in brackets stand 95 % "
        "bootstrap intervals over images."
        if runs
        else f"No measured rows yet: `{RESULTS.as_posix()}/` holds no result files."
    )
    return "\n".join(
        [
            note + " Published rows were measured on other images (stage 2 of the challenge).",
            "",
            "**Table 1**: means over images and thresholds, pooled counts at IoU > 0.7, Dice.",
            "",
            tables.markdown(tables.printed(one)),
            "**Table 2**: F1 at IoU > 0.7, mean over the images of a type.",
            "",
            tables.markdown(tables.wide(two)),
            "**What was measured on**:",
            "",
            tables.markdown(tables.composition(runs)),
        ]
    )


def replace(text: str, name: str, content: str) -> str:
    """``text`` with ``content`` between ``<!-- begin:name -->`` and ``<!-- end:name -->``.

    Raises:
        InputError: the marks are missing, there twice or in the wrong order.
    """
    begin, end = f"<!-- begin:{name} -->\n", f"<!-- end:{name} -->"
    if text.count(begin) != 1 or text.count(end) != 1:
        raise InputError(f"README.md: must hold '{begin.strip()}' and '{end}' once each.")
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    # A function, because a replacement string would interpret backslashes.
    changed, count = pattern.subn(lambda _: begin + content.rstrip("\n") + "\n" + end, text)
    if count != 1:
        raise InputError(f"README.md: '{end}' stands before '{begin.strip()}'; swap them.")
    return changed


def refresh(root: Path = Path("."), *, check: bool = False) -> bool:
    """Rewrite the README's generated sections; tell whether they were out of date.

    Args:
        root: the top of the repository.
        check: only tell, write nothing.

    Raises:
        InputError: there is no README, its marks are wrong, or result files are damaged.
    """
    path = root / "README.md"
    if not path.is_file():
        raise InputError(f"{path}: there is no such file; run this from the top of the repository.")
    text = path.read_text(encoding="utf-8")
    runs = committed(root)
    wanted = replace(text, "paper", paper(root, runs))
    wanted = replace(wanted, "tables", measured(runs))
    if wanted != text and not check:
        with replacing(path) as beside:
            beside.write_text(wanted, encoding="utf-8", newline="\n")
    return wanted != text
