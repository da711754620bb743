"""The classical pipeline finds what was drawn, and its tuning is repeatable and sees no test."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from skimage.filters import threshold_otsu

from ngat.data import Sample
from ngat.errors import InputError
from ngat.evaluation.evaluator import evaluate
from ngat.evaluation.results import read_run
from ngat.metrics import image_score, iou_matrix, match

pytest.importorskip("centrosome")

from ngat.baselines import classical_search, classical_tuning
from ngat.baselines.classical import (
    Settings,
    channel_of,
    classical,
    dark_nuclei,
    filled,
    resized,
    settings_from,
    threshold_of,
)
from ngat.baselines.classical_search import SearchPlan
from ngat.baselines.classical_tuning import ONE, choose, read_tuned, tune

BOTH = np.array([[30, 24], [30, 40]])  # two discs of radius 10 that overlap


def discs(centres: np.ndarray, radius: float = 10, size: int = 64) -> np.ndarray:
    """Labels of discs, each pixel given to the nearest centre."""
    y, x = np.mgrid[:size, :size]
    away = np.hypot(y[..., None] - centres[:, 0], x[..., None] - centres[:, 1])
    return np.where(away.min(-1) <= radius, away.argmin(-1) + 1, 0).astype(np.int32)


def picture(labels: np.ndarray, nucleus: float = 0.8, around: float = 0.1, seed: int = 0):
    """A grey picture of the labels with a little noise: ``uint8 [H, W, 3]``."""
    noise = np.random.default_rng(seed).normal(0, 0.02, labels.shape)
    grey = np.clip(np.where(labels > 0, nucleus, around) + noise, 0, 1)
    return np.repeat((grey * 255).astype(np.uint8)[..., None], 3, axis=2)


def sample(name: str, kind: str = "small_fluorescent", split: str = "train", seed: int = 0):
    rng = np.random.default_rng(seed)
    labels = discs(rng.uniform(10, 54, (6, 2)), radius=6)
    tissue = kind != "small_fluorescent"
    image = picture(labels, *((0.3, 0.8) if tissue else (0.7, 0.1)), seed=seed)
    return Sample(name, image, labels, kind, name, split)


def samples(split: str = "train") -> list[Sample]:
    kinds = ("small_fluorescent", "purple_tissue")
    return [sample(f"{k[:3]}{i}", k, split, 10 * i + len(k)) for i in range(3) for k in kinds]


@pytest.mark.parametrize(
    ("seeds", "lines", "smoothing"),
    [
        ("shape", "shape", 3.0),
        ("shape", "propagate", 3.0),
        ("intensity", "intensity", 3.0),
        ("log", "shape", 7.0),  # a disc answers most where the deviation is its radius over √2
    ],
)
def test_touching_discs_are_parted(seeds: str, lines: str, smoothing: float) -> None:
    labels = discs(BOTH)
    image = picture(labels)
    if seeds != "shape":  # brightest in the middle
        y, x = np.mgrid[:64, :64]
        away = np.hypot(y[..., None] - BOTH[:, 0], x[..., None] - BOTH[:, 1]).min(-1)
        image = (image * np.clip(1.1 - away / 25, 0.3, 1)[..., None]).astype(np.uint8)
    chosen = Settings(seeds=seeds, lines=lines, seed_smoothing=smoothing, suppression=6.0)
    found = classical(image, chosen)
    assert found.max() == 2
    assert (iou_matrix(found, labels).max(0) > 0.85).all()
    whole = classical(image, replace(chosen, seeds="none"))
    assert whole.max() == 1
    # Parting moves no edge between nuclei and background.
    assert ((whole > 0) == (found > 0)).all()


@pytest.mark.parametrize("polarity", ["auto", "dark"])
def test_dark_nuclei_are_the_negative_of_bright_ones(polarity: str) -> None:
    image = picture(discs(BOTH))
    bright = classical(image, Settings(polarity="bright"))
    assert bright.max() == 2
    assert (classical(255 - image, Settings(polarity=polarity)) == bright).all()
    # On the wrong side, what is found is the background.
    wrong = classical(image, Settings(polarity="dark", max_hole=0))
    assert not (wrong[discs(BOTH, 8) > 0]).any()


def test_transmitted_light_and_fluorescence_are_told_apart() -> None:
    labels = discs(BOTH)
    assert dark_nuclei(channel_of(picture(labels, 0.3, 0.8), "luminance"))
    assert not dark_nuclei(channel_of(picture(labels, 0.7, 0.1), "luminance"))


def test_the_stain_is_told_from_another_of_the_same_darkness() -> None:
    # Ruifrok's and Johnston's optical densities of haematoxylin and eosin, per unit of stain.
    haematoxylin, eosin = np.array([0.65, 0.70, 0.29]), np.array([0.07, 0.99, 0.11])
    image = np.zeros((1, 2, 3), dtype=np.uint8)
    for column, stain in enumerate((haematoxylin, eosin)):
        image[0, column] = np.round(255 * 10 ** (-0.5 * stain))
    light = channel_of(image, "haematoxylin")[0]
    assert light[0] < 0.5
    assert light[1] > 0.95
    assert (channel_of(image, "red")[0] == image[0, :, 0] / 255).all()


def test_the_threshold_is_otsu_times_the_correction_and_no_lower_than_allowed() -> None:
    grey = picture(discs(BOTH))[..., 0] / 255.0
    # Otsu's criterion is flat between the two modes: thresholds differ there, masks do not.
    plain = threshold_of(grey, Settings(threshold="otsu"))
    assert ((grey > plain) != (grey > threshold_otsu(grey))).sum() < 5
    assert threshold_of(grey, Settings(correction=0.5)) == pytest.approx(plain / 2)
    assert threshold_of(grey, Settings(correction=0.5, lower=0.77)) == 0.77
    # Mean and two deviations of what lies between the 5th and the 95th percentile, by hand.
    values = np.sort(grey.ravel())
    cut = round(0.05 * values.size)
    values = values[cut:-cut]
    expected = values.mean() + 2 * values.std()
    robust = threshold_of(grey, Settings(threshold="robust_background", correction=1.1))
    assert robust == pytest.approx(1.1 * expected)


@pytest.mark.parametrize("method", ["otsu", "cross_entropy", "log_otsu", "mct", "otsu3_high"])
def test_an_adaptive_threshold_follows_the_light(method: str) -> None:
    centres = np.array([[y, x] for y in (16, 48, 80, 112) for x in (16, 48, 80, 112)])
    labels = discs(centres, 8, 128)
    # Nuclei on the left are darker than the background on the right.
    light = np.linspace(0.5, 1, 128)[None, :, None]
    image = (picture(labels, 0.8, 0.5) * light).astype(np.uint8)
    chosen = Settings(threshold=method, polarity="bright", rescale=False)
    f1 = {
        window: image_score(
            match(classical(image, replace(chosen, window=window)), labels)
        ).average_f1
        for window in (0, 32)
    }
    assert f1[32] > 0.8 > 0.7 > f1[0]


def test_holes_and_sizes() -> None:
    labels = discs(BOTH)
    holed = labels.copy()
    holed[30, 20] = holed[29:33, 42:45] = 0
    # One hole of 1 pixel and one of 12.
    assert (filled(holed, 20) == labels).all()
    assert (filled(holed, 12) == 0).sum() == (labels == 0).sum() + 12
    for by in (-2, 3):
        discs_then = discs(BOTH[:1], 10 + by) > 0
        assert np.abs((resized(discs(BOTH[:1]), by) > 0).sum() / discs_then.sum() - 1) < 0.12
    wide = resized(labels, 3)
    assert (wide[labels > 0] == labels[labels > 0]).all()
    image = picture(labels)
    area = int((labels == 1).sum())
    assert classical(image, Settings(max_area=area // 2)).max() == 0
    assert classical(image, Settings(min_area=2 * area)).max() == 0


def test_empty_pictures_and_bad_input() -> None:
    flat = np.full((40, 40, 3), 90, dtype=np.uint8)
    for window in (0, 25):
        assert classical(flat, Settings(threshold="mct", window=window)).max() == 0
    split = picture(np.zeros((40, 40), dtype=np.int32), around=0.1)
    split[:20] = 0  # a tile of one value has no threshold of its own
    for method in ("otsu", "cross_entropy", "mct", "log_otsu", "robust_background"):
        classical(split, Settings(threshold=method, window=10))
    with pytest.raises(InputError, match="three colours"):
        classical(flat[..., 0], Settings())
    with pytest.raises(InputError, match="threshold 'guess' is unknown; choose otsu"):
        Settings(threshold="guess")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="min_area must not be negative"):
        Settings(min_area=-1)
    with pytest.raises(InputError, match="no settings"):
        settings_from({"channel": "red"})
    assert settings_from(json.loads(json.dumps(asdict(Settings(grow=-1))))) == Settings(grow=-1)


def test_the_same_picture_gives_the_same_nuclei() -> None:
    image = sample("a", seed=5).image
    chosen = Settings(seeds="intensity", threshold="mct", window=25)
    first = classical(image, chosen)
    np.random.default_rng().random(3)
    assert first.max() > 1
    assert (classical(image, chosen) == first).all()


def test_a_stopped_tuning_ends_like_one_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = SearchPlan(trials=9, pictures=2, seed=3)
    whole = tune(samples(), tmp_path / "whole.json", plan, data="drawn", progress=False)
    assert set(whole.per_type) == {"small_fluorescent", "purple_tissue"}

    write, calls = classical_tuning.write_json, []

    def stop(path: Path, value: object) -> None:
        write(path, value)
        calls.append(path)
        if len(calls) == 13:
            raise KeyboardInterrupt

    monkeypatch.setattr(classical_tuning, "write_json", stop)
    stopped = tmp_path / "stopped.json"
    with pytest.raises(KeyboardInterrupt):
        tune(samples(), stopped, plan, data="drawn", progress=False)
    with pytest.raises(InputError, match="no finished tuning"):
        read_tuned(stopped)
    again = tune(samples()[::-1], stopped, plan, data="drawn", progress=False)
    # Thirteen trials were kept; only the others, and the end, were written now.
    assert len(calls) == 2 * 9 + 4 + 1
    assert (again.per_type, again.one, again.average_f1) == (
        whole.per_type,
        whole.one,
        whole.average_f1,
    )
    with pytest.raises(InputError, match="holds another search"):
        tune(samples(), stopped, replace(plan, seed=4), data="drawn", progress=False)
    monkeypatch.setattr(classical_search, "FIRST", 5)
    with pytest.raises(InputError, match="holds another search"):
        tune(samples(), stopped, plan, data="drawn", progress=False)


def test_more_trials_do_not_lend_the_one_setting_a_score_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it begins with are the types' settings, and they change with more trials."""

    def score(self: object, settings: Settings, best: Settings) -> float:
        return classical_search.crc(repr(settings)) / 2**32

    monkeypatch.setattr(classical_search.SearchObjective, "__call__", score)
    path = tmp_path / "t.json"
    for trials in (32, 44, 32):
        plan = SearchPlan(trials, 2)
        found = tune(samples(), path, plan, data="drawn", progress=False)
        new = tune(samples(), tmp_path / f"{trials}", plan, data="drawn", progress=False)
        assert found[:3] == new[:3]
        assert found.average_f1[ONE] == score(None, found.one, found.one)


def test_what_is_found_is_the_best_of_what_was_tried_and_scored_as_said(tmp_path: Path) -> None:
    plan = SearchPlan(trials=9, pictures=3)
    tuned = tune(samples(), tmp_path / "t.json", plan, data="drawn", progress=False)
    scores = json.loads((tmp_path / "t.json").read_text())["scores"]
    for kind, chosen in tuned.per_type.items():
        found = [
            image_score(match(classical(s.image, chosen), s.labels)).average_f1
            for s in samples()
            if s.type == kind
        ]
        assert tuned.average_f1[kind] == pytest.approx(np.mean(found), abs=1e-6)
        assert tuned.average_f1[kind] == max(x for x in scores[kind] if x is not None)
        assert len(scores[kind]) == plan.trials
    # One setting: types are equally frequent here, so that all pictures count alike.
    by_one = [
        image_score(match(classical(s.image, tuned.one), s.labels)).average_f1 for s in samples()
    ]
    assert tuned.average_f1[ONE] == pytest.approx(np.mean(by_one), abs=1e-6)
    assert tuned.average_f1[ONE] > 0.5


def test_a_type_weighs_what_it_is_given_however_many_pictures_it_has() -> None:
    few, many = samples()[:1], [s for s in samples() if s.type == "purple_tissue"]
    drawn = {"small_fluorescent": few, "purple_tissue": many}
    alike = classical_search.SearchObjective(drawn)
    assert [s.type for s in alike.samples] == ["small_fluorescent"] + 3 * ["purple_tissue"]
    scores = [1.0, 0.3, 0.3, 0.0]
    assert alike.mean(scores) == pytest.approx((1.0 + 0.2) / 2)
    often = classical_search.SearchObjective(drawn, {"small_fluorescent": 4, "purple_tissue": 1})
    assert often.mean(scores) == pytest.approx((4 * 1.0 + 0.2) / 5)
    assert often.mean(scores[:1]) == 1.0


def test_tuning_refuses_test_pictures(tmp_path: Path) -> None:
    for split in ("test", "val"):
        mixed = [*samples(), sample("held", split=split)]
        with pytest.raises(InputError, match=f"held is of {split}; tune on training"):
            tune(mixed, tmp_path / "t.json", SearchPlan(2), data="drawn", progress=False)
    with pytest.raises(InputError, match="no picture"):
        tune([], tmp_path / "t.json", data="drawn", progress=False)
    assert not (tmp_path / "t.json").exists()


def test_pictures_are_drawn_by_the_seed_and_large_ones_cut() -> None:
    large = Sample(
        "big",
        np.zeros((500, 300, 3), dtype=np.uint8),
        np.arange(150_000, dtype=np.int32).reshape(500, 300),
        "small_fluorescent",
        "big",
        "train",
    )
    (cut,) = choose([large], SearchPlan())["small_fluorescent"]
    assert cut.labels.shape == cut.image.shape[:2] == (classical_tuning.SIDE, 300)
    assert (np.diff(cut.labels[:, 0]) == 300).all()
    drawn = {
        seed: [
            s.image_id
            for s in choose(samples(), SearchPlan(pictures=2, seed=seed))["purple_tissue"]
        ]
        for seed in range(4)
    }
    assert all(len(ids) == 2 for ids in drawn.values())
    assert len({tuple(ids) for ids in drawn.values()}) > 1


def test_rows_come_from_evaluate(tmp_path: Path) -> None:
    path = tmp_path / "classical.json"
    tuned = tune(samples(), path, SearchPlan(3, 2, seed=7), data="drawn", progress=False)
    held = samples("test")
    for method, label in (
        ("classical_one", "classical, one setting"),
        ("classical_per_type", "classical, per type (type known)"),
    ):
        evaluate(held, tmp_path, data="drawn", method=method, tuned=path, progress=False)
        run = read_run(tmp_path / f"drawn-test-{method}")
        assert set(run.counts["method"]) == {label}
        for s in held:
            chosen = tuned.one if method == "classical_one" else tuned.per_type[s.type]
            lines = run.counts[run.counts.image_id == s.image_id]
            counts = match(classical(s.image, chosen), s.labels)
            assert [tuple(c[1:4]) for c in counts] == list(
                lines[["tp", "fp", "fn"]].itertuples(index=False, name=None)
            )
        assert run.provenance["seed"] == 7
        assert run.provenance["minutes"] == tuned.history["minutes"]
        assert run.provenance["training"]["split"] == "train"
    unknown = [sample("x", "grayscale_tissue", "test")]
    with pytest.raises(InputError, match="no classical settings for 'grayscale_tissue'"):
        evaluate(
            unknown, tmp_path, data="d", method="classical_per_type", tuned=path, progress=False
        )
    with pytest.raises(InputError, match="give --tuned"):
        evaluate(held, tmp_path, data="d", method="classical_one", progress=False)
    with pytest.raises(InputError, match="no such file"):
        read_tuned(tmp_path / "absent.json")
    path.write_text("{}")
    with pytest.raises(InputError, match="holds no tuning"):
        read_tuned(path)


def test_a_plan_has_a_seed_from_0() -> None:
    with pytest.raises(InputError, match="seed must be at least 0; got -1"):
        SearchPlan(seed=-1)
