"""The network: against DGL's layers, by influence of nodes on each other, by finite differences."""

import dataclasses

import pytest
import torch

from ngat.attention import attend, find_engine
from ngat.attention.position import PositionTerm, directions
from ngat.config import PRESETS, ModelConfig
from ngat.errors import InputError
from ngat.graph import RELATIONS, PyramidGraph
from ngat.loss import loss_of
from ngat.model import NGAT, Maps, Norm, PyramidGATConv, schedule

SMALL = ModelConfig(levels=3, channels=8, heads=2, depth=2, norm_groups=2)
PAPER = dataclasses.replace(
    SMALL, schedule="synchronous", relations="joint", position="linear", depth=3
)


def network(config, seed=0, spread=0.0):
    """A float64 network in evaluation mode; ``spread`` perturbs all parameters."""
    torch.manual_seed(seed)
    model = NGAT(config).double().eval()
    for parameter in model.parameters():
        parameter.data += spread * torch.randn_like(parameter)
    return model


def picture(*size, batch=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(batch, 3, *size, generator=generator, dtype=torch.float64)


def embeddings(model, placement):
    """What the heads read, the normalised embeddings of all levels."""
    found = []
    handles = [
        head.register_forward_pre_hook(lambda _, x: found.append(x[0])) for head in model.heads
    ]
    if len(model.heads) == 1:
        assert model.config.schedule == "synchronous"
    model.message_passing(placement, attend)
    for handle in handles:
        handle.remove()
    return found


def rows(pyramid):
    """Planes per level ``[1, C, H_m, W_m]`` as node rows ``[N, C]``."""
    return torch.cat([level[0].flatten(1).T for level in pyramid])


@pytest.mark.parametrize("name", ["paper", "companion", "smoke"])
@pytest.mark.parametrize("size", [(32, 32), (17, 9), (5, 40)])
def test_presets_take_any_size(name, size):
    model = NGAT(PRESETS[name].model).eval()
    count = model.config.outputs
    image = picture(*size).float()
    output = model(image, image[:, :count])
    graph = PyramidGraph(*size, model.config.levels)
    for m, (height, width) in enumerate(graph.sizes):
        assert output.logits[m].shape == (2, count, height, width)
        assert output.targets[m].shape == (2, count, height, width)
        assert output.positions[m].shape == (2, 3, height, width)
    probability = model.reconstruct(output)
    assert probability.shape == (2, count, *size)
    assert ((probability > 0) & (probability < 1)).all()


@pytest.mark.parametrize("schedule", ["synchronous", "vcycle"])
@pytest.mark.parametrize("relations", ["joint", "typed"])
@pytest.mark.parametrize("aggregator", ["gat", "gcn", "mlp"])
@pytest.mark.parametrize("levels", [1, 3])
def test_every_schedule_goes_with_every_relation_and_aggregator(
    schedule, relations, aggregator, levels
):
    config = dataclasses.replace(
        SMALL, schedule=schedule, relations=relations, aggregator=aggregator, levels=levels
    )
    model = network(config, spread=0.1)
    image = picture(9, 6).requires_grad_()
    sum(logits.sum() for logits in model(image).logits).backward()
    assert torch.isfinite(image.grad).all()
    assert image.grad.abs().sum() > 0


def test_the_headline_model_has_fewer_than_150_000_parameters():
    assert sum(p.numel() for p in NGAT(PRESETS["companion"].model).parameters()) < 150_000


def test_a_literal_layer_is_message_passing_on_the_dgl_graph_with_residual():
    """Message passing itself is held against DGL's GATConv in test_attention."""
    pytest.importorskip("dgl")
    from ngat.engines.dgl import message_passing

    config = dataclasses.replace(PAPER, position="none", norm="none", plasticity="fixed", depth=1)
    model = network(config, spread=0.1)
    image = picture(9, 6, batch=1)
    graph = PyramidGraph(9, 6, 3)
    placement = model.plasticity(image, graph)
    levels = [
        torch.cat([f, torch.full_like(f[:, :1], m / 2)], 1)
        for m, f in enumerate(placement.features)
    ]
    h = rows(levels) @ model.embed.weight.T + model.embed.bias

    (update,) = model.updates
    w, a_s, a_d = update.own.weight.split([8, 2, 2])
    z, t = (h @ w.T).unflatten(1, (2, 4)), torch.zeros(2, 14, dtype=torch.float64)
    expected = message_passing(graph.to_dgl(), z, h @ a_s.T, h @ a_d.T, t)
    expected = h + torch.relu(expected.flatten(1) + update.bias)
    found = rows(embeddings(model, placement))
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("size", [(8, 8), (7, 5)])
def test_gcn_is_dgl_graphconv(size):
    dgl = pytest.importorskip("dgl")
    config = dataclasses.replace(
        PAPER, aggregator="gcn", norm="none", plasticity="fixed", depth=1, residual=False
    )
    model = network(config, spread=0.1)
    image, graph = picture(*size, batch=1), PyramidGraph(*size, 3)
    placement = model.plasticity(image, graph)
    levels = [
        torch.cat([f, torch.full_like(f[:, :1], m / 2)], 1)
        for m, f in enumerate(placement.features)
    ]
    h = rows(levels) @ model.embed.weight.T + model.embed.bias
    (update,) = model.updates
    conv = dgl.nn.GraphConv(8, 8, norm="both", activation=torch.relu).double()
    conv.weight.data, conv.bias.data = update.own.weight.data.T.clone(), update.bias.data
    found = rows(embeddings(model, placement))
    torch.testing.assert_close(found, conv(graph.to_dgl(), h), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("aggregator", ["gat", "gcn", "mlp"])
@pytest.mark.parametrize("base", [SMALL, PAPER])
def test_messages_of_every_level_reach_every_level(base, aggregator):
    """Disturb one node's colour; within the network's layers every level notices."""
    config = dataclasses.replace(base, aggregator=aggregator, norm="none", plasticity="fixed")
    model = network(config, spread=0.1)
    graph = PyramidGraph(8, 8, 3)
    placement = model.plasticity(picture(8, 8, batch=1), graph)
    before = embeddings(model, placement)
    for m in range(3):
        features = [f.clone() for f in placement.features]
        features[m][0, :, 0, 0] += 1.0
        after = embeddings(model, placement._replace(features=features))
        for n in range(3):
            assert (after[n] - before[n]).abs().max() > 1e-9, f"{m} never reaches level {n}"


@pytest.mark.parametrize("name", ["paper", "companion", "smoke"])
def test_depth_suffices_for_the_levels(name):
    """Section 3.1: enough convolutions for a message to reach all levels."""
    config = PRESETS[name].model
    reached = [{m} for m in range(config.levels)]  # whose messages each level holds
    step = {"king": 0, "child": -1, "parent": 1}
    for level, relations in schedule(config):
        old = [set(r) for r in reached]
        for m in range(config.levels) if level is None else [level]:
            for relation in relations:
                if 0 <= m + step[relation] < config.levels:
                    reached[m] |= old[m + step[relation]]
    assert all(r == set(range(config.levels)) for r in reached)


@pytest.mark.parametrize("base", [SMALL, PAPER])
def test_gradient_reaches_plasticity_through_features_and_through_attention(base):
    """Finite differences in ξ's last layer, with one of the two ways cut at a time."""
    model = network(base, spread=0.2)
    image, graph = picture(13, 11), PyramidGraph(13, 11, 3)
    weight = model.plasticity.xi.layers[-1].weight

    def objective(way):
        placement = model.plasticity(image, graph)
        if way == "features":
            placement = placement._replace(moves=[m.detach() for m in placement.moves])
        if way == "attention":
            placement = placement._replace(features=[f.detach() for f in placement.features])
        return sum((x**2).mean() for x in embeddings(model, placement))

    gradients = {
        way: torch.autograd.grad(objective(way), weight)[0]
        for way in ("features", "attention", "both")
    }
    assert gradients["features"].abs().max() > 1e-9
    assert gradients["attention"].abs().max() > 1e-9
    torch.testing.assert_close(
        gradients["features"] + gradients["attention"], gradients["both"], rtol=1e-9, atol=1e-12
    )
    index = divmod(int(gradients["both"].abs().argmax()), weight.shape[1])
    with torch.no_grad():
        values = []
        for sign in (1, -1):
            weight[index] += sign * 1e-5
            values.append(objective("both").item())
            weight[index] -= sign * 1e-5
    finite = (values[0] - values[1]) / 2e-5
    assert finite == pytest.approx(gradients["both"][index].item(), rel=1e-4)


@pytest.mark.parametrize("engine", ["dgl", "auto"])
@pytest.mark.parametrize("base", [SMALL, PAPER])
def test_engines_agree_through_the_whole_network(base, engine):
    if engine == "dgl":
        pytest.importorskip("dgl")
    image = picture(13, 10)
    losses, gradients = [], []
    for name in ("reference", engine):
        model = network(dataclasses.replace(base, engine=name), spread=0.1)
        output = model(image, image[:, :2])
        loss, _ = loss_of(output, PRESETS["companion"].loss)
        losses.append(loss)
        gradients.append(torch.autograd.grad(loss, list(model.parameters()), allow_unused=True))
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-9, atol=1e-12)
    for one, other in zip(*gradients, strict=True):
        if one is not None:
            torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("norm", ["none", "group", "batch"])
def test_norm_runs_over_nodes_never_over_one_node(norm):
    """Every channel group has mean 0 and variance 1 over the nodes; a node keeps its contrast."""
    h = torch.randn(3, 8, 6, 5, dtype=torch.float64) * 3 + 1
    found = Norm(dataclasses.replace(SMALL, norm=norm)).double().train()(h)
    if norm == "none":
        assert found is h
        return
    axes = (2, 3, 4) if norm == "group" else (0, 2, 3)
    seen = found.unflatten(1, (2, 4)) if norm == "group" else found
    torch.testing.assert_close(seen.mean(axes), torch.zeros_like(seen.mean(axes)))
    variance = seen.var(axes, correction=0)
    torch.testing.assert_close(variance, torch.ones_like(variance), rtol=1e-4, atol=0)


def test_maps_are_linear_maps_of_every_node():
    maps = Maps(8, [4, 2]).double()
    maps.bias.data.normal_()
    h = torch.randn(3, 8, 5, 4, dtype=torch.float64)
    expected = torch.nn.functional.conv2d(h, maps.weight[:, :, None, None], maps.bias)
    torch.testing.assert_close(torch.cat(maps(h), 1), expected)


def test_heads_start_out_in_different_directions():
    circle, sphere = directions(4, "king"), directions(6, None)
    for d in (circle, sphere):
        torch.testing.assert_close(d.norm(dim=1), torch.ones(len(d), dtype=d.dtype))
        assert torch.cdist(d, d).fill_diagonal_(9).min() > 0.5
    assert (circle[:, 2] == 0).all()
    assert sphere[:, 2].max() > 0.5  # some heads look up to the parent
    assert sphere[:, 2].min() < -0.5  # and some down to the children


@pytest.mark.parametrize(("relation", "length"), [("king", 2.0), ("child", 8.0)])
def test_favourite_taps_weigh_the_same_at_the_start(relation, length):
    """b·Δζ reaches 2 at a king neighbour one cell off, and at a child a quarter of a cell off."""
    term = PositionTerm(SMALL, (relation,), joint=False, moving=True)
    torch.testing.assert_close(term.b.norm(dim=1), torch.full((len(term.b),), length))


def test_position_term_tells_left_from_right():
    """Without it a picture and its mirror image have mirrored logits; with it they need not."""
    image = picture(8, 8, batch=1)
    gaps = {}
    for position in ("none", "linear", "table"):
        config = dataclasses.replace(PAPER, position=position, plasticity="fixed")
        model = network(config, spread=0.1)
        mirrored = model(image.flip(-1)).logits[0].flip(-1)
        gaps[position] = (model(image).logits[0] - mirrored).abs().max().item()
    assert gaps["none"] < 1e-9
    assert gaps["linear"] > 1e-3
    assert gaps["table"] > 1e-3


def test_position_term_is_b_times_displacement_wherever_the_nodes_moved():
    """el + er + t = b·(ζ_j − ζ_i), with x, y in cells of i's level and z in levels."""
    config = dataclasses.replace(PAPER, levels=3)
    term = PositionTerm(config, RELATIONS, joint=True, moving=True).double()
    graph = PyramidGraph(8, 8, 3)
    generator = torch.Generator().manual_seed(0)
    moves = [
        torch.randn(1, 3, *size, generator=generator).double() * (m > 0)
        for m, size in enumerate(graph.sizes)
    ]
    in_pixels = []
    for m, move in enumerate(moves):
        home = torch.from_numpy(graph.home(m))
        xy = home[:2] * 8 + move[0, :2] * 2**m
        in_pixels.append(torch.cat([xy, m + move[0, 2:]]).flatten(1).T)
    position = torch.cat(in_pixels)
    for relation, steps in (("king", 0), ("child", -1)):
        for level in (1, 2):
            j, i, tap = (torch.from_numpy(a) for a in graph.edges(relation, level))
            delta = (position[j] - position[i]) / torch.tensor([2**level, 2**level, 1])
            source = level + steps
            el = term.of_moves(moves, source, 2.0**steps)
            el = torch.zeros(1, 2, *graph.sizes[source]) if isinstance(el, float) else el
            er = term.of_moves(moves, level, 1.0)
            found = (
                el[0].flatten(1)[:, j - graph.offsets[source]]
                - er[0].flatten(1)[:, i - graph.offsets[level]]
                + term.taps(relation)[:, tap]
            )
            torch.testing.assert_close(found, term.b @ delta.T, rtol=1e-6, atol=1e-6)


def test_reconstruction_by_hand():
    model = network(dataclasses.replace(SMALL, levels=3, reconstruction=0.5))
    output = model(picture(3, 2, batch=1))
    base, middle, top = (torch.sigmoid(level) for level in output.logits)
    found = model.reconstruct(output)
    for y in range(3):
        for x in range(2):
            coarse = 0.5 * middle[..., y // 2, x // 2] + 0.25 * top[..., y // 4, x // 4]
            torch.testing.assert_close(found[..., y, x], (base[..., y, x] + coarse) / 1.75)


def test_heads_begin_with_few_nuclei_and_the_middle_size():
    for head in network(dataclasses.replace(SMALL, outputs=3)).heads:
        assert head.bias.tolist() == [-2, -2, 0]


def test_dropout_and_residual_act():
    config = dataclasses.replace(SMALL, dropout=0.5)
    model, image = network(config).train(), picture(8, 8)
    assert not torch.equal(model(image).logits[0], model(image).logits[0])
    assert torch.equal(model.eval()(image).logits[0], model(image).logits[0])
    plain = network(dataclasses.replace(SMALL, residual=False))
    assert not torch.allclose(plain(image).logits[0], network(SMALL)(image).logits[0])


def test_targets_give_no_gradient_to_positions():
    model = network(SMALL, spread=0.2)
    output = model(picture(8, 8), picture(8, 8)[:, :2])
    assert output.positions[1].requires_grad
    assert not any(t.requires_grad for t in output.targets)


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 1, 8, 8), (0, 3, 8, 8)])
def test_what_is_no_picture_is_refused(shape):
    with pytest.raises(InputError, match=r"reads \[B, 3, H, W\]"):
        network(SMALL)(torch.zeros(shape, dtype=torch.float64))


def test_widths_must_fit():
    with pytest.raises(InputError, match="multiple of heads"):
        NGAT(dataclasses.replace(SMALL, heads=3))


def test_placement_is_what_the_network_reads():
    """The logits follow from it alone, from the features of every level."""
    model, graph, image = network(SMALL, spread=0.2), PyramidGraph(8, 8, 3), picture(8, 8)
    placement, output = model.plasticity(image, graph), model(image)
    torch.testing.assert_close(placement.features[0], image)
    for found, expected in zip(output.positions, placement.positions, strict=True):
        torch.testing.assert_close(found, expected)

    def logits(of):
        return model.message_passing(of, find_engine("reference", image).attend)

    for found, expected in zip(logits(placement), output.logits, strict=True):
        torch.testing.assert_close(found, expected)
    for level in range(3):
        features = [f + 0.1 if m == level else f for m, f in enumerate(placement.features)]
        changed = logits(placement._replace(features=features))
        assert not torch.allclose(changed[level], output.logits[level])


@pytest.mark.parametrize("relations", ["joint", "typed"])
def test_the_layer_stands_alone(relations):
    """On levels of one's own: no moves, no normalisation, all levels at once."""
    layer = PyramidGATConv(ModelConfig(channels=8, heads=2, relations=relations))
    levels = [torch.rand(1, 8, 6, 5), torch.rand(1, 8, 3, 3)]
    out = layer(levels)
    assert [x.shape for x in out.values()] == [x.shape for x in levels]
    moved = layer(levels, moves=[torch.zeros(1, 3, 6, 5), torch.zeros(1, 3, 3, 3)])
    for one, other in zip(out.values(), moved.values(), strict=True):
        torch.testing.assert_close(one, other)


def test_the_network_in_bfloat16_is_the_network():
    """Norms, probabilities and reconstruction in float32, whatever autocast makes of the maps."""
    model = NGAT(dataclasses.replace(SMALL, engine="reference")).eval()
    image = picture(16, 16).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(image)
        probability = model.reconstruct(output)
    assert output.logits[0].dtype == torch.bfloat16
    assert probability.dtype == torch.float32
    assert model.norms[0](torch.rand(1, 8, 4, 4).bfloat16()).dtype == torch.float32
    torch.testing.assert_close(probability, model.reconstruct(model(image)), rtol=0, atol=0.02)
    sure = output._replace(logits=[torch.full_like(x, 7.0) for x in output.logits])
    expected = torch.sigmoid(torch.tensor(7.0))  # 0.99909, between two numbers of bfloat16
    torch.testing.assert_close(model.reconstruct(sure), expected.expand(2, 2, 16, 16))
