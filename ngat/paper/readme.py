"""The generated parts of the README and of the page of results, from committed files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ngat.errors import InputError
from ngat.evaluation import paired, published, tables
from ngat.evaluation.results import Run, runs_in
from ngat.paper import artifacts
from ngat.paper.status import PAPER_ITEMS, RESULTS, RULES, notebook_of, status_of
from ngat.system.files import write_text

PAGE = RESULTS / "README.md"  # the long tables
# Published rows of the short table: the paper, the challenge's winner, the classical reference.
SHORT = (published.PAPER, "topcoders", "CellProfiler")
RIVALS = ("unet", "fpn")  # presets of the networks that it is compared with


def committed(root: Path) -> list[Run]:
    """All runs of ``data/results`` and its folders."""
    folders = sorted({path.parent for path in (root / RESULTS).rglob("*.counts.csv")})
    return [run for folder in folders for run in runs_in(folder)]


def paper(root: Path, runs: Sequence[Run], up: str = "") -> str:
    """A line for every figure and table of the paper: where it is, how it is made, how far.

    Args:
        root: the top of the repository.
        runs: all result files.
        up: the way from the page's folder to the top, for links: ``../../``.
    """
    rows = []
    for item in PAPER_ITEMS:
        found = status_of(root, item.of, runs)
        notebook, result = notebook_of(root, item.notebook), found.result
        data = "DATA=dsb2018 " if found.real else ""
        rows.append(
            {
                "in the paper": f"{item.of}: {item.shows}",
                "notebook": f"[{item.notebook}]({up}{notebook.as_posix()})" if notebook else "",
                "command": f"`make reproduce {data}ONLY={item.notebook}`",
                "result file": f"[{result.name}]({up}{result.as_posix()})" if result else "–",
                "hardware": found.hardware or "–",
                "minutes": "–" if found.minutes is None else f"{found.minutes:.1f}",
                "status": found.status,
            }
        )
    return tables.markdown(pd.DataFrame(rows)) + "\n" + RULES


def short(runs: Sequence[Run]) -> str:
    """Published and measured rows of stage 2 in a few lines: one method of each sort.

    Which method stands for its sort is chosen by validation (:func:`artifacts.headline`). Other
    networks, and this one in the paper's literal reading and as trained on a GPU, stand there all;
    so do averages over flips, StarDist and Cellpose. Measured rows are sorted by average F1.
    """
    same = [run for run in runs if published.same_images(run.counts)]
    validated = [run for run in runs if artifacts.of_validation(run)]
    ours = artifacts.headline(same, validated) if same else []
    trained = [
        run.method
        for run in same
        if run.method.endswith("-gpu (split)")
        or (run.provenance.get("preset") in RIVALS and run.method.endswith("(split)"))
    ]
    flips = [run.method for run in same if artifacts.flips(run) and run.method.endswith("(split)")]
    peers = [run.method for run in same if "peer" in run.provenance]
    literal = [
        run.method
        for run in same
        if run.provenance.get("preset") == "paper" and run.method.endswith("(split)")
    ]
    ours = list(dict.fromkeys([*ours, *literal, *trained, *flips, *peers]))
    one = tables.table1(same)
    theirs = one["measured on"] == published.MEASURED_ON
    names = one["method"].mask(theirs, one["method"].str.partition(":")[0])
    rows = one.set_index(names)
    ours = list(rows.loc[ours].sort_values("average_f1", ascending=False, kind="stable").index)
    rows = rows.loc[[*SHORT, *ours]]
    shown = tables.printed(rows)
    for name in {"recall", "extra"} & {*shown}:  # intervals stand on the page of results
        shown[name] = shown[name].str.partition(" ")[0]
    kept = ["method", "average_f1", "recall", "extra", "parameters"]
    text = tables.markdown(shown[[column for column in kept if column in shown]])
    waiting = "" if same else "\nNo measured rows yet: there are no result files of stage 2.\n"
    return text + waiting


def measured(runs: Sequence[Run]) -> str:
    """Tables 1 and 2 of stage 2 in Markdown, and apart from them what else was measured."""
    same = [run for run in runs if published.same_images(run.counts)]
    other = [run for run in runs if not published.same_images(run.counts)]
    note = (
        "Measured rows come from the files in this folder; in brackets stand 95 % bootstrap "
        "intervals over images. They were measured on the images of the published rows, the 106 "
        "of stage 2 (`dsb2018, test`)."
        if same
        else "No measured rows yet: this folder holds no result files of stage 2."
    )
    parts = [note, "", *_both(same, with_published=True)]
    validated = [run for run in other if artifacts.of_validation(run)]
    for flips in (False, True):  # what averages over flips is compared with what does so too
        alike = [run for run in same if artifacts.flips(run) == flips]
        parts += _differences(alike, validated)
    if other:
        parts += ["**Other images**, never to be compared with the rows above:", ""]
        parts += _both(other, with_published=False)
    parts += ["**What was measured on**:", "", tables.markdown(tables.composition(runs))]
    return "\n".join(parts)


def _both(runs: Sequence[Run], *, with_published: bool) -> list[str]:
    one = tables.table1(runs, with_published=with_published)
    two = tables.table2(runs, with_published=with_published)
    return [
        "**Table 1**: means over images and thresholds, pooled counts at IoU > 0.7, Dice.",
        "",
        tables.markdown(tables.printed(one)),
        "**Table 2**: F1 at IoU > 0.7, mean over the images of a type.",
        "",
        tables.markdown(tables.wide(two)),
    ]


def _differences(runs: Sequence[Run], validated: Sequence[Run]) -> list[str]:
    """Our method against each other row on the same images, ours as validation chooses it."""
    ours = [run for run in runs if artifacts.family(run) == "ngat"]
    if not ours:
        return []
    method = artifacts.headline(ours, validated)[0]
    against = paired.paired(runs, method)
    if against.empty:
        return []
    return [
        f"**Differences**: average F1 of {method} less that of each other row, image by image, "
        "with 95 % paired bootstrap intervals. One that lies above zero says that it is better "
        "on these pictures, as trained: one training of each, of unequal budgets (minutes and "
        "hardware of table 1). Other seeds and other budgets may decide otherwise.",
        "",
        tables.markdown(paired.printed(against)),
        *_at_equal_minutes(runs, ours),
    ]


def _at_equal_minutes(runs: Sequence[Run], ours: Sequence[Run]) -> list[str]:
    """This network less another one that was trained on the same machine for as long."""
    found = [
        paired.paired([run, *alike], run.method)
        for run in ours
        if (alike := [one for one in runs if one not in ours and _equally_trained(run, one)])
    ]
    if not found:
        return []
    table = pd.concat(found)
    shown = paired.printed(table)
    shown.insert(0, "of", table["method"])
    return [
        "**At equal minutes of the same machine** (within a sixth), average F1 less that of the "
        "other network:",
        "",
        tables.markdown(shown),
    ]


def _equally_trained(run: Run, other: Run) -> bool:
    """Same hardware, as many minutes to within a sixth, and nuclei made in the same way."""
    a, b = run.provenance.get("training"), other.provenance.get("training")
    if not (isinstance(a, dict) and isinstance(b, dict)) or a["hardware"] != b["hardware"]:
        return False
    ratio = float(a["minutes"]) / float(b["minutes"])
    way = [one.method.rpartition("(")[2] for one in (run, other)]
    return 5 / 6 < ratio < 6 / 5 and way[0] == way[1]


def replace(text: str, name: str, content: str, page: str = "README.md") -> str:
    """``text`` with ``content`` between ``<!-- begin:name -->`` and ``<!-- end:name -->``.

    Raises:
        InputError: the marks are missing, there twice or in the wrong order.
    """
    begin, end = f"<!-- begin:{name} -->\n", f"<!-- end:{name} -->"
    before, _, rest = text.partition(begin)
    _, found, after = rest.partition(end)
    if not found or text.count(begin) + text.count(end) != 2:
        raise InputError(f"{page}: must hold '{begin.strip()}' and then '{end}', once each.")
    return f"{before}{begin}{content.rstrip()}\n{end}{after}"


def refresh(root: Path = Path("."), *, check: bool = False) -> bool:
    """Rewrite the generated sections of both pages; return whether any was out of date.

    Args:
        root: the top of the repository.
        check: compare only, write nothing.

    Raises:
        InputError: a page is missing, its marks are wrong, or result files are damaged. Nothing is
            written then.
    """
    runs = committed(root)
    stale: dict[Path, str] = {}
    for name, sections in (
        (Path("README.md"), {"short": short(runs)}),
        (PAGE, {"paper": paper(root, runs, "../../"), "tables": measured(runs)}),
    ):
        path = root / name
        if not path.is_file():
            raise InputError(
                f"{path}: there is no such file; run this from the top of the repository."
            )
        text = wanted = path.read_text(encoding="utf-8")
        for mark, content in sections.items():
            wanted = replace(wanted, mark, content, name.as_posix())
        if wanted != text:
            stale[path] = wanted
    if not check:
        for path, wanted in stale.items():
            write_text(path, wanted)
    return bool(stale)
