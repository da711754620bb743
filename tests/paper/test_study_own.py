"""One's own pictures: the table of nuclei, and notebook 13's figures."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from tiny import tiny

from ngat.errors import InputError
from ngat.inference import Prediction
from ngat.magnification import Seen
from ngat.model import NGAT
from ngat.paper import artifacts
from ngat.paper.figures import own as figures
from ngat.paper.figures.own import workbench
from ngat.paper.study.dataset import measured
from ngat.thresholds import Thresholds
from ngat.training.weights import Weights

LABELS = np.zeros((20, 30), dtype=np.int32)
LABELS[2:6, 3:13] = 1
LABELS[6:8, 3:5] = 2
LABELS[15:18, 20:23] = 3


def test_table_of_nuclei() -> None:
    table = measured(LABELS)
    assert table["nucleus"].tolist() == [1, 2, 3]
    assert table["area"].tolist() == [40, 4, 9]
    assert table["row"].tolist() == [3.5, 6.5, 16.0]
    assert table["column"].tolist() == [7.5, 3.5, 21.0]
    assert table["touches"].tolist() == [True, True, False]
    # A bar of 4 × 10 pixels: the variances of its rows and columns are (n² − 1) / 12.
    assert table["elongation"][0] == pytest.approx(np.sqrt(99 / 15), abs=0.005)
    assert len(measured(np.zeros((4, 4), dtype=np.int32))) == 0


def test_a_method_that_does_not_exist_is_named_before_anything_is_predicted() -> None:
    trained = Weights(NGAT(tiny().model), tiny(), {})
    assert artifacts.thresholds(trained, "components") == Thresholds()
    with pytest.raises(InputError, match="'watershed' is unknown; choose components or split"):
        artifacts.thresholds(trained, "watershed")


def test_robustness_is_drawn_from_worst_to_best() -> None:
    table = pd.DataFrame(
        {
            "change": ["blue", "× ¼"],
            "images": [3, 4],
            "unchanged": [0.6, 0.7],
            "changed": [0.5, 0.1],
            "difference": [-0.1, -0.6],
            "low": [-0.2, -0.7],
            "high": [0.0, -0.5],
        }
    )
    ax = figures.robustness(table).axes[0]
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names == ["blue  (3)", "× ¼  (4)"]
    lines, dots = ax.collections
    assert np.asarray(dots.get_offsets())[:, 0].tolist() == [-0.1, -0.6]
    assert [line[:, 0].tolist() for line in lines.get_segments()] == [[-0.2, 0.0], [-0.7, -0.5]]


def test_the_outlined_picture_is_three_times_as_wide_as_what_is_beside_it() -> None:
    plane = np.where(LABELS, 0.9, 0.1).astype(np.float32)
    image = np.full((*LABELS.shape, 3), 90, dtype=np.uint8)
    fig = figures.nuclei(image, Prediction(plane, plane), LABELS)
    fig.draw_without_rendering()
    large, *small = fig.axes
    assert large.get_title() == "nuclei outlined"
    assert [ax.get_title().partition("\n")[0] for ax in small] == [
        "3 nuclei",
        "probability of nucleus",
        "probability of core",
    ]
    width = large.get_window_extent().width
    assert all(width > 2.5 * ax.get_window_extent().width for ax in small)


def test_looks_are_drawn_with_their_evidence() -> None:
    one = np.ones(1)
    place = np.zeros((1, 2))
    seen = [
        Seen(1.0, 20 * one, 0.5 * one, 0.4 * one, one, place),
        Seen(0.5, 20 * one, one, 0.3 * one, one, place),
    ]
    ax = figures.looks(seen, 0.5).axes[0]
    assert [bar.get_height() for bar in ax.patches] == pytest.approx(
        [s.evidence for s in seen[::-1]]
    )
    assert "× 0.50" in ax.get_xlabel()


def test_sliders_change_the_nuclei() -> None:
    pytest.importorskip("ipywidgets")
    rng = np.random.default_rng(0)
    plane = rng.random((24, 24), dtype=np.float32)
    image = np.full((24, 24, 3), 90, dtype=np.uint8)
    box = workbench(image, Prediction(plane, plane), "components", Thresholds(min_area=1))
    sliders, shown = box.children[0].children, box.children[1]
    before = bytes(shown.value)
    assert before.startswith(b"\x89PNG")
    sliders[0].value = 0.9
    assert bytes(shown.value) != before
    sliders[0].value = 0.5
    assert bytes(shown.value) == before
