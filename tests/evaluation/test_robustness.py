"""Changed images: what each change does, by hand, and that it is scored against what it changed."""

import numpy as np
import pandas as pd
import pytest
from command import inside
from tiny import tiny

from ngat.data import Sample
from ngat.evaluation import changes
from ngat.evaluation import robustness as study
from ngat.evaluation.changes import CHANGES, LOOKED_FOR, Changed
from ngat.inference import Prediction
from ngat.model import NGAT
from ngat.system import provenance
from ngat.training import distributed
from ngat.training import weights as weights_module
from ngat.training.weights import Weights, save_weights


def sample(name: str = "a", kind: str = "small_fluorescent", grey: int = 200) -> Sample:
    """Two square nuclei of 24 pixels a side on a dark ground."""
    labels = np.zeros((64, 96), np.int32)
    labels[8:32, 8:32], labels[30:54, 60:84] = 1, 2
    image = np.full((64, 96, 3), 10, np.uint8)
    image[labels > 0] = grey
    return Sample(name, image, labels, kind, name, "val")


def change(name: str, one: Sample | None = None, other: Sample | None = None) -> Changed:
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


def test_small_nuclei_and_large_images_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nuclei under 6 pixels, images over 6 million pixels, with texture over 1.1 million."""

    def of(height: int, width: int, side: int) -> Sample:
        labels = np.zeros((height, width), np.int32)
        labels[:side, :side] = 1
        image = np.zeros((height, width, 3), np.uint8)
        return Sample("a", image, labels, "small_fluorescent", "a", "val")

    monkeypatch.setattr(changes, "resized_sample", lambda sample, factor: sample)
    monkeypatch.setattr(changes, "textured", lambda view, *_: view)

    def kept(name: str, one: Sample) -> bool:
        return CHANGES[name](one, one) is not None

    assert kept("magnification x 1/4", of(64, 64, 24))
    assert not kept("magnification x 1/4", of(64, 64, 23))
    assert kept("magnification x 4", of(500, 750, 24))  # 2000 x 3000
    assert not kept("magnification x 4", of(500, 751, 24))
    monkeypatch.setattr(changes, "resized_sample", lambda sample, factor: of(1000, 1100, 24))
    assert kept("magnification x 4, with texture", sample())
    monkeypatch.setattr(changes, "resized_sample", lambda sample, factor: of(1000, 1101, 24))
    assert not kept("magnification x 4, with texture", sample())


def test_a_tint_shows_the_brightest_channel_of_either_fluorescent_type() -> None:
    for kind in ("small_fluorescent", "large_fluorescent"):
        plain = sample(kind=kind)
        plain.image[10, 10] = 10, 20, 180
        assert change("fluorescence in red", plain).image[10, 10].tolist() == [180, 0, 0]
        assert change("fluorescence in green", plain).image[10, 10].tolist() == [0, 180, 0]


def test_a_smaller_image_is_repeated_beside() -> None:
    """By its own sides; its nuclei do not count."""
    rows, columns = np.mgrid[:40, :50].astype(np.uint8)
    image = np.stack([rows, columns, rows], axis=2)
    other = Sample("b", image, np.ones((40, 50), np.int32), "small_fluorescent", "b", "val")
    found = change("another image beside it", other=other)
    assert found.image[45, 96 + 70].tolist() == [5, 20, 5]
    assert not found.labels[:, 96:].any()


def test_jpeg_has_quality_50() -> None:
    """There the mean of 8 x 8 pixels is stored in steps of 16 / 8 = 2; at others in other steps."""
    plain = sample()
    for grey, kept in ((130, True), (131, False), (132, True)):
        plain.image[:] = grey
        found = change("JPEG, quality 50", plain).image
        assert found.shape == plain.image.shape
        assert (found == grey).all() == kept


def test_exposures_are_relative_to_the_brightest_pixel() -> None:
    """A dim image gets as many photons as a bright one, a black one none."""
    dim = sample(grey=100)
    inside = change("fluorescence, 8 photons", dim).image[dim.labels > 0]
    assert 6.0 < inside.mean() * (8 / 255) < 7.5
    dim.image[:] = 0
    assert not change("fluorescence, 8 photons", dim).image.any()


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


def test_the_magnification_is_that_of_the_unchanged_image_times_a_mean(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Found at 2 and 4, and at 1 and 8: twice and eight times as large, in geometric mean 4."""
    found = {200: 2.0, 55: 4.0, 100: 1.0, 155: 8.0}
    methods = []

    def predict(model: object, image: np.ndarray) -> Prediction:
        return Prediction(image[..., 0] / 255, image[..., 0] / 255, found[image[10, 10, 0]])

    def instances(prediction: Prediction, method: str) -> np.ndarray:
        methods.append(method)
        return sample().labels

    monkeypatch.setattr(study, "predict", predict)
    monkeypatch.setattr(study, "instances", instances)
    weights = Weights(NGAT(tiny().model), tiny(), {})
    samples = [sample("a", "purple_tissue", 200), sample("b", "purple_tissue", 100)]
    # The first does not concern these images, and has no line.
    names = ["fluorescence in red", "inverted"]
    table = study.robustness(weights, samples, changes=names, progress=False)
    assert table.change.tolist() == ["inverted"]
    assert table.magnification.tolist() == [4.0]
    assert set(methods) == {"split"}
    study.robustness(weights, samples, changes=names, method="components", progress=False)
    assert methods[-1] == "components"


def test_images_side_by_side_are_searched_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A predictor that finds nothing where two images differ in brightness: alone it finds all."""

    def seen(grey: int, seed: int) -> Sample:
        image, labels = np.zeros((64, 64, 3)), np.zeros((64, 64), np.int32)
        rows, columns = np.indices(labels.shape)
        for number, (y, x) in enumerate(np.mgrid[8:64:16, 8:64:16].reshape(2, -1).T, start=1):
            labels[np.hypot(rows - y - seed, columns - x - seed) < 6.1] = number
        image[:] = (grey * (labels > 0) + 20)[:, :, None]
        image += np.random.default_rng(seed).normal(0, 2, image.shape)
        return Sample(
            str(grey), image.clip(0, 255).astype(np.uint8), labels, "purple_tissue", "", "val"
        )

    def predict(model: object, image: np.ndarray) -> Prediction:
        grey = image.mean(axis=2)
        bright = (grey > (grey.min() + grey.max()) / 2).astype(np.float32)
        return Prediction(bright, bright, 2.0 if image.shape[1] == 64 else 4.0)

    monkeypatch.setattr(study, "predict", predict)
    weights = Weights(NGAT(tiny().model), tiny(), {})
    samples = [seen(90, 6), seen(200, 6)]
    how = {"changes": LOOKED_FOR[:3], "method": "components", "progress": False}
    table = study.robustness(weights, samples, panels=True, **how)
    assert table.change.tolist() == [
        "white beside it",
        "black beside it",
        "another image beside it",
    ]
    assert table.difference.tolist() == [0.0, 0.0, 0.0]
    assert table.magnification.tolist() == [1.0, 1.0, 1.0]
    table = study.robustness(weights, samples, **how)
    assert table.difference[1] == 0
    assert (table.difference[[0, 2]] < -0.4).all()
    assert table.magnification.tolist() == [2.0, 2.0, 2.0]


def test_a_scale_bar_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scored by a predictor to which all that is brighter than the darkest pixel is a nucleus."""
    size = 160
    labels = np.zeros((size, size), np.int32)
    labels[8:32, 8:32] = 1
    image = np.full((size, size, 3), 10, np.uint8)
    image[labels > 0] = 120
    dark = Sample("a", image, labels, "small_fluorescent", "a", "val")
    changed = CHANGES["scale bar with letters"](dark, dark)
    assert changed is not None
    rows, columns = np.nonzero((changed.image == 255).all(axis=2))
    assert (rows.max(), columns.min(), columns.max()) == (152, 120, 152)  # a fifth, in the corner
    letters = (changed.image != image).any(axis=2)[:150]
    assert 30 < letters.sum() == letters[135:, 115:158].sum(), "letters above the bar"
    assert (changed.image[labels > 0] == 120).all()
    bright = Sample("b", 255 - image, labels, "purple_tissue", "b", "val")
    negative = CHANGES["scale bar with letters"](bright, bright)
    assert negative is not None
    assert (negative.image == 255 - changed.image).all(), "black on bright"

    def predict(model: object, image: np.ndarray) -> Prediction:
        seen = (image.mean(axis=2) > image.min() + 20).astype(np.float32)
        return Prediction(seen, seen, 1.0)

    monkeypatch.setattr(study, "predict", predict)
    weights = Weights(NGAT(tiny().model), tiny(), {})
    how = {"changes": LOOKED_FOR[3:], "method": "components", "progress": False}
    assert study.robustness(weights, [dark], panels=True, **how).difference.tolist() == [0.0]
    assert study.robustness(weights, [dark], **how).difference[0] < -0.5


def test_what_stands_beside_is_the_next_image_of_the_type(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first again after the last; itself where there is no other."""
    pairs = []
    monkeypatch.setattr(study, "_score", lambda *_: (1.0, 1.0))
    monkeypatch.setitem(CHANGES, "inverted", lambda one, other: pairs.append((one, other)))
    weights = Weights(NGAT(tiny().model), tiny(), {})
    samples = [sample("a"), sample("b", "purple_tissue"), sample("c"), sample("d")]
    study.robustness(weights, samples, changes=["inverted"], progress=False)
    names = [one.image_id + other.image_id for one, other in pairs]
    assert names == ["ac", "bb", "cd", "da"]


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


def test_the_record_names_the_device(tmp_path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    path, told = tmp_path / "w.safetensors", []
    save_weights(path, NGAT(tiny().model), tiny(), {})
    monkeypatch.setattr(weights_module, "load_weights", lambda path, device: None)
    monkeypatch.setattr(distributed, "find_device", lambda device: f"{device}:0")
    monkeypatch.setattr(provenance, "hardware", lambda device: device)
    monkeypatch.setattr(provenance, "versions", lambda device: {})
    monkeypatch.setattr(study, "fill", lambda *given, **_: told.append(given[3]) or pd.DataFrame())
    words = ["robustness", "--weights", str(path), "--out", str(tmp_path / "r.csv")]
    words += ["--data", "synthetic", "--limit", "1", "--device", "cuda", "--quiet"]
    assert inside(capsys, monkeypatch, *words)[0] == 0
    assert told[0]["hardware"] == "cuda:0"
