"""``ngat.segment``: three lines of Python, with the thresholds that the weights carry."""

from __future__ import annotations

import io
import json
import uuid
import zipfile

import numpy as np
import pytest
import tifffile
from local_network import Local, clumps
from tiny import tiny

import ngat
from ngat.errors import InputError
from ngat.model import NGAT
from ngat.segmentation.network import DIAMETER, TrainedNetwork, shipped_weights
from ngat.thresholds import METHODS
from ngat.training.weights import load_weights, save_weights


def test_arrays_and_files_give_the_same(tmp_path):
    pixels = clumps((80, 90))
    tifffile.imwrite(tmp_path / "a.tif", pixels)
    first = ngat.segment(pixels, network=Local(probability=0.3))
    second = ngat.segment(tmp_path / "a.tif", network=Local(probability=0.3))
    np.testing.assert_array_equal(first.labels, second.labels)
    assert first.labels.dtype == np.int32
    assert len(first) == len(first.table) == first.labels.max() > 3
    assert first.magnification == 1.0
    assert ngat.segment(
        pixels, network=Local(), diameter=DIAMETER / 2
    ).magnification == pytest.approx(2)
    channels = np.stack([np.zeros_like(pixels), pixels])
    third = ngat.segment(channels, axes="CYX", channel=1, network=Local(probability=0.3))
    np.testing.assert_array_equal(first.labels, third.labels)
    assert {"mean_0", "mean_1", "integrated_1"} <= set(third.table)
    with pytest.raises(InputError, match="name its axes"):
        ngat.segment(channels, network=Local())


def test_outlines_go_where_they_are_wanted(tmp_path):
    found = ngat.segment(clumps((80, 90)), network=Local(probability=0.3))
    made = found.to_geojson(tmp_path / "a.geojson")
    assert json.loads((tmp_path / "a.geojson").read_text()) == made
    assert [f["properties"]["name"] for f in made["features"]] == [
        str(i + 1) for i in range(len(found))
    ]
    assert made["features"][0]["properties"]["measurements"]["area_px"] > 0
    rois = found.to_rois(tmp_path / "a.zip")
    assert len(rois) == len(found)
    with zipfile.ZipFile(io.BytesIO((tmp_path / "a.zip").read_bytes())) as file:
        assert [file.read(name) for name in file.namelist()] == rois
    assert found.outlined().shape == (80, 90, 3)


def weights(path, **thresholds):
    """A network whose maps depend on the picture, and which carries thresholds of its own."""
    model = NGAT(tiny().model)
    save_weights(path, model, tiny(), {"thresholds": dict.fromkeys(METHODS, thresholds)})
    return path


def test_geojson_is_what_qupath_reads(tmp_path):
    """Its reader (Gson, PathObjectTypeAdapters) takes an id that is a UUID, an objectType, a class
    with a name and three bytes of colour, and measurements that are numbers; all else becomes an
    annotation, or ends with an exception."""
    found = ngat.segment(clumps((80, 90)), network=Local(probability=0.3))
    found._found.table.loc[0, "solidity"] = np.nan
    found.to_geojson(tmp_path / "a.geojson")

    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    text = (tmp_path / "a.geojson").read_text(encoding="utf-8")
    made = json.loads(text, parse_constant=refuse)
    assert made["type"] == "FeatureCollection"
    assert len({one["id"] for one in made["features"]}) == len(found) > 3
    for one in made["features"]:
        assert str(uuid.UUID(one["id"])) == one["id"]
        assert one["type"] == "Feature"
        assert one["geometry"]["type"] in ("Polygon", "MultiPolygon")
        said = one["properties"]
        assert said["objectType"] == "detection"
        assert said["classification"]["name"] == "Nucleus"
        assert [0 <= part <= 255 for part in said["classification"]["color"]] == [True] * 3
        assert all(type(value) is float for value in said["measurements"].values())
    assert "solidity" not in made["features"][0]["properties"]["measurements"]
    assert "solidity" in made["features"][1]["properties"]["measurements"]


def test_the_thresholds_are_those_of_the_weights(tmp_path):
    """The fault: the default thresholds, whatever the weights carried."""
    image = clumps((64, 64))
    every = ngat.segment(image, weights=weights(tmp_path / "a", probability=0.0, core=1.0))
    none = ngat.segment(image, weights=weights(tmp_path / "b", probability=1.0))
    assert (every.labels > 0).all()
    assert every.thresholds.core == 1.0
    assert none.labels.max() == 0
    assert len(none.table) == 0
    assert list(none.table) == list(every.table)


@pytest.mark.parametrize(
    ("thresholds", "says"),
    [
        ({"probability": float("nan")}, "threshold probability is nan"),
        ({"probability": "0.5"}, "threshold probability is '0.5'"),
        ({"core": None}, "threshold core is None"),
        ({"min_area": -3}, "min_area is -3"),
        ({"min_area": True}, "min_area is True"),
        ({"landscape": "sea"}, "landscape is 'sea'"),
        ({"core": 1e9}, "core is"),
    ],
)
def test_thresholds_that_cannot_be_are_refused(tmp_path, thresholds, says):
    with pytest.raises(InputError, match=says) as told:
        TrainedNetwork(weights(tmp_path / "w", **thresholds))
    assert str(told.value).startswith(str(tmp_path / "w"))


def test_weights_are_shipped():
    """Whatever they are called, they load, and they carry thresholds."""
    assert load_weights(shipped_weights()).provenance["thresholds"].keys() >= {"split"}
    found = ngat.segment(clumps((64, 64)))
    assert found.labels.shape == (64, 64)


def test_depth_changes_nothing():
    """8 bits, the same in a 16-bit file, 12 bits, floats of any range: the same maps, nearly."""
    pixels = (clumps((96, 96)) // 257).astype(np.uint8)
    first = ngat.segment(pixels)
    for other in (
        pixels.astype(np.uint16),
        pixels.astype(np.uint16) * 16,
        pixels.astype(np.int32) * 70000 - 5,
        pixels / 3 - 40,
    ):
        found = ngat.segment(other)
        agree = (found.labels > 0) == (first.labels > 0)
        assert agree.mean() > 0.97


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"method": "x"}, "Unknown method 'x'; known: components, split"),
        ({"device": "foo"}, "Unknown device 'foo'; choose auto, cpu"),
        ({"device": "cuda:99"}, "Device 'cuda:99' is not there"),
        ({"diameter": "12"}, "--diameter is a number; got '12'"),
        ({"diameter": True}, "--diameter is a number; got True"),
        ({"page": "all"}, "has no page all; choose --page 0 to 0"),
        ({"axes": 3}, "--axes 3 does not fit 40 x 40"),
        ({"level": 2}, "one level; leave out level, which is 2"),
        ({"level": "a"}, "one level; leave out level, which is 'a'"),
        ({"tile": -4}, "tile is a whole number from 1; got -4"),
        ({"tile": 3.5}, "tile is a whole number from 1; got 3.5"),
        ({"threads": 0}, "threads is a whole number from 1; got 0"),
        ({"threads": "2"}, "threads is a whole number from 1; got '2'"),
        ({"threads": True}, "threads is a whole number from 1; got True"),
        ({"tta": "yes"}, "tta is True or False; got 'yes'"),
        ({"weights": 3}, "weights is the name of a file; got 3"),
        ({"weights": "a.safetensors", "network": Local()}, "Give weights or network, not both"),
        ({"network": "companion"}, "network is a .*Segmenter; got 'companion'"),
        ({"thresholds": {"core": 0.5}}, "thresholds is an ngat.thresholds.Thresholds; got {'core'"),
        ({"network": Local(), "tta": True}, "device and tta belong to weights"),
        ({"network": Local(), "device": "cuda"}, "device and tta belong to weights"),
        ({"device": None}, "Unknown device None"),
    ],
)
def test_bad_options_are_one_sentence_in_python_too(options, says):
    with pytest.raises(InputError, match=says):
        ngat.segment(clumps((40, 40)), **options)


def test_a_picture_that_is_none_and_a_level_that_is_not_there(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", clumps((40, 40)))
    for level in (-1, "x", 1):
        with pytest.raises(InputError, match=r"a\.tif: .* level"):
            ngat.segment(tmp_path / "a.tif", level=level)
    with pytest.raises(InputError, match="rows differ in length"):
        ngat.segment([[1, 2], [3]])
