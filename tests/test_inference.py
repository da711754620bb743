"""Inference: any size, tiles, flips, and what a picture may look like."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import rings, tiny

from ngat import inference
from ngat.config import preset
from ngat.data.normalize import as_tensor
from ngat.errors import InputError
from ngat.inference import Prediction, instances, predict
from ngat.instances import split
from ngat.metrics import image_score, match
from ngat.model import NGAT
from ngat.parts import Part
from ngat.thresholds import Thresholds, thresholds_from, thresholds_to_dict
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
    for values in (prediction.probability, prediction.core):
        assert values.shape == size
        assert values.dtype == np.float32
        assert ((values > 0) & (values < 1)).all()
    assert not np.array_equal(prediction.probability, prediction.core)
    assert prediction.magnification == 1


def test_prediction_is_the_reconstruction(model: NGAT) -> None:
    image = picture(100, 96)  # smaller ones are mirrored
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
    image = picture(96, 128)
    for axis in (0, 1):
        plain = predict(model, image, tta=True).probability
        mirrored = predict(model, np.flip(image, axis), tta=True).probability
        np.testing.assert_allclose(np.flip(mirrored, axis), plain, atol=1e-5)
        one = predict(model, np.flip(image, axis)).probability
        assert np.abs(np.flip(one, axis) - predict(model, image).probability).max() > 1e-4


def test_flips_count_alike() -> None:
    """Four views of a network that sees places instead of pixels, averaged by hand."""

    class Place(NGAT):
        """Says how far right a pixel lies, and half as much how far down."""

        def forward(self, image, targets=None):
            return image

        def reconstruct(self, output):
            down, right = (torch.linspace(0, 1, side) for side in output.shape[-2:])
            return (right + down[:, None] / 2).expand(1, 2, -1, -1)

    flat = np.full((200, 300, 3), 102, np.uint8)
    one, four = (predict(Place(tiny().model), flat, tta=tta).probability for tta in (False, True))
    assert one[0, 0] == 0
    assert one[-1, -1] == 1.5
    np.testing.assert_allclose(four, (0 + 1 + 0.5 + 1.5) / 4, atol=1e-6)


def test_averages_over_flips_have_thresholds_of_their_own() -> None:
    single, views = Thresholds(core=0.7), Thresholds(core=0.6)
    stored = {"thresholds": thresholds_to_dict({"split": single})}
    assert thresholds_from(stored, tta=True)["split"] == single
    stored["thresholds_tta"] = thresholds_to_dict({"split": views})
    assert thresholds_from(stored, tta=True)["split"] == views
    assert thresholds_from(stored)["split"] == single


@pytest.mark.parametrize(
    ("name", "value"),
    [("core", float("nan")), ("probability", "0.5"), ("min_area", True), ("landscape", "hills")],
)
def test_thresholds_that_cannot_be_are_refused_wherever_they_come_from(
    name: str, value: object
) -> None:
    """With NaN no nucleus would be found, and nothing said."""
    with pytest.raises(InputError, match=f"The threshold {name} is .*, which cannot be"):
        Thresholds(**{name: value})  # type: ignore[arg-type]
    model = NGAT(tiny().model)
    model.provenance = {"thresholds": {"split": {name: value}}}  # type: ignore[assignment]
    with pytest.raises(InputError, match=f"The threshold {name} is"):
        predict(model, rings(limit=1)[0].image)


def varied(**overrides: object) -> NGAT:
    """A network with fixed statistics whose outputs vary, in float64: only geometry can differ."""
    torch.manual_seed(0)
    model = NGAT(preset("companion", engine="reference", channels=8, **overrides).model).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    return model.double()


def test_a_prediction_depends_on_its_receptive_field_alone() -> None:
    """The gradient of a pixel's logits with respect to the image ends where it is said to end."""
    far = {"levels": 2, "depth": 1, "plasticity_steps": 8, "schedule": "synchronous"}
    for overrides in ({"levels": 2, "depth": 1}, {"levels": 3, "depth": 2}, far):
        model = varied(**overrides)
        reach = model.config.receptive_field
        side = 2 * reach + 64
        image = torch.rand(1, 3, side, side, dtype=torch.float64, requires_grad=True)
        middle = side // 2
        model.reconstruct(model(image))[0, :, middle, middle].sum().backward()
        assert image.grad is not None
        gradient = image.grad.abs().sum((0, 1))
        touched = (gradient > 1e-12 * gradient.max()).nonzero()
        furthest = int((touched - middle).abs().max())
        assert reach / 4 < furthest <= reach


@pytest.mark.parametrize(("height", "width"), [(132, 102), (133, 101), (102, 134)])
def test_tiles_equal_the_whole(height: int, width: int) -> None:
    """Also where the coarsest cells overhang the longer side by half, or by more."""
    model = varied(levels=3, depth=1).float()
    # On dark ground, which is seen once: a mean over two views would hide what a margin lacks.
    image = (picture(height, width) / 255.0) ** 2
    options = {"magnification": 1.0}
    tile = 2 * model.config.receptive_field + 16
    for shown in (1 - image, image):
        whole = predict(model, shown, **options)
        tiled = predict(model, shown, whole=0, tile=tile, **options)
        np.testing.assert_allclose(tiled.probability, whole.probability, atol=1e-5)
        np.testing.assert_allclose(tiled.core, whole.core, atol=1e-5)
    blind = predict(model, image, whole=0, tile=48, margin=4, **options)
    assert np.abs(blind.probability - whole.probability).max() > 1e-4


@pytest.mark.parametrize("tta", [False, True])
def test_on_bright_ground_a_prediction_is_the_mean_of_both_views(tta: bool) -> None:
    torch.manual_seed(2)
    model = NGAT(tiny(contrast="local", norm="batch").model).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    dark = np.zeros((100, 104, 3), np.uint8)
    dark[20:44, 30:60], dark[60:80, 10:24] = 200, 120
    dark += np.random.default_rng(0).integers(0, 20, dark.shape).astype(np.uint8)
    seen = as_tensor(dark, "local")
    turns = [(), (2,), (3,), (2, 3)] if tta else [()]

    def said(shown: torch.Tensor) -> torch.Tensor:
        flipped = [model.reconstruct(model(shown.flip(d))).flip(d) for d in turns]
        return torch.stack(flipped).mean(0)[0, 0]

    with torch.no_grad():
        once, negative = said(seen), said(1 - seen)
    assert float((once - negative).abs().max()) > 0.01
    found = predict(model, dark, tta=tta).probability
    np.testing.assert_allclose(found, once, atol=1e-4)
    found = predict(model, 255 - dark, tta=tta).probability
    np.testing.assert_allclose(found, (once + negative) / 2, atol=1e-4)


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


def test_a_tile_must_have_a_middle(model: NGAT) -> None:
    with pytest.raises(InputError, match="all margin; choose more than"):
        predict(model, picture(128, 128), whole=0, tile=16)


@pytest.mark.parametrize("magnification", [0.0, -1.0, np.nan, np.inf])
def test_a_magnification_is_a_positive_number(model: NGAT, magnification: float) -> None:
    with pytest.raises(InputError, match="positive number"):
        predict(model, picture(8, 8), magnification=magnification)


def test_a_magnified_prediction_has_the_size_of_the_image(model: NGAT) -> None:
    for magnification in (0.3, 2.5):
        found = predict(model, picture(37, 50), magnification=magnification)
        assert found.probability.shape == found.core.shape == (37, 50)
        assert found.magnification == magnification


@pytest.mark.parametrize(("height", "width"), [(10, 200), (200, 10), (100, 120)])
def test_small_pictures_are_mirrored_to_96_pixels(height: int, width: int) -> None:
    class Looking(NGAT):
        def forward(self, image, targets=None):
            sizes.append(tuple(image.shape[-2:]))
            return super().forward(image, targets)

    sizes: list[tuple[int, ...]] = []
    predict(Looking(tiny().model), picture(height, width))
    assert sizes == [(max(96, height), max(96, width))]


def test_the_grey_level_of_a_look_is_a_share_of_the_picture_s_range(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A hot pixel is not its range; nor is the range of the file's numbers."""
    image = np.full((100, 100, 3), 50, np.uint8)
    image[:, 50:, 1] = 150
    image[10, 10] = 255
    found = []

    def find(look, height, width):
        found.append((look(1.0), height, width))
        return 2.0, []

    monkeypatch.setattr(inference, "best_magnification", find)
    model = NGAT(tiny(outputs=3).model)
    assert inference.find_magnification(model, image) == (2.0, [])
    ((values, height, width),) = found
    assert (height, width, values.shape) == (100, 100, (4, 100, 100))
    np.testing.assert_allclose(values[3], image.mean(axis=2) / 100, rtol=1e-5)


def test_parts_are_seen_as_the_whole_is(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def look(model, image, magnification, **options):
        calls.append((image.shape[:2], magnification, options))
        values = torch.zeros(1, 3, *image.shape[:2])
        values[..., 5:15, 5:15] = 0.8
        return values

    window = (slice(10, 40), slice(0, 30))
    part = Part(0.5, window, window)
    monkeypatch.setattr(inference, "look", look)
    monkeypatch.setattr(inference, "find_magnification", lambda *_: (2.0, ["looks"]))
    monkeypatch.setattr(inference, "parts_of", lambda looks, *size: (part,) if looks else ())
    options = {"tta": True, "whole": 7, "tile": 99, "margin": 3}
    found = predict(NGAT(tiny().model), picture(60, 50), **options)
    assert calls == [((60, 50), 2.0, options), ((30, 30), 0.5, options)]
    assert [one for one, _ in found.parts] == [part]
    assert instances(found).any()
    assert not instances(found, "split", Thresholds(probability=0.9)).any()


@pytest.mark.parametrize("method", ["components", "split"])
@pytest.mark.parametrize(("magnification", "least"), [(0.5, 64), (1.0, 16), (2.0, 4), (4.0, 4)])
def test_the_smallest_nucleus_is_measured_as_the_network_sees_it(
    method: str, magnification: float, least: int
) -> None:
    """Never fewer than four pixels of the image."""
    probability = np.zeros((3, 70), np.float32)
    probability[1, :least] = 1.0
    found = instances(Prediction(probability, probability, magnification), method)
    assert found.max() == 1
    probability[1, least - 1] = 0.0
    assert not instances(Prediction(probability, probability, magnification), method).any()


def two_touching() -> Prediction:
    probability = np.zeros((12, 20), np.float32)
    probability[2:10, 2:18] = 0.8
    core = np.zeros_like(probability)
    core[4:8, 4:8] = core[4:8, 12:16] = 0.9
    return Prediction(probability, core)


def test_parts_are_divided_by_the_method_that_was_asked_for() -> None:
    window = (slice(0, 12), slice(0, 20))
    whole = two_touching()
    both = whole._replace(parts=((Part(1.0, window, window), whole),))
    assert instances(both, "components").max() == 1
    assert instances(both, "split").max() == 2


@pytest.mark.parametrize("magnification", [0.25, 0.5, 2.0])
def test_smoothing_is_measured_as_the_network_sees_it(magnification: float) -> None:
    """A blurred pair of cores: what is left of the saddle decides, at any magnification alike."""
    factor = round(1 / magnification) if magnification < 1 else 1
    probability, core, *_ = two_touching()
    enlarged = Prediction(
        np.kron(probability, np.ones((factor, factor), np.float32)),
        np.kron(core, np.ones((factor, factor), np.float32)),
        magnification,
    )
    for smoothing in (0.5, 3.0):
        t = Thresholds(prominence=0.2, landscape="core", smoothing=smoothing, core=0.0)
        expected = split(
            enlarged.probability, enlarged.core, 0.5, 0.0, round(16 / magnification**2),
            landscape="core", prominence=0.2, smoothing=smoothing / magnification,
        )  # fmt: skip
        np.testing.assert_array_equal(instances(enlarged, "split", t), expected)
        if magnification < 1:  # resampled by whole pixels: the same as unresized
            same = instances(two_touching(), "split", t).max()
            assert expected.max() == same == (2 if smoothing < 1 else 1)


@pytest.mark.parametrize("factor", [1, 2, 4])
@pytest.mark.parametrize(("columns", "count"), [(1, 1), (2, 2)])
def test_seeds_are_measured_as_the_network_sees_them(factor: int, columns: int, count: int) -> None:
    """Two seeds of 2 or 4 pixels of the network's, of which it takes 4 to be one."""
    probability = two_touching().probability
    core = np.zeros_like(probability)
    core[5:7, 4 : 4 + columns] = core[5:7, 14 : 14 + columns] = 0.9
    square = np.ones((factor, factor), np.float32)
    shown = Prediction(np.kron(probability, square), np.kron(core, square), 1 / factor)
    assert instances(shown, "split").max() == count


def test_components_keep_and_split_parts_touching_nuclei() -> None:
    assert instances(two_touching(), "components").max() == 1
    assert instances(two_touching(), "split").max() == 2
    assert instances(two_touching(), "split", Thresholds(core=0.95)).max() == 1
    assert instances(two_touching(), "split", Thresholds(prominence=0.1)).max() == 2
    assert instances(two_touching(), "split", Thresholds(prominence=0.95)).max() == 1
    assert instances(two_touching(), "components", Thresholds(probability=0.85)).max() == 0
    assert instances(two_touching(), "components", Thresholds(min_area=129)).max() == 0
    for method in ("components", "split"):
        assert instances(two_touching(), method, Thresholds(confidence=0.81)).max() == 0
    with pytest.raises(InputError, match="Unknown instance method"):
        instances(two_touching(), "guess")  # type: ignore[arg-type]


def test_thresholds_survive_the_provenance() -> None:
    chosen = {"components": Thresholds(0.3), "split": Thresholds(0.4, 0.6, 0.32)}
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


@pytest.mark.parametrize("tta", [False, True])
def test_the_short_call_takes_the_thresholds_of_the_weights(tmp_path: Path, tta: bool) -> None:
    torch.manual_seed(0)
    sample, path = rings(limit=1)[0], tmp_path / "w.safetensors"
    model = NGAT(tiny().model)
    plain = predict(model, sample.image, tta=tta)
    at = float(np.quantile(plain.probability, 0.9))
    of = {
        "thresholds": {"split": {"probability": at}, "components": {"probability": at}},
        "thresholds_tta": {"split": {"probability": at - 0.001, "min_area": 8}},
    }
    save_weights(path, model, tiny(), of)
    prediction = predict(load_weights(path).model, sample.image, tta=tta)
    np.testing.assert_array_equal(prediction.probability, plain.probability)
    for method in ("split", "components"):
        chosen = thresholds_from(of, tta)[method]
        expected = instances(plain, method, chosen)
        np.testing.assert_array_equal(instances(prediction, method), expected)
        # Thresholds that are given count; a network without any has the defaults.
        given = instances(prediction, method, Thresholds())
        np.testing.assert_array_equal(given, instances(plain, method))
    assert instances(prediction, "split").any()
    assert not np.array_equal(instances(prediction), instances(plain))


def test_thresholds_are_stored_with_the_weights(tmp_path: Path) -> None:
    sample, path = rings(limit=1)[0], tmp_path / "w.safetensors"
    old = {"split": {"probability": 0.5, "core": 0.9, "prominence": 0.0, "min_area": 16}}
    model = NGAT(tiny().model)
    save_weights(path, model, tiny(), {"seed": 3, "thresholds": old})
    store_thresholds(path, [sample], tta=True, progress=False)
    back = load_weights(path)
    assert back.provenance["thresholds"] == old
    assert back.provenance["seed"] == 3
    assert back.provenance["thresholds_tta"] == thresholds_to_dict(
        choose_thresholds(back.model, [sample], tta=True, progress=False)
    )
    store_thresholds(path, [sample], again=True, progress=False)
    chosen = thresholds_to_dict(choose_thresholds(back.model, [sample], progress=False))
    again = load_weights(path).provenance
    assert again["thresholds"] == chosen
    assert again["thresholds_tta"] == back.provenance["thresholds_tta"]


def test_what_is_no_network_or_no_picture_is_said(model: NGAT) -> None:
    picture = np.zeros((40, 40, 3), np.uint8)
    for wrong in ((None, picture), (model, None), (model, "good.png")):
        with pytest.raises(InputError, match=r"predict takes a network.*ngat\.segment"):
            predict(*wrong)  # type: ignore[arg-type]
