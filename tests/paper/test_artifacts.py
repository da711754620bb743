"""Which weights and results a notebook takes, in folders made for the purpose."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from ngat.data import Sample
from ngat.errors import InputError
from ngat.evaluation.results import measure, runs_in, write_run
from ngat.paper import artifacts
from ngat.paper.session import Session, open_session


def session_in(folder: Path, **changes: object) -> Session:
    session = open_session("synthetic", "smoke", str(folder / "run"), 0, "")
    return dataclasses.replace(session, top=folder, **changes)  # type: ignore[arg-type]


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def run(folder: Path, name: str, method: str, data: str, found: bool = True, **told: str) -> None:
    labels = np.zeros((4, 4), dtype=np.int32)
    labels[1:3, 1:3] = 1
    image = np.zeros((4, 4, 3), dtype=np.uint8)
    sample = Sample("a", image, labels, "purple_tissue", "g", "test")
    measured = [measure(sample, labels * found)]
    write_run(folder, name, measured, method=method, data=data, provenance=told)


def test_weights_of_generated_pictures_prefer_the_run(tmp_path: Path) -> None:
    session = session_in(tmp_path)
    with pytest.raises(InputError, match="run notebook 06"):
        artifacts.weights(session)
    committed = touch(tmp_path / "data/weights/synthetic-smoke.safetensors")
    assert artifacts.weights(session) == committed
    own = touch(artifacts.trained(session))
    assert artifacts.weights(session) == own
    asked = touch(tmp_path / "asked.safetensors")
    assert artifacts.weights(dataclasses.replace(session, weights=asked)) == asked


def test_weights_of_real_pictures_are_the_companions(tmp_path: Path) -> None:
    session = session_in(tmp_path, data="dsb2018")
    assert artifacts.committed(session) is None
    committed = touch(tmp_path / "data/weights/companion.safetensors")
    assert artifacts.committed(session) == artifacts.weights(session) == committed
    own = touch(artifacts.trained(session))
    assert artifacts.weights(session) == own


def test_own_pictures_prefer_a_network_of_real_ones(tmp_path: Path) -> None:
    session = session_in(tmp_path)
    drawn = touch(tmp_path / "data/weights/synthetic-smoke.safetensors")
    assert artifacts.general_weights(session) == drawn
    real = touch(tmp_path / "data/weights/companion.safetensors")
    assert artifacts.general_weights(session) == real
    asked = touch(tmp_path / "asked.safetensors")
    assert artifacts.general_weights(dataclasses.replace(session, weights=asked)) == asked


def test_no_weights_of_rings_are_committed(tmp_path: Path) -> None:
    session = session_in(tmp_path, data="rings")
    touch(tmp_path / "data/weights/synthetic-smoke.safetensors")
    with pytest.raises(InputError, match="no weights for rings"):
        artifacts.weights(session)


def names(session: Session) -> list[str]:
    return [found.name for found in artifacts.results(session)]


def test_results_of_the_run_replace_committed_ones_of_the_same_name(tmp_path: Path) -> None:
    session = session_in(tmp_path)
    with pytest.raises(InputError, match="run notebook 07"):
        artifacts.results(session)
    stored = tmp_path / "data/results"
    run(stored / "synthetic", "stored-synthetic", "smoke", "synthetic")
    run(stored, "real-a", "companion", "dsb2018")
    run(stored, "real-b", "otsu", "dsb2018")
    assert names(session) == ["stored-synthetic", "real-a", "real-b"]
    run(session.results, "fresh", "other", "synthetic")
    assert names(session) == ["fresh", "real-a", "real-b"]

    real = dataclasses.replace(session, data="dsb2018", results=tmp_path / "real")
    assert names(real) == ["real-a", "real-b"]
    run(real.results, "again", "companion", "dsb2018")
    assert names(real) == ["again", "real-b"]


def test_headline_is_chosen_by_validation_on_real_pictures_if_there_are_any(
    tmp_path: Path,
) -> None:
    def validated(f1: float) -> dict[str, object]:
        return {"training": {"validation": {"average_f1": f1, "components_f1": 0.1}}}

    # The better one by validation is the worse one on the test.
    run(tmp_path, "a", "wide (split)", "dsb2018", preset="companion", **validated(0.5))
    run(
        tmp_path,
        "b",
        "companion (split)",
        "dsb2018",
        found=False,
        preset="companion",
        **validated(0.6),
    )
    run(tmp_path, "b2", "companion (components)", "dsb2018", preset="companion", **validated(0.6))
    run(tmp_path, "c", "untrained smoke (split)", "dsb2018", preset="smoke")
    run(tmp_path, "d", "Otsu", "dsb2018", found=False)
    run(tmp_path, "e", "U-Net", "dsb2018", preset="unet")
    run(tmp_path, "f", "smoke", "synthetic", preset="smoke")
    run(tmp_path, "g", "Otsu + watershed", "synthetic")
    runs = runs_in(tmp_path)
    assert [artifacts.family(r) for r in runs] == [
        *("ngat", "ngat", "ngat", "untrained", "Otsu", "U-Net", "ngat", "Otsu + watershed")
    ]
    assert artifacts.headline(runs) == ["companion (split)", "U-Net", "Otsu"]
    assert artifacts.headline(runs[6:]) == ["smoke", "Otsu + watershed"]
    # Runs on the same validation pictures say more than what two trainings stored of their own.
    run(tmp_path / "val", "a", "wide (split)", "dsb2018", preset="companion")
    run(tmp_path / "val", "b", "companion (split)", "dsb2018", found=False, preset="companion")
    of_validation = runs_in(tmp_path / "val")
    assert artifacts.headline(runs, of_validation) == ["wide (split)", "U-Net", "Otsu"]
    # Averages over flips are better, and not what is shown; alone they are.
    run(tmp_path, "h", "wide, flips (split)", "dsb2018", preset="companion", tta=True)
    run(tmp_path / "val", "h", "wide, flips (split)", "dsb2018", preset="companion", tta=True)
    flips = [one for one in runs_in(tmp_path) if one.provenance.get("tta")]
    of_validation = runs_in(tmp_path / "val")
    shown = artifacts.headline([*flips, *runs], of_validation)
    assert shown == ["wide (split)", "U-Net", "Otsu"]
    assert artifacts.headline(flips, of_validation) == ["wide, flips (split)"]


def test_of_equals_the_order_of_the_files_does_not_decide(tmp_path: Path) -> None:
    for name, method in zip(
        "abc", ("wide (components)", "zoom (split)", "wide (split)"), strict=True
    ):
        run(tmp_path, name, method, "dsb2018", preset="companion")
    runs = runs_in(tmp_path)
    assert artifacts.headline(runs) == artifacts.headline(runs[::-1]) == ["wide (split)"]


def test_a_peer_counts_among_the_networks_that_learn(tmp_path: Path) -> None:
    run(tmp_path, "a", "companion (split)", "dsb2018", preset="companion")
    run(tmp_path, "b", "StarDist", "dsb2018", peer="stardist")
    run(tmp_path, "c", "Otsu", "dsb2018")
    assert artifacts.headline(runs_in(tmp_path)) == ["companion (split)", "StarDist", "Otsu"]
