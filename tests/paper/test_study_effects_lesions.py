"""Parts switched off: each lesion does what its name says, and nothing else."""

import dataclasses

import numpy as np
import pytest
import torch

from ngat.config import ModelConfig
from ngat.data import load
from ngat.data.normalize import as_tensor
from ngat.model import NGAT
from ngat.paper.figures import effects as figures
from ngat.paper.study import effects, network, plasticity
from ngat.thresholds import Thresholds

SMALL = ModelConfig(levels=3, channels=16, heads=4, depth=1)


@pytest.fixture(scope="module")
def sample():
    whole = load("synthetic", "test", limit=1)[0]
    return dataclasses.replace(whole, image=whole.image[:32, :32], labels=whole.labels[:32, :32])


@pytest.fixture(scope="module")
def model() -> NGAT:
    torch.manual_seed(0)
    made = NGAT(SMALL).eval()
    plasticity.wake(made.plasticity, 0.5)
    return made


def test_nodes_stay_at_home(model, sample) -> None:
    assert any(bool(m.any()) for m in plasticity.place(model, sample).moves)
    still = plasticity.place(effects.lesioned(model, "nodes at home"), sample)
    assert not any(bool(m.any()) for m in still.moves)


def test_attention_alike_is_a_mean(model, sample) -> None:
    found = network.coefficients(
        effects.lesioned(model, "attention alike"), as_tensor(sample.image)
    )
    king = next(f for f in found if f.relations == ("king",))
    np.testing.assert_allclose(king.alpha[:, :, 5, 5], 1 / 9, atol=1e-6)


@pytest.mark.parametrize("relation", ["children", "parents"])
def test_a_level_receives_nothing(model, sample, relation) -> None:
    cut = effects.lesioned(model, f"nothing from {relation}")
    key = "child" if relation == "children" else "parent"
    silent = [update.other[key] for update in cut.updates if key in update.other]
    assert silent
    assert not any(bool(p.any()) for maps in silent for p in maps.parameters())
    assert torch.equal(cut.embed.weight, model.embed.weight)


def test_scores_and_figure_have_all_lesions(model, sample) -> None:
    table = effects.scores(model, [sample], Thresholds())
    assert list(table["lesion"]) == list(effects.LESIONS)
    assert table[["dice", "average_f1"]].ge(0).all(axis=None)
    plane = np.zeros((32, 32))
    fig = figures.lesions(sample, dict.fromkeys(effects.LESIONS, plane))
    assert [ax.get_title() for ax in fig.axes[1:7]] == list(effects.LESIONS)
