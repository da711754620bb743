"""What validation reports, recomputed pixel by pixel from the network's own predictions."""

from __future__ import annotations

import csv
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny import rings, tiny

from ngat.inference import Thresholds, predict
from ngat.training.trainer import train
from ngat.training.validation import COARSE, Scores, around, search, summary, validate
from ngat.training.weights import load_weights


def test_validation_log_has_the_best_networks_numbers(tmp_path: Path) -> None:
    held_out = rings("val", 3)
    train(tiny(), rings(), held_out, tmp_path, device="cpu", progress=False)
    model, _, provenance = load_weights(tmp_path / "best.safetensors")
    accuracy, jaccard, dice = [], [], []
    for sample in held_out:
        mask = predict(model, sample.image).probability > 0.5
        truth = sample.labels > 0
        both, either = (mask & truth).sum(), (mask | truth).sum()
        accuracy.append(1 - (mask ^ truth).mean())
        jaccard.append((both + 1) / (either + 1))
        dice.append(2 * both / max(mask.sum() + truth.sum(), 1e-7))
    told = validate(model, held_out)
    assert told.accuracy == pytest.approx(np.mean(accuracy), abs=1e-9)
    assert told.jaccard == pytest.approx(np.mean(jaccard), abs=1e-9)
    assert told.dice == pytest.approx(np.mean(dice), abs=1e-6)
    assert provenance["validation"] == told._asdict()
    with (tmp_path / "validation.csv").open() as file:
        lines = list(csv.DictReader(file))
    best = max(lines, key=lambda line: float(line["average_f1"]))
    for name in Scores._fields:
        assert float(best[name]) == pytest.approx(getattr(told, name), rel=1e-6)


def test_types_are_averaged_apart() -> None:
    samples = rings("val", 4)
    assert len({s.type for s in samples[:3]}) == 3
    assert samples[3].type == samples[0].type
    scores = [Scores(0.1 * k, 0.2, 0.3, 0.2 * k, 0.5) for k in range(4)]
    told = summary(samples, scores)
    assert told.dice == pytest.approx(0.15)
    assert told.average_f1 == pytest.approx(0.3)
    assert told.per_type[samples[0].type] == pytest.approx(0.3)  # (0 + 0.6) / 2
    assert told.per_type[samples[1].type] == pytest.approx(0.2)


def test_thresholds_are_searched_until_no_round_finds_better_ones() -> None:
    # How far a summit must rise is decided before the core's threshold, and well only after it.
    worth = {Thresholds(core=0.3): 1.0, Thresholds(core=0.3, prominence=0.1): 2.0}
    assert search(lambda t: worth.get(t, 0.0), list(COARSE)) == Thresholds(core=0.3, prominence=0.1)
    # What is not searched stays.
    assert search(lambda t: worth.get(t, 0.0), ["probability"]) == Thresholds()
    for seed in range(20):

        def score(t: Thresholds, seed: int = seed) -> float:
            return random.Random(f"{seed} {t}").random()

        best = search(score, list(COARSE))
        assert score(best) >= score(Thresholds())
        for name in COARSE:
            for value in around(name, getattr(best, name)):
                assert score(replace(best, **{name: value})) <= score(best)
