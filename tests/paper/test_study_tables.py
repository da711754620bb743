"""Measured results by type and by size, and beside the published tables, by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ngat.data import TYPES
from ngat.errors import InputError
from ngat.evaluation import published
from ngat.evaluation.results import Run, write_instances
from ngat.metrics import Counts
from ngat.paper.session import open_session
from ngat.paper.study import tables as study
from ngat.paper.study.tables import by_size, by_threshold, columns


def test_means_over_images_of_a_type() -> None:
    rng = np.random.default_rng(3)
    rows, expected = [], {}
    for image in range(12):
        kind = ("purple_tissue", "small_fluorescent")[image % 2]
        for threshold in (0.5, 0.7):
            # Some images without annotated, without predicted, and without any nuclei.
            tp, fp, fn = (int(n) for n in rng.integers(0, 3, 3))
            rows.append([f"i{image}", kind, "m", threshold, tp, fp, fn])
            expected.setdefault((kind, threshold), []).append(Counts(threshold, tp, fp, fn))
    assert any(c.n_true == c.n_pred == 0 for found in expected.values() for c in found)
    columns = ["image_id", "type", "method", "threshold", "tp", "fp", "fn"]
    table = by_threshold(pd.DataFrame(rows, columns=columns), "m")
    # The order of the paper's table 2, not of the alphabet.
    assert table["type"].tolist() == ["small_fluorescent"] * 2 + ["purple_tissue"] * 2
    for line in table.itertuples():
        found = expected[line.type, line.threshold]
        assert line.images == len(found)
        for name in ("f1", "precision", "recall"):
            assert getattr(line, name) == pytest.approx(np.mean([getattr(c, name) for c in found]))
    with pytest.raises(InputError, match="there are m"):
        by_threshold(pd.DataFrame(rows, columns=columns), "other")


def test_average_f1_by_size_of_nuclei() -> None:
    """√area 7 and 25 pixels, two thresholds each, worked out by hand."""
    diameter = 2 / np.sqrt(np.pi)
    facts = pd.DataFrame({"image_id": ["a", "b"], "median_diameter": [7 * diameter, 25 * diameter]})
    rows = [("a", 1, 0, 0), ("a", 1, 1, 1), ("b", 0, 1, 1), ("b", 1, 1, 0), ("c", 1, 0, 0)]
    counts = pd.DataFrame(rows, columns=["image_id", "tp", "fp", "fn"]).assign(method="m")
    table = by_size(counts, facts)
    assert table["size"].tolist() == ["below 10", "20 to 40"]
    assert table["average_f1"].tolist() == pytest.approx([(1 + 1 / 2) / 2, (0 + 2 / 3) / 2])
    assert table["images"].tolist() == [1, 1]


def test_widths_of_what_is_found_over_what_is_annotated(tmp_path: Path) -> None:
    """Nuclei 8 pixels wide, found whole, as quarters, and not at all; by hand."""
    diameter = 2 / np.sqrt(np.pi)
    facts = pd.DataFrame({"image_id": list("abcd"), "median_diameter": 8 * diameter})
    facts.loc[3, "median_diameter"] = 30 * diameter
    labels = np.zeros((20, 40), int)
    labels[2:10, 2:10] = 1
    quarters = labels.copy()
    quarters[2:6, 2:6], quarters[2:6, 6:10], quarters[6:10, 2:6] = 2, 3, 4
    session = open_session("synthetic", "smoke", str(tmp_path), 0, "")
    session.results.mkdir(parents=True, exist_ok=True)
    found = {"a": labels, "b": quarters, "c": np.zeros_like(labels), "d": quarters}
    write_instances(session.results / "one.rle.csv.gz", found)
    counts = pd.DataFrame({"method": ["m"]})
    table = study.found_widths(session, [Run("one", counts, pd.DataFrame(), {})], ["n", "m"], facts)
    assert table["method"].tolist() == ["m", "m"]
    assert table["size"].tolist() == ["below 10", "20 to 40"]
    assert table["images"].tolist() == [3, 1]
    assert table["ratio"].tolist() == pytest.approx([4 / 8, 4 / 30])


def test_a_bound_that_depends_on_the_seed_is_on_the_edge() -> None:
    """A run's scores are set so that its upper bound is a published value."""
    (paper,) = [row for row in published.TABLE_1 if row.system == published.PAPER]
    spread = np.linspace(-0.3, 0.3, 106)

    def run(name: str, mean: float) -> Run:
        f1 = mean + spread
        tp = np.round(1e6 * f1).astype(int)
        fp = 2 * (10**6 - tp)  # 2 tp / (2 tp + fp) is the score asked for
        counts = pd.DataFrame({"image_id": [f"i{k:03}" for k in range(106)], "threshold": 0.7})
        counts = counts.assign(method=name, type=TYPES[0], tp=tp, fp=fp, fn=0, n_true=1, n_pred=1)
        return Run(name, counts, pd.DataFrame(), {})

    half = 1.96 * spread.std() / np.sqrt(106)
    table = study.beside_published(
        [run("edge", paper.average_f1 - half), run("low", 0.5), run("high", 0.69)]
    )
    sides = table.set_index(["method", "system"])["side"]
    assert sides["edge", published.PAPER] == "on the edge with"
    assert sides["low", published.PAPER] == "behind"
    assert sides["high", "CellProfiler"] == "ahead of"
    assert sides["high", "Jacobkie"] == "not told apart from"


def test_table_2_with_a_column_per_type() -> None:
    long = pd.DataFrame(
        [("m", "x", "purple_tissue", 0.5, 0.4, 0.6), ("m", "x", "grayscale_tissue", 0.2, 0.1, 0.3)],
        columns=["method", "measured on", "type", "f1", "low", "high"],
    )
    (row,) = columns(long).to_dict("records")
    assert row["purple_tissue"] == 0.5
    assert (row["grayscale_tissue low"], row["grayscale_tissue high"]) == (0.1, 0.3)


def test_composition_counts_test_pictures_alone() -> None:
    facts = pd.DataFrame(
        [
            ("test", "purple_tissue", 7),
            ("test", "purple_tissue", 5),
            ("train", "purple_tissue", 100),
            ("test", "grayscale_tissue", 108),
        ],
        columns=["split", "type", "nuclei"],
    )
    table = study.composition(facts).set_index("type")
    assert list(table.index) == list(TYPES)
    assert tuple(table.loc["purple_tissue"]) == (2, 16, 12, 1152)
    assert tuple(table.loc["grayscale_tissue"]) == (1, 1, 108, 108)
    assert tuple(table.loc["large_fluorescent"]) == (0, 12, 0, 36)


@pytest.mark.parametrize(("f1", "place"), [([0.5, 0.5], 0.0), ([0.0, 1.0], 1.0)])
def test_place_is_0_for_equal_f1s_and_1_for_all_or_nothing(f1: list[float], place: float) -> None:
    score = np.mean([value / (2 - value) for value in f1])  # S = F1 / (2 - F1) of each picture
    row = pd.DataFrame(
        {"method": ["a"], "measured on": ["here"], "average_f1": np.mean(f1), "score": score}
    )
    table = study.places(row).set_index("method")
    assert table.loc["a", "place between"] == pytest.approx(place)
    assert table.loc["a", "ratio"] == pytest.approx(score / np.mean(f1))
    # The paper: low = .7384 / 1.2616 = .58529; (.6762 - .58529) / (.7384 - .58529) = .594.
    assert table.loc[published.PAPER, "place between"] == pytest.approx(0.594, abs=5e-4)


def test_leads_beside_half_an_interval() -> None:
    rows = pd.DataFrame(
        {
            "method": "ours",
            "type": TYPES,
            "low": [0.7, 0.4, 0.2, 0.1, np.nan],
            "high": [0.9, 0.5, 0.6, 0.2, np.nan],
        }
    )
    table = study.leads(rows, "ours").set_index("type")
    # Small fluorescent .90 - .89; pink and purple .71 - .80; large .84 - .89 (Jacobkie).
    assert table.loc["small_fluorescent", "lead"] == pytest.approx(0.01)
    assert table.loc["small_fluorescent", "half width"] == pytest.approx(0.1)
    pink = table.loc["pink_and_purple_tissue"]
    assert (pink["rival"], pink["lead"]) == ("topcoders", pytest.approx(-0.09))
    large = table.loc["large_fluorescent"]
    assert (large["rival"], large["lead"]) == ("Jacobkie", pytest.approx(-0.05))
    assert np.isnan(table.loc["grayscale_tissue", "half width"])
    with pytest.raises(InputError, match="'theirs' is not among the results; there are ours"):
        study.leads(rows, "theirs")
