"""Changed images: what each change does, by hand, and that it is scored against what it changed."""

import numpy as np
import pandas as pd
import pytest
from command import inside
from tiny import tiny

from ngat.data import Sample
from ngat.evaluation import robustness as study
from ngat.evaluation.robustness import CHANGES
from ngat.inference import Prediction
from ngat.model import NGAT
from ngat.training.weights import Weights, save_weights


def sample(name: str = "a", kind: str = "small_fluorescent", grey: int = 200) -> Sample:
    """Two square nuclei of 24 pixels a side on a dark ground."""
    labels = np.zeros((64, 96), np.int32)
    labels[8:32, 8:32], labels[30:54, 60:84] = 1, 2
    image = np.full((64, 96, 3), 10, np.uint8)
    image[labels > 0] = grey
    return Sample(name, image, labels, kind, name, "val")


def change(name: str, one: Sample | None = None, other: Sample | None = None) -> study.Changed:
    found = CHANGES[name](one or sample(), other or sample("b", grey=90))
    assert found is not None
    return found


def test_what_the_changes_do() -> None:
    plain = sample()
    blue = change("fluorescence in blue").image
    assert (blue[..., :2] == 0).all()
    assert (blue[..., 2] == plain.image[..., 0]).all()
    assert change("fluorescence in cyan (1/8, 1/3, 1)").image[10, 10].tolist() == [25, 67, 200]
    assert (change("inverted").image == 255 - plain.image).all()
    cold = change("12-bit camera, values 100 to 1000").image
    assert cold.dtype == np.uint16
    assert cold[0, 0].tolist() == [135] * 3  # 100 + 10 · 900 / 255
    assert (change("16-bit camera, full range").image == plain.image.astype(int) * 257).all()


def test_a_short_exposure_has_the_noise_of_its_photons() -> None:
    bright = sample(grey=250)
    found = change("fluorescence, 8 photons", bright)
    inside = found.image[bright.labels > 0][:, 0] * (8 / 255)
    assert np.abs(inside - inside.round())[inside < 8].max() < 0.05  # whole photons
    # Clipped at the brightest value, as a camera is: half a Poisson distribution of mean 8.
    assert 6.0 < inside.mean() < 7.5
    assert found.image[bright.labels == 0].mean() < 20
    assert CHANGES["fluorescence, 8 photons"](sample(kind="purple_tissue"), sample()) is None


@pytest.mark.parametrize(("name", "value"), [("white beside it", 255), ("black beside it", 0),
                                             ("another image beside it", 10)])  # fmt: skip
def test_only_the_image_s_own_half_counts(name: str, value: int) -> None:
    found = change(name)
    assert found.image.shape == (64, 192, 3)
    assert found.image[0, 100].tolist() == [value] * 3
    assert (found.image[found.part] == sample().image).all()
    assert (found.labels[found.part] == sample().labels).all()
    if name.startswith("another"):
        assert found.image[10, 106].tolist() == [90] * 3


def test_magnified_annotations_keep_their_nuclei() -> None:
    for name, factor in (("magnification x 1/2", 0.5), ("magnification x 2", 2.0)):
        found = change(name)
        areas = np.bincount(found.labels.ravel())[1:]
        assert areas.tolist() == [576 * factor**2] * 2
    tiny_nuclei = sample()
    assert CHANGES["magnification x 1/4"](tiny_nuclei, tiny_nuclei) is not None  # 6 pixels
    small = Sample(**{**vars(tiny_nuclei), "labels": np.eye(64, 96, dtype=np.int32)})
    assert CHANGES["magnification x 1/4"](small, small) is None


def test_colours_are_for_fluorescence() -> None:
    assert CHANGES["fluorescence in red"](sample(kind="purple_tissue"), sample()) is None


def test_texture_is_added_to_the_enlarged_image_and_differs_from_image_to_image() -> None:
    plain, textured = CHANGES["magnification x 4"], CHANGES["magnification x 4, with texture"]
    one, other = sample("a"), sample("b")
    before = plain(one, other)
    changed, again, second = textured(one, other), textured(one, other), textured(other, one)
    np.testing.assert_array_equal(changed.labels, before.labels)
    np.testing.assert_array_equal(changed.image, again.image)
    assert (changed.image != second.image).any()
    inside = before.labels > 0
    assert changed.image[inside].std() > before.image[inside].std() + 1
    large = Sample(
        "c",
        np.zeros((512, 600, 3), np.uint8),
        np.ones((512, 600), np.int32),
        "small_fluorescent",
        "c",
        "val",
    )
    assert textured(large, large) is None


def test_the_table_compares_each_image_with_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """A predictor by brightness finds all nuclei, and none of an inverted image."""

    def predict(model: object, image: np.ndarray) -> Prediction:
        bright = (image.max(axis=2) > 0.3 * np.iinfo(image.dtype).max).astype(np.float32)
        return Prediction(bright, bright, 1.0)

    monkeypatch.setattr(study, "predict", predict)
    weights = Weights(NGAT(tiny().model), tiny(), {})
    names = ["inverted", "black beside it", "fluorescence in green"]
    samples = [sample("a"), sample("b"), sample("c", kind="purple_tissue")]
    table = study.robustness(weights, samples, changes=names, method="components", progress=False)
    assert table.columns.tolist() == study.COLUMNS
    assert table.images.tolist() == [3, 3, 2]
    assert table.unchanged.tolist() == [1.0, 1.0, 1.0]
    assert table.changed.tolist() == [0.0, 1.0, 1.0]
    assert table.difference.tolist() == [-1.0, 0.0, 0.0]
    assert table.low.tolist() == table.high.tolist() == [-1.0, 0.0, 0.0]
    assert table.magnification.tolist() == [1.0, 1.0, 1.0]


def test_the_interval_is_that_of_a_paired_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against the normal approximation; unchanged images are scored first."""
    before, after = np.random.default_rng(0).normal(0.5, 0.5, (2, 400))
    scores = iter([*before, *after])
    monkeypatch.setattr(study, "_score", lambda *_: (next(scores), 1.0))
    weights = Weights(NGAT(tiny().model), tiny(), {})
    samples = [sample(str(i)) for i in range(400)]
    (line,) = study.robustness(
        weights, samples, changes=["black beside it"], progress=False
    ).itertuples()
    mean, half = (after - before).mean(), 1.96 * (after - before).std() / 20
    assert (line.low, line.high) == pytest.approx((mean - half, mean + half), abs=0.01)


def test_a_stopped_table_goes_on(tmp_path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """Lines that are there are kept, and a change of the weights starts anew."""
    path, out = tmp_path / "w.safetensors", tmp_path / "robustness.csv"
    save_weights(path, NGAT(tiny().model), tiny(), {})
    seen: list[int] = []
    stop_at = [7]  # two images as they are, then changes

    def predict(model: object, image: np.ndarray) -> Prediction:
        if len(seen) == stop_at[0]:
            raise KeyboardInterrupt
        seen.append(1)
        bright = (np.atleast_3d(image).max(axis=2) > 0.5 * image.max()).astype(np.float32)
        return Prediction(bright, bright, 1.0)

    monkeypatch.setattr(study, "predict", predict)
    words = ["robustness", "--weights", str(path), "--out", str(out), "--data", "synthetic"]
    words += ["--limit", "2", "--quiet"]
    code, _, told = inside(capsys, monkeypatch, *words)
    assert code == 130
    assert "goes on with the next change" in told
    begun = pd.read_csv(out)
    assert 0 < begun["images"].sum() <= 7 - 2
    seen.clear()
    stop_at[0] = -1
    assert inside(capsys, monkeypatch, *words)[0] == 0
    resumed, whole = len(seen), pd.read_csv(out)
    pd.testing.assert_frame_equal(whole.head(len(begun)), begun)
    seen.clear()
    other = tmp_path / "other.csv"
    assert inside(capsys, monkeypatch, *words[:4], str(other), *words[5:])[0] == 0
    pd.testing.assert_frame_equal(pd.read_csv(other), whole)
    assert resumed == len(seen) - begun["images"].sum()
    seen.clear()
    save_weights(path, NGAT(tiny().model), tiny(), {"other": 1})
    assert inside(capsys, monkeypatch, *words)[0] == 0
    assert len(seen) == 2 + whole["images"].sum()
