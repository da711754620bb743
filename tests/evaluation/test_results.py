"""Result files: the same bytes each time, back to the same values, and told when damaged."""

import gzip
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ngat import metrics
from ngat.data import Sample
from ngat.errors import InputError
from ngat.evaluation import results
from ngat.system.provenance import provenance


def squares(shift=0, n=3):
    labels = np.zeros((24, 40), np.int32)
    for k in range(n):
        labels[4:14, 2 + 12 * k + shift : 12 + 12 * k + shift] = 5 * k + 2
    return labels


def sample(image_id, labels):
    image = np.zeros((*labels.shape, 3), np.uint8)
    return Sample(image_id, image, labels, "purple_tissue", image_id, "test")


@pytest.fixture
def run(tmp_path):
    measured = [
        results.measure(sample("b", squares()), squares(shift=2)),
        results.measure(sample("a", squares()), squares(n=2)),
        results.measure(sample("c", squares()), np.zeros((24, 40), np.int32)),
    ]
    history = provenance("ngat evaluate --data dsb2018", 3, "f" * 64, 1.234, preset="smoke")
    results.write_run(
        tmp_path, "smoke", measured, method="NGAT (split)", data="synthetic", provenance=history
    )
    return tmp_path


def test_a_run_comes_back(run):
    back = results.read_run(run / "smoke")
    assert list(back.counts.columns) == results.COUNT_COLUMNS
    assert list(back.counts["image_id"].unique()) == ["a", "b", "c"]
    assert len(back.counts) == 3 * 10
    at = back.counts[back.counts.threshold == 0.7].set_index("image_id")
    # Squares of 10 x 10 shifted by 2 columns: IoU 80/120, below 0.7.
    assert at.loc["b", ["tp", "fp", "fn"]].tolist() == [0, 3, 3]
    assert at.loc["a", ["tp", "fp", "fn"]].tolist() == [2, 0, 1]
    assert at.loc["c", ["tp", "fp", "fn"]].tolist() == [0, 0, 3]
    pixels = back.pixels.set_index("image_id")
    assert pixels.loc["a", "pixel_dice"] == pytest.approx(2 * 200 / 500)
    assert pixels.loc["b", "pixel_dice"] == pytest.approx(0.8)
    assert pixels.loc["b", ["height", "width"]].tolist() == [24, 40]
    assert back.provenance["method"] == "NGAT (split)"
    assert back.provenance["data_fingerprint"] == "f" * 64
    assert [found.name for found in results.runs_in(run)] == ["smoke"]


def test_counts_follow_from_the_instances_file(run):
    labels = results.read_instances(run / "smoke.rle.csv.gz")
    assert list(labels) == ["a", "b", "c"]
    assert not labels["c"].any()
    counts = results.read_run(run / "smoke").counts
    for image_id, image in labels.items():
        again = [(c.tp, c.fp, c.fn) for c in metrics.match(image, squares())]
        rows = counts[counts.image_id == image_id]
        assert again == list(zip(rows.tp, rows.fp, rows.fn, strict=True))


def test_same_results_same_bytes(run, tmp_path_factory):
    before = {f.name: f.read_bytes() for f in run.iterdir()}
    labels = results.read_instances(run / "smoke.rle.csv.gz")
    other = tmp_path_factory.mktemp("other")
    measured = [
        results.measure(sample(image_id, squares()), image) for image_id, image in labels.items()
    ]
    history = json.loads(before["smoke.json"])
    results.write_run(
        other, "smoke", measured, method="NGAT (split)", data="synthetic", provenance=history
    )
    assert {f.name: f.read_bytes() for f in other.iterdir()} == before
    assert before["smoke.rle.csv.gz"][4:8] == b"\0\0\0\0"  # no time in the gzip header


def test_instances_are_in_the_challenge_form_by_hand(tmp_path):
    image = np.array([[0, 7, 7], [3, 0, 7]], np.int32)
    results.write_instances(tmp_path / "x.csv", {"i": image, "empty": image * 0})
    # Columns first, from 1: (1,0) is 2; (0,1) is 3; (0,2), (1,2) are 5, 6.
    assert (tmp_path / "x.csv").read_text().splitlines() == [
        "ImageId,EncodedPixels,Height,Width",
        "i,2 1,2,3",
        "i,3 1 5 2,2,3",
        "empty,,2,3",
    ]


@settings(deadline=None, max_examples=60)
@given(
    hnp.arrays(
        np.int32,
        hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=7),
        elements=st.integers(0, 5),
    )
)
def test_instances_come_back(tmp_path_factory, image):
    path = tmp_path_factory.mktemp("rle") / "x.csv.gz"
    results.write_instances(path, {"i": image})
    back = results.read_instances(path)["i"]
    assert back.shape == image.shape
    assert metrics.image_score(metrics.match(back, image)) == (1, 1)
    np.testing.assert_array_equal(back > 0, image > 0)


def damaged(run, name, edit):
    path = run / name
    if name.endswith(".gz"):
        path.write_bytes(gzip.compress(edit(gzip.decompress(path.read_bytes()).decode()).encode()))
    else:
        path.write_text(edit(path.read_text()))


@pytest.mark.parametrize(
    ("name", "edit", "says"),
    [
        ("smoke.counts.csv", lambda t: t.replace(",tp,", ",hits,"), "lacks the column tp"),
        ("smoke.counts.csv", lambda t: t.replace("0.5,2,0,1,3,2", "0.5,2,0,0,3,2", 1), "add up"),
        ("smoke.counts.csv", lambda t: t.replace("0.5,2,0,1", "0.5,x,0,1", 1), "line 2"),
        ("smoke.counts.csv", lambda t: "\n".join(t.split("\n")[:-2]) + "\n", "image c.*threshold"),
        ("smoke.counts.csv", lambda _: "", "cannot be read"),
        ("smoke.pixels.csv", lambda t: t.replace(",0.8\n", ",good\n"), "no number"),
        ("smoke.pixels.csv", lambda t: "\n".join(t.split("\n")[:-2]) + "\n", "different images"),
        ("smoke.json", lambda t: t[:-20], "not JSON"),
    ],
)  # fmt: skip
def test_damaged_files_are_told(run, name, edit, says):
    damaged(run, name, edit)
    with pytest.raises(InputError, match=says):
        results.read_run(run / "smoke")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("ImageId,EncodedPixels,Height,Width\ni,1 2 3,4,4\n", "odd"),
        ("ImageId,EncodedPixels,Height,Width\ni,15 3,4,4\n", "leaves"),
        ("ImageId,EncodedPixels,Height,Width\ni,1 2,4,4\ni,2 2,4,4\n", "share pixels"),
        ("ImageId,EncodedPixels,Height,Width\ni,1 2,4,4\ni,5 2,4,5\n", "two sizes"),
        ("ImageId,EncodedPixels,Height,Width\ni,1 2,,\n", "no whole Height"),
        ("ImageId,EncodedPixels\ni,1 2\n", "size of image i is unknown"),
        ("Id,Runs\ni,1 2\n", "lacks the column ImageId"),
    ],
)
def test_bad_run_lengths_are_told(tmp_path, text, says):
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(InputError, match=says) as told:
        results.read_instances(tmp_path / "x.csv")
    assert "x.csv" in str(told.value)


def test_ignored_lines_are_skipped_and_the_smallest_object_keeps_a_shared_pixel(tmp_path):
    (tmp_path / "x.csv").write_text(
        "ImageId,EncodedPixels,Height,Width,Usage\n"
        "i,1 3,2,2,Private\ni,3 2,2,2,Private\nj,1 1,2,2,Ignored\n"
    )
    labels = results.read_instances(tmp_path / "x.csv", overlap="merge")
    assert list(labels) == ["i"]
    np.testing.assert_array_equal(labels["i"], [[1, 2], [1, 2]])


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b[:30] + b"xx" + b[32:]])
def test_a_damaged_archive_is_told(run, damage):
    path = run / "smoke.rle.csv.gz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=r"smoke\.rle\.csv\.gz"):
        results.read_instances(path)


def test_bad_runs_are_refused(tmp_path):
    one = results.measure(sample("a", squares()), squares())
    with pytest.raises(InputError, match="twice"):
        results.write_run(tmp_path, "x", [one, one], method="m", data="d", provenance={})
    with pytest.raises(InputError, match="small letters"):
        results.write_run(tmp_path, "../x", [one], method="m", data="d", provenance={})
    with pytest.raises(InputError, match="image a"):
        results.measure(sample("a", squares()), np.zeros((3, 3), int))
    with pytest.raises(InputError, match="no result file"):
        results.runs_in(tmp_path)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ("dsb2018", "dsb2018-test-unet"),
        ("dsb2018, corrected masks", "dsb2018-corrected-masks-test-unet"),
        ("My Pictures (2)", "my-pictures-2-test-unet"),
        ("_Zellkörper", "zellk-rper-test-unet"),
        ("細胞", "own-test-unet"),
    ],
)
def test_whatever_a_data_set_is_called_its_runs_have_a_name(data, name):
    assert results.check_name(results.run_name(data, "test", "unet")) == name


def test_provenance_names_no_folder():
    home = "/ho" + "me/someone/"
    history = provenance(
        ["/usr/bin/ngat", "evaluate", "--weights", f"{home}w.safetensors", f"--out={home}runs/x",
         "--data", "dsb2018", "C:\\Users\\someone\\d", "~/x/y", "runs/z"],
        0, None, 2, weights=f"{home}w.safetensors", nested={"a": [f"{home}b"]}, note="a / b",
        data=f"{home}My Pictures",
    )  # fmt: skip
    assert history["command"] == (
        "ngat evaluate --weights w.safetensors --out=x --data dsb2018 d y runs/z"
    )
    assert history["weights"] == "w.safetensors"
    assert history["nested"] == {"a": ["b"]}
    assert history["data"] == "My Pictures"
    assert "someone" not in json.dumps(history)
    assert history["note"] == "a / b"
    assert history["versions"]["numpy"] == np.__version__
    assert "core" in history["hardware"]
    assert history["commit"]
