"""Inference: any size, tiles, flips, and what a picture may look like."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import rings, tiny

from ngat.errors import InputError
from ngat.inference import (
    Prediction,
    Thresholds,
    _starts,
    as_tensor,
    instances,
    predict,
    thresholds_from,
    thresholds_to_dict,
)
from ngat.metrics import image_score, match
from ngat.model import NGAT
from ngat.training.validation import choose_thresholds, store_thresholds, validate
from ngat.training.weights import load_weights, save_weights


@pytest.fixture(scope="module")
def model() -> NGAT:
    """A network whose outputs vary: norms off, so that what is far away does not matter."""
    torch.manual_seed(0)
    model = NGAT(tiny(norm="none").model).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # away from the symmetric start
            parameter += 0.1 * torch.randn_like(parameter)
    return model


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", [(1, 1), (1, 17), (5, 3), (31, 32), (40, 27)])
def test_pictures_of_any_size(model: NGAT, size: tuple[int, int]) -> None:
    prediction = predict(model, picture(*size))
    for values in prediction:
        assert values.shape == size
        assert values.dtype == np.float32
        assert ((values > 0) & (values < 1)).all()
    assert not np.array_equal(*prediction)


def test_prediction_is_the_reconstruction(model: NGAT) -> None:
    image = picture(24, 20)
    with torch.no_grad():
        expected = model.reconstruct(
            model(torch.from_numpy(image / 255.0).float().movedim(-1, 0)[None])
        )
    got = predict(model, image)
    np.testing.assert_allclose(got.probability, expected[0, 0].numpy(), atol=1e-6)
    np.testing.assert_allclose(got.core, expected[0, 1].numpy(), atol=1e-6)


def test_one_output_serves_as_core_too() -> None:
    prediction = predict(NGAT(tiny(outputs=1).model), picture(9, 9))
    np.testing.assert_array_equal(prediction.probability, prediction.core)


def test_the_mode_and_the_weights_are_left_as_found() -> None:
    model = NGAT(tiny(dropout=0.5, norm="batch").model).train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    one, two = predict(model, picture(16, 16)), predict(model, picture(16, 16))
    np.testing.assert_array_equal(one.probability, two.probability)  # no dropout
    assert model.training
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_flips_make_a_mirrored_picture_s_prediction_the_mirrored_one(model: NGAT) -> None:
    image = picture(32, 24)
    for axis in (0, 1):
        plain = predict(model, image, tta=True).probability
        mirrored = predict(model, np.flip(image, axis), tta=True).probability
        np.testing.assert_allclose(np.flip(mirrored, axis), plain, atol=1e-5)
        one = predict(model, np.flip(image, axis)).probability
        assert np.abs(np.flip(one, axis) - predict(model, image).probability).max() > 1e-3


def test_views_are_weighed_as_stated() -> None:
    """Against the sum of single views, each of a picture that was turned or reduced before."""

    class Red(NGAT):
        """Says how red a pixel is, and twice as much at a reduced magnification."""

        def forward(self, image, targets=None):
            sizes.append(tuple(image.shape[-2:]))
            return image

        def reconstruct(self, output):
            return output[:, :1].repeat(1, 2, 1, 1) / (2 if output.shape[-1] == 30 else 1)

    sizes: list[tuple[int, ...]] = []
    flat = np.full((20, 30, 3), 102, np.uint8)
    found = predict(Red(tiny().model), flat, tta=True).probability
    assert sizes == [(20, 30)] * 4 + [(14, 21)] * 4
    np.testing.assert_allclose(found, 0.4 * (2 / 3 / 2 + 1 / 3), atol=1e-6)


def test_averages_over_views_have_thresholds_of_their_own() -> None:
    single, views = Thresholds(core=0.7), Thresholds(core=0.6)
    stored = {"thresholds": thresholds_to_dict({"split": single})}
    assert thresholds_from(stored, tta=True)["split"] == single
    stored["thresholds_tta"] = thresholds_to_dict({"split": views})
    assert thresholds_from(stored, tta=True)["split"] == views
    assert thresholds_from(stored)["split"] == single


def test_tiles_agree_with_the_whole_where_nodes_hear_no_further(model: NGAT) -> None:
    """Tiles start on the grid of the coarsest level here, and overlap by the reach and more."""
    image = picture(96, 64)
    whole = predict(model, image).probability
    tiled = predict(model, image, whole=0, tile=64, overlap=32).probability
    assert np.abs(tiled - whole).max() < 0.02
    assert np.abs(tiled - whole)[:24].max() < 1e-6
    alone = predict(model, image[:64]).probability
    assert np.abs(alone - whole[:64]).max() > np.abs(tiled - whole).max()


@pytest.mark.parametrize(
    ("length", "tile", "overlap"),
    [(10, 16, 4), (16, 16, 4), (17, 16, 4), (100, 16, 5), (28, 16, 0)],
)
def test_tiles_cover_and_overlap(length: int, tile: int, overlap: int) -> None:
    starts = _starts(length, tile, overlap)
    covered = np.zeros(length, dtype=int)
    for start in starts:
        assert start + tile <= max(length, tile)
        covered[start : start + tile] += 1
    assert covered.min() >= 1
    assert all(a + tile - b >= overlap for a, b in itertools.pairwise(starts))


def test_what_a_picture_may_be() -> None:
    image = picture(4, 5)
    expected = as_tensor(image)
    assert expected.shape == (1, 3, 4, 5)
    assert float(expected.max()) <= 1
    torch.testing.assert_close(as_tensor(image.astype(np.uint16) * 257), expected)
    torch.testing.assert_close(as_tensor(image / 255.0), expected)
    grey = as_tensor(image[:, :, 0])
    assert all(torch.equal(grey[0, c], expected[0, 0]) for c in range(3))


@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        (np.full((4, 4), np.nan), "NaN"),
        (np.full((4, 4, 3), 2.0), "0 to 1"),
        (np.zeros((4, 4, 4), np.uint8), "got .4, 4, 4."),
        (np.zeros((0, 4), np.uint8), "got .0, 4."),
        (np.zeros((4, 4), np.int64), "got int64"),
    ],
)
def test_what_a_picture_may_not_be(model: NGAT, image: np.ndarray, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        predict(model, image)


def test_overlap_must_leave_something(model: NGAT) -> None:
    with pytest.raises(InputError, match="cannot overlap"):
        predict(model, picture(8, 8), tile=64, overlap=64)


def two_touching() -> Prediction:
    probability = np.zeros((12, 20), np.float32)
    probability[2:10, 2:18] = 0.8
    core = np.zeros_like(probability)
    core[4:8, 4:8] = core[4:8, 12:16] = 0.9
    return Prediction(probability, core)


def test_components_keep_and_split_parts_touching_nuclei() -> None:
    assert instances(two_touching(), "components").max() == 1
    assert instances(two_touching(), "split").max() == 2
    assert instances(two_touching(), "split", Thresholds(core=0.95)).max() == 1
    assert instances(two_touching(), "split", Thresholds(prominence=0.1)).max() == 2
    assert instances(two_touching(), "split", Thresholds(prominence=0.95)).max() == 1
    assert instances(two_touching(), "components", Thresholds(probability=0.85)).max() == 0
    assert instances(two_touching(), "components", Thresholds(min_area=129)).max() == 0
    with pytest.raises(InputError, match="Unknown instance method"):
        instances(two_touching(), "guess")  # type: ignore[arg-type]


def test_thresholds_survive_the_provenance() -> None:
    chosen = {"components": Thresholds(0.3), "split": Thresholds(0.4, 0.6, 32)}
    assert thresholds_from({"thresholds": thresholds_to_dict(chosen)}) == chosen
    assert thresholds_from({})["split"] == Thresholds()
    with pytest.raises(InputError, match="not of this version"):
        thresholds_from({"thresholds": {"split": {"colour": 1}}})


class Shy(NGAT):
    """Finds every nucleus, but with a probability of 0.3; the ground says 0.1."""

    def reconstruct(self, output):
        red = output.positions[0].new_tensor(self.truth)
        return torch.stack([red, red])[None]


def test_thresholds_are_chosen_for_what_the_network_says() -> None:
    sample = rings(limit=1)[0]
    model = Shy(tiny().model)
    model.truth = np.where(sample.labels > 0, 0.3, 0.1)
    assert validate(model, [sample]).average_f1 == 0.0
    chosen = choose_thresholds(model, [sample], progress=False)
    assert 0.1 < chosen["components"].probability < 0.3
    labels = instances(predict(model, sample.image), "components", chosen["components"])
    assert image_score(match(labels, sample.labels)).average_f1 > 0.5


def test_thresholds_are_stored_with_the_weights(tmp_path: Path) -> None:
    sample, path = rings(limit=1)[0], tmp_path / "w.safetensors"
    old = {"split": {"probability": 0.5, "core": 0.9, "prominence": 0.0, "min_area": 16}}
    model = NGAT(tiny().model)
    save_weights(path, model, tiny(), {"seed": 3, "thresholds": old})
    store_thresholds(path, [sample], progress=False)
    back = load_weights(path)
    assert back.provenance["thresholds"] == old
    assert back.provenance["seed"] == 3
    assert back.provenance["thresholds_tta"] == thresholds_to_dict(
        choose_thresholds(back.model, [sample], tta=True, progress=False)
    )
    store_thresholds(path, [sample], again=True, progress=False)
    chosen = thresholds_to_dict(choose_thresholds(back.model, [sample], progress=False))
    assert load_weights(path).provenance["thresholds"] == chosen
