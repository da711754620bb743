"""The ring test bed: outlines only, and a truth that colour alone cannot give."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from skimage.filters import threshold_otsu

from ngat.data import Sample, fingerprint
from ngat.data.synthetic import load_rings
from ngat.errors import InputError

# Changes only with the drawing itself; a difference between two machines is a defect.
SMALL_SET = "7e63bed6c07087eac38c2a6b663d170d242710b5fa4e70e8c736f132c6ded747"


@pytest.fixture(scope="module")
def held_out() -> list[Sample]:
    return load_rings("test")


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2.0 * float((a & b).sum()) / max(1, int(a.sum() + b.sum()))


def outline(sample: Sample) -> np.ndarray:
    """The drawn rings, by thresholding what differs from the slow field of light."""
    grey = sample.image.astype(float).mean(axis=2)
    odd = np.abs(grey - ndimage.median_filter(grey, 15))
    return np.asarray(odd > threshold_otsu(odd))


def test_the_small_set_is_the_same_bit_for_bit() -> None:
    assert fingerprint(load_rings("val", limit=6)) == SMALL_SET


def test_counts_stains_and_limits(held_out: list[Sample]) -> None:
    train = load_rings("train", size=32)
    assert (len(train), len(held_out)) == (300, 48)
    assert len({sample.group for sample in train}) == 300
    types = [sample.type for sample in held_out]
    assert [types.count(t) for t in set(types)] == [16, 16, 16]
    assert all(sample.image.shape == (96, 96, 3) for sample in held_out)
    assert fingerprint(load_rings("test", limit=4)) == fingerprint(held_out[:4])
    few = [load_rings(s, seed=k, limit=3) for s, k in (("test", 0), ("test", 1), ("train", 0))]
    assert len({fingerprint(samples) for samples in few}) == 3
    for sample in held_out:
        coloured = bool(np.ptp(sample.image, axis=2).any())
        assert coloured == (sample.type == "purple_tissue")


def test_inside_looks_like_outside_and_the_ring_does_not(held_out: list[Sample]) -> None:
    polarity: dict[str, list[float]] = {}
    for sample in held_out:
        grey = sample.image.astype(float).mean(axis=2)
        truth = sample.labels > 0
        depth = np.zeros(truth.shape)
        for label in range(1, int(sample.labels.max()) + 1):
            whole = np.pad(sample.labels == label, 1, mode="edge")
            depth = np.maximum(depth, ndimage.distance_transform_edt(whole)[1:-1, 1:-1])
        inside, ring = depth > 4.5, truth & (depth < 2.0)
        outside = ndimage.distance_transform_edt(~truth) > 3
        assert inside.sum() > 20
        # The slow field of light is the same for both, up to where they lie.
        near = outside & (ndimage.distance_transform_edt(~inside) < 12)
        assert abs(grey[inside].mean() - grey[near].mean()) < 4.5
        polarity.setdefault(sample.type, []).append(grey[ring].mean() - grey[outside].mean())
        assert abs(polarity[sample.type][-1]) > 25
    assert min(polarity["small_fluorescent"]) > 0
    assert max(polarity["purple_tissue"] + polarity["grayscale_tissue"]) < 0


def test_only_filling_solves_it(held_out: list[Sample]) -> None:
    rings = [outline(sample) for sample in held_out]
    truth = [sample.labels > 0 for sample in held_out]
    hollow = [dice(r, t) for r, t in zip(rings, truth, strict=True)]
    # Rings cut by the border stay open for fill_holes; whole pictures' worth is still clear.
    filled = [dice(ndimage.binary_fill_holes(r), t) for r, t in zip(rings, truth, strict=True)]
    assert np.mean(hollow) < 0.65
    assert np.mean(filled) > np.mean(hollow) + 0.15


def test_bad_input_is_named() -> None:
    with pytest.raises(InputError, match="split 'dev' is unknown"):
        load_rings("dev")
    with pytest.raises(InputError, match="limit"):
        load_rings("test", limit=-1)
