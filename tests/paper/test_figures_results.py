"""Figures of notebooks 5 to 9: what is drawn is what stands in the tables behind them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex, to_rgb
from PIL import Image
from tiny import rings

from ngat.config import preset
from ngat.data import TYPES, Sample
from ngat.evaluation import published, tables
from ngat.evaluation.results import Run, runs_in
from ngat.inference import Prediction
from ngat.magnification import size_of
from ngat.paper.figures import audit as audit_figures
from ngat.paper.figures import dataset as dataset_figures
from ngat.paper.figures import effects as effect_figures
from ngat.paper.figures import loss as loss_figures
from ngat.paper.figures import pictures as picture_figures
from ngat.paper.figures import segmentation as segmentation_figures
from ngat.paper.figures import tables as table_figures
from ngat.paper.study import audit, dataset, effects
from ngat.paper.study import tables as table_study
from ngat.paper.study.segmentation import Crop, by_outcome
from ngat.paper.study.training import Curves
from ngat.paper.style import BLUE, TYPE_COLOURS, VERMILION, YELLOW, save, save_animation
from ngat.training.patches import Patches
from ngat.training.sweep import COLUMNS
from ngat.training.variants import ablations, factors_of

STORED = Path(__file__).parents[2] / "data" / "results"


@pytest.fixture(scope="module")
def runs() -> list[Run]:
    return runs_in(STORED / "synthetic")


def texts(fig) -> str:
    return "\n".join(text.get_text() for ax in fig.axes for text in ax.texts)


def test_composition_bars_are_shares_that_fill_the_width(tmp_path: Path) -> None:
    facts = dataset.read_pictures(STORED / "dsb2018.pictures.csv")
    counts = dataset.composition(facts)
    fig = dataset_figures.composition(counts)
    left = fig.axes[0]
    widths = np.array([bar.get_width() for bar in left.patches]).reshape(len(TYPES), 3)
    np.testing.assert_allclose(widths.sum(axis=0), 100)
    # 72 of the test's 106 pictures are small fluorescent.
    assert widths[0, 2] == pytest.approx(100 * 72 / 106)
    assert "72" in texts(fig)
    assert "1,778" in texts(fig)
    save(fig, "composition", tmp_path)


def test_mosaic_has_a_block_per_group_as_wide_as_its_pictures() -> None:
    facts = dataset.read_pictures(STORED / "dsb2018.pictures.csv")
    groups = dataset.groups(facts)
    fig = dataset_figures.mosaic(groups)
    blocks = fig.axes[0].patches
    assert len(blocks) == len(groups)
    pink = [b for b in blocks if round(b.get_y() + b.get_height() / 2) == 2]
    # 4 of one parent in training, 4 of one in validation, 5 of the test alone.
    assert sorted(round(13 * b.get_width() / 100) for b in pink)[-2:] == [4, 4]


def test_leakage_marks_the_split_by_groups() -> None:
    fig = dataset_figures.leakage(pd.Series([0.4, 0.5, 0.6]), 0.0)
    assert "sampled singly: 50 %" in texts(fig)
    assert fig.axes[0].lines[0].get_xdata()[0] == 0


def test_numbered_colours_tell_neighbours_apart() -> None:
    colours = picture_figures.numbered_colours(np.arange(40).reshape(4, 10))
    flat = colours.reshape(-1, 3)
    assert (flat[0] == 0).all()
    assert (np.abs(np.diff(flat, axis=0)).sum(axis=1) > 0.2).all()


def test_one_of_each_is_in_the_order_of_the_paper() -> None:
    shown = picture_figures.one_of_each(rings(limit=6))
    assert [s.type for s in shown] == [t for t in TYPES if t in {s.type for s in shown}]
    fig = dataset_figures.sheet({"training": shown, "test": shown[:1]}, side=32)
    kinds = len(shown)
    assert len(fig.axes) == 2 * kinds
    drawn = [ax for ax in fig.axes if ax.images]
    assert len(drawn) == kinds + 1
    assert drawn[0].get_xlabel() == f"median nucleus {size_of(shown[0].labels):.0f} px"
    assert all(ax.images[0].get_array().shape[:2] == (32, 32) for ax in drawn)


def test_the_most_crowded_square_is_shown() -> None:
    labels = np.zeros((40, 60), np.int32)
    labels[20:30, 45:55] = 1
    labels[2:4, 2:4] = 2
    image = np.repeat(labels[..., None], 3, axis=2).astype(np.uint8)
    sample = Sample("a", image, labels, "purple_tissue", "g", "train")
    crop = picture_figures.crowded(sample, 16)
    assert crop.labels.shape == (16, 16)
    assert (crop.labels == 1).sum() == 100
    np.testing.assert_array_equal(crop.image[..., 0], crop.labels)
    assert picture_figures.crowded(sample, 50).labels.shape == (40, 50)
    edge = (picture_figures.outlined(image, labels) != image).any(axis=2)
    assert edge.sum() == 4 * 10 - 4 + 4  # the rim of the square of ten, and all of that of two
    assert (labels[edge] > 0).all()


def test_magnifications_show_every_picture_at_its_size() -> None:
    facts = dataset.read_pictures(STORED / "dsb2018.pictures.csv")
    ax = dataset_figures.magnifications(facts, 20.0).axes[0]
    sizes = np.sort(np.concatenate([np.asarray(c.get_offsets())[:, 0] for c in ax.collections]))
    np.testing.assert_allclose(sizes, np.sort(dataset.image_sizes(facts)))


def test_table_1_as_dots(runs: list[Run]) -> None:
    table1 = tables.table1(runs, resamples=50)
    fig = table_figures.dots(table1)
    scores = fig.axes[0]
    theirs, ours = (np.asarray(c.get_offsets())[:, 0] for c in scores.collections[-2:])
    scores_of = sorted((row.score for row in published.TABLE_1), reverse=True)
    np.testing.assert_allclose(theirs, scores_of)
    assert (np.diff(ours) <= 0).all()
    low, high = scores.get_xlim()
    assert high - low < 1, "the axis is cut to where the data is"
    assert len(ours) == len(table1) - len(published.TABLE_1)


def test_figure_9_has_a_curve_per_type_and_marks_07(runs: list[Run]) -> None:
    counts = pd.concat([run.counts for run in runs])
    curves = table_study.by_threshold(counts, "Otsu")
    surest = pd.DataFrame(
        {"type": TYPES[0], "confidence": [0.9, 0.5], "recall": [0.1, 0.4], "precision": [1.0, 0.7]}
    )
    fig = table_figures.per_type(curves, surest, "Otsu on synthetic, test")
    lines = fig.axes[0].lines
    assert len(lines) == 2 * len(TYPES)
    for kind, line, mark in zip(TYPES, lines[::2], lines[1::2], strict=True):
        rows = curves[curves["type"] == kind]
        assert line.get_color() == TYPE_COLOURS[kind]
        np.testing.assert_allclose(line.get_ydata(), rows["f1"])
        assert mark.get_xdata() == pytest.approx([0.7])
    # In the last panel the curve by confidence, marked where all nuclei are taken.
    curve, mark = fig.axes[3].lines[:2]
    assert curve.get_xydata().tolist() == [[0.1, 1.0], [0.4, 0.7]]
    assert mark.get_xydata().tolist() == [[0.4, 0.7]]
    # Beside it lines of equal F1: 2 p r / (p + r).
    contour = next(line for line in fig.axes[3].lines if line.get_color() == "#BBBBBB")
    r, p = contour.get_data()
    np.testing.assert_allclose(2 * p * r / (p + r), 0.2)


def test_the_paper_stands_out_in_the_audit() -> None:
    ours = pd.DataFrame({"average_f1": [0.6], "score": [0.5]})
    fig = audit_figures.scores_possible(audit.ratios(), ours)
    red = [line for line in fig.axes[0].lines if line.get_color() == VERMILION]
    assert (red[0].get_xdata()[0], red[0].get_ydata()[0]) == (0.7384, 0.6762)
    left_out = audit_figures.one_column_less(audit.left_out())
    ours = [line for line in left_out.axes[0].lines if line.get_color() == VERMILION]
    np.testing.assert_allclose(ours[0].get_ydata()[0], 0.746)


def test_effects_are_drawn_at_their_means() -> None:
    rows = [
        (*variant, "all", 10, 9, 1.0, 4, 0.8 + 0.01 * k % 0.07, 0.7, 0.9, 0.4, 0.3)
        for k, variant in enumerate(ablations("smoke", ["levels", "norm"]))
    ]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    fig = effect_figures.forest(table)
    found = effects.effects(table, "dice")
    means = next(line for line in fig.axes[0].lines if line.get_color() == "black")
    np.testing.assert_allclose(means.get_xdata(), found["mean"])
    names = [label.get_text() for label in fig.axes[0].get_yticklabels()]
    assert names[0] == "1 level instead of 4 levels"
    assert names[-1] == "batch norm instead of group norm"
    assert len(names) == len(found) == 6


@pytest.mark.parametrize("base", ["smoke", "companion"])
def test_every_variant_has_words(base: str) -> None:
    for factor, values in factors_of(base).items():
        assert set(effect_figures.WORDS[factor]) == set(values)


def test_one_seed_is_seen_against_the_other_seeds_of_the_base() -> None:
    dice = {
        ("base", 0): 0.80,
        ("base", 1): 0.83,
        ("base", 2): 0.79,
        ("1", 0): 0.82,
        ("batch", 0): 0.6,
    }
    plan = [v for v in ablations("smoke", ["levels", "norm"], 3) if (v.variant, v.seed) in dice]
    rows = [(*v, "all", 10, 9, 1.0, 4, dice[v.variant, v.seed], 0.7, 0.9, 0.4, 0.3) for v in plan]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    assert effects.of_other_seeds(table, "dice") == pytest.approx((-0.01, 0.03))
    fig = effect_figures.forest(table)
    ax = fig.axes[0]
    band = ax.patches[0]
    assert (band.get_x(), band.get_width()) == pytest.approx((-0.01, 0.04))
    fig.draw_without_rendering()
    assert ax.get_position().width > 0.2  # of the figure: nothing takes the room
    assert "arrow" not in fig.get_suptitle()  # there is none


def test_a_variant_that_failed_stands_beyond_the_broken_axis() -> None:
    rows = [
        (*variant, "all", 10, 9, 1.0, 4,
         0.1 if variant.variant == "none" else 0.8 + 0.01 * (k % 5), 0.7, 0.9, 0.4, 0.3)
        for k, variant in enumerate(ablations("smoke", ["levels", "norm"]))
    ]  # fmt: skip
    fig = effect_figures.forest(pd.DataFrame(rows, columns=list(COLUMNS)))
    ax = fig.axes[0]
    assert "arrows go on" in fig.get_suptitle()
    low, high = ax.get_xlim()
    assert -0.2 < low < 0 < high < 0.2
    assert any(text.get_text().startswith("−0.7") for text in ax.texts)
    assert any(line.get_marker() == "<" and len(line.get_xdata()) for line in ax.lines)


def test_figure_8_shows_losses_relative_to_their_start() -> None:
    steps = np.arange(10, 110, 10)
    log = pd.DataFrame(
        {"step": steps, "loss": 8.0 / steps, "loss_0": 1 / steps, "loss_1": 2 / steps}
    ).assign(learning_rate=0.001)
    seen = pd.DataFrame({"step": [50, 100]}).assign(
        accuracy=0.9, jaccard=0.6, dice=[0.7, 0.8], average_f1=[0.2, 0.3]
    )
    curves = Curves(log, seen)
    better = curves._replace(validation=seen.assign(dice=[0.75, 0.9]))
    fig = loss_figures.losses_and_metrics({"bce": [curves], "balanced": [curves, better]})
    loss = fig.axes[0].lines[0].get_ydata()
    assert loss[-1] == pytest.approx(np.mean([8 / k / 0.8 for k in (80, 90, 100)]))
    assert len(fig.axes[2].lines) == 2
    dice = fig.axes[1].lines[-1].get_ydata()  # the mean of two seeds, on a band between them
    assert dice == pytest.approx([0.725, 0.85])
    band = fig.axes[1].collections[-1].get_paths()[0].vertices
    assert (band[:, 1].min(), band[:, 1].max()) == pytest.approx((0.7, 0.9))
    levels = loss_figures.per_level(curves)
    assert [line.get_label() for line in levels.axes[0].lines] == ["level 0", "level 1"]


def test_patches_are_shown_with_their_nuclei() -> None:
    chosen = preset("smoke", augment=False)
    images, targets = Patches(rings(limit=4), chosen.train, contrast=chosen.model.contrast).batch(0)
    fig = loss_figures.batches({"as they are": (images, targets)})
    assert len(fig.axes) == len(images)
    np.testing.assert_allclose(fig.axes[0].images[0].get_array(), images[0].permute(1, 2, 0))


def test_levels_show_one_part_of_the_picture_with_most_of_its_nuclei() -> None:
    whole = np.zeros((200, 300), np.float32)
    whole[150:170, 250:270] = 1.0  # one nucleus of 20 pixels
    labels = (whole > 0).astype(np.int32)
    sample = Sample("x", np.zeros((200, 300, 3), np.uint8), labels, TYPES[0], "g", "test")
    fig = segmentation_figures.levels(sample, [whole, whole[::2, ::2]], whole)
    titles = [ax.get_title() for ax in fig.axes[:5]]
    assert titles == ["picture", "level 0", "level 1", "all levels", "annotated"]
    drawn = fig.axes[4].images[0].get_array()
    assert (drawn[labels == 0] == 0).all()
    assert drawn[150, 250:270].any(axis=1).all(), "the border of the nucleus is not drawn"
    for ax in fig.axes[:5]:
        (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
        assert left <= 250 < 270 <= right
        assert top <= 150 < 170 <= bottom
        assert right - left == bottom - top == 160


def test_figures_5_and_6_show_what_was_found() -> None:
    sample = rings(limit=1)[0]
    nothing = np.zeros_like(sample.labels)
    plane = (sample.labels > 0).astype(np.float32)
    case = segmentation_figures.Example("perfect", sample, Prediction(plane, plane), sample.labels)
    fig = segmentation_figures.from_score_to_nuclei([case])
    mask = fig.axes[2].images[0].get_array()
    assert fig.axes[2].get_title() == "mask, p > 0.5"
    np.testing.assert_array_equal(mask, sample.labels > 0)
    count = len(np.unique(sample.labels[sample.labels > 0]))
    for ax in (fig.axes[0], fig.axes[3]):  # annotated and found: a line around each nucleus
        assert ax.images[0].get_array().shape[:2] == sample.labels.shape
        assert len(ax.collections) == count
        assert ax.get_xlabel().startswith(f"{count} nucle")
    # The mask is the probability above the threshold, whatever nuclei were made of it.
    above_all = segmentation_figures.from_score_to_nuclei([case], threshold=1.0)
    assert not above_all.axes[2].images[0].get_array().any()
    difference = fig.axes[4].images[0].get_array()
    np.testing.assert_array_equal(np.asarray(difference == 1).all(axis=2), sample.labels == 0)
    found = {"all": {sample.image_id: sample.labels}, "none": {sample.image_id: nothing}}
    crop = Crop(sample, (slice(0, 40), slice(0, 40)))
    inside = sample.labels[crop.part]
    n = len(np.unique(inside[inside > 0]))
    fig = segmentation_figures.comparison([crop], found)
    told = [ax.get_xlabel() for ax in fig.axes]
    nuclei = f"{n} {'nucleus' if n == 1 else 'nuclei'}"
    assert told == [nuclei, f"{n} of {n} found, 0 extra", f"0 of {n} found, 0 extra"]
    assert [ax.get_title() for ax in fig.axes] == ["annotated", "all", "none"]
    side = -(-512 // 40) * 40  # enlarged, so that outlines are thin lines
    assert fig.axes[0].images[0].get_array().shape == (side, side, 3)
    for labels, rows in ((None, 1), (found["none"], 2)):
        fig = segmentation_figures.examples({"a crop": crop}, labels)
        assert [ax.get_title() for ax in fig.axes] == ["a crop", ""][:rows]
    assert fig.axes[1].get_xlabel() == f"0 of {n} found, 0 extra"


def test_nuclei_are_outlined_by_what_became_of_them() -> None:
    true, pred = np.zeros((2, 30, 30), np.int32)
    true[2:8, 2:8], pred[2:8, 2:8] = 3, 1  # found
    true[2:8, 12:18] = 5  # missed
    true[20:26, 2:8], true[20:26, 8:14], pred[20:26, 2:14] = 6, 7, 2  # merged
    pred[20:26, 20:26] = 3  # extra
    colours = segmentation_figures.ERROR_COLOURS
    drawn = np.zeros((30, 30, 3), np.uint8)
    for name, mine in by_outcome(pred, true).items():
        drawn = picture_figures.outlined(drawn, mine, colours[name])
    for (row, column), name in {
        (2, 4): "found", (2, 14): "missed", (20, 4): "merged", (20, 12): "merged", (20, 22): "extra"
    }.items():  # fmt: skip
        assert to_hex(drawn[row, column] / 255).upper() == colours[name].upper(), name
    assert not drawn[5, 5].any()
    assert not drawn[12:18].any()


def test_an_outline_lies_between_two_thin_lines_inside_its_nucleus() -> None:
    labels = np.zeros((64, 64), np.int32)
    labels[8:24, 8:24], labels[8:24, 24:40] = 1, 2  # they touch
    image = np.full((64, 64, 3), 128, np.uint8)
    for colour, beside in ((BLUE, 255), (YELLOW, 0)):
        drawn = picture_figures.cased(image, {colour: labels}, across=512)
        assert drawn.shape == (512, 512, 3)
        row = drawn[8 * 16, 8 * 8 : 8 * 24]  # across the left nucleus
        rgb = np.round(255 * np.array(to_rgb(colour)))
        assert (row[[0, -1]] == beside).all()  # at both rims, so touching ones stay apart
        assert (row[[1, -2]] == rgb).all()
        assert (row[64] == 128).all()
        assert (drawn[np.kron(labels, np.ones((8, 8))) == 0] == 128).all()


def test_scores_are_dots_by_type_and_method() -> None:
    kinds = [TYPES[0], TYPES[0], TYPES[3]]
    tables = {
        name: pd.DataFrame({"type": kinds, "average_f1": [0.2, 0.6, shift]})
        for name, shift in (("a", 0.5), ("b", 0.9))
    }
    ax = segmentation_figures.scores(tables).axes[0]
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert labels == ["small fluorescent\n(2 pictures)", "large fluorescent\n(1 picture)"]
    dots = [np.asarray(p.get_offsets()) for p in ax.collections if isinstance(p, PathCollection)]
    by_row = [(sorted(d[:, 0]), set(np.rint(d[:, 1]))) for d in dots]
    assert by_row == [([0.2, 0.6], {0}), ([0.5], {1}), ([0.2, 0.6], {0}), ([0.9], {1})]


def test_error_bars_are_shares() -> None:
    errors = pd.DataFrame(
        {"method": ["a"], "found": [6], "merged": [2], "split": [1], "missed": [1], "extra": [3]}
    )
    outcomes, extra = segmentation_figures.error_bars(errors).axes
    assert [bar.get_width() for bar in outcomes.patches] == [60, 20, 10, 10]
    assert [bar.get_width() for bar in extra.patches] == [30]


def test_the_animation_adds_levels_then_updates_them_in_order(tmp_path: Path) -> None:
    sample = rings(limit=1)[0]
    size = sample.labels.shape[0]
    colours = [np.full((size >> m, size >> m, 3), 0.5) for m in range(3)]
    rows = {"picture": colours, "network": [values[:, :, 0] for values in colours]}
    steps = [
        (0, ("king",)),
        (1, ("king", "child")),
        (2, ("king", "child")),
        (1, ("king", "parent")),
    ]
    frames = picture_figures.animation(sample, rows, colours[0][:, :, 0], sample.labels, steps)
    drawn = [len(fig.axes[0].images) for fig, _ in frames]
    assert drawn == [1, 2, 3, *[3] * len(steps), 3, 3]
    arrows = [sum(not text.get_text() for text in fig.axes[0].texts) for fig, _ in frames]
    assert arrows == [0, 0, 0, 0, 1, 1, 1, 0, 0]
    assert frames[6][0].get_suptitle() == "messages from neighbours and parents"
    assert frames[-1][0].get_suptitle().startswith(f"{sample.labels.max()} nuclei")
    with Image.open(save_animation(frames, "moving", tmp_path)) as moving:
        assert moving.n_frames == len(frames)
        assert moving.info["loop"] == 0
        moving.seek(len(frames) - 1)
        assert moving.info["duration"] == frames[-1][1]
