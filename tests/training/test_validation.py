"""What validation reports, recomputed pixel by pixel from the network's own predictions."""

from __future__ import annotations

import csv
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny import rings, tiny

from ngat.data import Sample
from ngat.inference import Prediction, predict
from ngat.model import NGAT
from ngat.thresholds import LARGEST, Thresholds
from ngat.training import validation
from ngat.training.trainer import train
from ngat.training.validation import (
    COARSE,
    Scores,
    around,
    choose_thresholds,
    known_magnification,
    search,
    summary,
    validate,
)
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


def square(side: int, of: int = 400) -> Sample:
    labels = np.zeros((of, of), np.int32)
    labels[:side, :side] = 1
    return Sample("square", np.zeros((of, of, 3), np.uint8), labels, "t", "g", "val")


def test_a_network_of_one_size_is_validated_at_that_size() -> None:
    """Nuclei of 10 pixels are seen twice as large; no image at more than three times."""
    sized, plain = NGAT(tiny(outputs=3).model), NGAT(tiny(outputs=2).model)
    found = [known_magnification(sized, square(side)) for side in (10, 20, 5, 400)]
    assert found == [2.0, 1.0, 3.0, 1 / 16]
    assert known_magnification(plain, square(10)) is None


def test_scores_of_both_methods_have_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two nuclei that touch: found by *split*, one object by *components*."""
    labels = np.zeros((12, 20), np.int32)
    labels[2:10, 2:10], labels[2:10, 10:18] = 1, 2
    core = np.zeros((12, 20), np.float32)
    core[4:8, 4:8] = core[4:8, 12:16] = 0.9
    seen = Prediction((labels > 0) * np.float32(0.8), core)
    asked = []

    def predict(model: object, image: np.ndarray, *, magnification: float | None) -> Prediction:
        asked.append(magnification)
        return seen

    monkeypatch.setattr(validation, "predict", predict)
    sample = Sample("two", np.zeros((12, 20, 3), np.uint8), labels, "t", "g", "val")
    told = validation.score_one(NGAT(tiny().model), sample)
    assert told.average_f1 == 1.0
    assert told.components_f1 == 0.0
    # Only a network with a size output is shown the annotated size, and only where that is known.
    for outputs, known in ((3, True), (3, False), (2, True)):
        validation.score_one(NGAT(tiny(outputs=outputs).model), sample, known)
    assert asked == [None, 2.5, None, None]


def test_the_fine_search_goes_half_a_step_to_either_side() -> None:
    assert around("min_area", 16) == [16, 12, 24]
    assert around("smoothing", 1.5) == [1.5, 1.25, 1.75]
    assert around("prominence", 0.1) == [0.1, 0.08, 0.12]
    assert around("confidence", 0.0) == [0.0, 0.0, 0.02]
    assert around("core", 0.6) == [0.6, 0.55, 0.65]
    assert around("landscape", "core") == ["core"]


@pytest.mark.parametrize("name", sorted({*COARSE} - {"landscape", "min_area"}))
@pytest.mark.parametrize(("sign", "end"), [(-1, 0.0), (1, 1.0)])
def test_the_fine_search_ends_where_thresholds_do(name: str, sign: int, end: float) -> None:
    """A network for which no threshold is extreme enough ends its training all the same."""
    found = search(lambda t: sign * getattr(t, name), [name])
    assert getattr(found, name) == end * LARGEST.get(name, 1.0)


@pytest.mark.parametrize("tta", [False, True])
def test_thresholds_drop_debris_that_is_small_or_pale(
    monkeypatch: pytest.MonkeyPatch, tta: bool
) -> None:
    """Specks of 25 pixels, and patches as large as nuclei whose middles alone are bright."""
    sample = square(12, of=40)
    probability = np.where(sample.labels > 0, np.float32(0.9), np.float32(0.0))
    probability[15:20, 0:5] = 0.9
    probability[20:32, 20:32] = 0.51
    probability[24:28, 24:28] = 0.9
    asked = []

    def predict(model: object, image: np.ndarray, *, tta: bool) -> Prediction:
        asked.append(tta)
        return Prediction(probability, probability)

    monkeypatch.setattr(validation, "predict", predict)
    chosen = choose_thresholds(NGAT(tiny().model), [sample], tta=tta, progress=False)
    assert asked == [tta]
    for thresholds in chosen.values():
        assert thresholds.min_area > 25
        assert thresholds.confidence > 0.55 or thresholds.probability > 0.51
