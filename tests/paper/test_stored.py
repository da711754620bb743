"""What is committed for the notebooks on generated pictures belongs together, and has learned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ngat.config import preset
from ngat.data import fingerprint, load
from ngat.evaluation.results import Run, read_instances, runs_in
from ngat.inference import instances, predict
from ngat.metrics import match, pixel_dice
from ngat.paper import artifacts
from ngat.paper.study.training import KINDS, read
from ngat.thresholds import thresholds_from
from ngat.training.weights import load_weights

DATA = Path(__file__).parents[2] / "data"
STORED = DATA / "results" / "synthetic"
WEIGHTS = DATA / "weights" / "synthetic-smoke.safetensors"


@pytest.fixture(scope="module")
def runs() -> list[Run]:
    return runs_in(STORED)


def test_the_network_has_learned_more_than_any_floor(runs: list[Run]) -> None:
    dice = {run.counts["method"].iloc[0]: run.pixels["pixel_dice"].mean() for run in runs}
    ours = [
        v for run, v in zip(runs, dice.values(), strict=True) if artifacts.family(run) == "ngat"
    ]
    floor = [
        v for run, v in zip(runs, dice.values(), strict=True) if artifacts.family(run) != "ngat"
    ]
    assert len(ours) == 2
    assert len(floor) == 4
    assert min(ours) > 0.85
    assert min(ours) > max(floor)


def test_results_are_of_these_pictures_and_these_weights(runs: list[Run]) -> None:
    samples = load("synthetic", "test", seed=1)
    for run in runs:
        assert run.provenance["data_fingerprint"] == fingerprint(samples), run.name
    model, chosen, provenance = load_weights(WEIGHTS)
    assert chosen == preset("smoke")
    assert WEIGHTS.stat().st_size < 2_000_000
    thresholds = thresholds_from(provenance)["split"]
    found = read_instances(STORED / "synthetic-test-smoke-split.rle.csv.gz")
    for sample in samples[:4]:
        now = instances(predict(model, sample.image), "split", thresholds)
        then = found[sample.image_id]
        # Another processor may round a pixel at an edge otherwise, not more.
        assert pixel_dice(now > 0, then > 0) > 0.995
        (strict,) = match(now, then, [0.9])
        assert strict.fp + strict.fn <= 1


def test_training_logs_are_whole_and_of_equal_length() -> None:
    logs = {
        kind: read(STORED / f"training-{kind}.log.csv", STORED / f"training-{kind}.validation.csv")
        for kind in KINDS
    }
    steps = preset("smoke").train.steps
    for curves in logs.values():
        assert curves.log["step"].tolist() == list(range(10, steps + 1, 10))
        assert curves.validation["step"].iloc[-1] == steps
        assert np.isfinite(curves.log[["loss", "learning_rate"]]).all().all()
