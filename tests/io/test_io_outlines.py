"""Outlines: they cover exactly the pixels they came from, for others' readers as for ours."""

from __future__ import annotations

import io

import numpy as np
import pytest
import roifile
from scipy import ndimage
from skimage.measure import label, points_in_poly

from ngat.io.outlines import feature, filled, polygons, rings, roi

shapely = pytest.importorskip("shapely")

PLUS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], dtype=bool)
FRAME = np.pad(np.zeros((2, 3), bool), 1, constant_values=True)
CORNERS = np.eye(3, dtype=bool)
# A piece inside a hole of another piece, and a hole that touches the outside at a corner.
NESTED = np.pad(np.pad(np.pad(PLUS, 1), 1, constant_values=True), 1)
LEAK = FRAME.copy()
LEAK[0, 0] = False


def random_mask(seed):
    return ndimage.gaussian_filter(np.random.default_rng(seed).random((40, 50)), 1.2) > 0.5


MASKS = {"plus": PLUS, "frame": FRAME, "corners": CORNERS, "nested": NESTED, "leak": LEAK}
MASKS |= {f"random {i}": random_mask(i) for i in range(6)}
MASKS |= {f"noise {i}": np.random.default_rng(i).random((20, 20)) > 0.5 for i in range(4)}


@pytest.mark.parametrize("name", MASKS)
def test_polygons_cover_exactly_their_pixels(name):
    """Shapely measures areas and knows what is valid; scikit-image says what is inside."""
    mask = MASKS[name]
    pieces = polygons(mask)
    shapes = [shapely.Polygon(ring[0], ring[1:]) for ring in pieces]
    assert all(shapely.is_valid(shape) for shape in shapes)
    assert sum(shape.area for shape in shapes) == mask.sum()
    assert len(pieces) == label(mask, connectivity=1).max()
    centres = np.argwhere(np.ones_like(mask))[:, ::-1] + 0.5
    inside = np.zeros(len(centres), int)
    for ring in rings(mask):
        inside += points_in_poly(centres, ring)
    np.testing.assert_array_equal(inside.reshape(mask.shape) % 2, mask)
    found = np.zeros(mask.size, bool)
    found[filled(pieces, *mask.shape)] = True
    np.testing.assert_array_equal(found.reshape(mask.shape), mask)


def test_corners_are_few_and_where_they_should_be():
    assert polygons(np.ones((2, 3), bool), (10, 20)) == [[[(23, 10), (23, 12), (20, 12), (20, 10)]]]
    assert [len(ring) for ring in polygons(FRAME)[0]] == [4, 4]
    assert len(polygons(CORNERS)) == 3


@pytest.mark.parametrize("name", MASKS)
def test_imagej_rois_are_read_back(name):
    """By roifile, which knows ImageJ's format; the composite's path by its operations."""
    mask = MASKS[name]
    read = roifile.ImagejRoi.frombytes(roi(7, polygons(mask)))
    assert read.name == "7"
    parts = read.coordinates(multi=True)
    parts = parts if isinstance(parts, list) else [parts]
    found = np.zeros(mask.size, bool)
    # ImageJ fills a composite by the even-odd rule.
    counts = np.zeros(mask.size, int)
    for part in parts:
        counts[filled([[part]], *mask.shape)] += 1
    found = counts % 2 == 1
    np.testing.assert_array_equal(found.reshape(mask.shape), mask)
    if len(parts) == 1:
        assert read.roitype == roifile.ROI_TYPE.POLYGON


def test_polygons_of_any_corners_are_filled_by_pixel_centres():
    rng = np.random.default_rng(0)
    for _ in range(20):
        ring = rng.random((9, 2)) * (30, 20)
        found = np.zeros(20 * 30, bool)
        found[filled([[ring]], 20, 30)] = True
        centres = np.argwhere(np.ones((20, 30)))[:, ::-1] + 0.5
        np.testing.assert_array_equal(found, points_in_poly(centres, ring))
    assert filled([[[(-9, -9), (-5, -9), (-5, -5)]]], 20, 30).size == 0
    clipped = filled([[[(-5, -5), (3, -5), (3, 2), (-5, 2)]]], 20, 30)
    assert clipped.tolist() == [0, 1, 2, 30, 31, 32]


def test_a_feature_is_a_detection_with_closed_rings():
    made = feature(3, polygons(NESTED), {"area": 5.0})
    assert made["geometry"]["type"] == "MultiPolygon"
    shape = shapely.geometry.shape(made["geometry"])
    assert shape.area == NESTED.sum()
    assert made["properties"]["objectType"] == "detection"
    rings_ = [ring for piece in made["geometry"]["coordinates"] for ring in piece]
    assert all(ring[0] == ring[-1] for ring in rings_)
    assert io.BytesIO(roi(1, polygons(PLUS))).read(4) == b"Iout"
