"""The protocol for anyone's files: every form gives the same numbers; bad input is told."""

import io
import os
import shutil
import time

import numpy as np
import pytest
import tifffile
from PIL import Image
from skimage.io import imsave

from ngat import metrics
from ngat.data import archive
from ngat.errors import InputError
from ngat.evaluation import results
from ngat.evaluation.scoring import read_label_image, read_labels, score


def truth():
    one, two = np.zeros((30, 40), np.uint16), np.zeros((20, 20), np.uint16)
    one[2:12, 2:12], one[2:12, 12:22], one[20:28, 5:35] = 1, 300, 7
    two[5:15, 5:15] = 1
    return {"one": one, "two": two}


def guess():
    found = {name: labels.copy() for name, labels in truth().items()}
    found["one"][found["one"] == 7] = 0  # missed
    found["two"] = np.roll(found["two"], 3, axis=0)  # IoU 70/130
    return found


def folder(path, labels, suffix):
    path.mkdir()
    for name, image in labels.items():
        file = path / f"{name}{suffix}"
        np.save(file, image) if suffix == ".npy" else imsave(file, image, check_contrast=False)
    return path


def table(path, labels, *, sizes=True):
    results.write_instances(path, labels)
    if not sizes:
        lines = path.read_text().splitlines()
        path.write_text("".join(",".join(line.split(",")[:2]) + "\n" for line in lines))
    return path


def both(tmp_path, form):
    if form.startswith("."):
        return folder(tmp_path / "p", guess(), form), folder(tmp_path / "a", truth(), form)
    return table(tmp_path / f"p{form}", guess()), table(tmp_path / f"a{form}", truth())


@pytest.mark.parametrize("form", [".png", ".tif", ".npy", "x.csv", "x.csv.gz"])
def test_every_form_gives_the_hand_count(tmp_path, form):
    found = score(*both(tmp_path, form))
    assert found.images["image_id"].tolist() == ["one", "two"]
    # one: 2 of 3 found at every threshold. two: IoU 70/130 = .538, a match at .5 alone.
    assert found.images["tp"].tolist() == [2, 0]
    assert found.images["score"].tolist() == pytest.approx([2 / 3, 0.1])
    assert found.images["average_f1"].tolist() == pytest.approx([0.8, 0.1])
    assert found.summary.score == pytest.approx((2 / 3 + 0.1) / 2)
    assert found.summary[4:] == pytest.approx((2 / 4, 2 / 4, 1 / 4))
    assert found.images["pixel_dice"].tolist() == pytest.approx([400 / 640, 0.7])
    assert found.unscored == ()


def test_mixed_forms_and_a_submission_without_sizes(tmp_path):
    annotated = folder(tmp_path / "a", truth(), ".png")
    submitted = table(tmp_path / "p.csv", guess(), sizes=False)
    expected = score(folder(tmp_path / "p", guess(), ".npy"), annotated)
    assert score(submitted, annotated).summary == expected.summary
    # and the other way round: the prediction states the sizes
    bare = table(tmp_path / "bare.csv", truth(), sizes=False)
    assert score(tmp_path / "p", bare).summary == expected.summary
    with pytest.raises(InputError, match="neither file states sizes"):
        score(submitted, bare)


def test_perfect_prediction(tmp_path):
    annotated = folder(tmp_path / "a", truth(), ".png")
    assert score(annotated, annotated).summary == metrics.Summary(2, 4, 1.0, 1.0, 1.0, 0.0, 0.0)


def test_more_predictions_than_annotations_are_named(tmp_path):
    predicted = folder(tmp_path / "p", {**guess(), "extra": truth()["one"]}, ".npy")
    assert score(predicted, folder(tmp_path / "a", truth(), ".png")).unscored == ("extra",)


def test_missing_prediction_is_told(tmp_path):
    predicted, annotated = both(tmp_path, ".png")
    (predicted / "two.png").unlink()
    with pytest.raises(InputError, match="no prediction for image two"):
        score(predicted, annotated)


def test_sizes_that_differ_are_told(tmp_path):
    predicted, annotated = both(tmp_path, ".npy")
    np.save(predicted / "two.npy", np.zeros((20, 21), int))
    with pytest.raises(InputError, match=r"image two.*20 x 21.*20 x 20"):
        score(predicted, annotated)


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (np.full((4, 4), np.nan), "NaN"),
        (np.ones((4, 4), np.float32), "float32.*whole numbers"),
        (np.ones((4, 4, 3), np.uint8), "3 dimensions"),
        (np.full((4, 4), -2), "negative"),
    ],
)
def test_what_is_no_label_image_is_told(tmp_path, image, says):
    np.save(tmp_path / "bad.npy", image)
    with pytest.raises(InputError, match=says) as told:
        read_label_image(tmp_path / "bad.npy")
    assert "bad.npy" in str(told.value)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".npy"])
def test_a_damaged_file_is_told(tmp_path, suffix):
    (tmp_path / f"bad{suffix}").write_bytes(b"no picture at all")
    with pytest.raises(InputError, match="not a readable label image"):
        read_label_image(tmp_path / f"bad{suffix}")


def test_an_odd_run_is_told(tmp_path):
    annotated = table(tmp_path / "a.csv", truth())
    lines = annotated.read_text().splitlines()
    lines[1] = lines[1].replace(" ", " 1 ", 1)
    (tmp_path / "p.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError, match="odd"):
        score(tmp_path / "p.csv", annotated)


def test_sources_that_are_none_are_told(tmp_path):
    with pytest.raises(InputError, match="no such file or folder"):
        read_labels(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no label image"):
        read_labels(tmp_path / "empty")
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(InputError, match="folder of label images"):
        read_labels(tmp_path / "notes.txt")
    (tmp_path / "none.csv").write_text("ImageId,EncodedPixels,Height,Width\n")
    with pytest.raises(InputError, match="holds no image"):
        read_labels(tmp_path / "none.csv")
    doubled = folder(tmp_path / "d", truth(), ".png")
    shutil.copy(doubled / "one.png", doubled / "one.tif")
    with pytest.raises(InputError, match="two files are called one"):
        read_labels(doubled)


def test_the_columns_of_each_image_by_hand(tmp_path):
    """One: 1 of 3 found, of 100 of 440 pixels. Two: 100 pixels, found three rows lower."""
    predicted, annotated = both(tmp_path, ".npy")
    np.save(predicted / "one.npy", np.where(guess()["one"] == 1, 0, guess()["one"]))
    seen = []
    images = score(predicted, annotated, progress=lambda ids: seen.extend(ids) or seen).images
    assert seen == ["one", "two"]
    columns = ["n_true", "n_pred", "tp", "fp", "fn", "f1"]
    assert images[columns].to_numpy().tolist() == [[3, 1, 1, 0, 2, 0.5], [1, 1, 0, 1, 1, 0]]
    assert images["pixel_iou"].tolist() == pytest.approx([101 / 441, 71 / 131])  # eq. 28 adds 1
    assert images["pixel_dice"].tolist() == pytest.approx([200 / 540, 140 / 200])


@pytest.mark.parametrize("sizes", [True, False])
def test_objects_that_overlap_are_refused_in_predictions_only(tmp_path, sizes):
    """The annotation gives a shared pixel to the smaller object. Either side may state sizes."""
    stated = "ImageId,EncodedPixels,Height,Width\na,1 4,4,4\na,4 6,4,4\n"
    bare = "ImageId,EncodedPixels\na,1 4\na,4 6\n"
    (tmp_path / "p.csv").write_text(stated)
    (tmp_path / "a.csv").write_text(stated if sizes else bare)
    (tmp_path / "good.csv").write_text(stated.replace("4 6", "5 5"))
    assert score(tmp_path / "good.csv", tmp_path / "a.csv").images["tp"].tolist() == [2]
    with pytest.raises(InputError, match="two objects share pixels"):
        score(tmp_path / "p.csv", tmp_path / "a.csv")
    with pytest.raises(InputError, match="two objects share pixels"):
        read_labels(tmp_path / "p.csv")


def test_names_in_capitals_and_those_that_begin_with_a_dot(tmp_path):
    """Endings count in either case; a file that begins with a dot is no image."""
    path = folder(tmp_path / "A", {"one": truth()["one"]}, ".png")
    (path / "one.png").rename(path / "one.PNG")
    (path / "._one.png").write_bytes(b"left by another system")
    assert list(read_labels(path)) == ["one"]
    table(tmp_path / "x.csv", truth()).rename(tmp_path / "X.CSV")
    assert list(read_labels(tmp_path / "X.CSV")) == ["one", "two"]


def test_a_folder_may_be_called_like_a_table(tmp_path):
    predicted = folder(tmp_path / "p.csv", truth(), ".npy")
    annotated = folder(tmp_path / "a.csv", truth(), ".npy")
    assert score(predicted, annotated).summary.score == 1


def perfect(labels):
    counts = {image_id: metrics.match(image, image) for image_id, image in labels}
    row = metrics.summarise(counts.values())
    assert row[2:] == (1.0, 1.0, 1.0, 0.0, 0.0)  # exactly, not nearly
    return row.images, row.objects


def test_perfect_prediction_on_the_real_test_annotations(dsb2018_source):
    """All 65: read, scored against themselves, and scored as the challenge would score the file."""
    solution = dsb2018_source / "stage1_solution.csv"
    assert perfect(read_labels(solution).items()) == (65, 4152)
    assert score(solution, solution).summary == metrics.Summary(65, 4152, 1, 1, 1, 0, 0)


@pytest.mark.slow
def test_perfect_prediction_on_the_real_training_annotations(dsb2018_source):
    """All 670, read here mask by mask."""
    with archive.opened(dsb2018_source / "stage1_train.zip") as file:

        def annotated():
            for image_id, masks in file.masks.items():
                labels = None
                for number, mask in enumerate(masks, start=1):
                    inside = np.asarray(Image.open(io.BytesIO(file.read(mask))).convert("L")) > 0
                    labels = np.zeros(inside.shape, np.int32) if labels is None else labels
                    labels[inside] = number
                yield image_id, labels

        assert perfect(annotated()) == (670, 29461)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"a,1 3\n", "lacks the column ImageId"),
        (b"ImageId;EncodedPixels\na;1 3\n", "lacks the column ImageId"),
        (b"\x89PNG\r\n\x1a\n\xff\xfe", "cannot be read as CSV"),
        (b"ImageId,EncodedPixels\na,1 3,9\n", "a line has more fields than the header; quote"),
        (b"ImageId,EncodedPixels\na,1 3\nb,1 3,9\n", "line 3 has more fields than the header"),
        (b"ImageId,EncodedPixels,Height,Width\na,1 3,8,8\n,1 3,8,8\n", "line 3 has no ImageId"),
    ],
)
def test_what_holds_no_run_lengths_is_told_as_such(tmp_path, content, says):
    path, bare = tmp_path / "bad.csv", tmp_path / "bare.csv"
    path.write_bytes(content)
    bare.write_text("ImageId,EncodedPixels\na,1 3\n")
    for sides in ((path, path), (path, bare), (bare, path)):
        with pytest.raises(InputError, match=says) as told:
            score(*sides)
        assert str(told.value).startswith(str(path))
        assert "\n" not in str(told.value)


def test_a_large_image_without_objects_is_scored_at_once(tmp_path):
    """A slide of 100 million pixels; counted pixel by pixel it took minutes and gigabytes."""
    (tmp_path / "a.csv").write_text("ImageId,EncodedPixels,Height,Width\na,,10000,10000\n")
    began = time.process_time()
    found = score(tmp_path / "a.csv", tmp_path / "a.csv")
    assert time.process_time() - began < 5
    row = found.images.iloc[0]
    assert (row["score"], row["pixel_iou"], row["pixel_dice"]) == (1, 1, 1)


def test_pages_of_a_label_image_are_told_without_options_that_there_are_not(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((2, 8, 8), np.uint16), photometric="minisblack")
    with pytest.raises(InputError, match=r"holds 2 pages; save one of them as its own file\.$"):
        read_label_image(tmp_path / "a.tif")


def test_a_pipe_is_no_label_image(tmp_path):
    for name in ("a.npy", "a.png"):
        os.mkfifo(tmp_path / name)
    for name in ("a.npy", "a.png"):
        with pytest.raises(InputError, match="no regular file"):
            read_label_image(tmp_path / name)
