"""What the notebook on the loss shows, held against closed forms."""

import dataclasses

import numpy as np
import pytest
import torch

from ngat.config import LossConfig
from ngat.data import load
from ngat.loss import loss_of
from ngat.paper.figures import loss as figures
from ngat.paper.study import loss as study


@pytest.fixture(scope="module")
def output():
    return study.forward(load("synthetic", "train", limit=4))


def test_curves_and_their_slopes() -> None:
    table = study.curves([0, 1, 2], points=99)
    by = {name: rows.set_index(rows["p"].round(9)) for name, rows in table.groupby("curve")}
    p = 0.3
    assert by["cross-entropy"].loc[p, "loss"] == pytest.approx(-np.log(p))
    assert by["cross-entropy"].loc[p, "gradient"] == pytest.approx(1 - p)
    np.testing.assert_allclose(by["focal, γ = 0"]["loss"], by["cross-entropy"]["loss"])
    assert by["focal, γ = 2"].loc[p, "loss"] == pytest.approx(-((1 - p) ** 2) * np.log(p))
    # d/dx of −(1 − p)^γ log p with p = σ(x): (1 − p)^γ (γ p log p − (1 − p)), here its negative.
    gradient = (1 - p) * ((1 - p) - 1 * p * np.log(p))
    assert by["focal, γ = 1"].loc[p, "gradient"] == pytest.approx(gradient)


def test_field_maps() -> None:
    flat = study.field_map("norm", 0.5, points=5)
    np.testing.assert_allclose(flat[2], 1)  # middle row
    np.testing.assert_allclose(flat[0], 0.5)  # z at the edge
    np.testing.assert_allclose(study.field_map("norm", 1.0), 1)
    total = study.field_map("sum", 0.0, points=5)
    np.testing.assert_allclose(total[2], [1, np.sqrt(2), 1, 0, -1], atol=1e-12)


def test_shares_of_the_gradient(output) -> None:
    table = study.gradient_shares(output)
    for column in ("nodes", "base_only", "alike", "equal", "balanced"):
        assert table[column].sum() == pytest.approx(1)
    assert table["base_only"].tolist() == [1, 0, 0, 0]
    # Halving weights against equal ones: ratios of levels differ by 2 from level to level.
    ratio = (table["balanced"] / table["equal"]).to_numpy()
    np.testing.assert_allclose(ratio[:-1] / ratio[1:], 2, rtol=1e-5)
    # One mean over all nodes is the levels' means weighted by their numbers of nodes.
    ratio = (table["alike"] / table["equal"] / table["nodes"]).to_numpy()
    np.testing.assert_allclose(ratio / ratio[0], 1, rtol=1e-4)


def test_twice_the_base_changes_the_mean_over_nodes_only(output) -> None:
    config = LossConfig()
    double = study.twice_the_base(output)
    torch.testing.assert_close(loss_of(double, config)[0], loss_of(output, config)[0])
    once, twice = study.gradient_shares(output), study.gradient_shares(double)
    np.testing.assert_allclose(twice["balanced"], once["balanced"], rtol=1e-4)
    base = once["alike"].iloc[0]
    assert twice["alike"].iloc[0] == pytest.approx(2 * base / (1 + base), rel=1e-4)


def test_at_home_the_field_is_one_everywhere(output) -> None:
    plain = dataclasses.replace(LossConfig(), field="none")
    torch.testing.assert_close(loss_of(output, LossConfig())[0], loss_of(output, plain)[0])


def test_figures_draw_what_they_are_given(output) -> None:
    table = study.curves([1], points=9)
    left, right = figures.curves(table).axes
    assert [line.get_label() for line in left.lines] == ["cross-entropy", "focal, γ = 1"]
    np.testing.assert_allclose(right.lines[0].get_ydata(), 1 - np.arange(1, 10) / 10)
    maps = {"sum": [study.field_map("sum", z, 5) for z in (0.0, 1.0)]}
    panels = figures.fields(maps, (0.0, 1.0)).axes
    np.testing.assert_allclose(panels[1].images[0].get_array(), maps["sum"][1])
    shares = study.gradient_shares(output)
    bars = figures.gradient_shares(shares).axes[0].patches
    heights = np.array([bar.get_height() for bar in bars]).reshape(len(shares), 5)
    np.testing.assert_allclose(heights[:, 4], shares["balanced"])
