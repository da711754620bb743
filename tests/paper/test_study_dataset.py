"""What a data set is made of, on label images counted by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ngat.data import Sample
from ngat.errors import InputError
from ngat.evaluation.error_types import touching
from ngat.paper.study import dataset as description

LABELS = np.array(
    [
        [1, 1, 0, 0, 5, 5],
        [1, 1, 0, 0, 5, 5],
        [0, 0, 2, 0, 0, 0],
        [0, 0, 2, 0, 0, 0],
        [4, 0, 0, 0, 0, 0],
    ],
    dtype=np.int32,
)


def test_nuclei_in_several_parts() -> None:
    assert description.in_parts(LABELS).tolist() == []
    broken = LABELS.copy()
    broken[0, 3], broken[4, 5] = 2, 4  # 2 has two more pixels apart from it, 4 one
    broken[1, 2] = 2  # and this one joins it at a corner
    assert description.in_parts(broken).tolist() == [4]
    broken[4, 3] = 5
    assert description.in_parts(broken).tolist() == [4, 5]
    assert description.in_parts(np.zeros((3, 4), dtype=np.int32)).tolist() == []


def sample(labels: np.ndarray, name: str = "a", kind: str = "purple_tissue") -> Sample:
    image = np.zeros((*labels.shape, 3), dtype=np.uint8)
    return Sample(name, image, labels.astype(np.int32), kind, f"parent of {name}", "train")


def test_touching_counts_edges_and_corners() -> None:
    # 1 and 2 meet at a corner; 3 is missing; 4 and 5 stand alone.
    for turned in (LABELS, LABELS.T, LABELS[::-1], LABELS[:, ::-1]):
        assert touching(turned, gap=0).tolist() == [True, True, False, False]
    assert touching(np.zeros((3, 4), dtype=np.int32), gap=0).tolist() == []
    assert touching(np.array([[1, 2]]), gap=0).tolist() == [True, True]
    assert touching(np.array([[1], [2]]), gap=0).tolist() == [True, True]
    assert touching(np.array([[1, 0, 2]]), gap=0).tolist() == [False, False]


def test_pictures_sum_up_their_nuclei() -> None:
    empty = sample(np.zeros((2, 3)), "b")
    table = description.pictures([sample(LABELS), empty])
    assert list(table.columns) == description.PICTURE_COLUMNS
    first, second = table.to_dict("records")
    assert (first["height"], first["width"], first["nuclei"]) == (5, 6, 4)
    # Areas 1, 2, 4, 4: the median diameter lies between those of 2 and of 4 pixels.
    assert first["median_diameter"] == pytest.approx((np.sqrt(2) + 2) / np.sqrt(np.pi), abs=1e-4)
    assert first["touching"] == 0.5
    assert first["covered"] == pytest.approx(11 / 30, abs=1e-4)
    assert (second["nuclei"], second["median_diameter"], second["touching"]) == (0, 0, 0)


def test_table_of_pictures_is_read_back(tmp_path: Path) -> None:
    table = description.pictures([sample(LABELS)])
    path = tmp_path / "pictures.csv"
    table.to_csv(path, index=False)
    pd.testing.assert_frame_equal(description.read_pictures(path), table)
    table.drop(columns="covered").to_csv(path, index=False)
    with pytest.raises(
        InputError, match="is no table of pictures; make it with `ngat data describe`"
    ):
        description.read_pictures(path)
    with pytest.raises(InputError, match="cannot be read"):
        description.read_pictures(tmp_path / "absent.csv")


def split_of(*rows: tuple[str, str, str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["type", "group", "split"])


def test_groups_are_counted_and_a_straddling_one_is_refused() -> None:
    table = split_of(("a", "g", "train"), ("a", "g", "train"), ("a", "h", "test"))
    assert description.groups(table)["pictures"].tolist() == [2, 1]
    with pytest.raises(InputError, match="group g"):
        description.groups(split_of(("a", "g", "train"), ("a", "g", "test")))


def test_leaking_of_a_deal_that_looks_at_no_groups() -> None:
    # One group of four, three in train, one in test: whichever is drawn for test has siblings.
    one = split_of(*[("a", "g", "train")] * 3, ("a", "g", "test"))
    assert description.leaking(one, draws=5).tolist() == [1.0] * 5
    # No siblings at all.
    alone = split_of(*[("a", f"g{k}", "train" if k else "test") for k in range(6)])
    assert description.leaking(alone, draws=5).tolist() == [0.0] * 5
    # Two pairs, one picture in test: its sibling is always left behind in train.
    pairs = split_of(
        ("a", "g", "train"), ("a", "g", "test"), ("a", "h", "train"), ("a", "h", "train")
    )
    assert description.leaking(pairs, draws=20).eq(1.0).all()
    # Two pairs, two in test: the pair stays together in one of three draws.
    halves = split_of(
        ("a", "g", "train"), ("a", "g", "test"), ("a", "h", "train"), ("a", "h", "test")
    )
    share = description.leaking(halves, draws=3000, seed=1)
    assert set(share) == {0.0, 1.0}
    assert share.mean() == pytest.approx(2 / 3, abs=0.03)
    # Types are drawn apart.
    mixed = split_of(("a", "g", "train"), ("b", "h", "test"))
    assert description.leaking(mixed, draws=3).tolist() == [0.0] * 3


def test_committed_facts_agree_with_the_split_and_the_published_totals() -> None:
    data = Path(__file__).parents[2] / "data"
    facts = description.read_pictures(data / "results" / "dsb2018.pictures.csv")
    split = pd.read_csv(data / "split.csv")
    where = ["image_id", "split", "type", "group"]
    pd.testing.assert_frame_equal(
        facts[where].sort_values("image_id", ignore_index=True),
        split[where].sort_values("image_id", ignore_index=True),
    )
    sizes = pd.read_csv(data / "image_types.csv").set_index("image_id")
    assert (sizes.loc[facts["image_id"], "height"].to_numpy() == facts["height"]).all()
    source = split.set_index("image_id")["source"].loc[facts["image_id"]].to_numpy()
    # Published: 29,461 and 4,152 masks, and 3,717 connected parts, one nucleus having two.
    assert facts["nuclei"].groupby(source).sum().to_dict() == {
        "stage1_train": 29461,
        "stage1_test": 4152,
        "stage2_test_final": 3716,
    }


def test_composition_counts_pictures_and_nuclei() -> None:
    facts = description.pictures(
        [sample(LABELS), sample(LABELS, "b"), sample(LABELS[:2], "c", "grayscale_tissue")]
    )
    counts = description.composition(facts)
    assert len(counts) == 3 * 5
    rows = counts.set_index(["part", "type"])
    assert tuple(rows.loc[("train", "purple_tissue")]) == (2, 8)
    assert tuple(rows.loc[("train", "grayscale_tissue")]) == (1, 2)
    assert tuple(rows.loc[("val", "purple_tissue")]) == (0, 0)
    table = description.composition_table(counts).set_index("type")
    assert table.loc["all", "train"] == "3 / 10"
    assert table.loc["all", "test"] == "0 / 0"


def test_sizes_are_the_sides_of_squares() -> None:
    square = np.zeros((20, 20), np.int32)
    square[2:9, 3:10] = 1
    facts = description.pictures([sample(square), sample(square[:6], "b")])
    # Seven pixels along each side; then four rows of seven.
    assert description.image_sizes(facts).tolist() == pytest.approx([7, 28**0.5], abs=1e-4)
    table = description.size_table(facts).set_index("type")
    assert table.loc["purple_tissue", "train"] == "6 (5–7)"
