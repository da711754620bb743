"""Batch statistics of a network with dropout are those that it has without."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import rings, tiny

from ngat.model import NGAT, Norm
from ngat.training import statistics
from ngat.training.distributed import Team
from ngat.training.patches import Batch, Patches
from ngat.training.statistics import without_dropout
from ngat.training.trainer import train
from ngat.training.weights import load_weights

ALONE = Team(0, 1, torch.device("cpu"))
FEW = 10


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """Fewer batches than in training: they count equally in either case."""
    monkeypatch.setattr(statistics, "BATCHES", FEW)


def network(**changes):
    torch.manual_seed(0)
    return NGAT(replace(tiny().model, norm="batch", dropout=0.5, depth=3, **changes))


def batches(first, last):
    for step in range(first, last):
        generator = torch.Generator().manual_seed(step)
        yield Batch(torch.rand(2, 3, 32, 32, generator=generator), torch.zeros(0))


@pytest.mark.parametrize(
    "changes", [{}, {"schedule": "synchronous", "relations": "joint", "position": "linear"}]
)
@pytest.mark.parametrize("engine", ["auto", "reference"])
def test_statistics_are_means_over_patches_seen_without_dropout(changes, engine):
    """Against what enters every norm of the reference without dropout, batch by batch."""
    model = network(engine=engine, **changes)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = without_dropout(model, batches, 700, ALONE)

    plain = NGAT(replace(model.config, dropout=0.0, engine="reference")).train()
    plain.load_state_dict(before)
    seen: dict[tuple[str, int], list[tuple[np.ndarray, np.ndarray]]] = {}
    for name, module in plain.named_modules():
        if isinstance(module, Norm):

            def note(module, args, name=name):
                h, level = args[0].double(), args[1] if len(args) > 1 else 0
                values = h.transpose(0, 1).flatten(1)
                key = name, level % len(module.running_mean)
                seen.setdefault(key, []).append((values.mean(1).numpy(), values.var(1).numpy()))

            module.register_forward_pre_hook(note)
    with torch.no_grad():
        for batch in batches(700, 700 + FEW):
            plain(batch.image)
    assert seen
    stored = dict(found.named_modules())
    for (name, level), values in seen.items():
        assert len(values) == FEW
        mean, variance = np.mean(values, axis=0)
        np.testing.assert_allclose(stored[name].running_mean[level], mean, atol=1e-4)
        np.testing.assert_allclose(stored[name].running_var[level], variance, rtol=1e-3, atol=1e-5)
    # Nothing else changes: neither the weights, nor the network that was given.
    for name, value in found.state_dict().items():
        if not name.endswith(("running_mean", "running_var", "num_batches_tracked")):
            assert torch.equal(value, before[name])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert found.config == model.config


def test_what_training_records_with_dropout_is_larger():
    """Why it is done: half of each update is doubled, and the variances of deeper layers grow."""
    model = network().train()
    with torch.no_grad():
        for batch in batches(0, FEW):
            model(batch.image)
    found = without_dropout(model, batches, 0, ALONE)
    ratios = [
        (one.running_var / other.running_var).mean().item()
        for one, other in zip(model.modules(), found.modules(), strict=True)
        if isinstance(one, Norm)
    ]
    assert ratios[-1] > 1.2
    assert ratios[-1] > ratios[1]


def test_a_network_without_dropout_or_batch_norm_is_returned_as_it_is():
    def none(first, last):
        raise AssertionError("no patches are drawn")

    for changes in ({"dropout": 0.0}, {"norm": "group"}):
        model = NGAT(replace(network().config, **changes))
        assert without_dropout(model, none, 0, ALONE) is model


def test_chance_outside_is_untouched():
    model = network()
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    without_dropout(model, batches, 0, ALONE)
    assert torch.equal(torch.rand(3), expected)


def test_training_keeps_the_best_network_with_them(tmp_path):
    """The last checkpoint keeps those of training, which goes on from it."""
    preset = tiny(norm="batch", dropout=0.3, steps=5)
    train(preset, rings(), rings("val"), tmp_path, progress=False, thresholds=False)
    best, last = (load_weights(tmp_path / f"{name}.safetensors").model for name in ("best", "last"))
    patches = Patches(rings(), preset.train)
    expected = without_dropout(last, patches.batches, 5, ALONE).state_dict()
    recorded = dict(last.state_dict())
    for name, value in best.state_dict().items():
        assert torch.allclose(value, expected[name], atol=1e-6)
    differ = [name for name in recorded if not torch.equal(recorded[name], expected[name])]
    assert {name.rpartition(".")[2] for name in differ} >= {"running_mean", "running_var"}
