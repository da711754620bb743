"""Contrast: every channel over its own range, within bounds that leave emptiness empty."""

import numpy as np
import pytest
import torch
from tiny import rings, tiny

from ngat.data.contrast import LEAST, SHARE, stretch, stretch_bytes
from ngat.data.sample import Sample
from ngat.inference import as_tensor, predict
from ngat.model import NGAT
from ngat.training.patches import Patches


def ramp(low: float, high: float, side: int = 64) -> np.ndarray:
    """A channel whose values run evenly from ``low`` to ``high``."""
    return np.linspace(low, high, side * side).reshape(side, side)


def test_a_ramp_fills_the_range() -> None:
    image = np.stack([ramp(0.1, 0.3), ramp(0.2, 0.4), ramp(0.5, 0.75)], axis=2)
    got = stretch(image)
    assert got.dtype == np.float32
    # A tenth of a percent of the pixels is beyond either end, the rest stays a straight line.
    middle = slice(16, -16)
    line = np.linspace(0, 1, 64 * 64).reshape(64, 64)
    for channel in range(3):
        np.testing.assert_allclose(got[middle, :, channel], line[middle], atol=0.002)
    assert got.min() == 0
    assert got.max() == 1


@pytest.mark.parametrize(("gain", "offset"), [(0.2, 0.0), (0.5, 0.3), (3.0, -0.2)])
def test_lamps_do_not_matter(gain: float, offset: float) -> None:
    """What differs by gain and offset alone looks the same."""
    image = np.random.default_rng(0).uniform(0.1, 0.4, (40, 50, 3))
    np.testing.assert_allclose(stretch(gain * image + offset), stretch(image), atol=1e-5)


def test_one_hot_pixel_does_not_matter() -> None:
    image = np.repeat(ramp(0.1, 0.3)[:, :, None], 3, axis=2)
    hot = image.copy()
    hot[5, 5] = 1.0
    np.testing.assert_allclose(
        np.delete(stretch(hot), 5, 0), np.delete(stretch(image), 5, 0), atol=0.01
    )


def test_what_hardly_varies_stays_flat() -> None:
    noise = np.random.default_rng(0).uniform(0.5, 0.51, (64, 64))
    image = np.stack([ramp(0.0, 0.8), noise, np.full((64, 64), 0.2)], axis=2)
    got = stretch(image)
    assert np.ptp(got[:, :, 1]) <= 0.011 / (SHARE * 0.79)
    np.testing.assert_allclose(got[:, :, 2], 0.5, atol=1e-6)
    empty = stretch(np.random.default_rng(1).uniform(0.5, 0.5 + LEAST / 8, (64, 64, 3)))
    assert np.ptp(empty) <= 0.126


def test_bytes_are_the_same_rounded() -> None:
    image = np.random.default_rng(0).integers(10, 60, (30, 20, 3), dtype=np.uint8)
    np.testing.assert_allclose(
        stretch_bytes(image) / 255, stretch(image / 255), atol=0.5 / 255 + 1e-6
    )


def test_training_and_inference_see_the_same() -> None:
    """A patch as large as the picture is what inference reads, to the rounding of bytes."""
    dim = rings(limit=1)[0]
    dim = Sample(**{**vars(dim), "image": dim.image // 4 + 20})
    config = tiny(augment=False, patch=40, batch=1).train
    (patch,) = Patches([dim], config, contrast="stretched").batch(0).image
    (seen,) = as_tensor(dim.image, "stretched")
    torch.testing.assert_close(patch, seen, atol=0.5 / 255 + 1e-6, rtol=0)
    (plain,) = Patches([dim], config).batch(0).image
    assert (plain - seen).abs().max() > 0.2


def test_a_network_that_stretches_ignores_the_lamp() -> None:
    torch.manual_seed(0)
    image = np.random.default_rng(0).uniform(0.1, 0.9, (24, 20, 3)).astype(np.float32)
    for contrast, same in (("stretched", True), ("plain", False)):
        model = NGAT(tiny(contrast=contrast).model).eval()
        bright, dim = predict(model, image), predict(model, 0.25 * image + 0.1)
        assert np.allclose(bright.probability, dim.probability, atol=1e-5) == same


def test_tiles_share_the_contrast_of_the_whole_picture() -> None:
    """Without norms, tiles and the whole agree far from seams: only if both saw one contrast."""
    torch.manual_seed(0)
    model = NGAT(tiny(norm="none", contrast="stretched", plasticity="fixed").model).eval()
    image = np.random.default_rng(0).uniform(0.0, 0.2, (64, 200, 3)).astype(np.float32)
    image[:, 100:] *= 4
    whole = predict(model, image).probability
    tiled = predict(model, image, whole=1, tile=128, overlap=64).probability
    np.testing.assert_allclose(tiled[:, :24], whole[:, :24], atol=1e-4)
