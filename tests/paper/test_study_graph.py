"""What the first notebook counts and shows: the graph's census, taps, reach, footprints."""

import numpy as np
import pytest

from ngat.graph import PyramidGraph
from ngat.paper.figures import graph as figures
from ngat.paper.figures.graph import node_sliders
from ngat.paper.study import graph as study

SIZES = [(1, 1, 1), (2, 2, 2), (5, 7, 3), (16, 16, 4), (9, 1, 3), (97, 33, 5)]


@pytest.mark.parametrize("size", SIZES)
def test_counts_equal_closed_forms(size) -> None:
    graph = PyramidGraph(*size)
    table = study.census(graph)
    for relation in ("king", "child", "parent"):
        assert table[relation].tolist() == table[f"{relation}_formula"].tolist()
        assert table[relation].iloc[-1] == graph.count_edges(relation)
    assert table["nodes"].iloc[-1] == graph.num_nodes
    np.testing.assert_array_equal(study.degrees(graph), study.degrees_by_formula(graph))


def test_degrees_of_a_graph_counted_by_hand() -> None:
    # 3 × 2 pixels under 2 × 1 nodes. The lower of those two has only two children.
    graph = PyramidGraph(3, 2, 2)
    base = [4 + 1, 4 + 1, 6 + 1, 6 + 1, 4 + 1, 4 + 1]
    assert study.degrees(graph).tolist() == [*base, 2 + 4, 2 + 2]


def test_taps_of_a_node() -> None:
    graph = PyramidGraph(16, 16, 4)
    sources = study.neighbourhood(graph, 2, 1, 2)
    assert sorted(sources["king"])[:2] == [(0, 2, 0, 1), (1, 2, 0, 2)]
    assert sorted(sources["king"])[4] == (4, 2, 1, 2), "tap 4 is the node itself"
    assert sorted(sources["child"]) == [
        (9, 1, 2, 4), (10, 1, 2, 5), (11, 1, 3, 4), (12, 1, 3, 5),
    ]  # fmt: skip
    assert sources["parent"] == [(13, 3, 0, 1)]
    assert len(study.neighbourhood(graph, 0, 0, 0)["king"]) == 4


def test_reach_grows_by_one_edge_per_layer() -> None:
    graph = PyramidGraph(8, 8, 4)
    middle = int(graph.nodes(0)[4, 4])
    reached = study.reach(graph, middle, 3)
    assert [int(mask[: graph.offsets[1]].sum()) for mask in reached[:3]] == [1, 9, 25]
    assert [len(np.unique(graph.level_of_nodes[mask])) for mask in reached] == [1, 2, 3, 4]


def picture(height: int = 11, width: int = 17) -> np.ndarray:
    return np.random.default_rng(0).random((height, width, 3))


def test_projection_equals_counting_pixels() -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        position = tuple(rng.uniform([0.1, 0.1, 0.1], [0.9, 0.6, 0.6]))
        colour, pixels = study.seen_from(picture(), position)
        np.testing.assert_allclose(colour, study.mean_by_counting(picture(), position), atol=1e-12)
        assert pixels <= (np.sqrt(2) * position[2] * 17) ** 2 + 1e-9
    # Wholly inside: the base is √2·z wide.
    assert study.seen_from(picture(40, 40), (0.5, 0.5, 0.2))[1] == pytest.approx(128)
    colour, pixels = study.seen_from(picture(), (-3.0, 0.5, 0.1))
    assert pixels == 0
    assert not colour.any()


def test_levels_are_means_of_cells() -> None:
    graph = PyramidGraph(8, 12, 3)
    image = picture(8, 12)
    seen = study.levels(image, graph)
    expected = image.reshape(2, 4, 3, 4, 3).mean((1, 3))
    np.testing.assert_allclose(seen[2], expected, atol=1e-12)


def test_figures_draw_what_they_are_given() -> None:
    graph = PyramidGraph(16, 16, 4)
    image = picture(16, 16)
    seen = study.levels(image, graph)
    space = figures.pyramid(seen, graph, (2, 1, 2)).axes[0]
    assert [text.get_text() for text in space.texts][2] == "level 2\n4 × 4"
    numbers = [
        [int(t.get_text()) for t in axes.texts] for axes in figures.taps(graph, (2, 1, 2)).axes
    ]
    assert [sorted(n) for n in numbers] == [[9, 10, 11, 12], list(range(9)), [13]]
    assert len(figures.pyramids(image, [(0.5, 0.5, 0.1)] * 2).axes[0].collections) == 1 + 2 * 3


def test_footprint_has_the_base_and_the_colour() -> None:
    image = picture(40, 40)
    above, side, swatch = figures.footprint(image, (0.5, 0.25, 0.2)).axes
    (base,) = above.patches
    assert base.get_xy() == pytest.approx((20 - 8 / 2**0.5, 10 - 8 / 2**0.5))
    assert base.get_width() == pytest.approx(2**0.5 * 8)
    assert side.lines[0].get_ydata() == pytest.approx([8])
    colour, _ = study.seen_from(image, (0.5, 0.25, 0.2))
    assert swatch.get_facecolor()[:3] == pytest.approx(tuple(colour))


def test_moving_a_slider_changes_the_picture() -> None:
    pytest.importorskip("ipywidgets")
    box = node_sliders(picture(16, 16), PyramidGraph(16, 16, 4), level=2)
    sliders, image = box.children
    before = bytes(image.value)
    assert before.startswith(b"\x89PNG")
    for slider in sliders.children:
        slider.value = 0.3
        assert bytes(image.value) != before
        before = bytes(image.value)


def test_a_pyramid_shortens_the_way() -> None:
    assert [study.crossing(length, 1) for length in (1, 7, 20)] == [1, 7, 20]
    # Up one level, one king move that is worth two pixels per step, and down again.
    assert study.crossing(20, 2) == 2 + 20 // 2
    # No level pays over a short way.
    assert study.crossing(2, 5) == 2
    for length, levels in ((7, 3), (20, 4), (33, 5)):  # leaving the strip helps nowhere
        square = PyramidGraph(3 * length, 3 * length, levels)
        row = square.nodes(0)[3 * length // 2]
        reached = study.reach(square, int(row[length]), study.crossing(length, levels))
        assert [bool(nodes[row[2 * length]]) for nodes in reached[-2:]] == [False, True]
