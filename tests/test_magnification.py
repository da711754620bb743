"""Magnification: sizes by hand, and a search that finds what a perfect network would say."""

import numpy as np
import pytest
from scipy import ndimage

from ngat import magnification as m


def test_sizes_by_hand() -> None:
    labels = np.zeros((20, 20), int)
    labels[0:2, 0:2], labels[5:9, 5:9], labels[10:16, 10:16] = 1, 2, 4
    assert m.areas_of(labels).tolist() == [0, 4, 16, 0, 36]
    assert m.size_of(labels) == 4
    assert m.size_of(np.zeros((3, 3), int)) == m.SIZE


def test_encoding_is_logarithmic_and_its_own_inverse() -> None:
    sizes = np.array([m.SIZE / 2, m.SIZE, 2 * m.SIZE, 8 * m.SIZE])
    np.testing.assert_allclose(
        m.encode(sizes), 0.5 + np.array([-1, 0, 1, 3]) / m.OCTAVES, atol=1e-6
    )
    np.testing.assert_allclose(m.decode(m.encode(sizes)), sizes, rtol=1e-5)
    assert m.encode(np.array([0.0, 1e9])).tolist() == [0, 1]
    # Weights are trained for this scale: seven octaves round 20 pixels.
    np.testing.assert_allclose(m.decode(np.array([0.0, 0.5, 1.0])), [1.768, 20, 226.3], rtol=1e-3)


def oracle(size: float, height: int, width: int):
    """What a perfect network says of discs of √area ``size``: sure where they are seen well."""
    y, x = np.mgrid[:height, :width]
    radius = size / np.sqrt(np.pi)
    pitch = 3 * size
    discs = np.hypot((y % pitch) - pitch / 2, (x % pitch) - pitch / 2) < radius

    def look(factor: float) -> np.ndarray:
        looks.append(factor)
        grid = [max(1, round(side * factor)) for side in (height, width)]
        cells = ndimage.zoom(discs.astype(float), np.array(grid) / discs.shape, order=1)
        octaves = np.log2(size * factor / m.SIZE)
        sure = 0.5 + 0.45 * np.exp2(-(octaves**2))
        target = np.full(cells.shape, float(m.encode(np.array(size * factor))))
        return np.stack([np.where(cells > 0.5, sure, 0.02), cells, target, cells])

    looks: list[float] = []
    look.looks = looks
    return look


@pytest.mark.parametrize("size", [5.0, 8.0, 20.0, 55.0, 150.0])
def test_the_search_finds_the_magnification(size: float) -> None:
    look = oracle(size, 512, 640)
    found, looks = m.best_magnification(look, 512, 640)
    assert found == pytest.approx(m.SIZE / size, rel=0.1)
    assert [s.magnification for s in looks] == look.looks


def test_faint_texture_does_not_outvote_nuclei() -> None:
    """Many sharp specks of a twentieth of the nuclei's contrast, seen in the finest look."""
    nuclei = oracle(80.0, 512, 640)
    specks = oracle(16.0, 512, 640)

    def look(factor: float) -> np.ndarray:
        values, other = nuclei(factor), specks(factor)
        empty = values[3] < 0.01
        for plane in range(3):
            values[plane] = np.where(empty & (other[0] > values[0]), other[plane], values[plane])
        values[3] += np.where(empty, 0.05 * other[3], 0)
        return values

    found, _ = m.best_magnification(look, 512, 640)
    assert found == pytest.approx(m.SIZE / 80, rel=0.15)


def test_evidence_by_hand() -> None:
    """Two squares on black in a look at half the size, one of them faint."""
    values = np.zeros((4, 120, 160))
    values[2] = m.encode(np.array(10.0))
    values[0, 20:30, 20:30], values[0, 80:90, 120:130] = 0.9, 0.7
    values[3, 20:30, 20:30], values[3, 80:90, 120:130] = 0.4, 0.1
    seen = m.seen(values, 0.5)
    np.testing.assert_allclose(seen.places, [[50, 50], [170, 250]])
    np.testing.assert_allclose(seen.sureness, [0.8, 0.4])
    contrast = np.array([0.4, 0.1]) * (1 - 100 / 41**2)  # of a window of 41 pixels
    np.testing.assert_allclose(seen.contrast, contrast)
    share, fit = np.sqrt(100 / (120 * 160)), 0.5
    clear = np.array([1.0, contrast[1] / 0.2]) ** 2  # more than 0.2 says nothing
    expected = share * np.array([0.8, 0.4]) ** 4 * clear * fit * 0.5**0.1
    np.testing.assert_allclose(seen.weights, expected, rtol=1e-5)
    assert seen.evidence == pytest.approx(expected.sum())
    assert seen.wanted == pytest.approx(0.5 * m.SIZE / 10, rel=1e-5)
    # Half a standard deviation from the one, and more than two from the other.
    assert seen.near(60, 50, 20.0).evidence == pytest.approx(expected[0] * np.exp(-1 / 8), rel=1e-5)


def test_specks_are_no_nuclei_and_what_has_no_contrast_still_counts() -> None:
    values = np.zeros((4, 30, 40))
    values[2] = 0.5
    values[0, 2, 2:7] = values[0, 10:12, 10:13] = values[0, 20:25, 20:25] = 0.9
    seen = m.seen(values, 1.0)
    np.testing.assert_allclose(seen.shares * 1200, [6, 25])  # five pixels are too few
    np.testing.assert_array_equal(seen.contrast, [1e-3, 1e-3])
    assert seen.evidence > 0


def test_what_fills_half_of_an_image_is_no_nucleus() -> None:
    values = np.full((4, 40, 60), 0.5)
    values[0, :, 2:31] = values[0, 10:20, 40:50] = 0.9
    np.testing.assert_allclose(m.seen(values, 1.0).shares * 2400, [29 * 40, 100])
    values[0, :, 31] = 0.9
    np.testing.assert_allclose(m.seen(values, 1.0).shares * 2400, [100])


def test_the_wanted_magnification_is_that_of_the_median_nucleus_by_hand() -> None:
    """Three of a quarter of the best size, which are seen badly, do not outweigh one of it."""
    sizes, ones = np.array([5.0, 20.0, 5.0, 5.0]), np.ones(4)
    look = m.Seen(0.5, sizes, ones, ones / 100, ones, np.zeros((4, 2)))
    np.testing.assert_allclose(look.fit, [1 / 16, 1, 1 / 16, 1 / 16])
    assert look.wanted == pytest.approx(0.5)
    assert look._replace(counts=np.array([1.0, 0.01, 1.0, 1.0])).wanted == pytest.approx(2.0)
    assert look._replace(sureness=np.array([0.9, 0.01, 0.9, 0.9])).wanted == pytest.approx(2.0)
    # Not more than four times, nor less than a twentieth.
    assert look._replace(sizes=sizes / 20, counts=1.0).wanted == 4.0
    assert look._replace(sizes=sizes * 100).wanted == 1 / 20


def squares(size: float):
    """Squares of one size, each as sure as they are well seen, on a picture of 200 x 160."""

    def look(factor: float) -> np.ndarray:
        asked.append(factor)
        height, width = (max(1, round(side * factor)) for side in (200, 160))
        inside = np.logical_and.outer(np.arange(height) % 8 < 6, np.arange(width) % 8 < 6) * 1.0
        sure = 0.5 + 0.45 * np.exp2(-(np.log2(size * factor / m.SIZE) ** 2))
        code = np.full(inside.shape, float(m.encode(np.array(size * factor))))
        return np.stack([inside * sure, inside, code, inside])

    asked: list[float] = []
    look.asked = asked
    return look


@pytest.mark.parametrize(("size", "last"), [(13.9, 1.0), (12.8, 2.0), (7.0, 2.0), (6.4, 4.0)])
def test_the_next_look_is_taken_from_three_quarters_of_its_magnification(
    size: float, last: float
) -> None:
    look = squares(size)
    assert m.best_magnification(look, 200, 160)[0] == pytest.approx(m.SIZE / size, rel=1e-3)
    assert look.asked == [f for f in (1 / 8, 1 / 4, 1 / 2, 1.0, 2.0, 4.0) if f <= last]


@pytest.mark.parametrize(("side", "first"), [(47, 1.0), (48, 1 / 2), (383, 1 / 8), (384, 1 / 16)])
def test_a_look_has_24_pixels_along_the_longer_side(side: int, first: float) -> None:
    def look(factor: float) -> np.ndarray:
        asked.append(factor)
        return np.zeros((4, 8, 8))

    asked: list[float] = []
    m.best_magnification(look, side, 5)
    assert min(asked) == first
    asked.clear()
    m.best_magnification(look, 3, 5)  # however small it is, the image itself is looked at
    assert asked == [1.0, 2.0, 4.0]


def test_an_image_is_enlarged_only_for_small_nuclei() -> None:
    """The looks cost a third more than one pass, and more only where nuclei are small."""
    large = oracle(40.0, 512, 640)
    m.best_magnification(large, 512, 640)
    assert max(large.looks) == 1
    assert sum(f**2 for f in large.looks) < 1.5
    small = oracle(6.0, 512, 640)
    m.best_magnification(small, 512, 640)
    assert max(small.looks) > 1


def test_nothing_to_see_is_left_as_it_is() -> None:
    found, _ = m.best_magnification(
        lambda f: np.zeros((4, max(1, round(64 * f)), max(1, round(64 * f)))), 64, 64
    )
    assert found == 1
