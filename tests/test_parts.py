"""Parts with nuclei of another size: found, seen at a magnification of their own, and merged."""

import numpy as np
import pytest
from scipy import ndimage
from test_magnification import oracle

import ngat
from ngat import parts as p
from ngat.inference import instances, predict
from ngat.instances import in_reading_order
from ngat.magnification import SIZE, Seen, best_magnification
from ngat.metrics import image_score, match
from ngat.segmentation.network import shipped_weights


def beside(left: float, right: float, height: int = 400, width: int = 800):
    """What a perfect network says of discs of one size beside those of another."""
    halves = [oracle(size, height, width // 2) for size in (left, right)]
    return lambda factor: np.concatenate([look(factor) for look in halves], axis=2)


def columns(part: p.Part) -> tuple[int, int, int, int]:
    return part.window[1].start, part.inner[1].start, part.inner[1].stop, part.window[1].stop


@pytest.mark.parametrize(("left", "right"), [(60.0, 12.0), (12.0, 60.0)])
def test_the_half_with_other_nuclei_is_a_part(left: float, right: float) -> None:
    found, looks = best_magnification(beside(left, right), 400, 800)
    (part,) = p.parts_of(looks, 400, 800)
    # The stronger half decides for the whole; the other one is a part, whichever it is.
    sizes = sorted((SIZE / found, SIZE / part.magnification))
    np.testing.assert_allclose(sizes, [12, 60], rtol=0.15)
    on_the_left = abs(np.log2(part.magnification * left / SIZE)) < 0.5
    first, inner, end, last = columns(part)
    if on_the_left:
        assert (first, inner) == (0, 0)
        assert 250 < end <= 400 <= last
    else:
        assert (end, last) == (800, 800)
        assert first <= 400 <= inner < 550


@pytest.mark.parametrize(("left", "right"), [(20.0, 20.0), (40.0, 40.0), (20.0, 30.0)])
def test_an_image_of_one_size_has_no_parts(left: float, right: float) -> None:
    assert p.parts_of(best_magnification(beside(left, right), 400, 800)[1], 400, 800) == ()
    assert p.parts_of([], 400, 800) == ()
    assert p.parts_of(best_magnification(lambda f: np.zeros((4, 8, 8)), 64, 64)[1], 64, 64) == ()


def test_texture_inside_nuclei_is_no_part() -> None:
    """Large nuclei all over, in the left half of which a finer look sees grains."""
    nuclei, grains = oracle(80.0, 400, 800), oracle(12.0, 400, 800)

    def look(factor: float) -> np.ndarray:
        values, other = nuclei(factor), grains(factor)
        textured = (values[3] > 0.5) & (np.arange(values.shape[2]) < values.shape[2] / 2)
        return np.where(textured & (other[0] > values[0]), other, values)

    found, looks = best_magnification(look, 400, 800)
    assert found == pytest.approx(SIZE / 80, rel=0.15)
    assert p.parts_of(looks, 400, 800) == ()


def grid(magnification: float, strengths: dict[tuple[int, int], float]) -> Seen:
    """A look with a sharp nucleus of the best size in the middle of some cells of 100 pixels."""
    ones = np.ones(len(strengths))
    share = (np.array(list(strengths.values())) / magnification**0.1) ** 2  # evidence = strength
    middles = 100.0 * np.array(list(strengths)) + 50
    return Seen(magnification, SIZE * ones, ones, share, ones, middles)


ALL = list(np.ndindex(6, 6))
BLOCK = [(row, column) for row in (2, 3) for column in range(3)]  # a sixth of all cells
DIAGONAL = [(1, 0), (1, 1), (1, 2), (2, 3), (2, 4), (2, 5)]


@pytest.mark.parametrize(
    ("cells", "octaves", "strength", "strongest", "count"),
    [
        (BLOCK, -1.1, 1.6, 1.0, 1),
        (BLOCK, 1.1, 1.6, 1.0, 1),
        (BLOCK, -0.9, 1.6, 1.0, 0),  # not far enough away
        (BLOCK, 0.9, 1.6, 1.0, 0),
        (BLOCK, -1.1, 1.4, 1.0, 0),  # not clearly
        (BLOCK, 1.1, 4.0, 49.0, 1),
        (BLOCK, 1.1, 4.0, 51.0, 0),  # too faint beside the strongest cell
        # Larger nuclei cover as much with less evidence: 2 ** 1.1 times as much passes.
        (BLOCK, -1.1, 4.0, 51.0, 1),
        (BLOCK, -1.1, 4.0, 106.0, 1),
        (BLOCK, -1.1, 4.0, 109.0, 0),
        (BLOCK[1:], -1.1, 1.6, 1.0, 0),  # too small
        (DIAGONAL, -1.1, 1.6, 1.0, 1),  # corners connect
    ],
)
def test_what_a_part_is_by_hand(
    cells: list, octaves: float, strength: float, strongest: float, count: int
) -> None:
    """A nucleus of strength 1 in each of 6 x 6 cells, and others at another magnification."""
    everywhere = grid(1.0, dict.fromkeys(ALL, 1.0) | {(5, 5): strongest})
    found = p.parts_of([everywhere, grid(2.0**octaves, dict.fromkeys(cells, strength))], 600, 600)
    assert len(found) == count
    for part in found:
        assert part.magnification == pytest.approx(2.0**octaves)
        if cells is BLOCK:  # and one cell more on each side, where there is one
            assert part.inner == (slice(200, 400), slice(0, 300))
            assert part.window == (slice(100, 500), slice(0, 400))


def squares(shape: tuple[int, int], *places: tuple[int, int, int]) -> np.ndarray:
    """A label image of squares, each at a row and a column with a side."""
    labels = np.zeros(shape, np.int32)
    for number, (row, column, side) in enumerate(places, start=1):
        labels[row : row + side, column : column + side] = number
    return labels


def test_nuclei_are_merged_object_by_object() -> None:
    """By hand: a part over columns 40 to 100 of 120, its margin from 30 on."""
    part = p.Part(0.5, (slice(0, 60), slice(30, 110)), (slice(0, 60), slice(40, 100)))
    whole = squares(
        (60, 120),
        (5, 5, 20),  # outside: stays
        (5, 50, 20),  # inside the part: goes
        (30, 29, 20),  # middle in the margin, seen at its best size: stays
        (10, 103, 3),  # in the other margin, a seventh of its best size: gives way
    )
    seen = squares(
        (60, 80),
        (40, 20, 15),  # inside: counts
        (30, 1, 18),  # most of it is the third of the whole, of half the best size: gives way
        (5, 66, 14),  # columns 96 to 110: the margin's end cuts it off
        (8, 72, 7),  # columns 102 to 109: covers the fourth of the whole
        (0, 30, 10),  # at the image's own border: counts
    )
    found = p.merged(p.PartLabels(p.whole_of((60, 120), 1.0), whole), [p.PartLabels(part, seen)])
    expected = squares((60, 120), (0, 60, 10), (5, 5, 20), (8, 102, 7), (30, 29, 20), (40, 50, 15))
    np.testing.assert_array_equal(found, expected)


def test_what_two_magnifications_share_by_hand() -> None:
    """A part over columns 120 to 200 of 300, seen at half the size; its margin is 50 to 250."""
    part = p.Part(0.5, (slice(0, 240), slice(50, 250)), (slice(0, 240), slice(120, 200)))
    whole = squares(
        (240, 300),
        (5, 60, 40),  # gives way: of twice the best size
        (50, 60, 20),
        (80, 60, 20),
        (110, 60, 20),
        (140, 105, 40),  # begins in the margin, but its middle lies inside the part: goes
        (190, 95, 40),  # its middle lies in the margin: stays
    )
    seen = squares(
        (240, 200),
        (5, 14, 40),  # of the best size, as it is seen
        (50, 18, 20),  # three fifths of it are the whole's: gives way
        (80, 22, 20),  # two fifths are: keeps the rest
        (112, 27, 5),  # three fifths of the smaller one are: gives way
        (150, 0, 20),  # the margin's beginning cuts it off
        (230, 100, 10),  # at the image's own border: counts
    )
    found = p.merged(p.PartLabels(p.whole_of((240, 300), 1.0), whole), [p.PartLabels(part, seen)])
    expected = squares(
        (240, 300),
        *((5, 64, 40), (50, 60, 20), (80, 72, 20), (80, 60, 20), (110, 60, 20)),
        *((190, 95, 40), (230, 150, 10)),
    )
    np.testing.assert_array_equal(found, in_reading_order(expected))


def test_a_nucleus_wider_than_a_part_is_the_whole_images() -> None:
    """By hand: its middle lies in the part, whose window cuts it off on both sides."""
    part = p.Part(2.0, (slice(0, 60), slice(40, 80)), (slice(0, 60), slice(50, 70)))
    whole = squares((60, 120), (5, 35, 50))
    seen = squares((60, 40), (5, 0, 40), (56, 18, 4))
    found = p.merged(p.PartLabels(p.whole_of((60, 120), 0.4), whole), [p.PartLabels(part, seen)])
    np.testing.assert_array_equal(found, squares((60, 120), (5, 35, 50), (56, 58, 4)))


def nuclei(pitch: int, radius: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Textured ellipses, one in each cell of a grid: light in [0, 1] and labels."""
    y, x = np.mgrid[:320, :320]
    labels, light = np.zeros((320, 320), np.int32), np.zeros((320, 320))
    middles = range(pitch // 2, 308, pitch)
    for number, (row, column) in enumerate(np.ndindex(len(middles), len(middles)), start=1):
        long, short = radius * rng.uniform(0.8, 1.1, 2)
        dy, dx = y - middles[row] - rng.integers(4), x - middles[column] - rng.integers(4)
        inside = (dy / long) ** 2 + (dx / short) ** 2 < 1
        labels[inside], light[inside] = number, rng.uniform(0.6, 1.0)
    texture = ndimage.gaussian_filter(rng.normal(size=light.shape), radius / 5)
    light *= 1 + 0.12 * texture / texture.std()
    return ndimage.gaussian_filter(light, max(0.7, radius / 14)), labels


def test_the_shipped_network_finds_nuclei_of_two_sizes() -> None:
    """Nuclei of 96 pixels' diameter beside others of 12; each half against its own labels."""
    rng = np.random.default_rng(0)
    (large, on_the_left), (small, on_the_right) = nuclei(160, 48, rng), nuclei(26, 6, rng)
    light = np.concatenate([large, small], axis=1)
    image = np.clip(15 + 190 * light + rng.normal(0, 3, light.shape), 0, 255).astype(np.uint8)
    prediction = predict(ngat.load_weights(shipped_weights()).model, image)
    labels, alone = instances(prediction), instances(prediction._replace(parts=()))
    halves = ((slice(0, 320), on_the_left), (slice(320, None), on_the_right))
    both, one = (
        [image_score(match(found[:, columns], true)).average_f1 for columns, true in halves]
        for found in (labels, alone)
    )
    assert min(both) > 0.9
    assert min(one) < 0.3 < 0.9 < max(one)
    ((part, _),) = prediction.parts
    result = ngat.segment(image)
    np.testing.assert_array_equal(result.labels, labels)
    assert len(result) == labels.max()
    sums = np.bincount(labels.ravel(), weights=image.ravel())[1:]
    np.testing.assert_allclose(result.table.filter(like="integrated").iloc[:, 0], sums)
    expected = f"a part of the picture was seen at magnification {part.magnification:.2f}"
    assert expected in result.notes
    given = ngat.segment(image, scale=result.magnification)
    np.testing.assert_array_equal(given.labels, alone)
