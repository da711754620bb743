"""What napari is given: its manifest, the layers of a record, and the widget's layer."""

from __future__ import annotations

import importlib
import json
from importlib import resources
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import tifffile
import yaml
from local_network import Local, clumps

from ngat.segmentation.batch import Options, segment_file
from ngat.segmentation.files import Input
from ngat.segmentation.napari import reader_of, segment_layer


def test_the_manifest_names_what_there_is():
    manifest = yaml.safe_load((resources.files("ngat") / "napari.yaml").read_text())
    assert manifest["name"] == "ngat"
    commands = {c["id"]: c["python_name"] for c in manifest["contributions"]["commands"]}
    for name in commands.values():
        module, function = name.split(":")
        assert callable(getattr(importlib.import_module(module), function))
    used = [
        part["command"]
        for kind in ("readers", "widgets")
        for part in manifest["contributions"][kind]
    ]
    assert set(used) == set(commands)
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    assert '[project.entry-points."napari.manifest"]\nngat = "ngat:napari.yaml"' in project


@pytest.mark.parametrize("name", ["a", "sub/a"])
def test_a_record_opens_as_picture_and_nuclei(tmp_path, monkeypatch, name):
    monkeypatch.setattr(Options, "network", lambda self: Local(probability=0.3, core=0.4))
    pixels = clumps((90, 120))
    tifffile.imwrite(
        tmp_path / "a.ome.tif", pixels, metadata={"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    )
    segment_file(Input(tmp_path / "a.ome.tif", name), tmp_path / "out", Options())
    record = str(tmp_path / f"out/{name}.json")
    (shown, how, kind), (labels, options, other) = reader_of(record)(record)
    assert (kind, other) == ("image", "labels")
    np.testing.assert_array_equal(shown, pixels)
    assert not how["rgb"]
    assert how["scale"] == options["scale"] == (0.5, 0.5)
    np.testing.assert_array_equal(labels, tifffile.imread(tmp_path / f"out/labels/{name}.tif"))
    assert options["features"]["index"].tolist() == list(range(1, labels.max() + 1))


def test_other_files_are_left_to_other_readers(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"format": "else"}))
    (tmp_path / "b.json").write_text("[1")
    for path in ("a.json", "b.json", "none.json"):
        assert reader_of(str(tmp_path / path)) is None
    assert reader_of(["a.json", "b.json"]) is None


def test_a_layer_is_segmented(monkeypatch):
    table = pd.DataFrame({"nucleus": [1], "area_px": [9]})
    told = {}

    def segment(data, **options):
        told.update(options, data=data)
        return SimpleNamespace(labels=np.ones((3, 3), np.int32), table=table)

    monkeypatch.setattr("ngat.segmentation.napari.segment", segment)
    layer = SimpleNamespace(data=np.zeros((3, 3, 3)), rgb=True, name="cells", scale=(2.0, 2.0))
    labels, options, kind = segment_layer(layer, diameter=12.0)
    assert (told["axes"], told["diameter"]) == ("YXS", 12.0)
    assert kind == "labels"
    assert options["name"] == "cells nuclei"
    assert options["features"]["index"].tolist() == [1]
    segment_layer(layer)
    assert told["diameter"] is None
