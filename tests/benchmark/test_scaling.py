"""Benchmarks of large pictures: what is drawn, what is measured once only, what is committed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from typer.testing import CliRunner

from ngat.benchmark import scaling, tiles, worker
from ngat.benchmark.scaling import (
    GLASS,
    benchmark_scaling,
    draw,
    scaling_report,
    split_maps,
)
from ngat.benchmark.tiles import benchmark_tiles, suitable, tiles_report
from ngat.benchmark.worker import Setting
from ngat.cli import app
from ngat.data import Sample
from ngat.errors import InputError
from ngat.segmentation.network import trained

RESULTS = Path(__file__).parents[2] / "data/results"


@pytest.fixture
def small_squares(monkeypatch):
    """Squares that are drawn quickly."""
    monkeypatch.setattr(scaling, "SIDE", 64)
    monkeypatch.setattr(scaling, "SQUARES", 2)


def test_pictures_are_tissue_and_glass(tmp_path, small_squares):
    draw(tmp_path / "a.tif", 150, 0.4)
    draw(tmp_path / "b.tif", 150, 0.4)
    pixels = tifffile.imread(tmp_path / "a.tif")
    assert pixels.shape == (150, 150, 3)
    assert pixels.dtype == np.uint8
    assert (pixels[:, 60:] == GLASS).all()
    assert pixels[:, :60].std() > 10
    np.testing.assert_array_equal(pixels, tifffile.imread(tmp_path / "b.tif"))


def test_split_is_measured(small_squares):
    [row] = split_maps(Setting(), 128)
    assert list(row) == list(scaling.SPLIT)
    assert row["found"] > 3


def test_what_is_known_is_not_measured_again(tmp_path, monkeypatch):
    asked = []

    def run(job, setting, arguments, **options):
        asked.append((job.__name__, arguments))
        shown = {key: arguments[key] for key in ("side", "tissue", "workers") if key in arguments}
        if job is scaling.segment_picture:
            numbers = {"tiles": 4, "nuclei": 9, "seconds": 3.0, "cpu_seconds": 2.0, "peak_mib": 700}
        else:
            numbers = {"what": "split", "found": 9, "cpu_seconds": 2.0, "peak_mib": 70}
        return [shown | numbers], {}

    monkeypatch.setattr(worker, "run", run)
    out = tmp_path / "a.csv"
    benchmark_scaling(out, [(1000, 0.5)], (1, 2), (500,))
    assert [kind for kind, _ in asked] == ["segment_picture", "segment_picture", "split_maps"]
    pictures, maps = benchmark_scaling(out, [(1000, 0.5), (2000, 0.5)], split_sides=(500, 700))
    names = [(name, how["side"]) for name, how in asked[3:]]
    assert names == [("segment_picture", 2000), ("split_maps", 700)]
    assert pictures["side"].tolist() == [1000, 1000, 2000]
    assert maps["side"].tolist() == [500, 700]
    text = "\n".join(scaling_report(pictures, maps))
    assert "20.0" in text  # one megapixel in three seconds
    assert {"a.csv", "a_split.csv", "a.json"} == {p.name for p in tmp_path.iterdir()}


def _other_weights(path):
    told = json.loads(path.read_text())
    told["weights"]["sha256"] = "0" * 64
    path.write_text(json.dumps(told))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (_other_weights, "holds rows of other weights; move it away"),
        (lambda path: path.unlink(), "a.json beside it is missing or .* measured; move it away"),
        (lambda path: path.write_text('{"weights'), "does not say which weights were measured"),
        (lambda path: path.write_text("[]"), "does not say which weights were measured"),
        (lambda path: path.write_bytes(b"\xff\x00"), "does not say which weights were measured"),
    ],
)
@pytest.mark.parametrize("which", ["scaling", "tiles"])
def test_rows_of_other_or_unknown_weights_are_not_gone_on_with(tmp_path, which, damage, says):
    """A file without any row of its own to measure: only the check is left."""
    out = tmp_path / "a.csv"
    if which == "scaling":
        columns, run = scaling.SCALING, lambda: benchmark_scaling(out)
    else:
        columns, run = tiles.TILES, lambda: benchmark_tiles([], (32,), out)
    pd.DataFrame(columns=columns).to_csv(out, index=False)
    shown = trained(None, "cpu", False).identity
    (tmp_path / "a.json").write_text(json.dumps({"weights": shown}))
    run()
    before = out.read_bytes()
    damage(tmp_path / "a.json")
    with pytest.raises(InputError, match=says) as told:
        run()
    assert str(out) in str(told.value)
    assert "\n" not in str(told.value)
    assert out.read_bytes() == before


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--pictures", "20000:2"], "share of tissue"),
        (["--pictures", "20000:x"], "20000:x: write for example"),
        (["--pictures", "20"], "at least 64"),
        (["--workers", "0"], "at least one thread"),
    ],
)
def test_bad_plans_are_one_sentence(tmp_path, options, says):
    line = ["benchmark", "scaling", "--out", str(tmp_path / "a.csv"), *options]
    assert says in str(CliRunner().invoke(app, line).exception)


@pytest.mark.timeout(900)  # the first run compiles
def test_tiles_beside_the_whole(tmp_path, monkeypatch, small_squares):
    """The shipped network on a drawn picture, cut as finely as its tiles allow."""
    monkeypatch.setattr(tiles, "SEEN", 96)
    (picture, _), (labels, _) = scaling._squares()
    samples = [
        Sample(str(i), np.ascontiguousarray(picture[:, ::step]), labels, "purple_tissue", "", "val")
        for i, step in enumerate((1, -1))
    ]
    table = benchmark_tiles(samples, (32, 64), tmp_path / "a.csv")
    assert (table["tiles"] > 1).all()  # how many depends on the magnification that is found
    assert (table["pixels_differing"] == 0).all()
    assert (table["largest_difference"] == 0).all()
    assert "nuclei of 2 of 2 pictures" in tiles_report(table)[0]
    monkeypatch.setattr(tiles, "_found", None)
    benchmark_tiles(samples, (32, 64), tmp_path / "a.csv")
    with pytest.raises(InputError, match="only 0 pictures"):
        suitable(samples, 1)


def test_the_committed_tiles_find_what_the_whole_shows():
    table = pd.read_csv(RESULTS / "benchmark_tiles.csv")
    assert table["image_id"].nunique() == 20
    assert (table.groupby("image_id")["tile"].nunique() == 3).all()
    assert (table["tiles"] > 1).all()
    # A pixel whose probability is the threshold to rounding falls on either side of it.
    assert (table["pixels_differing"] <= 1).all()
    assert (table["pixels_differing"] > 0).sum() <= 3
    assert (table["nuclei"] == table["nuclei_whole"]).all()
    assert (table["largest_difference"] <= 1e-4).all()


@pytest.mark.parametrize("name", ["benchmark_scaling", "benchmark_tiles"])
def test_the_committed_rows_say_of_which_weights_they_are(name):
    weights = json.loads((RESULTS / f"{name}.json").read_text())["weights"]
    assert weights["name"] == "companion"
    assert len(weights["sha256"]) == 64


def test_the_committed_pictures_fit_into_memory():
    table = pd.read_csv(RESULTS / "benchmark_scaling.csv")
    assert list(table.columns) == list(scaling.SCALING)
    assert (table["peak_mib"] < 3 * 1024).all()
    assert (table["nuclei"] > 0).all()
    for _, rows in table.groupby(["side", "tissue"]):  # the same nuclei, the sooner
        assert rows["nuclei"].nunique() == 1
        assert rows.sort_values("workers")["seconds"].is_monotonic_decreasing


def test_the_committed_split_grows_with_its_pixels():
    table = pd.read_csv(RESULTS / "benchmark_scaling_split.csv")
    assert list(table.columns) == list(scaling.SPLIT)
    seconds = table.pivot(index="side", columns="what", values="cpu_seconds")
    per_pixel = seconds["split"] / seconds.index.to_numpy() ** 2
    assert per_pixel.max() < 2 * per_pixel.min()
