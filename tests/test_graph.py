"""The pyramid graph against closed forms and a second, naive construction."""

import numpy as np
import pytest

from ngat.errors import InputError
from ngat.graph import HOME_DISPLACEMENT, RELATIONS, PyramidGraph

SHAPES = [(1, 1, 1), (1, 1, 4), (2, 2, 2), (8, 8, 4), (7, 5, 3), (9, 16, 5), (1, 6, 3), (13, 11, 4)]


def naive_edges(graph):
    """Edges by definition: compare every pair of nodes. Returns {relation: set of (src, dst)}."""
    where = []
    for m, (height, width) in enumerate(graph.sizes):
        where += [(m, y, x) for y in range(height) for x in range(width)]
    found = {relation: set() for relation in RELATIONS}
    for i, (m, y, x) in enumerate(where):
        for j, (n, v, u) in enumerate(where):
            if m == n and max(abs(y - v), abs(x - u)) <= 1:
                found["king"].add((j, i))
            if n == m - 1 and (v // 2, u // 2) == (y, x):
                found["child"].add((j, i))
            if n == m + 1 and (y // 2, x // 2) == (v, u):
                found["parent"].add((j, i))
    return found


@pytest.mark.parametrize("shape", SHAPES)
def test_edges_are_those_of_the_definition(shape):
    graph = PyramidGraph(*shape)
    naive = naive_edges(graph)
    for relation in RELATIONS:
        sources, destinations, taps = graph.edges(relation)
        pairs = list(zip(sources.tolist(), destinations.tolist(), strict=True))
        assert len(pairs) == len(set(pairs)), "an edge stands twice"
        assert set(pairs) == naive[relation]
        assert graph.count_edges(relation) == len(pairs)
        assert taps.shape == sources.shape


@pytest.mark.parametrize("shape", SHAPES)
def test_sizes_and_counts(shape):
    height, width, levels = shape
    graph = PyramidGraph(*shape)
    expected = [(-(-height // 2**m), -(-width // 2**m)) for m in range(levels)]
    assert list(graph.sizes) == expected
    assert graph.num_nodes == sum(h * w for h, w in expected)
    assert [int((graph.level_of_nodes == m).sum()) for m in range(levels)] == [
        h * w for h, w in expected
    ]


def test_no_node_hears_more_than_fourteen():
    graph = PyramidGraph(16, 16, 3)
    heard = sum(
        np.bincount(graph.edges(relation)[1], minlength=graph.num_nodes) for relation in RELATIONS
    )
    assert heard.max() == 14
    assert heard[graph.offsets[1] + 8 + 1] == 14  # an inner node of the middle level
    assert heard[0] == 4 + 1  # a corner of the base: four king taps and a parent


@pytest.mark.parametrize("shape", [(8, 8, 4), (7, 5, 3)])
def test_taps_say_where_the_source_lies(shape):
    graph = PyramidGraph(*shape)
    cell = [2.0**m for m in range(graph.levels)]
    home = np.concatenate(
        [graph.home(m).reshape(3, -1) for m in range(graph.levels)], axis=1
    ) * max(graph.height, graph.width)
    for relation in ("king", "child"):
        sources, destinations, taps = graph.edges(relation)
        size = np.array(cell)[graph.level_of_nodes[destinations]]
        displacement = (home[:2, sources] - home[:2, destinations]) / size
        np.testing.assert_allclose(displacement.T, HOME_DISPLACEMENT[relation][taps, :2], atol=1e-9)


@pytest.mark.parametrize("shape", [(16, 16, 4), (9, 5, 3)])
def test_home_pyramids_cover_their_cells_within_the_unit_cube(shape):
    graph = PyramidGraph(*shape)
    longer = max(graph.height, graph.width)
    for m, (height, width) in enumerate(graph.sizes):
        x, y, z = graph.home(m)
        side = np.sqrt(2) * z * longer  # the base of a pyramid with equal edges and height z
        np.testing.assert_allclose(side, 2.0**m)
        for along, nodes in ((x[0], width), (y[:, 0], height)):
            centres = np.minimum((np.arange(nodes) + 0.5) * 2**m, longer)
            np.testing.assert_allclose(along * longer, centres)


@pytest.mark.parametrize("shape", SHAPES)
def test_home_positions_lie_in_the_unit_cube(shape):
    graph = PyramidGraph(*shape)
    for m in range(graph.levels):
        assert graph.home(m).min() > 0
        assert graph.home(m).max() <= 1  # eq. 7, also where a cell overhangs the picture


def test_the_graph_is_a_value():
    assert PyramidGraph(4, 4, 2) == PyramidGraph(4, 4, 2)
    assert hash(PyramidGraph(4, 4, 2)) == hash(PyramidGraph(4, 4, 2))
    with pytest.raises(AttributeError):
        PyramidGraph(4, 4, 2).height = 5


@pytest.mark.parametrize("shape", [(0, 4, 2), (4, -1, 2), (4, 4, 0)])
def test_impossible_graphs_are_refused(shape):
    with pytest.raises(InputError, match="at least one pixel"):
        PyramidGraph(*shape)


def test_dgl_graph_holds_the_same_edges():
    pytest.importorskip("dgl")
    from ngat.graph import batch_dgl

    graph = PyramidGraph(6, 5, 3)
    built = graph.to_dgl()
    assert built.num_nodes() == graph.num_nodes
    assert built.num_edges() == sum(graph.count_edges(relation) for relation in RELATIONS)
    source, destination = (ends.numpy() for ends in built.edges())
    for index, relation in enumerate(RELATIONS):
        of_relation = built.edata["relation"].numpy() == index
        expected = set(zip(*(a.tolist() for a in graph.edges(relation)[:2]), strict=True))
        assert set(zip(source[of_relation], destination[of_relation], strict=True)) == expected
        # Taps are numbered through: nine of the king, four of children, one of the parent.
        first = {"king": 0, "child": 9, "parent": 13}[relation]
        of_taps = zip(
            source[of_relation],
            destination[of_relation],
            built.edata["tap"].numpy()[of_relation],
            strict=True,
        )
        by_hand = zip(*(a.tolist() for a in graph.edges(relation)), strict=True)
        assert set(of_taps) == {(j, i, first + tap) for j, i, tap in by_hand}
    assert sorted(set(built.edata["tap"].tolist())) == list(range(14))
    np.testing.assert_array_equal(built.ndata["level"].numpy(), graph.level_of_nodes)
    homes = np.concatenate([graph.home(m).reshape(3, -1) for m in range(3)], axis=1)
    np.testing.assert_allclose(built.ndata["position"].numpy(), homes.T)
    both = batch_dgl([built, PyramidGraph(3, 3, 2).to_dgl()])
    assert both.batch_size == 2
    assert both.num_nodes() == graph.num_nodes + 9 + 4


@pytest.mark.parametrize("shape", [(16.5, 16, 2), (16, "16", 2), (16, 16, True)])
def test_sides_and_levels_are_whole_numbers(shape):
    with pytest.raises(InputError, match="of a pyramid graph is a whole number"):
        PyramidGraph(*shape)
