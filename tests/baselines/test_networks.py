"""What any network can do, ours or a rival: train without one type, and at reduced resolution."""

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import rings

from ngat.baselines.networks import Downsampled, build
from ngat.config import preset
from ngat.data import fingerprint, leave_out
from ngat.data.normalize import as_tensor
from ngat.errors import InputError
from ngat.inference import predict
from ngat.training.trainer import train
from ngat.training.weights import load_weights

# Looked for, not imported: every process of the tests reads this file, and one runs it.
pytestmark = pytest.mark.skipif(find_spec("monai") is None, reason="MONAI is not installed")
SMALL = {"width": 8, "steps": 3, "batch": 2, "patch": 40, "validate_every": 3}


def small_run(out: Path, **overrides) -> Path:
    chosen = preset("unet", **{**SMALL, **overrides})
    return train(chosen, rings(), rings("val", 5), out, device="cpu", progress=False).best


def test_a_type_is_left_out_of_training_and_validation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ngat.training import run as training

    out = rings()[1].type
    seen: dict[str, list[str]] = {"patches": [], "validated": [], "chosen": []}
    patches, score, choose = training.Patches, training.score_one, training.store_thresholds
    noted = {
        "Patches": lambda s, *a, **k: (
            seen["patches"].extend(x.type for x in s) or patches(s, *a, **k)
        ),
        "score_one": lambda m, s: seen["validated"].append(s.type) or score(m, s),
        "store_thresholds": lambda p, s, *a, **k: (
            seen["chosen"].extend(x.type for x in s) or choose(p, s, *a, **k)
        ),
    }
    for name, stand_in in noted.items():
        monkeypatch.setattr(training, name, stand_in)
    best = small_run(tmp_path / "a", held_out=out)
    everything = {s.type for s in rings()}
    for where, types in seen.items():
        assert set(types) == everything - {out}, where
    back = load_weights(best)
    assert back.preset.train.held_out == out
    assert json.loads((tmp_path / "a/config.json").read_text())["train"]["held_out"] == out
    assert back.provenance["held_out"] == out
    left = [s for s in rings() if s.type != out]
    assert back.provenance["data_fingerprint"] == fingerprint(left) != fingerprint(rings())
    assert back.provenance["validation"]["per_type"].keys() == everything - {out}


def test_a_type_that_cannot_be_left_out_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Unknown type 'tissue' to leave out; known: small_fluo"):
        small_run(tmp_path / "a", held_out="tissue")
    only = [rings()[0]] * 2
    with pytest.raises(InputError, match=f"Without the type {only[0].type} no picture is left"):
        leave_out(only, only[0].type)
    assert leave_out(only, "") == only
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("name", ["unet", "smoke"])
def test_half_resolution_is_the_network_on_a_smaller_picture(name: str) -> None:
    """The other way to half the resolution: the mean of every 2 × 2 pixels by numpy."""
    torch.manual_seed(0)
    shrunk = build(preset(name, downsample=2, contrast="plain", outputs=2).model).eval()
    assert isinstance(shrunk, Downsampled)
    image = np.random.default_rng(0).random((192, 256, 3), dtype=np.float32)
    small = image.reshape(96, 2, 128, 2, 3).mean((1, 3))
    halves = predict(shrunk.network, small)
    full = predict(shrunk, image)
    assert full.probability.shape == (192, 256)
    # Bilinear, with centres aligned: inside, a pixel lies a quarter of a cell from its own centre.
    p = halves.probability
    row = 0.75 * p[5] + 0.25 * p[4]
    assert full.probability[10, 20] == pytest.approx(0.75 * row[10] + 0.25 * row[9], rel=1e-4)

    targets = (torch.rand(1, 2, 192, 256) > 0.5).float()
    output = shrunk(as_tensor(image), targets)
    expected = targets.numpy().reshape(1, 2, 96, 2, 128, 2).mean((3, 5))
    np.testing.assert_allclose(output.targets[0].numpy(), expected, rtol=1e-6)
    assert output.logits[0].shape == (1, 2, 96, 128)


def test_half_resolution_of_odd_sizes(tmp_path: Path) -> None:
    """What overhangs is averaged over the pixels there are, and cut off again."""
    chosen = preset("unet", width=8, downsample=2, contrast="plain", outputs=2)
    shrunk = build(chosen.model).eval()
    seen = []
    shrunk.network.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    image = np.random.default_rng(0).random((101, 97, 3), dtype=np.float32)
    for tta in (False, True):
        assert predict(shrunk, image, tta=tta).core.shape == (101, 97)
    assert predict(shrunk, image, whole=1, tile=128, margin=16).core.shape == (101, 97)
    shrunk(torch.from_numpy(image).permute(2, 0, 1)[None])  # predict fills up to whole cells
    assert seen[-1].shape == (1, 3, 51, 49)
    np.testing.assert_allclose(seen[-1][0, :, 50, 48], image[100, 96], rtol=1e-6)
    np.testing.assert_allclose(seen[-1][0, :, 1, 48], image[2:4, 96].mean(0), rtol=1e-6)
    best = small_run(tmp_path, downsample=2, patch=41)
    assert isinstance(load_weights(best).model, Downsampled)
