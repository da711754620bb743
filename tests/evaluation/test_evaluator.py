"""Evaluation: result files that hold what was found, counted as anyone else would count it."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from tiny import rings, tiny

from ngat import metrics
from ngat.baselines.thresholding import otsu_watershed
from ngat.data import fingerprint
from ngat.errors import InputError
from ngat.evaluation.evaluator import evaluate
from ngat.evaluation.results import read_instances, read_run, runs_in, write_instances
from ngat.evaluation.scoring import score
from ngat.inference import instances, predict
from ngat.model import NGAT
from ngat.thresholds import Thresholds, thresholds_to_dict
from ngat.training.weights import load_weights, save_weights

THRESHOLDS = {
    "components": Thresholds(0.1, 0.5, min_area=8),
    "split": Thresholds(0.12, 0.11, min_area=10),
}


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """An untrained network with thresholds at which it finds something."""
    torch.manual_seed(0)
    chosen = tiny()
    model = NGAT(chosen.model)
    history = {
        "thresholds": thresholds_to_dict(THRESHOLDS),
        "minutes": 7.5,
        "hardware": "Abacus, 10 beads",
        "seed": 4,
    }
    path = tmp_path / "w.safetensors"
    save_weights(path, model, chosen, history)
    return path


def test_the_network_is_measured_by_both_methods(tmp_path: Path, weights: Path) -> None:
    samples = rings("test", 3)
    written = evaluate(
        samples, tmp_path / "out", data="rings", weights=weights, device="cpu", progress=False
    )
    assert len(written) == 10
    model = load_weights(weights).model
    for kind in ("components", "split"):
        run = read_run(tmp_path / "out" / f"rings-test-smoke-{kind}")
        found = read_instances(tmp_path / "out" / f"rings-test-smoke-{kind}.rle.csv.gz")
        assert set(run.counts["method"]) == {f"smoke ({kind})"}
        for sample in samples:
            expected = instances(predict(model, sample.image), kind, THRESHOLDS[kind])
            assert expected.max() > 0
            pairs = metrics.iou_matrix(found[sample.image_id], expected)
            assert (pairs.max(0) == 1).all()
            assert (pairs.max(1) == 1).all()
            lines = run.counts[run.counts.image_id == sample.image_id].set_index("threshold")
            for c in metrics.match(expected, sample.labels):
                assert tuple(lines.loc[c.threshold, ["tp", "fp", "fn"]]) == (c.tp, c.fp, c.fn)
        told = run.provenance
        assert told["data_fingerprint"] == fingerprint(samples)
        assert told["parameters"] == sum(p.numel() for p in model.parameters())
        # What a table shows of a method is its training.
        assert (told["minutes"], told["hardware"], told["seed"]) == (7.5, "Abacus, 10 beads", 4)
        assert told["thresholds"][kind]["min_area"] == THRESHOLDS[kind].min_area
        assert told["evaluation"]["minutes"] < 1


def test_anyone_can_score_the_run_lengths(tmp_path: Path) -> None:
    samples = rings("test", 4)
    evaluate(samples, tmp_path, data="rings", method="otsu_watershed", progress=False)
    write_instances(tmp_path / "true.csv", {s.image_id: s.labels for s in samples})
    scored = score(tmp_path / "rings-test-otsu_watershed.rle.csv.gz", tmp_path / "true.csv")
    counts = runs_in(tmp_path)[0].counts
    for image_id, lines in counts.groupby("image_id"):
        again = [(c.tp, c.fp, c.fn) for c in scored.counts[image_id]]
        assert again == list(lines[["tp", "fp", "fn"]].itertuples(index=False, name=None))
    expected = otsu_watershed(samples[0].image)
    assert scored.images.set_index("image_id").n_pred[samples[0].image_id] == expected.max()


def test_measured_twice_gives_the_same_bytes(tmp_path: Path, weights: Path) -> None:
    for folder in ("a", "b"):
        evaluate(
            rings("test", 2),
            tmp_path / folder,
            data="rings",
            weights=weights,
            tta=True,
            name="run",
            label="NGAT",
            device="cpu",
            progress=False,
        )
    files = sorted(p.name for p in (tmp_path / "a").iterdir())
    assert len(files) == 10
    assert files[:2] == ["run-components.confidence.csv.gz", "run-components.counts.csv"]
    for name in files:
        if not name.endswith(".json"):  # they tell the time
            assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_baselines_come_through_the_same_door(tmp_path: Path) -> None:
    for method in ("otsu", "otsu_watershed", "untrained"):
        evaluate(
            rings("test", 2),
            tmp_path,
            data="rings",
            method=method,
            preset="smoke",
            device="cpu",
            progress=False,
        )
    methods = [run.counts["method"].iloc[0] for run in runs_in(tmp_path)]
    assert methods == [
        "Otsu",
        "Otsu + watershed",
        "untrained smoke (components)",
        "untrained smoke (split)",
    ]
    told = json.loads((tmp_path / "rings-test-otsu.json").read_text())
    assert told["minutes"] is None  # nothing was trained
    assert "parameters" not in told


def test_the_untrained_network_depends_on_the_seed_alone(tmp_path: Path) -> None:
    found = []
    for turn, seed in enumerate((0, 0, 1)):
        torch.manual_seed(turn)
        evaluate(
            rings("test", 1),
            tmp_path / str(turn),
            data="rings",
            method="untrained",
            preset="smoke",
            seed=seed,
            device="cpu",
            progress=False,
        )
        path = tmp_path / str(turn) / "rings-test-untrained-components.pixels.csv"
        found.append(path.read_text())
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"method": "guess"}, "Unknown method 'guess'; known: ngat, otsu"),
        ({}, "give --weights for it"),
        ({"method": "otsu", "weights": "w"}, "give --weights for it, and only then"),
        ({"weights": "absent.safetensors"}, "absent.safetensors: cannot be read"),
        ({"method": "otsu", "name": "A B"}, "name a run with small letters"),
        ({"method": "untrained", "preset": "huge"}, "Unknown preset 'huge'"),
    ],
)
def test_what_cannot_be_evaluated_is_said(tmp_path: Path, arguments: dict, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        evaluate(rings("test", 1), tmp_path, data="rings", progress=False, **arguments)
    with pytest.raises(InputError, match="no picture"):
        evaluate([], tmp_path, data="rings", method="otsu")


def test_of_a_folder_results_keep_the_name_alone(tmp_path: Path) -> None:
    folder = tmp_path / "jo" / "My Pictures"
    folder.mkdir(parents=True)
    for masks in ("published", "corrected"):
        evaluate(
            rings("test", 1),
            tmp_path / "out",
            data=str(folder),
            masks=masks,
            method="otsu",
            progress=False,
        )
    corrected, published = runs_in(tmp_path / "out")
    assert (corrected.name, published.name) == (
        "my-pictures-corrected-masks-test-otsu",
        "my-pictures-test-otsu",
    )
    assert set(corrected.counts["data"]) == {"My Pictures, corrected masks"}
    for path in (tmp_path / "out").glob("*.*s*"):
        assert b"jo/" not in path.read_bytes()


def test_a_bad_name_is_said_before_a_picture_is_predicted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ngat.evaluation.evaluator.otsu", lambda image: pytest.fail("predicted"))
    with pytest.raises(InputError, match="name a run with small letters"):
        evaluate(rings("test", 1), tmp_path, data="rings", method="otsu", name="A", progress=False)


def test_sizes_may_differ(tmp_path: Path, weights: Path) -> None:
    samples = rings("test", 2)
    odd = samples[1]
    smaller = dataclasses.replace(
        odd, image_id="odd", image=odd.image[:31, :17], labels=odd.labels[:31, :17]
    )
    evaluate([samples[0], smaller], tmp_path, data="rings", weights=weights, progress=False)
    run = read_run(tmp_path / "rings-test-smoke-split")
    assert set(zip(run.pixels.height, run.pixels.width, strict=True)) == {(40, 40), (31, 17)}
