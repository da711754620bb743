"""Effects of ablations, by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ngat.errors import InputError
from ngat.paper.study import effects as study
from ngat.training.sweep import COLUMNS


def table(*lines: tuple[str, str, int, float]) -> pd.DataFrame:
    rows = [("smoke", f, v, s, "all", 10, 99, 1.0, 4, d, 0, 0, d / 2, 0) for f, v, s, d in lines]
    return pd.DataFrame(rows, columns=list(COLUMNS))


RUNS = table(
    ("loss", "bce", 1, 0.5),
    ("base", "base", 0, 0.8),
    ("base", "base", 1, 0.6),
    ("loss", "bce", 0, 0.9),
    ("levels", "1", 0, 0.7),
    ("levels", "1", 2, 0.9),  # has no base
)


def test_effects_are_paired_by_seed(tmp_path: Path) -> None:
    path = tmp_path / "ablations.csv"
    RUNS.to_csv(path, index=False)
    read = study.read(path)
    assert read["factor"].tolist()[:4] == ["base", "base", "levels", "levels"]
    found = study.effects(read, "dice").set_index("variant")
    assert list(found.index) == ["1", "bce"]
    assert found.loc["bce", "values"] == pytest.approx([0.1, -0.1])
    assert found.loc["bce", "mean"] == pytest.approx(0)
    # Two values: t = 12.706 with one degree of freedom; s / sqrt(2) = 0.1.
    assert found.loc["bce", "high"] == pytest.approx(12.706 * 0.1, abs=1e-3)
    assert found.loc["1", "values"] == pytest.approx([-0.1])
    assert np.isnan(found.loc["1", "low"])
    summary = study.summary(read).set_index("variant")
    assert summary.loc["base", "effect on Dice"] == ""
    assert summary.loc["1", "effect on Dice"] == "-0.100"
    assert summary.loc["bce", "effect on Dice"] == "+0.000 [-1.271, +1.271]"
    assert summary.loc["base", "average F1"] == pytest.approx(0.35)


def test_interval_covers_the_mean_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(4000):
        low, high = study.student_interval(rng.normal(1.0, 3.0, size=3))
        inside += low <= 1.0 <= high
    assert inside / 4000 == pytest.approx(0.95, abs=0.012)


def test_verdict() -> None:
    assert study.verdict(0.01, 0.02) == "better"
    assert study.verdict(-0.02, -0.01) == "worse"
    assert study.verdict(-0.01, 0.02) == "undecided"
    assert study.verdict(np.nan, np.nan) == "undecided"


def test_other_tables_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    with pytest.raises(InputError, match="cannot be read"):
        study.read(path)
    RUNS.drop(columns="dice").to_csv(path, index=False)
    with pytest.raises(InputError, match="no table of runs"):
        study.read(path)
    RUNS[RUNS["factor"] != "base"].to_csv(path, index=False)
    with pytest.raises(InputError, match="no base"):
        study.read(path)
    RUNS.assign(variant="other").to_csv(path, index=False)
    with pytest.raises(InputError, match="unknown variants"):
        study.read(path)
