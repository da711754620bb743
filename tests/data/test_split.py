"""The committed tables of types and splits, rebuilt and checked; the drawing of groups."""

import itertools
from pathlib import Path

import bowl
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ngat import data
from ngat.data import TYPES, split
from ngat.data.dsb2018 import prepare
from ngat.data.store import Store
from ngat.errors import InputError

DATA = Path(__file__).parents[2] / "data"


@pytest.fixture(scope="module")
def types():
    return split.read_types(DATA / "image_types.csv")


@pytest.fixture(scope="module")
def manifest():
    return split.read_split(DATA / "split.csv")


# ------------------------------------------------------------------ the committed manifest


def test_the_manifest_is_what_the_types_give(types, manifest):
    chosen = split.assign(types)
    assert manifest.set_index("image_id").split.to_dict() == chosen.to_dict()
    merged = manifest.merge(types, on="image_id", suffixes=("", "_of_types"))
    assert len(merged) == len(manifest) == 841
    assert (merged.source == merged.split_of_types).all()
    assert (merged.type == merged.type_of_types).all()
    assert (merged.group == merged.group_of_types).all()


def test_no_group_straddles_the_split(manifest):
    splits = {}
    for row in manifest.itertuples():
        splits.setdefault(row.group, set()).add(row.split)
    assert len(splits) == 583
    assert all(len(found) == 1 for found in splits.values())


def test_no_picture_is_in_two_splits_under_two_names(manifest):
    assert manifest.image_sha256.is_unique


def test_the_split_is_the_paper_s(manifest):
    """Section 4.3: stage 2 is the test, stage 1's test images are among those for validation."""
    of = {source: set(rows.split) for source, rows in manifest.groupby("source")}
    assert of == {
        "stage1_train": {"train", "val"},
        "stage1_test": {"val"},
        "stage2_test_final": {"test"},
    }
    counts = {s: manifest[manifest.split == s].type.value_counts().to_dict() for s in split.SPLITS}
    assert counts["test"] == {
        "small_fluorescent": 72,
        "purple_tissue": 16,
        "large_fluorescent": 12,
        "pink_and_purple_tissue": 5,
        "grayscale_tissue": 1,
    }
    # Stage 1's test, and a tenth of 455, 104, 91 and 16.
    assert counts["val"] == {
        "small_fluorescent": 53 + 46,
        "purple_tissue": 8 + 10,
        "pink_and_purple_tissue": 4,
        "large_fluorescent": 9,
        "grayscale_tissue": 2,
    }
    assert counts["train"]["pink_and_purple_tissue"] == 4
    assert sum(counts["train"].values()) == 670 - 67


def test_rows_may_come_in_any_order(types):
    shuffled = types.sample(frac=1, random_state=3)
    assert split.assign(shuffled).to_dict() == split.assign(types).to_dict()


def test_another_seed_is_another_split(types):
    first, second = split.assign(types), split.assign(types, seed=1)
    assert (first != second).any()
    assert first.value_counts().to_dict() == second.value_counts().to_dict()


# ------------------------------------------------------------------ drawing groups


@settings(deadline=None)
@given(st.lists(st.integers(1, 5), max_size=8), st.integers(0, 20), st.integers(0, 3))
def test_groups_are_drawn_exactly_whenever_that_is_possible(sizes, target, seed):
    groups = {f"g{i}": size for i, size in enumerate(sizes)}
    sums = {sum(c) for n in range(len(sizes) + 1) for c in itertools.combinations(sizes, n)}
    if target in sums:
        drawn = split.draw(groups, target, seed)
        assert sum(groups[g] for g in drawn) == target
    else:
        with pytest.raises(InputError, match="no choice of whole groups"):
            split.draw(groups, target, seed)


def test_seeds_reach_all_groups():
    groups = {f"g{i}": 1 for i in range(6)}
    drawn = [split.draw(groups, 1, seed) for seed in range(100)]
    assert set().union(*drawn) == set(groups)


def test_dealing_round_the_types():
    assert split.in_turns("aaabbc") == [0, 3, 5, 1, 4, 2]
    assert split.in_turns("") == []


# ------------------------------------------------------------------ tables that are not well


def test_writing_types_gives_the_committed_table(dsb2018_source, tmp_path):
    assert split.write_types(dsb2018_source / "image_types.csv", tmp_path / "types.csv") == 841
    assert (tmp_path / "types.csv").read_bytes() == (DATA / "image_types.csv").read_bytes()


def other_id(table):
    return {"image_id": table.image_id[1]}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"split": "stage3"}, "line 2: unknown split"),
        ({"image_id": "../x"}, "line 2: not an image id"),
        (other_id, "line 3: the picture is there twice"),
        ({"type": "green"}, "line 2: the type is none of"),
        ({"group": ""}, "line 2: no group"),
        ({"height": "0"}, "line 2: height is no size"),
        ({"width": "1e3"}, "line 2: width is no size"),
        ({"group": "train-0"}, "the group has more than one split"),
        ({"type": "grayscale_tissue"}, "1 pictures of stage1_test are grayscale_tissue where 0|52"),
    ],
)
def test_a_spoilt_table_of_types_is_named_by_line(tmp_path, change, says):
    table = pd.read_csv(DATA / "image_types.csv", dtype=str)
    for column, value in (change(table) if callable(change) else change).items():
        table.loc[0, column] = value
    table.to_csv(tmp_path / "types.csv", index=False)
    with pytest.raises(InputError, match=says) as caught:
        split.write_types(tmp_path / "types.csv", tmp_path / "out.csv")
    assert "types.csv" in str(caught.value)
    assert not (tmp_path / "out.csv").exists()


def test_absent_and_foreign_tables_are_named(tmp_path):
    with pytest.raises(InputError, match=r"gone\.csv: no such file; get it from the project's"):
        split.read_types(tmp_path / "gone.csv")
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match=r"a\.csv: lacks the column"):
        split.read_split(tmp_path / "a.csv")
    text = (DATA / "split.csv").read_text().replace("\ntrain,", "\nholdout,", 1)
    (tmp_path / "b.csv").write_text(text)
    with pytest.raises(InputError, match=r"b\.csv: line \d+ is no line of a split"):
        split.read_split(tmp_path / "b.csv")


# ------------------------------------------------------------------ loading by the split


@pytest.fixture
def root(tmp_path):
    """A data folder whose small store holds stage 1 and a scored picture of stage 2."""
    source = bowl.make(tmp_path / "source", fixes=bowl.fix_files())
    bowl.pack(source / "stage2_test_final.zip", {"dd/images/dd.png": bowl.png(bowl.picture(4))})
    rows = [("dd", "1 3", *bowl.SIZE, "Private")]
    (source / "stage2_solution_final.csv").write_text(bowl.solution(*rows))
    root = tmp_path / "data"
    prepare(source, root / "dsb2018", expected={})
    lines = [",".join(split.SPLIT_COLUMNS)]
    with Store(root / "dsb2018") as store:
        for image_id, part, kind in [
            ("aa", "train", "purple_tissue"),
            ("bb", "train", "small_fluorescent"),
            ("cc", "val", "small_fluorescent"),
            ("dd", "test", "purple_tissue"),
        ]:
            row = store.rows[image_id]
            hashes = f"{row.image_sha256},{row.published_sha256}"
            lines.append(f"{part},{image_id},{row.source},{kind},g-{image_id},{hashes}")
    (root / "split.csv").write_text("\n".join(lines) + "\n")
    (root / "image_types.csv").write_bytes((DATA / "image_types.csv").read_bytes())
    return root


def test_the_door_gives_the_pictures_of_a_split(root):
    train = data.load("dsb2018", "train", root=root)
    assert [(s.image_id, s.type, s.group, s.split) for s in train] == [
        ("aa", "purple_tissue", "g-aa", "train"),
        ("bb", "small_fluorescent", "g-bb", "train"),
    ]
    assert np.array_equal(train[0].image, bowl.picture(1))
    assert train[1].labels.max() == 1
    assert [s.image_id for s in data.load("dsb2018", "train", root=root, limit=1)] == ["aa"]
    corrected = data.load("dsb2018", "train", root=root, masks="corrected")
    assert corrected[1].labels.max() == 2
    assert data.fingerprint(corrected) != data.fingerprint(train)


def test_stage_2_is_asked_for_where_the_store_lacks_it(root):
    """Training needs stage 1 alone; the test says which files are wanted."""
    (sample,) = data.load("dsb2018", "test", root=root)
    assert sample.labels.sum() == 3
    bowl_of_stage_1 = bowl.make(root / "source", fixes=bowl.fix_files())
    prepare(bowl_of_stage_1, root / "dsb2018", expected={})
    assert len(data.load("dsb2018", "train", root=root)) == 2
    with pytest.raises(InputError, match="dd of stage2_test_final is missing or not the image of"):
        data.load("dsb2018", "test", root=root)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"data": "mnist"}, "data 'mnist' are unknown"),
        ({"split": "validation"}, "split 'validation' is unknown"),
        ({"masks": "best"}, "masks 'best' are unknown"),
        ({"limit": 0}, "limit 0 is too small"),
        ({"split": "stage2"}, "split 'stage2' is unknown"),
        ({"root": "elsewhere"}, "ngat data prepare --source DIR"),
    ],
)
def test_wrong_wishes_are_named(tmp_path, arguments, says):
    prepare(bowl.make(tmp_path / "source"), tmp_path / "dsb2018", expected={})
    wish = {"data": "dsb2018", "split": "train", "root": tmp_path, **arguments}
    if wish["root"] == "elsewhere":
        wish["root"] = tmp_path / "elsewhere"
    with pytest.raises(InputError, match=says):
        data.load(**wish)


def test_a_store_of_other_pictures_is_noticed(root):
    path = root / "split.csv"
    lines = path.read_text().splitlines()
    lines[1] = lines[1][:-1] + ("0" if lines[1][-1] != "0" else "1")
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError, match="aa of stage1_train is missing or not the image of"):
        data.load("dsb2018", "train", root=root)


def test_a_store_without_the_pictures_gives_no_split(root, tmp_path):
    with pytest.raises(InputError, match="is missing or of another size"):
        split.write_split(root / "image_types.csv", root / "dsb2018", tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.slow
@pytest.mark.timeout(1200)  # includes preparing the whole set
def test_the_manifest_holds_the_hashes_of_the_published_pictures(dsb2018_store, tmp_path):
    counts = split.write_split(DATA / "image_types.csv", dsb2018_store, tmp_path / "split.csv")
    assert counts == {"train": 603, "val": 132, "test": 106}
    assert (tmp_path / "split.csv").read_bytes() == (DATA / "split.csv").read_bytes()


def test_types_are_the_five_of_the_paper(types):
    assert set(types.type) == set(TYPES)
