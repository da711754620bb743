"""Any size: what is found does not depend on how the picture is cut, nor on an interruption."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from local_network import Local, clumps
from skimage.measure import regionprops

from ngat.inference import instances
from ngat.io.picture import array_picture
from ngat.segmentation import job
from ngat.segmentation.find import find_nuclei
from ngat.segmentation.tiles import TILE, grid

EVERYTHING = (slice(None), slice(None))


@pytest.fixture(autouse=True)
def in_tiles(monkeypatch):
    """Pictures this small would go through at once."""
    monkeypatch.setattr("ngat.segmentation.find.WHOLE", 0)


def picture(shape=(170, 250), **options):
    return array_picture(clumps(shape, **options))


@pytest.mark.parametrize("magnification", [1.0, 0.5, 0.73, 2.0])
@pytest.mark.parametrize("landscape", ["distance", "core"])
def test_tiles_find_the_nuclei_of_the_whole(magnification, landscape):
    network = Local(magnification, probability=0.25, core=0.3, landscape=landscape)
    whole = find_nuclei(picture(), network, tile=4096)
    labels = whole.labels.read(EVERYTHING)
    assert labels.max() == len(whole.table) > 8
    for tile in (64, 96, 128):
        cut = find_nuclei(picture(), network, tile=tile)
        np.testing.assert_array_equal(cut.labels.read(EVERYTHING), labels)
        pd.testing.assert_frame_equal(cut.table, whole.table, rtol=1e-9)


def test_nuclei_are_those_of_the_map_at_once():
    network = Local(1.0, probability=0.25, core=0.3)
    shown = picture()
    maps = network.predict(shown.read(), 1.0, network.survey(shown, 1.0), *EVERYTHING)
    expected = instances(maps, "split", network.chosen)
    found = find_nuclei(shown, network, tile=64)
    np.testing.assert_array_equal(found.labels.read(EVERYTHING), expected)
    np.testing.assert_array_equal(
        find_nuclei(shown, network, "components", tile=64).labels.read(EVERYTHING),
        instances(maps, "components", network.chosen),
    )


def test_the_table_is_scikit_images():
    shown = array_picture(np.dstack([clumps((200, 160), seed=i) for i in range(3)]), axes="YXS")
    found = find_nuclei(shown, Local(probability=0.3), tile=64)
    labels = found.labels.read(EVERYTHING)
    regions = regionprops(labels, shown.read_all())
    assert len(regions) == len(found.table) > 5
    for region, row in zip(regions, found.table.to_dict("records"), strict=True):
        assert row["nucleus"] == region.label
        assert (row["top"], row["left"], row["bottom"], row["right"]) == region.bbox
        assert (row["y"], row["x"]) == pytest.approx(region.centroid)
        for name in ("area", "eccentricity", "solidity"):
            assert row[name] == pytest.approx(region[name])
        assert row["major_axis"] == pytest.approx(region.axis_major_length)
        assert row["minor_axis"] == pytest.approx(region.axis_minor_length)
        means = [row[f"mean_{name}"] for name in ("red", "green", "blue")]
        assert means == pytest.approx(region.intensity_mean.tolist())
        assert row["integrated_red"] == pytest.approx(region.intensity_mean[0] * region.area)


class Stop(Exception):
    """Stands for a signal, or for a process that is killed."""


def test_work_goes_on_where_it_stopped(tmp_path):
    network = Local(probability=0.25, core=0.3)
    whole = find_nuclei(picture(), network, tile=4096)
    total = 2 * len(grid((170, 250), 1.0, network.halo, 96)) + 1
    tiles = []

    class Counting(Local):
        def predict(self, *arguments):
            tiles.append(arguments[-2:])
            return super().predict(*arguments)

    for stop in (0, 3, 7, total - 2, total + 1):

        def progress(done, _, stop=stop):
            if done >= stop:
                raise Stop

        counting = Counting(probability=0.25, core=0.3)
        options = {"tile": 96, "folder": tmp_path, "progress": progress}
        if stop <= total:
            with pytest.raises(Stop):
                find_nuclei(picture(), counting, **options)
        else:
            found = find_nuclei(picture(), counting, **options)
    np.testing.assert_array_equal(
        found.labels.read((slice(0, 170), slice(0, 250))), whole.labels.read(EVERYTHING)
    )
    assert len(tiles) == len({str(tile) for tile in tiles})  # each was predicted once


def test_empty_glass_is_passed_over():
    pixels = np.full((400, 600), 65000, np.uint16)
    pixels += np.random.default_rng(0).integers(-200, 200, pixels.shape).astype(np.uint16)
    pixels[40:140, 60:160] = 65000 - clumps((100, 100))
    network = Local(probability=0.5)
    network.predict = lambda image, *rest: Local.predict(network, 65535 - image, *rest)
    network.survey = lambda *_: {"low": np.array(0.0), "high": np.array(65535.0)}
    seen = []
    found = find_nuclei(array_picture(pixels), network, tile=96, progress=lambda *n: seen.append(n))
    assert "tiles are empty" in found.notes[0]
    assert seen[-1][1] < 2 * len(grid((400, 600), 1.0, network.halo, 96)) / 2
    whole = find_nuclei(array_picture(pixels), network, tile=4096)
    np.testing.assert_array_equal(found.labels.read(EVERYTHING), whole.labels.read(EVERYTHING))
    blank = find_nuclei(array_picture(np.full((90, 90), 7, np.uint8)), Local())
    assert len(blank.table) == 0
    assert list(blank.table) == list(found.table)


def test_a_region_without_a_gap_is_cut_and_said(monkeypatch):
    monkeypatch.setattr(job, "LARGEST", 100)
    pixels = np.full((200, 300), 50, np.uint16)
    pixels[20:180, 20:280] = 60000
    found = find_nuclei(array_picture(pixels), Local(), tile=96)
    assert "without a gap was cut" in "".join(found.notes)
    labels = found.labels.read(EVERYTHING)
    assert (labels > 0).sum() == pytest.approx(160 * 260, rel=0.02)
    assert len(np.unique(labels)) - 1 == len(found.table) > 1


def test_the_grid_magnifies_to_whole_pixels():
    for magnification in (1 / 16, 0.31, 0.73, 1.0, 1.4, 2.0, 3.3, 4.0):
        cut = grid((5000, 7000), magnification, 200)
        assert cut.magnification == pytest.approx(magnification, rel=0.04)
        covered = np.zeros((5000, 7000), np.uint8)
        for number in range(len(cut)):
            rows, columns = cut.window(number)
            covered[rows, columns] += 1
            around = cut.with_halo(number)
            for side, wide, end in zip((rows, columns), around, (5000, 7000), strict=True):
                assert wide.start * cut.seen % cut.unit == 0
                assert side.start == 0 or (side.start - wide.start) * cut.magnification >= 199
                assert wide.stop == end or (wide.stop - side.stop) * cut.magnification >= 199
        assert (covered == 1).all()
    assert TILE == 1024
