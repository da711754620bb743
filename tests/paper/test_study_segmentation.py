"""What went wrong in a picture, on label images drawn by hand; typical pictures; read-back."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.colors import to_rgb
from tiny import rings, tiny

from ngat.data import Sample
from ngat.errors import InputError
from ngat.evaluation.results import Run, measure, write_run
from ngat.model import NGAT
from ngat.paper.figures.segmentation import EXTRA, MISSING, RIGHT, difference_map, window
from ngat.paper.session import open_session
from ngat.paper.study import segmentation as study
from ngat.paper.study.pictures import visible
from ngat.paper.study.segmentation import MethodNuclei, errors
from ngat.training.step import seeded
from ngat.training.weights import save_weights


def bars(*lengths: tuple[int, int, int], rows: int = 4, width: int = 40) -> np.ndarray:
    """Bars (label, first column, behind the last) over all rows."""
    image = np.zeros((rows, width), dtype=np.int32)
    for label, start, stop in lengths:
        image[:, start:stop] = label
    return image


def a_run(method: str, ours: bool = False, flips: bool = False) -> Run:
    """A run without numbers; what its provenance says decides whether it is one of ours."""
    told = {"preset": "companion"} if ours else {}
    return Run(method, pd.DataFrame({"method": [method]}), pd.DataFrame(), told | {"tta": flips})


@pytest.mark.parametrize(
    ("pred", "true", "expected"),
    [
        # Exactly right; labels differ.
        (bars((7, 0, 10)), bars((1, 0, 10)), (1, 0, 0, 0, 0)),
        # Nothing predicted, nothing annotated.
        (bars(), bars((1, 0, 10)), (0, 0, 0, 1, 0)),
        (bars((1, 0, 10)), bars(), (0, 0, 0, 0, 1)),
        # One object over two equal nuclei: both merged (IoU of exactly one half is no match).
        (bars((1, 0, 20)), bars((1, 0, 10), (2, 10, 20)), (0, 2, 0, 0, 0)),
        # One object over a large and a small nucleus: the large one is found.
        (bars((1, 0, 20)), bars((1, 0, 15), (2, 15, 20)), (1, 1, 0, 0, 0)),
        # Two halves of one nucleus.
        (bars((1, 0, 10), (2, 10, 20)), bars((1, 0, 20)), (0, 0, 1, 0, 0)),
        # A large part and a small one: found in spite of the crumb, which is not extra.
        (bars((1, 0, 15), (2, 15, 20)), bars((1, 0, 20)), (1, 0, 0, 0, 0)),
        # Too small an object, but one: missed.
        (bars((1, 0, 5)), bars((1, 0, 20)), (0, 0, 0, 1, 0)),
        # Mostly on background.
        (bars((1, 9, 20)), bars((1, 0, 10)), (0, 0, 0, 1, 1)),
    ],
)
def test_errors(pred: np.ndarray, true: np.ndarray, expected: tuple[int, ...]) -> None:
    for one, other in ((pred, true), (pred.T, true.T), (3 * pred, 5 * true)):
        assert tuple(errors(one, other).values()) == expected
    assert sum(expected[:4]) == len(np.unique(true)) - 1


def test_examples_show_the_median_nucleus_of_each_outcome() -> None:
    true = bars((1, 0, 10), (2, 20, 40), (3, 60, 63), (4, 70, 100), rows=100, width=200)
    pred = bars(
        (1, 0, 10), (2, 20, 40), (4, 70, 84), (5, 86, 100), (6, 150, 160), rows=100, width=200
    )
    image = np.zeros((100, 200, 3), dtype=np.uint8)
    sample = Sample("a", image, true, "purple_tissue", "a", "test")
    crops = study.examples(MethodNuclei(a_run("x"), {"a": pred}), [sample])
    assert list(crops) == ["found", "split", "missed", "extra"]  # nothing is merged
    # Of two that were found the larger one.
    for name, column in (("found", 30), ("split", 85), ("missed", 61), ("extra", 155)):
        start, stop = crops[name].part[1].start, crops[name].part[1].stop
        inside = start > 0 and stop < 200  # else the crop was moved into the picture
        assert abs((start + stop) / 2 - column) <= 1 if inside else start <= column < stop, name


def test_difference_is_sorted_by_pixel() -> None:
    found = difference_map(np.array([[0, 2, 2, 0]]), np.array([[0, 1, 0, 3]]))
    colours = [(1, 1, 1), *(to_rgb(colour) for colour in (RIGHT, EXTRA, MISSING))]
    assert found[0].tolist() == [pytest.approx(colour) for colour in colours]


def test_same_nuclei_whatever_their_numbers() -> None:
    one = bars((1, 0, 10), (2, 20, 30))
    assert study.same_nuclei(one, bars((9, 0, 10), (4, 20, 30)))
    assert not study.same_nuclei(one, bars((1, 0, 10), (1, 20, 30)))
    assert not study.same_nuclei(bars((1, 0, 10), (1, 20, 30)), one)
    assert not study.same_nuclei(one, bars((1, 0, 10), (2, 20, 31)))
    # Background and a nucleus exchanged are not the same.
    assert not study.same_nuclei(bars((1, 0, 20)), bars((1, 20, 40)))
    assert study.same_nuclei(bars(), bars())


def samples() -> list[Sample]:
    image = np.zeros((4, 40, 3), dtype=np.uint8)
    kinds = ("small_fluorescent", "purple_tissue", "purple_tissue")
    return [
        Sample(f"i{k}", image, bars((1, 0, 10), (2, 20, 30)), kind, f"i{k}", "test")
        for k, kind in enumerate(kinds)
    ]


def test_found_is_read_back_and_others_pictures_are_passed_over(tmp_path: Path) -> None:
    three = samples()
    half = bars((1, 0, 10))
    measured = [measure(sample, half) for sample in three]
    write_run(tmp_path, "a", measured, method="half", data="x", provenance={})
    write_run(tmp_path, "b", measured[:1], method="one", data="x", provenance={})
    whole = [measure(sample, sample.labels) for sample in three]
    write_run(tmp_path, "c", whole, method="untrained smoke", data="x", provenance={})
    none = [measure(sample, bars()) for sample in three]
    write_run(tmp_path, "d", none, method="smoke", data="x", provenance={"preset": "smoke"})
    write_run(tmp_path, "e", whole, method="smoke", data="x, other masks", provenance={})
    found = study.read_found(tmp_path, "x", three)
    # Best first, untrained last whatever it has found.
    assert list(found) == ["half", "smoke", "untrained smoke"]
    assert study.headline(found).method == "smoke"
    assert study.headline(found, "smoke").method == "smoke"
    assert study.headline({"half": found["half"]}).method == "half"
    assert (found["half"].labels["i1"] == half).all()
    table = study.per_picture(found["half"])
    # One of two found, nothing extra: F1 = 2 / 3 at every threshold.
    assert table["average_f1"].tolist() == pytest.approx([2 / 3] * 3)
    assert table[["tp", "fp", "fn"]].to_numpy().tolist() == [[1, 0, 1]] * 3
    errors_of = study.error_table(found, three).set_index("method")
    assert errors_of.loc["half"].tolist() == [3, 0, 0, 3, 0]
    assert study.read_found(tmp_path / "none", "x", three) == {}


def test_a_committed_method_is_found_by_its_name(tmp_path: Path) -> None:
    session = dataclasses.replace(
        open_session("rings", "smoke", str(tmp_path / "run"), 0, ""), top=tmp_path
    )
    three, folder = samples(), tmp_path / "data/results/rings"
    for name, labels in (("half", bars((1, 0, 10))), ("none", bars())):
        measured = [measure(sample, labels) for sample in three]
        write_run(folder, name, measured, method=name, data="rings", provenance={})
    for name in ("half", "none"):
        assert study.committed_of(session, three, name).method == name
    assert study.committed_of(session, three, "another").method in ("half", "none")
    with pytest.raises(InputError, match="no result files of rings"):
        study.committed_of(dataclasses.replace(session, top=tmp_path / "else"), three, "half")


def test_typical_pictures() -> None:
    table = pd.DataFrame(
        {
            "image_id": list("abcde"),
            "type": ["purple_tissue"] * 3 + ["small_fluorescent"] * 2,
            "average_f1": [0.1, 0.9, 0.5, 0.5, 0.2],
        }
    )
    assert study.typical(table) == {"best": "b", "median": "d", "worst": "a"}
    assert study.one_per_type(table) == ["e", "c"]


def test_average_over_thresholds_of_a_picture() -> None:
    rows = [["a", "purple_tissue", t, tp, 2 - tp, 2 - tp] for t, tp in ((0.5, 2), (0.7, 1))]
    counts = pd.DataFrame(rows, columns=["image_id", "type", "threshold", "tp", "fp", "fn"])
    (line,) = study.per_picture(MethodNuclei(Run("m", counts, counts, {}), {})).itertuples()
    assert line.average_f1 == pytest.approx(0.75)
    assert line.f1 == pytest.approx(0.5)


def test_everything_comes_from_stored_files_or_is_evaluated(tmp_path: Path) -> None:
    session = dataclasses.replace(
        open_session("rings", "smoke", str(tmp_path / "run"), 0, ""), top=tmp_path
    )
    pictures = rings("val", 2)
    with seeded(torch.device("cpu"), 0):
        model = NGAT(tiny().model)
    weights = tmp_path / "w.safetensors"
    save_weights(weights, model, tiny(), {})
    stored = tmp_path / "data/results/rings"
    measured = [measure(sample, sample.labels) for sample in pictures]
    write_run(stored, "a", measured, method="perfect", data="rings", provenance={})
    assert list(study.everything(session, pictures, weights, in_run=False)) == ["perfect"]
    assert not session.results.exists()

    # A committed file of a method that is evaluated now gives way; another stands beside.
    write_run(stored, "b", measured, method="Otsu", data="rings", provenance={})
    kept = study.everything(session, pictures, weights, in_run=False)
    assert kept["Otsu"].counts["fp"].sum() == 0
    found = study.everything(session, pictures, weights, in_run=True)
    assert {f.family for f in found.values()} == {
        *("ngat", "untrained", "Otsu", "Otsu + watershed", "perfect")
    }
    assert next(iter(found)) == "perfect"
    assert list(found)[-1].startswith("untrained smoke")
    assert found["Otsu"].counts["fp"].sum() > 0

    assert study.headline(found).family == "ngat"
    levels = study.level_probabilities(model, pictures[0].image)
    assert [level.shape for level in levels] == [(40, 40), (20, 20), (10, 10)]
    assert all(((level > 0) & (level < 1)).all() for level in levels)
    larger = study.level_probabilities(model, pictures[0].image, 2.0)
    assert [level.shape for level in larger] == [(80, 80), (40, 40), (20, 20)]


def test_the_window_shown_holds_most_of_nuclei() -> None:
    labels = np.zeros((50, 60), dtype=np.int32)
    labels[40:48, 3:9] = 1
    labels[2:5, 50:58] = 2
    rows, columns = window(labels, 10)
    assert (labels[rows, columns] == 1).sum() == 48
    assert labels[rows, columns].shape == (10, 10)
    assert labels[window(labels, 55)].shape == (50, 55)
    assert labels[window(labels, 100)].shape == (50, 60)
    assert labels[window(0 * labels, 10)].shape == (10, 10)
    # Without a side, eight nuclei: of √area 20 that is 160, of 6 no less than 96, of 90 no more.
    for size, wanted in ((20, 160), (6, 96), (90, 256)):
        one = np.zeros((300, 300), np.int32)
        one[:size, :size] = 1
        assert one[window(one)].shape == (wanted, wanted)


def test_ours_is_chosen_by_validation_and_shown_without_flips() -> None:
    scores = {"unet (split)": 0.9, "paper (split)": 0.5, "companion (split)": 0.6, "Otsu": 0.9}
    scores |= {"companion, flips (split)": 0.7, "companion (components)": 0.4}
    found = {
        name: MethodNuclei(
            a_run(name, study.sort_of(name) in ("companion", "paper"), "flips" in name),
            {},
            (score, -1.0),
        )
        for name, score in scores.items()
    }
    assert study.headline(found).method == "companion (split)"
    assert study.headline(found, "paper").method == "paper (split)"
    del found["companion (split)"], found["companion (components)"]
    assert study.headline(found, "companion").method == "companion, flips (split)"


def test_of_equals_both_headlines_take_the_same() -> None:
    names = ("companion (components)", "companion (split)", "broad (split)", "broad (components)")
    for order in (names, names[::-1]):
        found = {name: MethodNuclei(a_run(name, True), {}) for name in order}
        assert study.headline(found).method == "broad (split)"


def test_what_is_best_on_the_test_is_not_shown_for_it(tmp_path: Path) -> None:
    three = samples()
    whole = [measure(sample, sample.labels) for sample in three]
    half = [measure(sample, bars((1, 0, 10))) for sample in three]
    of_ours: dict[str, Any] = {"data": "x", "provenance": {"preset": "smoke"}}
    for place, better, worse in ((tmp_path, whole, half), (tmp_path / "validation", half, whole)):
        write_run(place, "a", better, method="best on the test", **of_ours)
        write_run(place, "b", worse, method="best on validation", **of_ours)
    found = study.read_found(tmp_path, "x", three)
    assert list(found) == ["best on the test", "best on validation"]
    assert study.headline(found).method == "best on validation"


def test_crops_are_the_most_crowded_by_annotation() -> None:
    def picture(name: str, *corners: tuple[int, int]) -> Sample:
        labels = np.zeros((300, 300), np.int32)
        for k, (row, column) in enumerate(corners, start=1):
            labels[row : row + 20, column : column + 20] = k
        return Sample(name, np.zeros((300, 300, 3), np.uint8), labels, "purple_tissue", "g", "test")

    one = picture("one", (10, 10))
    two = picture("two", (250, 250), (250, 200))
    three = picture("three", (10, 250), (40, 250), (70, 250))
    crops = study.crowded([one, two, three], count=2)
    assert [crop.sample.image_id for crop in crops] == ["three", "two"]
    for crop in crops:
        assert crop.sample.labels[crop.part].shape == (160, 160)  # eight nuclei of 20 pixels
        assert crop.sample.labels[crop.part].max() == crop.sample.labels.max()
    # A type with one picture gives quarters of it, which share no pixel.
    (first, second) = study.crowded([three], count=2)
    assert first.part == (slice(0, 150), slice(150, 300))
    assert second.part != first.part
    taken = np.zeros((300, 300), int)
    for part in study.quarters(taken):
        taken[part] += 1
    assert (taken == 1).all()


def test_dark_pictures_are_brightened_for_the_eye_alone() -> None:
    dark = np.zeros((20, 20, 3), dtype=np.uint8)
    dark[5:10, 5:10] = 51
    shown, factor = visible(dark)
    assert factor == 5
    assert shown.max() == 255
    assert dark.max() == 51
    for image in (5 * dark, np.full_like(dark, 128)):
        shown, factor = visible(image)
        assert factor == 1
        assert (shown == image).all()
    # Nothing in it: nothing is made of it.
    assert visible(0 * dark)[0].max() == 0
    # One hot pixel is not what a picture's brightness is measured by.
    dark[0, 0] = 255
    assert visible(dark)[1] == 5


def test_one_of_each_sort_is_chosen_by_validation() -> None:
    def nuclei(name: str, score: float, ours: bool = False, flips: bool = False) -> MethodNuclei:
        return MethodNuclei(a_run(name, ours, flips), {}, (score, -1.0))

    found = [
        nuclei("companion (split)", 0.6, True),
        nuclei("companion, flips (split)", 0.7, True, flips=True),
        nuclei("companion (components)", 0.5, True),
        nuclei("paper, earlier training (split)", 0.9, True),
        nuclei("unet-gpu (split)", 0.6),
        nuclei("fpn-gpu (split)", 0.4),
        nuclei("Cellpose 3", 0.1),
        nuclei("StarDist", 0.1),
        nuclei("Otsu", 0.2),
        nuclei("classical, one setting", 0.3),
    ]
    assert study.one_of_each({one.method: one for one in found}) == [
        "companion (split)",
        "unet-gpu (split)",
        "StarDist",
        "Cellpose 3",
        "classical, one setting",
        "paper, earlier training (split)",
    ]
    untrained = nuclei("untrained smoke (split)", 0.0)
    assert study.one_of_each({"x": untrained}) == [untrained.method]
