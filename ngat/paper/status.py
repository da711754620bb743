"""How far each figure and table of the paper is reproduced, told from result files alone.

The rules are in :data:`RULES`, which the README prints. Nothing is remembered: with another file
another sentence comes out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from ngat.data.sample import TYPES
from ngat.evaluation import published, tables
from ngat.evaluation.results import Run
from ngat.paper import artifacts as at_hand
from ngat.paper.index import COUNTERPARTS

RESULTS = Path("data/results")
REAL = "dsb2018"
EXECUTED = Path("notebooks/executed.json")
REAL_FIGURES = Path("figures") / REAL  # the notebooks in the repository draw generated pictures
RULES = (
    "*Reproduced*, *partly* and *not* count published numbers (all, some, none) that lie within"
    " the 95 % interval of what was measured on real pictures, or are worse. Where the paper "
    "prints no number, a figure is reproduced once it shows real pictures (figures 5 and 6 do in "
    "`figures/dsb2018/`) or, of figures 1 and 3, once all its counts agree; figure 4 once the "
    "network as published learns the ring test bed as the companion does; figure 8 once the "
    "balanced loss ends above cross-entropy in Dice. *Not yet*: there is no result file of real "
    "pictures; the number is of generated ones."
)
# Table 1's measures, and whether more of them is better.
_MORE_IS_BETTER = {
    **{"score": True, "average_f1": True, "recall": True},
    **{"missed": False, "extra": False},
}


class Standing(NamedTuple):
    """What the files say of one counterpart; ``result`` is relative to the repository.

    Attributes:
        real: it was measured on real pictures, and is made again with their files alone.
    """

    result: Path | None
    hardware: str
    minutes: float | None
    status: str
    real: bool = False


def standing(root: Path, of: str, runs: Sequence[Run]) -> Standing:
    """How far ``Figure 1`` … ``Table 2`` is reproduced.

    Args:
        root: the top of the repository.
        of: as in :data:`ngat.paper.index.COUNTERPARTS`.
        runs: all result files, from :func:`ngat.evaluation.results.runs_in`.
    """
    if of in _WITHOUT_RUNS:
        return _WITHOUT_RUNS[of](root)
    return _measured(root, of, runs)


def _graph(root: Path) -> Standing:
    path = Path("figures/graph_census.csv")
    if not (root / path).is_file():
        return _not_yet()
    census = pd.read_csv(root / path)
    census = census[census["level"] != "all"]
    kinds = ("king", "child", "parent")
    wrong = sum(int((census[kind] != census[f"{kind}_formula"]).sum()) for kind in kinds)
    edges = int(census[list(kinds)].to_numpy().sum())
    found = f"{census['nodes'].sum():,} nodes, {edges:,} edges"
    status = f"reproduced: {found}, as by formula" if not wrong else f"not: {wrong} counts differ"
    return _of_notebook(root, "01", path, status)


def _types(root: Path) -> Standing:
    path = RESULTS / f"{REAL}.pictures.csv"
    if not (root / path).is_file():
        return _not_yet()
    pictures = pd.read_csv(root / path)
    there = len(set(TYPES) & set(pictures["type"]))
    word = "reproduced" if there == len(TYPES) else "partly"
    status = f"{word}: {there} of {len(TYPES)} types in {len(pictures)} real pictures"
    return _of_notebook(root, "05", path, status)


def _projection(root: Path) -> Standing:
    """The notebook compares with counting pixels, and its checked output is the result."""
    for path in sorted((root / "notebooks").glob("01_*.ipynb")):
        said = re.search(r"(\d+) boxes, largest difference[^:]*: (\w+)", _outputs(path))
        if said:
            word = "reproduced" if said[2] == "True" else "not"
            status = f"{word}: {said[1]} boxes compared with counting pixels"
            return _of_notebook(root, "01", path.relative_to(root), status)
    return _not_yet()


def _network(root: Path) -> Standing:
    path = RESULTS / "rings.json"
    if not (root / path).is_file():
        return _not_yet()
    rings = json.loads((root / path).read_text(encoding="utf-8"))
    paper, ours = rings["paper"], rings["companion"]
    same = paper["dice"] >= ours["dice"] - ours["dice_deviation"]
    status = (
        f"{'reproduced' if same else 'partly'}: {paper['parameters']:,} parameters as published, "
        f"Dice {paper['dice']:.3f} on rings; companion {ours['dice']:.3f}"
    )
    minutes = paper["minutes"] + ours["minutes"]
    return Standing(path, ours["provenance"]["hardware"], minutes, status)


def _losses(root: Path) -> Standing:
    for folder, where in ((RESULTS, "real"), (RESULTS / "synthetic", "generated")):
        paths = [folder / f"training-{kind}.validation.csv" for kind in ("balanced", "bce")]
        if not all((root / path).is_file() for path in paths):
            continue
        balanced, bce = (pd.read_csv(root / path).iloc[-1] for path in paths)
        gap = f"Dice {balanced['dice'] - bce['dice']:+.3f} for the balanced loss"
        word = "reproduced" if balanced["dice"] > bce["dice"] else "not"
        status = f"{word}: {gap}" if where == "real" else f"not yet; generated: {gap}"
        minutes = balanced["minutes"] + bce["minutes"]
        beside = root / folder / "training-balanced.json"
        told = json.loads(beside.read_text(encoding="utf-8")) if beside.is_file() else {}
        return Standing(paths[0], told.get("hardware", ""), minutes, status, real=where == "real")
    return _not_yet()


_WITHOUT_RUNS: dict[str, Callable[[Path], Standing]] = {
    "Figure 1": _graph,
    "Figure 2": _types,
    "Figure 3": _projection,
    "Figure 4": _network,
    "Figure 8": _losses,
}


def _measured(root: Path, of: str, runs: Sequence[Run]) -> Standing:
    """What rests on a trained network's result files: the best one's on real pictures, if any."""
    ours = [run for run in runs if at_hand.family(run) == "ngat"]
    real = [run for run in ours if run.counts["data"].iloc[0] == REAL]
    if not (real or ours):
        return _not_yet()
    runs_of = {str(run.counts["method"].iloc[0]): run for run in real or ours}
    name = at_hand.headline(list(runs_of.values()))[0]
    run = runs_of[name]
    row = tables.table1([run], with_published=False).iloc[0]
    f1 = tables.with_interval(
        row["average_f1"], row["average_f1 low"], row["average_f1 high"], decimals=3, bounds=3
    )
    told = f"average F1 {f1} ({name})"
    if not real:
        status = f"not yet; generated: {told}"
    elif of in ("Table 2", "Figure 7"):
        status = _verdict(_types_held(run), told)
    elif of == "Table 1":
        status = _verdict(_measures_held(row), told)
    else:
        status = f"reproduced: {told} on real pictures"
        if of in ("Figure 5", "Figure 6"):
            names = next(here.figures for here in COUNTERPARTS if here.of == of)
            drawn = all((root / REAL_FIGURES / f"{name}.png").is_file() for name in names)
            if not drawn:
                status = f"partly: {told} on real pictures, the figure shows generated ones"
    found = sorted((root / RESULTS).rglob(f"{run.name}.counts.csv"))
    minutes = [
        run.provenance.get("minutes"),
        (run.provenance.get("evaluation") or {}).get("minutes"),
    ]
    return Standing(
        found[0].relative_to(root) if found else None,
        str(run.provenance.get("hardware") or ""),
        sum(m for m in minutes if m) or None,
        status,
        real=bool(real),
    )


def _verdict(held: Sequence[bool], told: str) -> str:
    word = "reproduced" if all(held) else "partly" if any(held) else "not"
    return f"{word}: {sum(held)} of {len(held)} published numbers; {told}"


def _measures_held(row: pd.Series) -> list[bool]:
    (paper,) = [line for line in published.TABLE_1 if line.system == published.PAPER]
    return [
        _held(getattr(paper, name), row[name], row[f"{name} low"], row[f"{name} high"], more)
        for name, more in _MORE_IS_BETTER.items()
    ]


def _types_held(run: Run) -> list[bool]:
    """One per type of the paper's row; a type without pictures is not reproduced."""
    lines = tables.table2([run], with_published=False).set_index("type")
    held = []
    for name, value in published.TABLE_2[published.PAPER].items():
        line = lines.loc[name] if name in lines.index else None
        held.append(line is not None and _held(value, line["f1"], line["low"], line["high"], True))
    return held


def _held(paper: float, value: float, low: float, high: float, more_is_better: bool) -> bool:
    """Whether a published number is within the interval, or worse than it."""
    end = high if more_is_better else low
    reached = value if pd.isna(end) else end
    return bool(paper <= reached if more_is_better else paper >= reached)


def _of_notebook(root: Path, number: str, result: Path, status: str) -> Standing:
    """Time and hardware of the committed notebook's last execution, where they were noted."""
    noted: dict[str, Any] = {}
    if (root / EXECUTED).is_file():
        noted = json.loads((root / EXECUTED).read_text(encoding="utf-8")).get(number, {})
    return Standing(result, noted.get("hardware", ""), noted.get("minutes"), status)


def _outputs(path: Path) -> str:
    """What a notebook's cells printed."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    return "\n".join("".join(output.get("text", "")) for output in outputs)


def _not_yet() -> Standing:
    return Standing(None, "", None, "not yet")
