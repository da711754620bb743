"""The audit of the published tables, against hand counts and simulations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ngat import metrics
from ngat.data import TYPES
from ngat.evaluation import published
from ngat.paper.study import audit


def test_published_counts_give_table_1s_columns() -> None:
    table = audit.pooled().set_index("system")
    assert len(table) == 4
    assert published.PAPER not in table.index
    assert (table["difference"] < 5e-5).all()
    # Deep Retina by hand: 405 / (2530 + 1187).
    assert table.loc["Deep Retina", "extra"] == pytest.approx(405 / 3717)


def test_implied_counts_are_the_published_ones_where_those_are_known() -> None:
    table = audit.implied().set_index("system")
    for system, counts in published.COUNTS_AT_07.items():
        assert tuple(table.loc[system, ["tp", "fp", "fn"]].astype(int)) == counts
    # The paper: .7931 · 3717 = 2947.95 and .1425 · 3717 = 529.67.
    ours = table.loc[published.PAPER]
    assert (ours["tp"], ours["fp"]) == (2948, 530)
    assert ours["pooled f1"] == pytest.approx(2 * 2948 / (2 * 2948 + 530 + 769))


def test_score_lies_within_its_bounds_for_any_f1s() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        counts = rng.integers(0, [30, 10, 10], size=(50, 3)) * rng.integers(0, 2, size=(50, 1))
        f1, s = metrics.f1(*counts.T), metrics.s(*counts.T)
        low, high = audit.score_bounds(float(f1.mean()))
        assert low - 1e-12 <= s.mean() <= high + 1e-12
    low, high = audit.score_bounds(0.5)
    assert low == pytest.approx(1 / 3)  # every F1 one half: S = 1 / 3
    assert high == 0.5  # half of them 1, half 0


def test_ratios_stand_as_the_method_says() -> None:
    ratio = audit.ratios().set_index("system")["ratio"]
    assert ratio[published.PAPER] == pytest.approx(0.916, abs=5e-4)
    others = ratio.drop(published.PAPER)
    assert 0.84 <= others.min() <= others.max() <= 0.89


def test_weights_sum_to_one_and_follow_the_composition() -> None:
    table = audit.weights().set_index("type")
    for share in ("share of images", "share of objects", "share of table 2"):
        assert table[share].sum() == pytest.approx(1)
    assert table.loc["large_fluorescent", "one nucleus"] == pytest.approx(1 / 36)
    # One nucleus of 108, found instead of missed, where 108 are claimed: 2 · 1 / (108 + 108).
    one = metrics.f1(61, 47, 47) - metrics.f1(60, 48, 48)
    assert table.loc["grayscale_tissue", "one nucleus"] == pytest.approx(float(one))


def test_table_2_by_images_falls_short_by_cut_digits() -> None:
    table = audit.by_images().set_index("system")
    by_hand = (72 * 0.89 + 16 * 0.70 + 5 * 0.80 + 12 * 0.51 + 0.55) / 106
    assert table.loc["topcoders", "table 2"] == pytest.approx(by_hand)
    differences = table["difference"].dropna()
    assert len(differences) == 4
    assert ((differences > -0.01) & (differences < 0)).all()


def test_left_out_column() -> None:
    table = audit.left_out().set_index("system")
    assert table.loc["topcoders", "large_fluorescent"] == pytest.approx(
        (0.89 + 0.7 + 0.8 + 0.55) / 4
    )
    assert table.loc["topcoders", "none"] == pytest.approx(0.69)


def test_area_of_known_polygons() -> None:
    assert audit._area([1.0] * 5) == pytest.approx(1)
    assert audit._area([0.5] * 5) == pytest.approx(0.25)
    assert audit._area([1, 0, 1, 0, 0]) == 0
    # By the shoelace formula.
    values = [0.9, 0.7, 0.8, 0.5, 0.6]
    angles = 2 * np.pi * np.arange(5) / 5
    x, y = values * np.cos(angles), values * np.sin(angles)
    shoelace = 0.5 * abs(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)))
    regular = 2.5 * np.sin(2 * np.pi / 5)
    assert audit._area(values) == pytest.approx(shoelace / regular)


def test_areas_over_all_orders() -> None:
    table = audit.areas()
    assert (table["orders"] == 12).all()
    assert table["first_in"].sum() == 12
    assert ((table["least"] <= table["as_drawn"]) & (table["as_drawn"] <= table["largest"])).all()


def test_claims_that_hold_and_that_do_not() -> None:
    held = {claim.claim: claim.holds for claim in audit.claims()}
    assert len(held) == 9
    assert held["best competition score"]
    assert held["second in extra, behind Mask R-CNN only"]
    assert not held["37,333 cells were annotated"]
    assert not held["only purple tissue is rarer in training than grayscale"]
    # The masks, counted picture by picture in the committed result file.
    pictures = pd.read_csv(Path(__file__).parents[2] / "data/results/dsb2018.pictures.csv")
    assert sum(audit.COUNTED_CELLS.values()) == pictures["nuclei"].sum()
    in_test = pictures.loc[pictures["split"] == "test", "nuclei"].sum()
    assert audit.COUNTED_CELLS["stage2"] == in_test
    best = [
        kind
        for kind in TYPES
        if published.TABLE_2[published.PAPER][kind]
        == max(row[kind] for row in published.TABLE_2.values())
    ]
    (numbers,) = [c.numbers for c in audit.claims() if c.claim.startswith("best on every type")]
    assert numbers == f"best on {len(best)} of 5: {', '.join(best)}"
