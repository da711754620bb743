"""Figure 9's numbers against the metrics' own scalar properties."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ngat.errors import InputError
from ngat.metrics import Counts
from ngat.paper.study.tables import by_size, columns, curves


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
    table = curves(pd.DataFrame(rows, columns=columns), "m")
    # The order of the paper's table 2, not of the alphabet.
    assert table["type"].tolist() == ["small_fluorescent"] * 2 + ["purple_tissue"] * 2
    for line in table.itertuples():
        found = expected[line.type, line.threshold]
        assert line.images == len(found)
        for name in ("f1", "precision", "recall"):
            assert getattr(line, name) == pytest.approx(np.mean([getattr(c, name) for c in found]))
    with pytest.raises(InputError, match="there are m"):
        curves(pd.DataFrame(rows, columns=columns), "other")


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


def test_table_2_with_a_column_per_type() -> None:
    long = pd.DataFrame(
        [("m", "x", "purple_tissue", 0.5, 0.4, 0.6), ("m", "x", "grayscale_tissue", 0.2, 0.1, 0.3)],
        columns=["method", "measured on", "type", "f1", "low", "high"],
    )
    (row,) = columns(long).to_dict("records")
    assert row["purple_tissue"] == 0.5
    assert (row["grayscale_tissue low"], row["grayscale_tissue high"]) == (0.1, 0.3)
