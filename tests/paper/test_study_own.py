"""One's own pictures: the table of nuclei, and what the changes change."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import rings, tiny

from ngat.errors import InputError
from ngat.inference import Prediction, Thresholds
from ngat.model import NGAT
from ngat.paper.figures.own import workbench
from ngat.paper.study import own
from ngat.training.schedule import seeded
from ngat.training.weights import Weights

LABELS = np.zeros((20, 30), dtype=np.int32)
LABELS[2:6, 3:13] = 1
LABELS[6:8, 3:5] = 2
LABELS[15:18, 20:23] = 3


def test_table_of_nuclei() -> None:
    table = own.table(LABELS)
    assert table["nucleus"].tolist() == [1, 2, 3]
    assert table["area"].tolist() == [40, 4, 9]
    assert table["row"].tolist() == [3.5, 6.5, 16.0]
    assert table["column"].tolist() == [7.5, 3.5, 21.0]
    assert table["touches"].tolist() == [True, True, False]
    # A bar of 4 × 10 pixels: the variances of its rows and columns are (n² − 1) / 12.
    assert table["elongation"][0] == pytest.approx(np.sqrt(99 / 15), abs=0.005)
    assert len(own.table(np.zeros((4, 4), dtype=np.int32))) == 0


def test_a_method_that_does_not_exist_is_named_before_anything_is_predicted() -> None:
    trained = Weights(NGAT(tiny().model), tiny(), {})
    assert own.thresholds(trained, "components") == Thresholds()
    with pytest.raises(InputError, match="'watershed' is unknown; choose components or split"):
        own.thresholds(trained, "watershed")


@pytest.mark.parametrize("name", own.CHANGES)
def test_changes_keep_pictures_and_nuclei_together(name: str) -> None:
    sample = rings(limit=1)[0]
    image, labels = own.CHANGES[name](sample.image, sample.labels)
    assert image.dtype == np.uint8
    assert image.shape == (*labels.shape, 3)
    factor = {"half the size": 0.5, "twice the size": 2, "four times the size": 4}.get(name, 1)
    assert labels.shape == tuple(int(side * factor) for side in sample.labels.shape)
    covered = [float((x > 0).mean()) for x in (labels, sample.labels)]
    assert covered[0] == pytest.approx(covered[1], abs=0.02)
    again, _ = own.CHANGES[name](sample.image, sample.labels)
    assert (again == image).all()
    if name == "as it is":
        assert (image == sample.image).all()
    if name == "inverted":
        assert (image == 255 - sample.image).all()
    if factor > 1:  # every pixel became a block of equal labels
        block = int(factor)
        assert (labels == np.kron(sample.labels, np.ones((block, block), dtype=int))).all()


def test_limits_have_a_line_per_change() -> None:
    with seeded(torch.device("cpu"), 0):
        model = NGAT(tiny().model)
    table = own.limits(model, rings(limit=1))
    assert table["change"].tolist() == list(own.CHANGES)
    assert table[["Dice", "average F1"]].to_numpy().min() >= 0


def test_a_large_picture_is_cut_to_its_middle() -> None:
    labels = np.arange(7 * 10, dtype=np.int32).reshape(7, 10)
    image = np.repeat(labels[:, :, None], 3, axis=2).astype(np.uint8)
    part, of = own.middle(image, labels, side=4)
    assert of.tolist() == labels[1:5, 3:7].tolist()
    assert (part[:, :, 0] == of).all()
    assert own.middle(image, labels, side=8)[1].shape == (7, 8)
    assert (own.middle(image, labels)[0] == image).all()


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
