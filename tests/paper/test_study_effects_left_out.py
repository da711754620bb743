"""Left-out types: pairs by hand, the figure's data, and tables that are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ngat.errors import InputError
from ngat.paper.figures.effects import seen_and_unseen
from ngat.paper.study import effects as study
from ngat.training.sweep import COLUMNS
from ngat.training.variants import BASE, HELD_OUT


def table(*lines: tuple[str, str, str, int, float]) -> pd.DataFrame:
    rows = [
        (n, *((HELD_OUT, w) if w else (BASE, BASE)), s, t, 10, 99, 1.0, 4, f / 2, 0, 0, f, 0.0)
        for n, w, t, s, f in lines
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


GREY, SMALL = "grayscale_tissue", "small_fluorescent"
RUNS = table(
    ("unet", "", GREY, 0, 0.4),
    ("companion", "", GREY, 0, 0.5),
    ("companion", "", SMALL, 0, 0.6),
    ("companion", "", GREY, 1, 0.3),
    ("companion", GREY, GREY, 0, 0.2),
    ("companion", GREY, GREY, 1, 0.1),
    ("companion", SMALL, SMALL, 1, 0.1),  # of this seed there is no run with all types
    ("unet", GREY, GREY, 0, 0.0),
)


def test_pairs_are_of_the_same_network_type_and_seed(tmp_path: Path) -> None:
    path = tmp_path / "left.csv"
    RUNS.to_csv(path, index=False)
    found = study.pairs(study.read_left_out(path)).set_index("network")
    assert list(found.index) == ["companion", "unet"]
    assert set(found["type"]) == {GREY}
    assert found.loc["companion", ["seeds", "images"]].tolist() == [2, 4]
    assert found.loc["companion", "seen"] == pytest.approx(0.4)
    assert found.loc["companion", "unseen"] == pytest.approx(0.15)
    assert found.loc["companion", "kept"] == pytest.approx(0.375)
    assert found.loc["unet", "kept"] == 0


def test_a_type_that_is_never_found_keeps_no_share() -> None:
    nothing = table(("a", "", GREY, 0, 0.0), ("a", GREY, GREY, 0, 0.0))
    assert np.isnan(study.pairs(nothing)["kept"]).all()


def test_the_figure_shows_both_ends_of_every_pair() -> None:
    found = study.pairs(RUNS)
    (ax,) = seen_and_unseen(found).axes
    drawn = sorted(float(line.get_xdata()[0]) for line in ax.lines)
    assert drawn == pytest.approx(sorted([*found["seen"], *found["unseen"]]))
    assert [t.get_text() for t in ax.get_yticklabels()] == ["grayscale tissue\n(4 pictures)"]


def test_other_tables_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    with pytest.raises(InputError, match="cannot be read"):
        study.read_left_out(path)
    RUNS.drop(columns="dice").to_csv(path, index=False)
    with pytest.raises(InputError, match="no table of runs"):
        study.read_left_out(path)
    for wrong in (RUNS.assign(type="blue"), pd.concat([RUNS, RUNS[:1]])):
        wrong.to_csv(path, index=False)
        with pytest.raises(InputError, match="unknown types, or runs twice"):
            study.read_left_out(path)
