"""The ring test bed: what was stored is what the stored weights do, and it can be made again."""

from pathlib import Path

import numpy as np
import pytest

from ngat.config import from_dict
from ngat.data import fingerprint, load
from ngat.errors import InputError
from ngat.training import rings_bed
from ngat.training.weights import load_weights

DATA = Path(__file__).parents[2] / "data"


@pytest.fixture(scope="module")
def stored() -> dict:
    return rings_bed.read(DATA)


@pytest.mark.parametrize("name", rings_bed.NETWORKS)
def test_stored_result_says_how_it_was_made(stored, name) -> None:
    row, history = stored[name], stored[name]["provenance"]
    assert "rings_bed" in history["command"]
    assert history["data_fingerprint"] == fingerprint(load("rings", "test", seed=history["seed"]))
    assert len(history["commit"]) == 40, "made from committed code"
    chosen = from_dict(row["configuration"])
    assert chosen == rings_bed.configuration(name, row["steps"], history["seed"])


def test_companion_solves_the_test_bed_and_the_literal_network_does_not(stored) -> None:
    assert stored["companion"]["dice"] > 0.85
    assert stored["centred"]["dice"] > 0.85
    assert stored["paper"]["dice"] < stored["companion"]["dice"] - 0.1


def test_table_and_curves_tell_what_is_stored(stored) -> None:
    table = rings_bed.table(stored).set_index("network")
    assert list(table.index) == list(rings_bed.NETWORKS)
    assert table.loc["paper", "dice"] == stored["paper"]["dice"]
    curve = rings_bed.curves(stored)["companion"]
    assert list(curve) == list(range(50, 401, 50))
    assert curve[400] == stored["companion"]["dice_by_step"]["400"]


@pytest.mark.parametrize("name", rings_bed.NETWORKS)
def test_stored_weights_give_the_stored_dice(stored, name) -> None:
    row = stored[name]
    model, preset, _ = load_weights(DATA / "weights" / f"rings_{name}.safetensors")
    assert preset.model == rings_bed.configuration(name).model
    assert sum(p.numel() for p in model.parameters()) == row["parameters"]
    # A sixth of the pictures: within the spread of their mean.
    scores = rings_bed.dice(model, load("rings", "test", limit=8))
    assert abs(np.mean(scores) - row["dice"]) < 3 * row["dice_deviation"] / np.sqrt(8)


def test_what_cannot_be_measured_or_read_is_refused(tmp_path) -> None:
    with pytest.raises(InputError, match="Unknown network 'best'; there are companion"):
        rings_bed.configuration("best")
    assert rings_bed.read(tmp_path) == {}
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / rings_bed.RESULT).write_text("{")
    with pytest.raises(InputError, match="is not JSON"):
        rings_bed.read(tmp_path)


@pytest.mark.slow
def test_companion_learns_to_fill_rings_within_minutes(tmp_path) -> None:
    found = rings_bed.measure(
        "companion", tmp_path / "weights.safetensors", steps=200, progress=False
    )
    assert found["dice"] > 0.85
    assert found["dice_by_step"].keys() == {str(25 * k) for k in range(1, 9)}
    assert found["cpu_minutes"] < 10
    model, _, _ = load_weights(tmp_path / "weights.safetensors")
    scores = rings_bed.dice(model, load("rings", "test"))
    assert np.mean(scores) == pytest.approx(found["dice"], abs=1e-4)
