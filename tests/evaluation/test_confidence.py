"""Precision over recall by confidence, on pictures whose curve is known by counting."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ngat.data import Sample
from ngat.evaluation import confidence, results
from ngat.evaluation.results import read_counts

STORED = Path(__file__).parents[2] / "data" / "results"


def picture(image_id: str = "a") -> Sample:
    """Three annotated squares of ten pixels' side."""
    labels = np.zeros((40, 40), np.int32)
    for k, (row, column) in enumerate(((2, 2), (2, 20), (20, 2)), start=1):
        labels[row : row + 10, column : column + 10] = 3 * k
    return Sample(image_id, np.zeros((40, 40, 3), np.uint8), labels, "purple_tissue", "g", "test")


def found() -> tuple[np.ndarray, np.ndarray]:
    """One right (.9), one extra (.8), one of IoU 7/10 exactly, which is no match (.7)."""
    labels, probability = np.zeros((40, 40), np.int32), np.zeros((40, 40), np.float32)
    for name, part, sure in (
        (7, np.s_[2:12, 2:12], 0.9), (2, np.s_[30:38, 30:38], 0.8), (5, np.s_[2:9, 20:30], 0.7)
    ):  # fmt: skip
        labels[part], probability[part] = name, sure
    return labels, probability


def test_each_nucleus_has_the_mean_probability_of_its_pixels() -> None:
    lines = confidence.of_picture(picture(), *found()).sort_values("confidence")
    assert lines["confidence"].tolist() == [0.7, 0.8, 0.9]
    assert lines["matched"].tolist() == [0, 0, 1]
    assert set(lines["annotated"]) == {3}
    none = confidence.of_picture(picture(), *(0 * part for part in found()))
    assert (len(none), none["confidence"].isna().all(), none["matched"].sum()) == (1, True, 0)


def test_curve_by_counting() -> None:
    empty = confidence.of_picture(picture("b"), *(0 * part for part in found()))
    lines = confidence.table([empty, confidence.of_picture(picture(), *found())])
    curve = confidence.precision_recall(lines)
    assert curve["confidence"].tolist() == [0.9, 0.8, 0.7]
    assert curve["precision"].tolist() == pytest.approx([1, 1 / 2, 1 / 3])
    assert curve["recall"].tolist() == pytest.approx([1 / 6] * 3)  # nuclei of both pictures
    assert confidence.average_precision(curve) == pytest.approx(1 / 6)


def test_equal_confidences_come_in_together() -> None:
    lines = pd.DataFrame(
        {
            "image_id": "a", "type": "purple_tissue", "annotated": 4,
            "confidence": [0.5, 0.5, 0.5, 0.25], "matched": [1, 0, 1, 1],
        }
    )  # fmt: skip
    curve = confidence.precision_recall(lines)
    assert curve["recall"].tolist() == [0.5, 0.75]
    assert curve["precision"].tolist() == pytest.approx([2 / 3, 3 / 4])


def test_ones_own_pictures_have_a_curve() -> None:
    lines = pd.DataFrame(
        {"image_id": "a", "type": "own", "annotated": 2, "confidence": [0.5], "matched": [1]}
    )
    curve = confidence.precision_recall(lines)
    assert curve[["type", "recall", "precision"]].to_numpy().tolist() == [["own", 0.5, 1.0]]


def test_an_evaluation_writes_and_reads_it(tmp_path: Path) -> None:
    measured = [results.measure(picture(name), *found()) for name in "ba"]
    paths = results.write_run(
        tmp_path, "n-split", measured, method="n", data="dsb2018", provenance={}
    )
    path = tmp_path / "n-split.confidence.csv.gz"
    assert path in paths
    assert confidence.read(path)["image_id"].tolist() == list("aaabbb")
    # Without probabilities there is no such file, nor one left of an earlier evaluation.
    plain = [results.measure(picture("a"), found()[0])]
    results.write_run(tmp_path, "n-split", plain, method="n", data="dsb2018", provenance={})
    assert not path.exists()


@pytest.mark.parametrize("path", sorted(STORED.glob("*.confidence.csv.gz")), ids=lambda p: p.name)
def test_committed_confidences_are_of_the_counts_beside_them(path: Path) -> None:
    lines = confidence.read(path)
    counts = read_counts(path.with_name(path.name.replace(".confidence.csv.gz", ".counts.csv")))
    at = counts[np.isclose(counts["threshold"], 0.7)].set_index("image_id").sort_index()
    by_picture = lines.groupby("image_id").agg(
        tp=("matched", "sum"), n_true=("annotated", "first"), n_pred=("confidence", "count")
    )
    pd.testing.assert_frame_equal(by_picture, at[list(by_picture)], check_dtype=False)
