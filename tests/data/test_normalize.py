"""Contrast: of the surroundings, and of the whole image."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import rings, tiny

from ngat.data import Sample
from ngat.data.contrast import Contrast, _bright, _flat, _grey, local_contrast
from ngat.data.normalize import as_tensor, mirrored, stretch, stretch_bytes, views
from ngat.data.resize import LOBES, resized, resized_picture
from ngat.inference import predict
from ngat.model import NGAT
from ngat.training.patches import Patches

Resize = Callable[[torch.Tensor, int, int], torch.Tensor]


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


def test_bytes_are_the_same_rounded() -> None:
    image = np.random.default_rng(0).integers(10, 60, (30, 20, 3), dtype=np.uint8)
    np.testing.assert_allclose(
        stretch_bytes(image) / 255, stretch(image / 255), atol=0.5 / 255 + 1e-6
    )


def test_an_almost_empty_channel_and_an_almost_even_image_keep_little_contrast() -> None:
    image = np.stack([ramp(0.1, 0.5), ramp(0.2, 0.3), ramp(0.4, 0.4)], axis=2)
    # At least half of the widest channel's range is shown at full contrast, and 8 of 255.
    assert np.ptp(stretch(image)[..., 1]) == pytest.approx(0.5, abs=0.01)
    even = np.stack([ramp(0.5, 0.5 + 2 / 255)] * 3, axis=2)
    assert np.ptp(stretch(even)) == pytest.approx(0.25, abs=0.01)


def test_what_is_too_small_is_mirrored_again_and_again() -> None:
    row = torch.arange(3.0).view(1, 1, 1, 3)
    assert mirrored(row, 1, 8)[0, 0, 0].tolist() == [0, 1, 2, 2, 1, 0, 0, 1]
    assert mirrored(row.mT, 8, 1)[0, 0, :, 0].tolist() == [0, 1, 2, 2, 1, 0, 0, 1]


def test_training_and_inference_see_the_same() -> None:
    """A patch as large as the picture is what inference reads, to the rounding of bytes."""
    dim = rings(limit=1)[0]
    dim = Sample(**{**vars(dim), "image": dim.image // 4 + 20})
    config = tiny(augment=False, patch=40, batch=1).train
    (patch,) = Patches([dim], config, contrast="percentile").batch(0).image
    (seen,) = as_tensor(dim.image, "percentile")
    torch.testing.assert_close(patch, seen, atol=0.5 / 255 + 1e-6, rtol=0)
    (plain,) = Patches([dim], config).batch(0).image
    assert (plain - seen).abs().max() > 0.2


def test_a_network_that_stretches_ignores_the_lamp() -> None:
    torch.manual_seed(0)
    image = np.random.default_rng(0).uniform(0.1, 0.9, (24, 20, 3)).astype(np.float32)
    for contrast, same in (("percentile", True), ("plain", False)):
        model = NGAT(tiny(contrast=contrast).model).eval()
        bright, dim = predict(model, image), predict(model, 0.25 * image + 0.1)
        assert np.allclose(bright.probability, dim.probability, atol=1e-5) == same


def test_tiles_share_the_contrast_of_the_whole_picture() -> None:
    """Without norms, tiles and the whole agree far from seams: only if both saw one contrast."""
    torch.manual_seed(0)
    model = NGAT(tiny(norm="none", contrast="percentile", plasticity="fixed").model).eval()
    image = np.random.default_rng(0).uniform(0.0, 0.2, (64, 200, 3)).astype(np.float32)
    image[:, 100:] *= 4
    whole = predict(model, image).probability
    tiled = predict(model, image, whole=1, tile=128, margin=32).probability
    np.testing.assert_allclose(tiled[:, :24], whole[:, :24], atol=1e-4)


# ------------------------------------------------------------------ of the surroundings


def nuclei(height: int = 128, width: int = 160, seed: int = 0) -> np.ndarray:
    """Bright discs on a dim, noisy ground, ``uint8 [H, W, 3]``."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    image = 20 + 2 * rng.standard_normal((height, width))
    for _ in range(12):
        row, column = rng.uniform(0, height), rng.uniform(0, width)
        image += 60 * (np.hypot(y - row, x - column) < 9)
    return np.repeat(np.clip(image, 0, 255).astype(np.uint8)[:, :, None], 3, axis=2)


def seen(image: np.ndarray, tile: float = 64) -> np.ndarray:
    return local_contrast(image, tile).apply(image)


def test_a_bilinear_grid_by_hand() -> None:
    """Two tiles of four pixels: the range at a pixel lies between those of the tile's middles."""
    grid = np.array([0.0, 8.0])[None, :, None]
    found = Contrast(grid, grid + 10, (1, 8)).apply(np.full((1, 8, 1), 9.0))
    low = np.array([0, 0, 1, 3, 5, 7, 8, 8.0])  # middles at 1.5 and 5.5
    np.testing.assert_allclose(found[0, :, 0], (9 - low) / 10, atol=1e-6)


@pytest.mark.parametrize(
    ("gain", "offset", "kind"),
    [(3.5, 100, np.uint16), (257, 0, np.uint16), (1e-3, -7.0, np.float32)],
)
def test_any_part_of_any_range(gain: float, offset: float, kind: type) -> None:
    image = nuclei()
    other = (gain * image.astype(np.float64) + offset).astype(kind)
    np.testing.assert_allclose(seen(other), seen(image), atol=0.01)


@pytest.mark.parametrize("channel", [0, 1, 2])
@pytest.mark.parametrize("scale", [1, 0.1, 1 / 255])
def test_one_channel_is_the_grey_image(channel: int, scale: float) -> None:
    """However small its range is: an empty channel's range is none, not one grey level."""
    image = nuclei() * np.float32(scale)
    single = np.zeros_like(image)
    single[:, :, channel] = image[:, :, channel]
    np.testing.assert_allclose(seen(single), seen(image), atol=1e-5)


def test_a_tint_is_the_grey_image() -> None:
    image = nuclei().astype(np.float32)
    np.testing.assert_allclose(
        seen(image * np.float32([0.125, 1 / 3, 1.0])), seen(image), atol=1e-4
    )


@pytest.mark.parametrize("fill", [0, 255])
@pytest.mark.parametrize("width", [128, 101, 90])
def test_a_margin_does_not_count(fill: int, width: int) -> None:
    """Wherever the seam lies among the tiles: flat ground ends where it ends, not with a block."""
    image = nuclei(128, 128)[:, :width]
    beside = np.concatenate([image, np.full((128, 256 - width, 3), fill, np.uint8)], axis=1)
    known = local_contrast(beside, 64)
    assert known.low.min() >= image.min() > 0
    assert known.high.max() <= image.max() < 255


@pytest.mark.parametrize("width", [150, 128, 101])
@pytest.mark.parametrize("colour", [(255, 255, 255), (0, 0, 255)])
def test_a_white_page_beside_dark_ground_is_black(width: int, colour: tuple[int, ...]) -> None:
    """All of it but what is narrower than a cell; the image itself is seen as with a black page."""
    image = (nuclei(192, width) * (np.array(colour) / 255)).astype(np.uint8)
    page = np.zeros((192, 400 - width, 3), np.uint8)
    white = seen(np.concatenate([image, page + np.uint8(255)], axis=1))
    black = seen(np.concatenate([image, page], axis=1))
    np.testing.assert_allclose(white[:, :width], black[:, :width], atol=1e-6)
    assert not white[:, width + 12 :].any()


def test_only_pages_are_blank() -> None:
    """Not saturated nuclei, nor the ground of an image that is bright."""
    image = nuclei()
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    image[np.hypot(y - 60, x - 60) < 28] = 255  # a nucleus as wide as a tile, but round
    assert local_contrast(image, 64).blank is None
    bright = np.concatenate([255 - nuclei(128, 128), np.full((128, 256, 3), 255, np.uint8)], axis=1)
    assert local_contrast(bright, 64).blank is None
    np.testing.assert_array_equal(seen(bright)[:, 200:], 1)


def test_flat_ground_by_hand() -> None:
    """A window of 4 x 4 equal pixels, and a row of them that is too thin."""
    strip = np.arange(70.0).reshape(7, 10, 1)
    strip[1:5, 2:6] = 100.0
    strip[6, :] = 200.0
    expected = np.zeros((7, 10), dtype=bool)
    expected[1:5, 2:6] = True
    np.testing.assert_array_equal(_flat(strip), expected)


def test_a_mask_has_a_range() -> None:
    """Nothing but flat ground: the least and the largest value of the image."""
    image = np.zeros((64, 64, 3), np.uint8)
    image[10:30, 10:30] = 200
    np.testing.assert_array_equal(seen(image), (image > 0).astype(np.float32))


def test_an_image_of_one_value_is_black() -> None:
    np.testing.assert_array_equal(seen(np.full((40, 40, 3), 7, np.uint8)), 0)


def test_what_lies_far_away_does_not_count() -> None:
    image = nuclei(128, 128)
    bright = np.concatenate([image, image, image, 3 * nuclei(128, 256, seed=1)], axis=1)
    alone = np.concatenate([image, image, image], axis=1)
    # Statistics reach two tiles, and the grid's smoothing and interpolation one more each.
    np.testing.assert_allclose(seen(bright)[:, :128], seen(alone)[:, :128], atol=1e-5)


def test_noise_is_not_shown_at_full_contrast() -> None:
    noise = 100 + 3 * np.random.default_rng(0).standard_normal((200, 200, 3))
    assert np.std(seen(noise)) < 0.13
    assert (
        seen(np.full((50, 60, 3), 7, np.uint8)) == seen(np.full((50, 60, 3), 90, np.uint8))
    ).all()


def test_a_tile_has_96_pixels_and_two_in_a_thousand_do_not_count() -> None:
    """At either end: of 0, 1 … 9999 about twenty."""
    assert local_contrast(nuclei(192, 288)).low.shape == (2, 3, 3)
    found = local_contrast(ramp(0, 9999, 100)[:, :, None], 100)
    assert found.low.ravel() == pytest.approx([0.002 * 9999])
    assert found.high.ravel() == pytest.approx([0.998 * 9999])


def test_the_range_of_an_empty_image_is_ten_standard_deviations_of_its_noise() -> None:
    """Around its middle; of its pixels, those that count reach less than six."""
    noise = 100 + 3 * np.random.default_rng(0).standard_normal((200, 200, 1))
    found = local_contrast(noise, 200)
    assert found.low.item() == pytest.approx(85, abs=0.5)
    assert found.high.item() == pytest.approx(115, abs=0.5)


def test_a_window_has_three_tiles_and_its_ends_are_smoothed() -> None:
    """Tiles from -100 to 100, the last one to four times as much: seen next to it, and the mean."""
    parts = [ramp(-100 * factor, 100 * factor, 100) for factor in (1, 1, 1, 1, 1, 1, 4)]
    found = local_contrast(np.concatenate(parts, axis=1)[:, :, None], 100)
    expected = 99.6 * np.array([1, 1, 1, 1, 2, 3, 4])
    np.testing.assert_allclose(found.high[0, :, 0], expected, atol=0.1)
    np.testing.assert_allclose(found.low[0, :, 0], -expected, atol=0.1)


def test_images_of_a_few_pixels_have_a_range() -> None:
    """Also of one column, in which no pixel has a neighbour to tell the noise from."""
    column = np.arange(0.0, 50, 10)
    low, high = 0.002 * 40, 0.998 * 40
    expected = np.clip((column - low) / (high - low), 0, 1)
    np.testing.assert_allclose(seen(column[:, None, None])[:, 0, 0], expected, atol=1e-6)
    assert np.isfinite(seen(np.arange(45.0).reshape(3, 5, 3))).all()


def test_a_channel_of_a_small_range_takes_the_mean_of_the_others() -> None:
    pixel = np.array([[[0.2, 0.4, 0.05]]])
    for share, third in ((0.055, 0.3), (0.065, 0.05 / 0.065)):
        high = np.array([[[1.0, 1.0, share]]])
        found = Contrast(np.zeros((1, 1, 3)), high, (1, 1)).apply(pixel)
        np.testing.assert_allclose(found, [[[0.2, 0.4, third]]], atol=1e-6)


def test_a_region_is_normalised_as_in_the_whole() -> None:
    image = nuclei()
    found = local_contrast(image, 64)
    rows, columns = np.arange(30, 90), np.arange(100, 160)
    np.testing.assert_array_equal(
        found.apply(image[30:90, 100:160], rows, columns), found.apply(image)[30:90, 100:160]
    )


def test_a_region_with_blank_ground_is_normalised_as_in_the_whole() -> None:
    image = np.concatenate([nuclei(130, 99), np.full((130, 200, 3), 255, np.uint8)], axis=1)
    found = local_contrast(image, 60)
    assert found.blank is not None
    rows, columns = np.arange(33, 97), np.arange(80, 171)
    np.testing.assert_array_equal(
        found.apply(image[33:97, 80:171], rows, columns), found.apply(image)[33:97, 80:171]
    )


def test_a_few_photons_on_black_keep_their_range() -> None:
    """Most of such a picture is flat. What is not flat is steep, yet no noise on a bright ground:
    taken for noise, it widened the range to three times that of the picture."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:400, :400]
    expected = np.where(np.hypot(y - 200, x - 200) < 80, 1.5, 0.02)
    photons = (rng.poisson(expected) * 60).clip(0, 255).astype(np.uint8)
    found = local_contrast(np.repeat(photons[:, :, None], 3, axis=2), 384)
    assert found.low.min() >= -5
    assert 180 <= found.high.max() <= 260


@pytest.mark.parametrize("after", [(40, 33), (97, 31), (200, 410), (13, 2), (1, 64)])
def test_resized_as_torch_resizes(after: tuple[int, int]) -> None:
    planes = torch.rand(2, 3, 97, 64, dtype=torch.float64)
    expected = torch.nn.functional.interpolate(planes, after, mode="bilinear", antialias=True)
    torch.testing.assert_close(resized(planes, *after), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("after", [(97, 64), (130, 64), (211, 300), (98, 65)])
def test_pictures_are_enlarged_as_pillow_does(after: tuple[int, int]) -> None:
    plane = torch.rand(97, 64)
    size = after[::-1]
    expected = np.asarray(Image.fromarray(plane.numpy()).resize(size, Image.Resampling.LANCZOS))
    found = resized_picture(plane[None, None], *after)[0, 0].numpy()
    np.testing.assert_allclose(found, expected.clip(0, 1), atol=2e-6)
    fewer = resized_picture(plane[None, None], 40, 30)
    torch.testing.assert_close(fewer, resized(plane[None, None], 40, 30))


@pytest.mark.parametrize("resize", [resized, resized_picture])
@pytest.mark.parametrize(("p", "q"), [(35, 32), (68, 32), (11, 32), (45, 64)])
def test_a_part_is_resized_to_the_numbers_of_the_whole(resize: Resize, p: int, q: int) -> None:
    planes = torch.rand(1, 2, 6 * p, 9 * p)
    whole = resize(planes, 6 * q, 9 * q)
    part = resize(planes[..., p:, 2 * p : 7 * p].contiguous(), 5 * q, 5 * q)
    # Where the part ends, it does not see what lies beyond.
    edge = 1 + (LOBES if resize is resized_picture else 2) * q // p
    inner = (..., slice(edge, None), slice(edge, -edge))
    assert torch.equal(part[inner], whole[..., q:, 2 * q : 7 * q][inner])


# ------------------------------------------------------------------ of negatives


def shown(image: np.ndarray, tile: float = 64) -> np.ndarray:
    return local_contrast(image, tile, positive=True).apply(image)


def test_a_grey_negative_is_shown_as_the_positive() -> None:
    """Also beside a blank page, at any depth; and the positive as it is without this."""
    image = nuclei()
    np.testing.assert_array_equal(shown(image), seen(image))
    np.testing.assert_allclose(shown(255 - image), seen(image), atol=1e-6)
    np.testing.assert_allclose(shown(-1e-3 * image), seen(image), atol=1e-5)
    for value in (255, 50):  # brighter than all nuclei, which is blank, and not
        page = np.full((128, 240, 3), value, np.uint8)
        beside = np.concatenate([image, page], axis=1)
        assert (local_contrast(beside, 64).blank is not None) == (value == 255)
        np.testing.assert_allclose(shown(255 - beside), seen(beside), atol=1e-6)
    grey = image[:, :, :1]
    np.testing.assert_allclose(shown(255 - grey), seen(grey), atol=1e-6)


def test_a_stained_section_is_no_negative() -> None:
    """Blue nuclei on pink: the same as local contrast, and inverted it stays inverted."""
    share = seen(nuclei())[:, :, :1]
    image = np.rint(255 * (1 - share * np.float32([0.7, 0.8, 0.3]))).astype(np.uint8)
    for one in (image, 255 - image):
        np.testing.assert_array_equal(shown(one), seen(one))


def test_a_negative_of_one_value_is_black() -> None:
    np.testing.assert_array_equal(shown(np.full((40, 40, 3), 250, np.uint8)), 0)


@pytest.mark.parametrize(
    ("middles", "spreads", "colour", "negative"),
    [
        ([0.55], [100], 0, True),  # brighter than the middle of the range
        ([0.45], [100], 0, False),
        ([0.55], [100], 4.5, True),  # channels that differ by less than a twentieth of it
        ([0.55], [100], 5.5, False),
        ([0.3, 0.9], [100, 60], 0, False),  # 0.3 · 100² + 0.9 · 60² < (100² + 60²) / 2
        ([0.3, 0.9], [60, 100], 0, True),
        ([np.nan, 0.9], [np.nan, 100], 0, True),  # a tile that is flat
        ([np.nan], [np.nan], np.nan, False),
    ],
)
def test_negatives_by_hand(
    middles: list[float], spreads: list[float], colour: float, negative: bool
) -> None:
    """From the medians of tiles, as shares of their ranges, and how much channels differ."""
    share, spread = (np.array(x, dtype=float)[None, :, None] for x in (middles, spreads))
    low = np.full_like(spread, 20)
    grey = _grey(low, low + spread, np.full_like(spread, colour))
    assert (grey and _bright(low, low + spread, low + share * spread)) == negative


@pytest.mark.parametrize("coloured", [False, True])
@pytest.mark.parametrize("magnification", [1.0, 0.5])
def test_bright_ground_is_seen_both_ways_and_dark_ground_once(
    coloured: bool, magnification: float
) -> None:
    dark = nuclei()
    if coloured:  # blue and red, with no channel empty
        dark = (dark * np.array([0.5, 0.3, 1.0])).astype(np.uint8)
    bright = 255 - dark
    (as_it_is,) = views(dark, "local", magnification)
    shown, negative = views(bright, "local", magnification)
    torch.testing.assert_close(negative, as_it_is, atol=1e-4, rtol=0)
    torch.testing.assert_close(shown + negative, torch.ones_like(shown))
    assert torch.equal(shown, as_tensor(bright, "local", magnification)[0])
    # Grey is then shown as its positive already; and other contrast knows no ground.
    assert len(views(bright, "positive", magnification)) == (2 if coloured else 1)
    for contrast in ("plain", "percentile"):
        assert len(views(bright, contrast, magnification)) == 1


def test_a_tinted_negative_is_no_negative() -> None:
    """One channel brighter by a share of the range: the mean difference of channels."""
    image = 255 - nuclei().astype(np.float64)
    span = np.subtract(*np.percentile(image, (99.8, 0.2)))
    for share, negative in ((0.04, True), (0.06, False)):
        tinted = image + share * span * np.array([1, 0, 0])
        found = local_contrast(tinted, 200, positive=True)
        assert (found.low > found.high).all() == negative
