"""What the notebooks on plasticity and attention show: moves, coefficients, symmetry, reach."""

import dataclasses

import numpy as np
import pytest
import torch
from matplotlib.collections import LineCollection, PathCollection

from ngat.config import ModelConfig, preset
from ngat.data import load
from ngat.data.normalize import as_tensor
from ngat.graph import HOME_DISPLACEMENT, TAP_COUNT
from ngat.model import NGAT
from ngat.paper.figures import attention as attention_figures
from ngat.paper.figures import network as network_figures
from ngat.paper.figures import pictures as picture_figures
from ngat.paper.figures import plasticity as plasticity_figures
from ngat.paper.study import network, plasticity

SMALL = ModelConfig(levels=3, channels=8, heads=4, depth=1, norm_groups=2)
JOINT = dataclasses.replace(
    SMALL, schedule="synchronous", relations="joint", depth=2, position="linear"
)


@pytest.fixture(scope="module")
def sample():
    return load("synthetic", "test", limit=1)[0]


def moved_model(scale=0.5) -> NGAT:
    torch.manual_seed(0)
    model = NGAT(SMALL).eval()
    plasticity.wake(model.plasticity, scale)
    return model


# Plasticity.


def test_brief_training_is_the_training(tmp_path) -> None:
    from ngat.training.trainer import train

    samples = load("synthetic", "train", limit=4)
    chosen = preset(
        "smoke", steps=3, batch=2, patch=32, levels=2, channels=8, depth=1, validate_every=3
    )
    model, losses = plasticity.trained_briefly(chosen, samples)
    train(chosen, samples, samples[:1], tmp_path / "run", device="cpu", progress=False)
    from ngat.training.weights import load_weights

    last, _, _ = load_weights(tmp_path / "run" / "last.safetensors")
    assert len(losses) == 3
    for name, tensor in last.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], tensor, rtol=1e-4, atol=1e-6)


def test_table_of_moves(sample) -> None:
    home = plasticity.place(NGAT(SMALL), sample)
    at_home = plasticity.moves_by_level([(home, sample)])
    assert not at_home[["x", "y", "z", "spread_x", "edge", "elsewhere"]].to_numpy().any()
    assert at_home["nodes"].tolist() == [64 * 64, 32 * 32]

    shifted = [torch.full_like(m, 0.2) for m in home.moves]
    common = plasticity.moves_by_level([(home._replace(moves=shifted), sample)])
    np.testing.assert_allclose(common[["x", "y", "z"]], 0.2, rtol=1e-6)
    np.testing.assert_allclose(common[["spread_x", "edge"]], 0, atol=1e-6)

    # Only nodes that see an edge move, half of them up and half down; sideways does not count.
    mixed = [(s > 0.05) & (s < 0.95) for s in plasticity.nucleus_share(home, sample)]
    one = [torch.zeros_like(m) for m in home.moves]
    for m, mask in zip(one, mixed, strict=True):
        m[0, 0] = torch.rand_like(m[0, 0])
        m[0, 2][mask] = 0.3 * (-1.0) ** torch.arange(int(mask.sum()))
    table = plasticity.moves_by_level([(home._replace(moves=one), sample)])
    np.testing.assert_allclose(table["edge"], 0.3, rtol=0.05)
    assert (table["elsewhere"] < 0.03).all()

    # Rows 0-3 nucleus, border inside the node row 3: its own height, its neighbours', the rest's.
    half = dataclasses.replace(sample, labels=np.zeros((16, 16), np.int32))
    half.labels[:7] = 1
    z = torch.zeros(1, 3, 8, 8)
    z[:, 2] = torch.tensor([5.0, 5, 2, 1, 2, 5, 5, 5])[:, None]
    placed = home._replace(moves=[home.moves[0], z])
    found = plasticity.heights_around_edges(placed, half, 1)
    assert found == {"edge": 1, "beside": 2, "elsewhere": 5}


def test_gradient_finds_both_ways_to_xi_and_no_third() -> None:
    table = plasticity.gradient_paths(load("synthetic", "train", limit=2))
    sizes = dict(zip(table["through"], table["gradient"], strict=True))
    assert sizes["neither"] == 0
    assert sizes["features alone"] > 0
    assert sizes["attention alone"] > 0
    assert sizes["features and attention"] > 0


def test_spread_of_hidden_values(sample) -> None:
    model = moved_model()
    xi = model.plasticity.xi
    assert 0 < plasticity.hidden_spread(model, sample).relative < 0.2, (
        "behind sigmoids they are much alike"
    )
    xi.squash = torch.tanh
    assert plasticity.hidden_spread(model, sample).relative > 0.2
    for layer in xi.layers[:2]:
        torch.nn.init.zeros_(layer.weight)
    xi.squash = torch.sigmoid
    assert plasticity.hidden_spread(model, sample) == pytest.approx((0, 0), abs=1e-6)


def test_centring_and_slope_change_hidden_values_apart(sample) -> None:
    plain, centred, steep = plasticity.untrained_spreads(SMALL, sample).values()
    assert centred.deviation < 1.5 * plain.deviation, "the same slope"
    assert centred.relative > 10 * plain.relative, "without the common part"
    assert steep.deviation > 5 * centred.deviation, "four times the slope, in two layers"


def test_bounds_hold_and_are_reached(sample) -> None:
    table = plasticity.bounds([0.1, 30.0], as_tensor(sample.image), draws=3)
    assert (table["sideways"] <= 0.45 + 1e-6).all()
    assert table["sideways"].iloc[1] == pytest.approx(0.45)
    assert table["lowest"].min() >= 0.5 - 1e-6
    assert table["highest"].max() <= 2 + 1e-6
    # Both ends of the heights are reached by the wilder of the two.
    assert table["lowest"].min() == pytest.approx(0.5, abs=1e-4)
    assert table["highest"].max() == pytest.approx(2, abs=1e-4)
    assert table["gap"].min() >= 0.1 - 1e-5
    assert not table["base"].any()
    assert table["invalid"].iloc[0] == 0
    assert table["invalid"].iloc[1] > 0, "low nodes at the border cover less than a pixel"


def test_figures_of_moves(sample) -> None:
    model = moved_model()
    after = plasticity.place(model, sample)
    part = slice(9, 41), slice(20, 52)
    first = plasticity_figures.quiver(sample, after, [1, 2], part).axes[0]
    (lines,) = (c for c in first.collections if isinstance(c, LineCollection))
    (dots,) = (c for c in first.collections if isinstance(c, PathCollection))
    own = after.moves[1][0] - after.moves[1][0].mean((1, 2), keepdim=True)
    inside = own[:, 5:20, 10:26]  # nodes whose 2 × 2 pixels lie in rows 9 to 40, columns 20 to 51
    np.testing.assert_allclose(dots.get_array(), inside[2].flatten(), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(dots.get_offsets()[0], [21, 11])
    longer = float(first.get_xlabel().rsplit("× ")[1])
    ends = np.array(lines.get_segments())
    moved = (ends[:, 1] - ends[:, 0]) / (2 * longer)
    np.testing.assert_allclose(moved, inside[:2].flatten(1).T, rtol=1e-4, atol=1e-5)
    table = plasticity.moves_by_level([(after, sample)])
    (panel,) = plasticity_figures.moves({"random": table}).axes
    np.testing.assert_allclose(panel.lines[0].get_ydata(), table["x"].abs())
    maps = plasticity_figures.heights(sample, after, [1, 2]).axes
    height = after.moves[2][0, 2].numpy()
    np.testing.assert_allclose(maps[2].images[0].get_array(), height - height.mean(), atol=1e-6)
    limits = plasticity.bounds([1.0, 10.0], as_tensor(sample.image), draws=1)
    left, right = plasticity_figures.bounds(limits).axes
    np.testing.assert_allclose(left.lines[0].get_ydata(), limits["sideways"])
    np.testing.assert_allclose(right.lines[1].get_ydata(), limits["lowest"])


# Attention.


def test_sizes_count_updates() -> None:
    table = network.sizes({"V": SMALL, "layers": JOINT}).set_index("network")
    assert table["level updates"].tolist() == [5, 6]
    assert table["base updates"].tolist() == [2, 2]
    assert table.loc["V", "parameters"] == sum(p.numel() for p in NGAT(SMALL).parameters())


@pytest.mark.parametrize(("config", "softmaxes"), [(SMALL, 7), (JOINT, 6)])
def test_coefficients_of_every_softmax(config, softmaxes, sample) -> None:
    torch.manual_seed(0)
    model = NGAT(config).eval()
    image = as_tensor(sample.image)[:, :, :16, :24]
    before = model(image).logits[0]
    found_all = network.coefficients(model, image)
    assert len(found_all) == softmaxes
    for found in found_all:
        assert found.alpha.shape[1] == sum(TAP_COUNT[r] for r in found.relations)
        np.testing.assert_allclose(found.alpha.sum(1), 1, atol=1e-5)
    torch.testing.assert_close(model(image).logits[0], before)  # no hook stays behind


def test_means_leave_out_nodes_that_lack_taps() -> None:
    alpha = np.zeros((1, 9, 3, 3))
    alpha[0, 4] = 1.0  # border nodes attend only to themselves
    alpha[0, :, 1, 1] = 1 / 9
    softmax = network.Coefficients(0, 0, ("king",), alpha)
    np.testing.assert_allclose(network.mean_by_tap(softmax)["king"], 1 / 9)
    alpha = np.zeros((1, 9, 1, 1))
    alpha[0, 4] = 1.0
    lone = network.mean_by_tap(network.Coefficients(0, 0, ("king",), alpha))["king"]
    assert lone[0, 4] == 1


def test_direction_of_a_node_that_attends_to_its_right_neighbour() -> None:
    alpha = np.zeros((1, 9, 1, 1))
    alpha[0, 5] = 1.0
    mean = network.direction(network.Coefficients(0, 0, ("king",), alpha))
    assert mean[0, :, 0, 0].tolist() == [1, 0, 0]
    both = np.zeros((2, 14, 1, 1))
    both[0, 1] = both[1, 13] = 1.0
    softmax = network.Coefficients(0, 0, ("king", "child", "parent"), both)
    assert network.main_directions(softmax)[0] == ("up", 1)
    side, length = network.main_directions(softmax)[1]
    assert side == "to the parent"
    assert length == pytest.approx(np.linalg.norm(HOME_DISPLACEMENT["parent"][0]))


@pytest.mark.parametrize("config", [SMALL, JOINT])
def test_without_a_position_term_mirrors_cannot_be_told_apart(config) -> None:
    table = network.symmetry(config, side=16).set_index("position_term")
    assert (table.loc["none"] < 1e-10).all()
    assert (table.loc[["linear", "table"]].to_numpy() > 0.01).all()


def test_engines_agree() -> None:
    table = network.engines(["cpu"], side=6)
    assert len(table) == 6
    exact = table["dtype"] == "float64"
    assert table.loc[exact, ["value", "gradient"]].to_numpy().max() < 1e-10
    assert table.loc[~exact, ["value", "gradient"]].to_numpy().max() < 1e-3


@pytest.mark.parametrize("config", [SMALL, JOINT])
def test_gradient_reaches_as_far_as_the_edges(config) -> None:
    for found in network.growth(config, 16, (1, 2)):
        np.testing.assert_array_equal(found.influence > 0, found.walked)


def test_one_synchronous_layer_reaches_the_king_neighbourhood_and_the_parents_cell() -> None:
    config = dataclasses.replace(JOINT, depth=1)
    assert network.walk(config, 8, (4, 4)).sum() == 9
    assert network.walk(config, 8, (0, 0)).sum() == 4
    two = network.walk(dataclasses.replace(JOINT, depth=2), 8, (4, 4))
    assert two[2:8, 2:8].sum() == two.sum() == 36


def test_figures_of_attention(sample) -> None:
    torch.manual_seed(0)
    image = as_tensor(sample.image[:16, :16])
    found = network.coefficients(NGAT(SMALL), image)
    typed = [h for h in found if h.update in (1, 2)]
    base = [h for h in found if h.level == 0 and h.relations == ("king",)]
    *panels, bar = attention_figures.tap_maps(typed).axes
    assert len(panels) == 4 * len(typed)
    largest = max(panel.images[0].get_array().max() for panel in panels)
    assert bar.get_ylim() == pytest.approx((0, largest))
    joint = [h for h in network.coefficients(NGAT(JOINT), image) if h.update == 0]
    bars = attention_figures.shares(joint).axes[0].patches
    heights = np.array([bar.get_height() for bar in bars]).reshape(4, 3)
    np.testing.assert_allclose(heights.sum(0), 1, atol=1e-5)
    assert heights[2, 0] == heights[3, 2] == 0, "the base has no children, the top no parent"
    cut = dataclasses.replace(sample, image=sample.image[:16, :16], labels=sample.labels[:16, :16])
    apart = {f"head {k}": values for k, values in enumerate(network.deviation(typed[0]), 1)}
    *panels, bar = picture_figures.over_picture(cut, apart, "deviation", clip=50).axes
    assert [panel.get_title() for panel in panels[:2]] == ["picture", "head 1"]
    assert bar.get_ylim() == pytest.approx((0, np.median(list(apart.values()))))
    places = {"here": (4, 5), "there": (9, 9)}
    maps = attention_figures.nodes(cut, base[0], places).axes
    np.testing.assert_allclose(
        maps[1].images[0].get_array(), base[0].alpha[0, :, 4, 5].reshape(3, 3)
    )
    rows = {"layers": network.growth(JOINT, 16, (1, 2)), "cycles": network.growth(SMALL, 16, (1,))}
    titles = [a.get_title() for a in attention_figures.growth(rows).axes]
    assert titles[0] == "1 layer\n9 pixels"


def test_figures_of_the_network() -> None:
    panels = network_figures.updates({"V": SMALL, "layers": JOINT}).axes
    assert (
        len(panels[0].texts) == 5 + 2 + 2
    )  # arrows: five updates of a level from itself, four others
    assert len(panels[1].texts) == 2 * (3 + 4)
    (axes,) = network_figures.dice_by_step({"a": {50: 0.5, 100: 0.7}}).axes
    assert axes.lines[0].get_ydata() == pytest.approx([0.5, 0.7])
