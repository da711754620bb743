"""The attention operator: the reference by definition, by DGL and by finite differences."""

from types import SimpleNamespace

import pytest
import torch
from attention_cases import GROUPINGS, SHAPES, draw, value_and_gradients

from ngat.attention import SLOPE, TapGroup, attend, attention_weights
from ngat.attention.reference import aggregate, mean
from ngat.errors import InputError, MissingDependency
from ngat.graph import PyramidGraph


def by_definition(groups, destination):
    """Eq. 16–18 node by node and edge by edge, over the explicit edges of the graph."""
    batch, heads, height, width = destination.shape
    out = torch.zeros(batch, groups[0].values.shape[1], height, width, dtype=destination.dtype)
    channels = out.shape[1] // heads
    heard = {(y, x): [] for y in range(height) for x in range(width)}
    for group in groups:
        h, w = group.source.shape[-2:]
        if group.relation == "child":
            graph, level, source_level = PyramidGraph(h, w, 2), 1, 0
        else:
            graph, level = PyramidGraph(height, width, 2), 0
            source_level = 1 if group.relation == "parent" else 0
        for j, i, tap in zip(*graph.edges(group.relation, level), strict=True):
            j, i = int(j) - graph.offsets[source_level], int(i) - graph.offsets[level]
            heard[divmod(i, width)].append((group, divmod(j, w), int(tap)))
    for b in range(batch):
        for head in range(heads):
            part = slice(head * channels, (head + 1) * channels)
            for (y, x), sources in heard.items():
                s = torch.stack(
                    [
                        group.source[b, head, v, u]
                        + destination[b, head, y, x]
                        + group.tap[head, tap]
                        for group, (v, u), tap in sources
                    ]
                )
                e = torch.where(s > 0, s, SLOPE * s)
                alpha = torch.exp(e - e.max())
                alpha = alpha / alpha.sum()
                for a, (group, (v, u), _) in zip(alpha, sources, strict=True):
                    out[b, part, y, x] += a * group.values[b, part, v, u]
    return out


@pytest.mark.parametrize("relations", GROUPINGS)
@pytest.mark.parametrize("shape", SHAPES[:4])
def test_reference_is_the_definition(shape, relations):
    groups, er = draw(shape, relations)
    torch.testing.assert_close(
        attend(groups, er, "reference"), by_definition(groups, er), rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("relations", GROUPINGS)
@pytest.mark.parametrize("odd", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_dgl_agrees_in_value_and_gradient(shape, odd, relations):
    pytest.importorskip("dgl")
    groups, er = draw(shape, relations, odd=odd)
    expected, expected_gradients = value_and_gradients(
        lambda g, d: attend(g, d, "reference"), groups, er
    )
    found, gradients = value_and_gradients(lambda g, d: attend(g, d, "dgl"), groups, er)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    for one, other in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("size", [(8, 8, 3), (7, 5, 3), (6, 9, 1)])
@pytest.mark.parametrize("heads", [1, 4])
def test_joint_attention_without_positions_is_gatconv(size, heads):
    """On the whole pyramid, with t = 0, the layer is DGL's published GATConv."""
    dgl = pytest.importorskip("dgl")
    graph = PyramidGraph(*size)
    torch.manual_seed(0)
    conv = dgl.nn.GATConv(5, 3, heads, negative_slope=SLOPE, bias=False).double()
    h = torch.randn(graph.num_nodes, 5, dtype=torch.float64, requires_grad=True)
    expected = conv(graph.to_dgl(), h).flatten(1)

    z = conv.fc(h).unflatten(1, (heads, 3))
    el, er = (z * conv.attn_l).sum(-1), (z * conv.attn_r).sum(-1)

    def plane(rows, m):
        part = rows.flatten(1)[graph.offsets[m] : graph.offsets[m + 1]]
        return part.T.reshape(1, -1, *graph.sizes[m])

    levels = []
    for m in range(graph.levels):
        heard = [("king", m), ("child", m - 1), ("parent", m + 1)]
        groups = [
            TapGroup(relation, plane(z, n), plane(el, n), torch.zeros(heads, taps).double())
            for (relation, n), taps in zip(heard, (9, 4, 1), strict=True)
            if 0 <= n < graph.levels
        ]
        levels.append(attend(groups, plane(er, m), "reference").flatten(2)[0].T)
    found = torch.cat(levels)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)

    direction = torch.randn_like(found)
    parameters = [h, conv.fc.weight, conv.attn_l, conv.attn_r]
    of_expected = torch.autograd.grad((expected * direction).sum(), parameters, retain_graph=True)
    of_found = torch.autograd.grad((found * direction).sum(), parameters)
    for one, other in zip(of_found, of_expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def test_permuting_the_nodes_of_the_dgl_graph_permutes_the_output():
    dgl = pytest.importorskip("dgl")
    from ngat.engines.dgl import message_passing

    built = PyramidGraph(6, 5, 3).to_dgl()
    n, generator = built.num_nodes(), torch.Generator().manual_seed(0)
    z, el, er, tap = (
        torch.randn(*size, generator=generator, dtype=torch.float64)
        for size in [(n, 2, 3), (n, 2), (n, 2), (2, 14)]
    )
    old_of_new = torch.randperm(n, generator=generator)
    permuted = dgl.reorder_graph(
        built,
        node_permute_algo="custom",
        permute_config={"nodes_perm": old_of_new},
        store_ids=False,
    )
    expected = message_passing(built, z, el, er, tap)[old_of_new]
    found = message_passing(permuted, z[old_of_new], el[old_of_new], er[old_of_new], tap)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    assert not torch.allclose(found, message_passing(built, z, el, er, tap))


@pytest.mark.parametrize("relations", GROUPINGS)
def test_gradients_by_finite_differences(relations):
    groups, er = draw((1, 2, 2, 3, 3), relations)
    tensors = [t.requires_grad_() for g in groups for t in g[1:]] + [er.requires_grad_()]

    def function(*flat):
        copies = [TapGroup(g[0], *flat[3 * n : 3 * n + 3]) for n, g in enumerate(groups)]
        return attend(copies, flat[-1], "reference")

    assert torch.autograd.gradcheck(function, tensors)


def test_weights_sum_to_one_and_vanish_outside_the_picture():
    groups, er = draw((1, 2, 3, 5, 4), ("king", "child", "parent"))
    alpha = attention_weights(groups, er)
    assert alpha.shape == (1, 2, 14, 5, 4)
    torch.testing.assert_close(alpha.sum(2), torch.ones_like(er))
    assert (alpha[:, :, :3, 0] == 0).all()  # nothing above the first row
    assert (alpha[:, :, [10, 12], :, -1] == 0).all()  # 7 columns below: the last has no sibling
    assert (alpha[:, :, 4] > 0).all()


def test_a_constant_on_all_logits_changes_nothing_where_they_are_positive():
    """Softmax is shift-invariant; LeakyReLU is linear above zero."""
    groups, er = draw((1, 2, 3, 5, 4), ("king", "parent"))
    torch.testing.assert_close(
        attend(groups, er + 100.0, "reference"), attend(groups, er + 105.0, "reference")
    )


@pytest.mark.parametrize("engine", ["reference", "dgl"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_extreme_logits_stay_finite(engine, dtype):
    if engine == "dgl":
        pytest.importorskip("dgl")
    groups, er = draw((1, 2, 3, 5, 4), ("king", "child", "parent"), scale=1e4, dtype=dtype)
    out, gradients = value_and_gradients(lambda g, d: attend(g, d, engine), groups, er)
    assert out.isfinite().all()
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_what_does_not_fit_is_refused_in_a_sentence():
    groups, er = draw((1, 2, 3, 4, 4), ("king", "parent"))
    with pytest.raises(InputError, match="empty batch"):
        attend([g._replace(values=g.values[:0], source=g.source[:0]) for g in groups], er[:0])
    with pytest.raises(InputError, match="sizes do not fit"):
        attend([groups[0], groups[1]._replace(source=er)], er)
    with pytest.raises(InputError, match="Unknown attention engine 'abacus'"):
        attend(groups, er, "abacus")
    with pytest.raises(InputError, match="may appear once"):
        attend([groups[0], groups[0]], er)
    with pytest.raises(InputError, match="t of king"):
        attend([groups[0]._replace(tap=groups[0].tap[:, :4])], er)
    king, parent = groups
    with pytest.raises(InputError, match="at least one group"):
        attend([], er)
    with pytest.raises(InputError, match=r"er must be \[B, heads, H, W\]"):
        attend(groups, er[0])
    with pytest.raises(InputError, match="floating-point"):
        attend(groups, er.int())
    with pytest.raises(InputError, match="el of king"):
        attend([king._replace(source=king.source[:, :1])], er)
    with pytest.raises(InputError, match="z of king"):
        attend([king._replace(values=king.values[:, :-1])], er)
    with pytest.raises(InputError, match="same number of channels"):
        attend([king, parent._replace(values=parent.values[:, : er.shape[1]])], er)


def test_the_slope_is_that_of_graph_attention_networks():
    assert SLOPE == 0.2  # Veličković et al. 2018, which the paper follows


def test_means_and_own_maps_of_the_ablations_by_hand():
    """Ones have the mean one at any border; without messages a node's own map is left."""
    sizes, level = [(12, 10), (6, 5), (3, 3)], 1
    ones = {
        relation: torch.ones(1, 2, *size)
        for relation, size in zip(("child", "king", "parent"), sizes, strict=True)
    }
    torch.testing.assert_close(mean(ones, sizes, level), torch.ones(1, 2, 6, 5))
    own = torch.randn(1, 2, 6, 5)
    maps = {relation: (0 * z,) for relation, z in ones.items()}
    maps["king"] = (own, 0 * own)
    for aggregator, expected in (("gcn", own), ("mlp", 3 * own.relu())):
        update = SimpleNamespace(
            self_map=True,
            config=SimpleNamespace(aggregator=aggregator),
            mlp=lambda x: (3 * x,),
        )
        torch.testing.assert_close(aggregate(update, maps, sizes, level), expected)


def test_without_dgl_the_engine_says_how_to_get_it(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "dgl", None)
    from ngat.engines import dgl as message_passing

    message_passing.bipartite.cache_clear()
    groups, er = draw((1, 2, 3, 4, 4), ("king",))
    with pytest.raises(MissingDependency, match="pip install dgl"):
        attend(groups, er, "dgl")
    with pytest.raises(MissingDependency, match="pip install dgl"):
        PyramidGraph(2, 2, 1).to_dgl()
