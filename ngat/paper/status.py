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
        parts: of a figure, what it is drawn as: ``taps`` is ``fig01_taps``.
    """

    of: str
    shows: str
    notebook: str
    parts: tuple[str, ...] = ()

    @property
    def figures(self) -> list[str]:
        """Names in ``figures/``, each as PNG and PDF."""
        return [f"fig{self.of[-1]:0>2}_{part}" for part in self.parts]

    @property
    def tables(self) -> list[str]:
        """Names in ``figures/``, each as CSV and Markdown."""
        return [] if self.parts else [self.of.lower().replace(" ", "")]


PAPER_ITEMS = (
    PaperItem("Figure 1", "the pyramid graph", "01", ("workflow", "pyramid_graph", "taps")),
    PaperItem("Figure 2", "types of pictures", "05", ("types", "composition")),
    PaperItem("Figure 3", "projection", "01", ("projection", "levels", "footprint")),
    PaperItem("Figure 4", "the network", "03", ("network", "paper", "schedule")),
    PaperItem("Figure 5", "methods side by side", "07", (*TYPES, "scores", "errors")),
    PaperItem("Figure 6", "from scores to nuclei", "07", ("types", "levels", "best_median_worst")),
    PaperItem("Figure 7", "radar of types", "09", ("radar",)),
    PaperItem("Figure 8", "training by loss", "06", ("losses", "levels")),
    PaperItem("Figure 9", "scores by type and threshold", "09", ("by_type",)),
    PaperItem("Table 1", "scores of all methods", "09"),
    PaperItem("Table 2", "F1 by type", "09"),
)


class Status(NamedTuple):
    """What the files say of one figure or table.

    Attributes:
        status: a few words.
        result: the file that says so, relative to the repository.
        hardware, minutes: of its making, as far as noted.
        real: it was measured on real pictures, and is made again with their files alone.
    """

    status: str
    result: Path | None = None
    hardware: str = ""
    minutes: float | None = None
    real: bool = False


def status_of(root: Path, of: str, runs: Sequence[Run]) -> Status:
    """How far ``Figure 1`` … ``Table 2`` is reproduced.

    Args:
        root: the top of the repository.
        of: as in :data:`PAPER_ITEMS`.
        runs: all result files, from :func:`ngat.evaluation.results.runs_in`.
    """
    if of not in _WITHOUT_RUNS:
        return _from_runs(root, of, runs)
    read, without_file = _WITHOUT_RUNS[of]
    try:
        return read(root)
    except FileNotFoundError:
        return Status(without_file)


def notebook_of(root: Path, number: str) -> Path | None:
    """A notebook by its number, relative to the repository, if it is there."""
    path = next((root / "notebooks").glob(f"{number}_*.ipynb"), None)
    return path and path.relative_to(root)


def _graph(root: Path) -> Status:
    path = Path("figures/graph_census.csv")
    census = pd.read_csv(root / path)
    census = census[census["level"] != "all"]
    kinds = ["king", "child", "parent"]
    edges = census[kinds].to_numpy()
    wrong = int((edges != census[[f"{kind}_formula" for kind in kinds]].to_numpy()).sum())
    agree = "as by formula" if not wrong else f"but {wrong} counts differ from the formula"
    found = f"{census['nodes'].sum():,} nodes, {edges.sum():,.0f} edges"
    return _of_notebook(root, "01", path, f"drawn: {found}, {agree}")


def _types(root: Path) -> Status:
    path = RESULTS / f"{REAL}.pictures.csv"
    pictures = pd.read_csv(root / path)
    there = pictures["type"].isin(TYPES) & ~pictures["type"].duplicated()
    status = f"drawn: {there.sum()} of {len(TYPES)} types in {len(pictures)} real pictures"
    return _of_notebook(root, "05", path, status)


def _projection(root: Path) -> Status:
    """The notebook compares with counting pixels, and its checked output is the result."""
    path = notebook_of(root, "01")
    checked = re.search(r"(\d+) boxes, largest difference[^:]*: (\w+)", _printed(root, path))
    if not path or not checked:
        return Status("not drawn")
    agree = "agree" if checked[2] == "True" else "do not agree"
    return _of_notebook(root, "01", path, f"drawn: {checked[1]} boxes {agree} with counting pixels")


def _network(root: Path) -> Status:
    path = RESULTS / "rings.json"
    rings = _json(root / path)
    paper, ours = rings["paper"], rings["companion"]
    status = (
        f"drawn; Dice on generated rings: {paper['dice']:.3f} as published "
        f"({paper['parameters']:,} parameters), companion {ours['dice']:.3f}"
    )
    minutes = paper["minutes"] + ours["minutes"]
    return Status(status, path, ours["provenance"]["hardware"], minutes)


def _losses(root: Path) -> Status:
    generated = RESULTS / "synthetic"
    for folder, measured in ((RESULTS, "measured"), (generated, f"{NOT_MEASURED}; generated")):
        logs = [
            sorted((root / folder).glob(f"training-{kind}*.validation.csv"))
            for kind in ("balanced", "bce")
        ]
        if not all(logs):
            continue
        # The last line of every seed's file.
        balanced, bce = (pd.concat([pd.read_csv(p).tail(1) for p in paths]) for paths in logs)
        gap = f"Dice {balanced['dice'].mean() - bce['dice'].mean():+.3f} for the balanced loss"
        if len(balanced) > 1:
            gap += f", means of {len(balanced)} seeds"
        minutes = float(balanced["minutes"].sum() + bce["minutes"].sum())
        first = logs[0][0]
        beside = first.with_name(first.name.replace(".validation.csv", ".json"))
        hardware = _json(beside).get("hardware", "") if beside.is_file() else ""
        status = f"{measured}: {gap}"
        return Status(status, first.relative_to(root), hardware, minutes, folder == RESULTS)
    return Status(NOT_MEASURED)


_WITHOUT_RUNS: dict[str, tuple[Callable[[Path], Status], str]] = {
    "Figure 1": (_graph, "not drawn"),
    "Figure 2": (_types, "not drawn"),
    "Figure 3": (_projection, "not drawn"),
    "Figure 4": (_network, NOT_MEASURED),
    "Figure 8": (_losses, NOT_MEASURED),
}


def _from_runs(root: Path, of: str, runs: Sequence[Run]) -> Status:
    """Status from a trained network's run: chosen by validation, real data first."""
    validated = [run for run in runs if artifacts.of_validation(run)]
    ours = [r for r in runs if artifacts.family(r) == "ngat" and not artifacts.of_validation(r)]
    if not ours:
        return Status(NOT_MEASURED)
    real = [run for run in ours if artifacts.real(run)]
    # Pictures of the published numbers come before other real ones.
    same = [run for run in real if published.same_images(run.counts)]
    runs_of = {run.method: run for run in same or real or ours}
    name = artifacts.headline(list(runs_of.values()), validated)[0]
    run = runs_of[name]
    row = tables.table1([run], with_published=False).iloc[0]
    f1, low, high = (row[f"average_f1{bound}"] for bound in ("", " low", " high"))
    score = f"average F1 {tables.with_interval(f1, low, high, decimals=3, bounds=3)} ({name})"
    if not real:
        status = f"{NOT_MEASURED}; generated: {score}"
    elif of in ("Figure 5", "Figure 6"):
        drawn = REAL_SOURCE in _printed(root, notebook_of(root, "07"))
        status = f"{'drawn of real pictures;' if drawn else 'measured, not yet drawn:'} {score}"
    elif of == "Figure 9":
        status = f"measured: {score}"
    elif not same:
        status = f"measured on other pictures than the published numbers: {score}"
    else:
        reached = _reached_of_table1(row) if of == "Table 1" else _reached_of_table2(run)
        word = "reached" if all(reached) else "not reached"
        status = f"{word}: {sum(reached)} of {len(reached)} published numbers; {score}"
    path = min((root / RESULTS).rglob(f"{run.name}.counts.csv"), default=None)
    evaluation = run.provenance.get("evaluation") or {}
    minutes = [run.provenance.get("minutes"), evaluation.get("minutes")]
    return Status(
        status,
        path and path.relative_to(root),
        str(run.provenance.get("hardware") or ""),
        sum(m for m in minutes if m) or None,
        bool(real),
    )


def _reached_of_table1(row: pd.Series) -> list[bool]:
    """Which of the paper's five numbers a row of table 1 reaches."""
    (paper,) = [line for line in published.TABLE_1 if line.system == published.PAPER]
    best = {name: row[name] >= getattr(paper, name) for name in ("score", "average_f1", "recall")}
    least = {name: row[name] <= getattr(paper, name) for name in ("missed", "extra")}
    least["extra"] &= best["recall"]  # a method that finds nothing has no extra nuclei
    return [*best.values(), *least.values()]


def _reached_of_table2(run: Run) -> list[bool]:
    """Which of the paper's five numbers, one per type, a run reaches."""
    measured = tables.table2([run], with_published=False).set_index("type")["f1"]
    paper = published.TABLE_2[published.PAPER]
    return [measured.get(kind, -1.0) >= value for kind, value in paper.items()]


def _of_notebook(root: Path, number: str, result: Path, status: str) -> Status:
    """Time and hardware of the committed notebook's last execution, where they were noted."""
    noted = _json(root / EXECUTED).get(number, {}) if (root / EXECUTED).is_file() else {}
    return Status(status, result, noted.get("hardware", ""), noted.get("minutes"))


def _printed(root: Path, notebook: Path | None) -> str:
    """What a notebook's cells printed; nothing where there is no notebook."""
    cells = _json(root / notebook)["cells"] if notebook else []
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    return "\n".join("".join(output.get("text", "")) for output in outputs)


def _json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content
