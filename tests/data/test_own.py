"""A folder of one's own pictures and masks as a data set."""

from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest
import tifffile
from command import inside
from pictures import discs, grey
from PIL import Image
from tiny import SMALL

from ngat.data import load, rle
from ngat.data.own import read_rgb
from ngat.errors import InputError
from ngat.io.outlines import feature, polygons, roi

LABELS = discs()


def mask(path, labels=LABELS):
    """The labels in the form that the file's ending says."""
    numbers = range(1, labels.max() + 1)
    if path.suffix == ".npy":
        np.save(path, labels)
    elif path.suffix == ".png":  # a mask of separate nuclei
        Image.fromarray((labels > 0).astype(np.uint8) * 255).save(path)
    elif path.suffix == ".csv":
        lines = [f"a,{runs}" for runs in rle.encode_labels(labels)]
        path.write_text("\n".join(["ImageId,EncodedPixels", *lines, ""]))
    elif path.suffix == ".geojson":
        features = [feature(n, polygons(labels == n), {}) for n in numbers]
        path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    elif path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as file:
            for n in numbers:
                file.writestr(f"{n}.roi", roi(n, polygons(labels == n)))
    else:
        tifffile.imwrite(path, labels.astype(np.uint16))


def pair(folder, name, suffix=".tif", dtype=np.uint8):
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    high = 255 if dtype == np.uint8 else 4000
    tifffile.imwrite(folder / "images" / f"{name}.tif", grey(high=high, dtype=dtype))
    mask(folder / "masks" / f"{name}{suffix}")


@pytest.mark.parametrize("suffix", [".tif", ".png", ".npy", ".csv", ".geojson", ".zip"])
def test_masks_of_every_form(tmp_path, suffix):
    pair(tmp_path, "a", suffix, np.uint16)
    (sample,) = load(str(tmp_path), "test", progress=False)
    np.testing.assert_array_equal(sample.labels, LABELS)
    assert sample.labels.dtype == np.int32
    assert sample.image.shape == (*LABELS.shape, 3)
    assert (sample.image.min(), sample.image.max()) == (0, 255)  # 12 bits in 16 fill 8


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_a_picture_of_more_bits_is_shown_over_its_own_range(tmp_path, dtype):
    """A camera of 12 bits in a file of 16 would be nearly black over the file's whole range."""
    ramp = np.linspace(100, 4000, 64 * 64).reshape(64, 64).astype(dtype)
    tifffile.imwrite(tmp_path / "ramp.tif", ramp)
    found = read_rgb(tmp_path / "ramp.tif")
    assert found.dtype == np.uint8
    assert (found[:, :, :1] == found).all()
    expected = 255 * (ramp.astype(float) - 100) / 3900
    np.testing.assert_allclose(found[:, :, 0], expected, atol=1.2)
    plain = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    Image.fromarray(plain).save(tmp_path / "plain.png")
    assert np.array_equal(read_rgb(tmp_path / "plain.png"), plain)


def test_splits(tmp_path):
    for i in range(10):
        pair(tmp_path / "flat", f"p{i}")
    parts = {s: load(str(tmp_path / "flat"), s, progress=False) for s in ("train", "val", "test")}
    names = {split: {sample.image_id for sample in part} for split, part in parts.items()}
    assert {split: len(part) for split, part in names.items()} == {"train": 8, "val": 2, "test": 10}
    assert not names["train"] & names["val"]
    for split in ("train", "val"):
        pair(tmp_path / "cut" / split, split)
    (sample,) = load(str(tmp_path / "cut"), "val", progress=False)
    assert (sample.image_id, sample.split) == ("val", "val")


def test_a_picture_keeps_its_part_when_others_are_added(tmp_path):
    parts = []
    for names in (range(10), range(10, 30)):
        for i in names:
            pair(tmp_path, f"p{i}")
        samples = [s for split in ("train", "val") for s in load(str(tmp_path), split)]
        parts.append({s.image_id: s.split for s in samples})
    assert len(parts[1]) == 30
    assert parts[0].items() <= parts[1].items()


@pytest.mark.parametrize("names", [("p0", "p1"), ("p6", "p8"), ("p6", "p8", "p0")])
def test_no_part_of_a_few_pictures_is_empty(tmp_path, names):
    for name in names:  # the first two are for training by their names, p6 and p8 for validation
        pair(tmp_path, name)
    train, val = ({s.image_id for s in load(str(tmp_path), split)} for split in ("train", "val"))
    assert train
    assert val
    assert sorted(train | val) == sorted(names)
    assert not train & val


def test_two_pictures_of_one_name_are_refused(tmp_path):
    pair(tmp_path, "a")
    Image.fromarray(grey()).save(tmp_path / "images/a.png")
    with pytest.raises(InputError, match=r"a\.tif: a\.png has the same name"):
        load(str(tmp_path), "test", progress=False)


def test_the_whole_ending_of_an_ome_tiff_is_left_out(tmp_path):
    pair(tmp_path, "cells", ".png")
    (tmp_path / "images/cells.tif").rename(tmp_path / "images/cells.ome.tif")
    (sample,) = load(str(tmp_path), "test", progress=False)
    assert sample.image_id == "cells"
    np.testing.assert_array_equal(sample.labels, LABELS)


def test_what_is_no_pair_is_said(tmp_path):
    pair(tmp_path, "a")
    for split, says in (("val", ""), ("train", "too few"), ("best", "split 'best' is unknown")):
        if says:
            with pytest.raises(InputError, match=says):
                load(str(tmp_path), split, progress=False)
    np.save(tmp_path / "masks/b.npy", LABELS)
    tifffile.imwrite(tmp_path / "images/c.tif", grey())
    with pytest.raises(InputError, match=r"c\.tif: has no mask in"):
        load(str(tmp_path), "test", progress=False)
    np.save(tmp_path / "masks/c.npy", LABELS[1:])
    with pytest.raises(InputError, match=r"c\.npy: has 47 x 64 pixels, its picture 48 x 64"):
        load(str(tmp_path), "test", progress=False)
    (tmp_path / "masks/c.npy").unlink()
    for data in ("{}", "[]", '{"features": [{"geometry": {"type": "Point"}}]}'):
        (tmp_path / "masks/c.geojson").write_text(data)
        with pytest.raises(InputError, match=r"c\.geojson: "):
            load(str(tmp_path), "test", progress=False)
    with pytest.raises(InputError, match="there is no such folder"):
        load(str(tmp_path / "masks"), "test", progress=False)
    with pytest.raises(InputError, match="or a folder that holds images/ and masks/"):
        load(str(tmp_path / "absent"), "test", progress=False)


def test_training_goes_on_from_weights_and_is_evaluated(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for i in range(4):
        pair(tmp_path / "mine", f"p{i}")

    def run(*words):
        given = [*words, "--data", "mine", "--device", "cpu"]
        code, out, err = inside(capsys, monkeypatch, *given)
        assert not code, err
        return out, err

    sets = [f"--set={key}={value}" for key, value in {**SMALL, "steps": 3}.items()]
    run("train", "--preset", "smoke", "--out", "first", *sets)
    again = ["train", "--start", "first/best.safetensors", "--out", "second"]
    run(*again, *sets, "--set=learning_rate=1e-9")
    from safetensors.numpy import load_file

    first, second = (load_file(f"{name}/best.safetensors") for name in ("first", "second"))
    moved = max(float(np.abs(first[k].astype(float) - second[k]).max()) for k in first)
    assert moved < 1e-4  # a rate of nothing: the values are those that it began with
    score = ["evaluate", "--weights", "second/best.safetensors", "--out", "res"]
    said, warned = run(*score)
    assert "smoke" in said
    assert warned.startswith("mine: the split test is all pictures, and these weights were trained")
    assert "add --split val" in warned
    assert not run(*score, "--split", "val")[1]
    run(*again[:-1], "shown", *sets, "--set=contrast=positive")
    code, _, err = inside(capsys, monkeypatch, *again[:-1], "third", "--data", "mine")
    assert code == 2
    assert "of another architecture" in err
    code, _, err = inside(capsys, monkeypatch, *again, "--preset", "fpn", "--data", "mine")
    assert code == 2
    assert "the weights of --start are of smoke; leave out --preset" in err
