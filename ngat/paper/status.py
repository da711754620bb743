"""The paper's figures and tables, and how far each is reproduced, by result files alone.

The rules are in :data:`RULES`, which the page of results prints. Nothing is remembered: with
another file another sentence comes out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from ngat.data import TYPES
from ngat.evaluation import published, tables
from ngat.evaluation.results import Run
from ngat.paper import artifacts

RESULTS = Path("data/results")
REAL = "dsb2018"
EXECUTED = Path("notebooks/executed.json")
REAL_SOURCE = "2018 Data Science Bowl"  # as notebooks name their pictures
# Table 1's measures, and whether more of them is better.
_MORE_IS_BETTER = {
    **{"score": True, "average_f1": True, "recall": True},
    **{"missed": False, "extra": False},
}
RULES = (
    "*Drawn*: the figure is made; the paper prints no number to compare with. *Measured*: measured "
    "on real pictures, but the paper prints no number, or printed it for other pictures. *Reached* "
    "and *not reached*: measured on the very pictures of the published numbers, the 106 of stage "
    "2; a number is reached if the measured one is at least as good, and *extra* only together "
    "with recall, since a method that finds nothing has none. *Not measured*: there is no result "
    "file of real pictures."
)
NOT_MEASURED = "not measured"


class PaperItem(NamedTuple):
    """A figure or table of the paper and what corresponds to it in this repository.

    Attributes:
        of: ``Figure 1`` … or ``Table 1`` …, as the paper numbers it.
        shows: what it is about.
        notebook: the number of the notebook that makes it.
        figures: names in ``figures/``, each as PNG and PDF.
        tables: names in ``figures/``, each as CSV and Markdown.
    """

    of: str
    shows: str
    notebook: str
    figures: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()


PAPER_ITEMS = (
    PaperItem(
        "Figure 1",
        "the pyramid graph",
        "01",
        ("fig01_workflow", "fig01_pyramid_graph", "fig01_taps"),
    ),
    PaperItem("Figure 2", "types of pictures", "05", ("fig02_types", "fig02_composition")),
    PaperItem(
        "Figure 3", "projection", "01", ("fig03_projection", "fig03_levels", "fig03_footprint")
    ),
    PaperItem("Figure 4", "the network", "03", ("fig04_network", "fig04_paper", "fig04_schedule")),
    PaperItem(
        "Figure 5",
        "methods side by side",
        "07",
        (*(f"fig05_{kind}" for kind in TYPES), "fig05_scores", "fig05_errors"),
    ),
    PaperItem(
        "Figure 6",
        "from scores to nuclei",
        "07",
        ("fig06_types", "fig06_levels", "fig06_best_median_worst"),
    ),
    PaperItem("Figure 7", "radar of types", "09", ("fig07_radar",)),
    PaperItem("Figure 8", "training by loss", "06", ("fig08_losses", "fig08_levels")),
    PaperItem("Figure 9", "scores by type and threshold", "09", ("fig09_by_type",)),
    PaperItem("Table 1", "scores of all methods", "09", tables=("table1",)),
    PaperItem("Table 2", "F1 by type", "09", tables=("table2",)),
)


class Status(NamedTuple):
    """What the files say of one figure or table; ``result`` is relative to the repository.

    Attributes:
        real: it was measured on real pictures, and is made again with their files alone.
    """

    result: Path | None
    hardware: str
    minutes: float | None
    status: str
    real: bool = False


def status_of(root: Path, of: str, runs: Sequence[Run]) -> Status:
    """How far ``Figure 1`` … ``Table 2`` is reproduced.

    Args:
        root: the top of the repository.
        of: as in :data:`PAPER_ITEMS`.
        runs: all result files, from :func:`ngat.evaluation.results.runs_in`.
    """
    if of in _WITHOUT_RUNS:
        return _WITHOUT_RUNS[of](root)
    return _from_runs(root, of, runs)


def _graph(root: Path) -> Status:
    path = Path("figures/graph_census.csv")
    if not (root / path).is_file():
        return _no_file("not drawn")
    census = pd.read_csv(root / path)
    census = census[census["level"] != "all"]
    kinds = ("king", "child", "parent")
    wrong = sum(int((census[kind] != census[f"{kind}_formula"]).sum()) for kind in kinds)
    edges = int(census[list(kinds)].to_numpy().sum())
    found = f"{census['nodes'].sum():,} nodes, {edges:,} edges"
    agree = "as by formula" if not wrong else f"but {wrong} counts differ from the formula"
    return _of_notebook(root, "01", path, f"drawn: {found}, {agree}")


def _types(root: Path) -> Status:
    path = RESULTS / f"{REAL}.pictures.csv"
    if not (root / path).is_file():
        return _no_file("not drawn")
    pictures = pd.read_csv(root / path)
    there = len(set(TYPES) & set(pictures["type"]))
    status = f"drawn: {there} of {len(TYPES)} types in {len(pictures)} real pictures"
    return _of_notebook(root, "05", path, status)


def _projection(root: Path) -> Status:
    """The notebook compares with counting pixels, and its checked output is the result."""
    for path in sorted((root / "notebooks").glob("01_*.ipynb")):
        checked = re.search(r"(\d+) boxes, largest difference[^:]*: (\w+)", _outputs(path))
        if checked:
            agree = "agree" if checked[2] == "True" else "do not agree"
            status = f"drawn: {checked[1]} boxes {agree} with counting pixels"
            return _of_notebook(root, "01", path.relative_to(root), status)
    return _no_file("not drawn")


def _network(root: Path) -> Status:
    path = RESULTS / "rings.json"
    if not (root / path).is_file():
        return _no_file(NOT_MEASURED)
    rings = json.loads((root / path).read_text(encoding="utf-8"))
    paper, ours = rings["paper"], rings["companion"]
    status = (
        f"drawn; Dice on generated rings: {paper['dice']:.3f} as published "
        f"({paper['parameters']:,} parameters), companion {ours['dice']:.3f}"
    )
    minutes = paper["minutes"] + ours["minutes"]
    return Status(path, ours["provenance"]["hardware"], minutes, status)


def _losses(root: Path) -> Status:
    for folder, where in ((RESULTS, "real"), (RESULTS / "synthetic", "generated")):
        found = {
            kind: sorted((root / folder).glob(f"training-{kind}*.validation.csv"))
            for kind in ("balanced", "bce")
        }
        if not all(found.values()):
            continue
        balanced, bce = (
            pd.DataFrame([pd.read_csv(path).iloc[-1] for path in paths]) for paths in found.values()
        )
        gap = f"Dice {balanced['dice'].mean() - bce['dice'].mean():+.3f} for the balanced loss"
        if len(balanced) > 1:
            gap += f", means of {len(balanced)} seeds"
        status = f"measured: {gap}" if where == "real" else f"{NOT_MEASURED}; generated: {gap}"
        minutes = float(balanced["minutes"].sum() + bce["minutes"].sum())
        first = found["balanced"][0]
        beside = first.with_name(first.name.replace(".validation.csv", ".json"))
        record = json.loads(beside.read_text(encoding="utf-8")) if beside.is_file() else {}
        hardware = record.get("hardware", "")
        return Status(first.relative_to(root), hardware, minutes, status, real=where == "real")
    return _no_file(NOT_MEASURED)


_WITHOUT_RUNS: dict[str, Callable[[Path], Status]] = {
    "Figure 1": _graph,
    "Figure 2": _types,
    "Figure 3": _projection,
    "Figure 4": _network,
    "Figure 8": _losses,
}


def _validation(run: Run) -> bool:
    return bool(run.counts["split"].iloc[0] == "val")


def _from_runs(root: Path, of: str, runs: Sequence[Run]) -> Status:
    """Status from a trained network's run: chosen by validation, real data first."""
    ours = [run for run in runs if artifacts.family(run) == "ngat" and not _validation(run)]
    real = [run for run in ours if run.counts["data"].iloc[0] == REAL]
    if not ours:
        return _no_file(NOT_MEASURED)
    # Pictures of the published numbers come before other real ones.
    same = [run for run in real if published.same_images(run.counts)]
    runs_of = {run.method: run for run in same or real or ours}
    name = artifacts.headline(list(runs_of.values()), [run for run in runs if _validation(run)])[0]
    run = runs_of[name]
    row = tables.table1([run], with_published=False).iloc[0]
    f1 = tables.with_interval(
        row["average_f1"], row["average_f1 low"], row["average_f1 high"], decimals=3, bounds=3
    )
    score = f"average F1 {f1} ({name})"
    if not real:
        status = f"{NOT_MEASURED}; generated: {score}"
    elif of in ("Figure 5", "Figure 6"):
        notebooks = (root / "notebooks").glob("07_*.ipynb")
        drawn = any(REAL_SOURCE in _outputs(path) for path in notebooks)
        status = (
            f"drawn of real pictures; {score}" if drawn else f"measured, not yet drawn: {score}"
        )
    elif of == "Figure 9":
        status = f"measured: {score}"
    elif not same:
        status = f"measured on other pictures than the published numbers: {score}"
    else:
        reached = _reached_of_table1(row) if of == "Table 1" else _reached_of_table2(run)
        word = "reached" if all(reached) else "not reached"
        status = f"{word}: {sum(reached)} of {len(reached)} published numbers; {score}"
    found = sorted((root / RESULTS).rglob(f"{run.name}.counts.csv"))
    minutes = [
        run.provenance.get("minutes"),
        (run.provenance.get("evaluation") or {}).get("minutes"),
    ]
    return Status(
        found[0].relative_to(root) if found else None,
        str(run.provenance.get("hardware") or ""),
        sum(m for m in minutes if m) or None,
        status,
        real=bool(real),
    )


def _reached_of_table1(row: pd.Series) -> list[bool]:
    """Which of the paper's five numbers a row of table 1 reaches."""
    (paper,) = [line for line in published.TABLE_1 if line.system == published.PAPER]
    reached = {
        name: bool(
            row[name] >= getattr(paper, name)
            if more_is_better
            else row[name] <= getattr(paper, name)
        )
        for name, more_is_better in _MORE_IS_BETTER.items()
    }
    reached["extra"] &= reached["recall"]  # a method that finds nothing has no extra nuclei
    return list(reached.values())


def _reached_of_table2(run: Run) -> list[bool]:
    """Which of the paper's five numbers, one per type, a run reaches."""
    measured = tables.table2([run], with_published=False).set_index("type")["f1"]
    return [
        bool(measured.get(kind, -1.0) >= value)
        for kind, value in published.TABLE_2[published.PAPER].items()
    ]


def _of_notebook(root: Path, number: str, result: Path, status: str) -> Status:
    """Time and hardware of the committed notebook's last execution, where they were noted."""
    noted: dict[str, Any] = {}
    if (root / EXECUTED).is_file():
        noted = json.loads((root / EXECUTED).read_text(encoding="utf-8")).get(number, {})
    return Status(result, noted.get("hardware", ""), noted.get("minutes"), status)


def _outputs(path: Path) -> str:
    """What a notebook's cells printed."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    return "\n".join("".join(output.get("text", "")) for output in outputs)


def _no_file(status: str) -> Status:
    return Status(None, "", None, status)
