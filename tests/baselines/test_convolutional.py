"""Rival networks: the library's own numbers, any size, and the harness of the graph network."""

import json
import math
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from command import inside
from tiny import log_of, rings
from torch.nn import functional as F

from ngat.baselines.networks import Rival, build, readable
from ngat.config import PRESETS, LossConfig, ModelConfig, RivalConfig, preset
from ngat.data.normalize import as_tensor
from ngat.errors import InputError, MissingDependency
from ngat.inference import predict
from ngat.loss import loss_of
from ngat.model import NGAT
from ngat.training.trainer import train
from ngat.training.weights import load_weights, save_weights

# Looked for, not imported: every process of the tests reads this file, and one runs it.
pytestmark = pytest.mark.skipif(find_spec("monai") is None, reason="MONAI is not installed")
RIVALS = ["unet", "fpn"]
SMALL = {"width": 8, "steps": 3, "batch": 2, "patch": 40, "validate_every": 3}


def rival(name: str, **overrides) -> Rival:
    torch.manual_seed(0)
    model = build(preset(name, **{"width": 8, **overrides}).model)
    assert isinstance(model, Rival)
    return model.eval()


def parameters(name: str) -> int:
    return sum(p.numel() for p in build(PRESETS[name].model).parameters())


def test_ours_is_under_a_tenth_of_either() -> None:
    # BasicUNet's own count for three colours and three outputs.
    from monai.networks.nets import BasicUNet

    library = BasicUNet(2, in_channels=3, out_channels=3, norm=("batch", {"affine": True}))
    assert parameters("unet") == sum(p.numel() for p in library.parameters())
    for name in RIVALS:
        assert 10 * parameters("companion") < parameters(name) < 4e6


def test_unet_is_the_library_s_where_nothing_is_padded() -> None:
    from monai.networks.nets import BasicUNet

    library = BasicUNet(2, in_channels=3, out_channels=3, norm=("batch", {"affine": True})).eval()
    torch.manual_seed(0)
    ours = build(PRESETS["unet"].model).eval()
    library.load_state_dict(ours.body.state_dict())
    image = torch.rand(2, 3, 48, 64)
    with torch.no_grad():
        expected = library(image)
        assert torch.equal(ours(image).logits[0], expected)
        assert torch.equal(ours.reconstruct(ours(image)), torch.sigmoid(expected))


def test_fpn_is_made_of_the_library_s_parts() -> None:
    """The backbone walks its stages as MONAI's own feature extractor does; branches are summed."""
    from monai.networks.nets.resnet import ResNetFeatures

    model = rival("fpn").body
    image = torch.rand(2, 3, 64, 48)
    with torch.no_grad():
        features = model.features(image)
        for ours, theirs in zip(
            features.values(), ResNetFeatures.forward(model.backbone, image), strict=True
        ):
            assert torch.equal(ours, theirs)
        assert [f.shape[-1] for f in features.values()] == [48, 24, 12, 6, 3]
        assert [f.shape[1] for f in features.values()] == [8, 8, 16, 32, 64]
        # Enlarging step by step: the sum is written out here, from the coarsest to the finest.
        pyramid = model.pyramid(features).values()
        b = [branch(level) for branch, level in zip(model.branches, pyramid, strict=True)]
        up = torch.nn.Upsample(scale_factor=2, mode="bilinear")
        merged = b[0] + up(b[1] + up(b[2] + up(b[3] + up(b[4]))))
        torch.testing.assert_close(model(image), model.head(merged))


@pytest.mark.parametrize("name", RIVALS)
def test_every_part_is_trained(name: str) -> None:
    model = rival(name).train()
    output = model(torch.rand(2, 3, 40, 40), torch.rand(2, 3, 40, 40))
    loss_of(output, PRESETS[name].loss)[0].backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        # A bias before a normalisation has none, but for rounding.
        if key.endswith("weight"):
            assert parameter.grad.abs().max() > 0, key


@pytest.mark.parametrize("name", RIVALS)
@pytest.mark.parametrize("norm", ["instance", "group", "batch"])
@pytest.mark.parametrize("size", [(1, 1), (5, 40), (33, 47), (64, 48)])
def test_any_size(name: str, norm: str, size: tuple[int, int]) -> None:
    model = rival(name, norm=norm)
    image, targets = torch.rand(2, 3, *size), torch.rand(2, 3, *size)
    for mode in (True, False):  # one pixel at the bottom would have no variance in training
        output = model.train(mode)(image, targets)
        assert [level.shape for level in output.logits] == [(2, 3, *size)]
        assert torch.isfinite(output.logits[0]).all()
    assert torch.equal(output.targets[0], targets)
    assert output.valid[0].all()
    assert not output.moves[0].any()
    longer = max(size)
    assert output.positions[0][1, 0, 0, -1].item() == pytest.approx((size[1] - 0.5) / longer)
    assert output.positions[0][1, 1, -1, 0].item() == pytest.approx((size[0] - 0.5) / longer)
    with pytest.raises(InputError, match=r"reads \[B, 3, H, W\]; got"):
        model(image[:, :2])


@pytest.mark.parametrize("size", [(33, 47), (20, 32), (40, 9)])
def test_padding_is_numpy_s_symmetric_one(size: tuple[int, int]) -> None:
    image = torch.rand(2, 3, *size)
    more = [max(math.ceil(n / 16) * 16, 32) - n for n in size]
    expected = np.pad(image.numpy(), [(0, 0), (0, 0), (0, more[0]), (0, more[1])], mode="symmetric")
    np.testing.assert_array_equal(readable(image).numpy(), expected)


def test_a_mirrored_picture_is_seen_as_if_it_were_given_so() -> None:
    model = rival("unet")
    image = torch.rand(1, 3, 33, 47)
    whole = np.pad(image.numpy(), [(0, 0), (0, 0), (0, 15), (0, 1)], mode="symmetric")
    with torch.no_grad():
        expected = model(torch.from_numpy(whole)).logits[0][..., :33, :47]
        assert torch.equal(model(image).logits[0], expected)


def test_the_losses_of_one_level_are_torch_s() -> None:
    """Cross-entropy is torch's; at home the field of eq. 24 is one, and balanced is focal."""
    output = rival("unet", outputs=2)(
        torch.rand(1, 3, 32, 32), (torch.rand(1, 2, 32, 32) > 0.5).float()
    )
    loss, levels = loss_of(output, LossConfig(kind="bce"))
    expected = F.binary_cross_entropy_with_logits(output.logits[0], output.targets[0])
    torch.testing.assert_close(loss, expected)
    assert len(levels) == 1
    balanced, focal = (loss_of(output, LossConfig(kind=k))[0] for k in ("balanced", "focal"))
    torch.testing.assert_close(balanced, focal)


@pytest.mark.parametrize("name", RIVALS)
def test_large_pictures_go_in_tiles(name: str) -> None:
    """Of every tile the middle is kept: rows 64 to 127 are those of the tile of rows 32 to 159."""
    model = rival(name, contrast="plain", outputs=2)
    image = np.random.default_rng(0).random((200, 100, 3), dtype=np.float32)
    tiled = predict(model, image, whole=1, tile=128, margin=32).core
    alone = predict(model, image[32:160, :96]).core
    np.testing.assert_allclose(tiled[64:128, :64], alone[32:96, :64], rtol=1e-5)
    first = predict(model, image[:96, :96]).core
    np.testing.assert_allclose(tiled[:64, :64], first[:64, :64], rtol=1e-5)
    whole = predict(model, image)
    with torch.no_grad():
        direct = torch.sigmoid(model(as_tensor(image)).logits[0])[0].numpy()
    np.testing.assert_allclose(whole.probability, direct[0], rtol=1e-6)
    np.testing.assert_allclose(whole.core, direct[1], rtol=1e-6)


@pytest.mark.parametrize("name", RIVALS)
def test_weights_come_back_whole(tmp_path: Path, name: str) -> None:
    chosen = preset(name, width=8, norm="batch", outputs=1)
    model = build(chosen.model)
    with torch.no_grad():
        model.train()(torch.rand(2, 3, 64, 64))  # the running statistics are no longer the first
    save_weights(tmp_path / "w.safetensors", model, chosen, {"minutes": 1.5})
    back = load_weights(tmp_path / "w.safetensors")
    assert back.preset == chosen
    assert isinstance(back.model, Rival)
    image = np.random.default_rng(0).random((37, 21, 3), dtype=np.float32)
    np.testing.assert_array_equal(
        predict(back.model, image).probability, predict(model, image).probability
    )
    save_weights(tmp_path / "w.safetensors", build(preset("fpn").model), preset("unet"), {})
    with pytest.raises(InputError, match="does not hold a network"):
        load_weights(tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    ("name", "override", "sentence"),
    [
        ("unet", {"levels": 3}, "The preset unet has no parameter 'levels'; it has: network, wid"),
        ("fpn", {"engine": "cpu"}, "The preset fpn has no parameter 'engine'"),
        ("smoke", {"width": 16}, "The preset smoke has no parameter 'width'; it has: levels"),
        ("unet", {"norm": "none"}, "norm must be one of instance, group, batch; got 'none'"),
        ("unet", {"network": "rcnn"}, "network must be one of unet, fpn"),
        ("unet", {"width": 0}, "width must be a number at least 1"),
        ("unet", {"outputs": 1.5}, "outputs must be of type int"),
    ],
)
def test_a_parameter_that_is_not_there_is_said(name: str, override: dict, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        preset(name, **override)


def test_what_makes_no_network_is_said() -> None:
    for name in RIVALS:
        with pytest.raises(InputError, match=r"width \(12\) must be a multiple of 8 groups"):
            build(preset(name, width=12, norm="group").model)


def test_without_the_library_the_remedy_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    # None in the table of modules is how Python itself marks a module that must not be imported.
    for name in [name for name in sys.modules if name.split(".")[0] == "monai"]:
        monkeypatch.setitem(sys.modules, name, None)
    for network in RIVALS:
        with pytest.raises(MissingDependency, match=r"pip install 'ngat\[baselines\]'"):
            build(RivalConfig(network))


@pytest.mark.parametrize("name", RIVALS)
def test_the_command_line_trains_evaluates_and_predicts(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    data = ["--data", "rings", "--limit", "2", "--device", "cpu", "--quiet"]
    words = ["train", "--preset", name, "--out", "run", *data]
    for key, value in SMALL.items():
        words += ["--set", f"{key}={value}"]
    code, said, wrong = inside(capsys, monkeypatch, *words)
    assert code == 0, wrong
    assert "3 steps" in said
    assert log_of(tmp_path / "run")[0][:3] == ["step", "loss", "loss_0"]
    assert log_of(tmp_path / "run")[-1][0] == "3"
    history = load_weights("run/best.safetensors").provenance
    assert history["thresholds"].keys() == {"components", "split"}

    weights = ["--weights", "run/best.safetensors"]
    code, said, wrong = inside(capsys, monkeypatch, "evaluate", "--out", "res", *weights, *data)
    assert code == 0, wrong
    assert f"{name} (split)" in said
    told = json.loads((tmp_path / f"res/rings-test-{name}-split.json").read_text())
    model = load_weights("run/best.safetensors").model
    assert told["parameters"] == sum(p.numel() for p in model.parameters())
    assert told["training"]["preset"] == name
    assert told["thresholds"] == history["thresholds"]

    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (30, 21, 3), dtype=np.uint8)
    Image.fromarray(pixels).save("picture.png")
    asked = ["segment", "picture.png", *weights, "--out", "found", "--device", "cpu", "--quiet"]
    code, said, wrong = inside(capsys, monkeypatch, *asked)
    assert code == 0, wrong
    assert "picture  done" in said

    again = [*words, "--resume", "--set", "levels=3"]
    code, said, wrong = inside(capsys, monkeypatch, *again)
    assert code == 2
    assert "has no parameter 'levels'" in wrong


@pytest.mark.parametrize("name", RIVALS)
def test_a_rival_learns(name: str, tmp_path: Path) -> None:
    chosen = preset(name, **{**SMALL, "steps": 60, "validate_every": 60, "learning_rate": 5e-3})
    train(chosen, rings(), rings("val", 2), tmp_path, device="cpu", progress=False)
    losses = [float(row[1]) for row in log_of(tmp_path)[1:]]
    assert losses[-1] < 0.7 * losses[0]


def test_the_door_gives_what_the_configuration_says() -> None:
    assert isinstance(build(ModelConfig()), NGAT)
    for name in RIVALS:
        model = rival(name)
        assert model.config.network == name
        # Both start by calling a pixel in eight a nucleus, as the graph network does.
        last = [p for key, p in model.named_parameters() if key.endswith("bias")][-1]
        torch.testing.assert_close(last[:2], torch.full((2,), -2.0))
