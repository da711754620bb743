"""What any network can do, ours or a rival: train without one type, and at reduced resolution."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
from tiny import rings

from ngat.config import preset
from ngat.data import fingerprint, leave_out
from ngat.errors import InputError
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
    from ngat.training import trainer, validation
    from ngat.training.device import patches as drawing

    out = rings()[1].type
    seen: dict[str, list[str]] = {"patches": [], "validated": [], "chosen": []}
    patches, score, choose = drawing.Patches, validation.score_one, trainer.store_thresholds
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
        of = {"Patches": drawing, "score_one": validation}.get(name, trainer)
        monkeypatch.setattr(of, name, stand_in)
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
