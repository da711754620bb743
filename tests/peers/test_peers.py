"""A peer's way through the protocol: pictures out, a run by a stand-in, label images back."""

from __future__ import annotations

import ast
import importlib
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pandas as pd
import pytest
from command import inside
from PIL import Image
from scipy import ndimage

from ngat.baselines.thresholding import otsu
from ngat.data import Sample, load
from ngat.errors import InputError
from ngat.evaluation.evaluator import evaluate
from ngat.evaluation.peers import export, score
from ngat.evaluation.results import read_run
from ngat.evaluation.tables import table1, table2
from ngat.magnification import SIZE
from peers import __main__ as command
from peers.pictures import Labels, Picture, Pixels, draw, read, resized, resized_labels, stretched
from peers.prediction import write_labels
from peers.training import train

ROOT = Path(__file__).parents[2]
SPLITS = ("train", "val", "test")


class StandIn:
    """Learns nothing but how bright a nucleus is: its network is one number."""

    name, label, rate = "standin", "Stand-in", 1.0

    def __init__(self) -> None:
        self.defaults = {"level": 0.5}
        self.settings: dict[str, Any] = {"patch": 8}
        self.level = 0.0
        self.drawn: list[tuple[int, float]] = []
        self.dies_at = -1

    def versions(self) -> dict[str, str]:
        return {"standin": "1.0"}

    def parameters(self) -> int:
        return 1

    def seen(self, image: Pixels) -> Pixels:
        return stretched(image, 1, 99)

    def example(self, index: int, picture: Picture, scale: float, rng: Any) -> tuple[int, float]:
        return index, scale

    def step(self, examples: Sequence[Any], rate: float) -> float:
        if len(self.drawn) == self.dies_at:
            raise KeyboardInterrupt
        self.drawn.append(examples[0])
        self.level += 1.0
        return 1.0 / self.level

    def save(self, folder: Path) -> None:
        (folder / "network.txt").write_text(str(self.level))

    keep = save

    def load(self, folder: Path) -> None:
        self.level = float((folder / "network.txt").read_text())

    recall = load

    def outputs(self, seen: Pixels) -> Pixels:
        return seen.max(axis=2)

    def nuclei(self, outputs: Pixels, shape: tuple[int, int], thresholds: Any) -> Labels:
        found, _ = ndimage.label(outputs > 255 * thresholds["level"])
        return resized_labels(found.astype(np.int32), shape)

    def choose(self, pictures: Sequence[tuple[Pixels, Labels]]) -> dict[str, float]:
        assert all(seen.shape[:2] == labels.shape for seen, labels in pictures)
        return {"level": 0.4}

    def magnifications(self, pictures: Sequence[Picture]) -> dict[str, Callable[[Pixels], float]]:
        # Nothing is left of a picture that is seen at the second.
        return {"far": lambda seen: 0.05, "as it is": lambda seen: 1.0}


class Clock:
    """A second per look."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


@pytest.fixture(scope="module")
def parts() -> dict[str, list[Sample]]:
    return {split: load("synthetic", split, limit=5, progress=False) for split in SPLITS}


@pytest.fixture
def pictures(tmp_path: Path, parts: dict[str, list[Sample]]) -> Path:
    export(parts, tmp_path / "pictures", data="synthetic", progress=False)
    return tmp_path / "pictures"


def test_exported_pictures_are_those_of_the_data_set(
    pictures: Path, parts: dict[str, list[Sample]]
) -> None:
    for split, samples in parts.items():
        for picture, sample in zip(read(pictures, split), samples, strict=True):
            assert picture.image_id == sample.image_id
            assert np.array_equal(picture.image, sample.image)
            if split == "test":
                assert picture.labels is None
            else:
                assert picture.labels is not None
                assert np.array_equal(picture.labels, sample.labels)
                assert picture.type == sample.type


def test_a_peer_gets_neither_labels_nor_types_of_the_test(pictures: Path) -> None:
    assert sorted(path.name for path in (pictures / "test").iterdir()) == ["images"]
    listed = pd.read_csv(pictures / "pictures.csv", keep_default_na=False)
    assert set(listed[listed.split == "test"]["type"]) == {""}


def test_an_export_is_made_once_and_anew_for_other_pictures(
    pictures: Path, parts: dict[str, list[Sample]]
) -> None:
    assert not export(parts, pictures, data="synthetic", progress=False)
    fewer = {**parts, "train": parts["train"][:2]}
    assert export(fewer, pictures, data="synthetic", progress=False)
    assert len(list((pictures / "train" / "images").iterdir())) == 2
    changed = replace(parts["val"][0], labels=np.zeros_like(parts["val"][0].labels))
    assert export({**fewer, "val": [changed]}, pictures, data="synthetic", progress=False)


def test_an_export_leaves_other_folders_alone(
    tmp_path: Path, parts: dict[str, list[Sample]]
) -> None:
    (tmp_path / "letter.txt").write_text("mine")
    with pytest.raises(InputError, match="holds other files"):
        export(parts, tmp_path, data="synthetic", progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]
    with pytest.raises(InputError, match="its part val has no picture"):
        export({**parts, "val": []}, tmp_path / "new", data="synthetic", progress=False)
    assert not (tmp_path / "new").exists()


def told(folder: Path, **changes: Any) -> None:
    words = {
        "peer": "otsu_elsewhere",
        "label": "Otsu elsewhere",
        "parameters": 7,
        "minutes": 1.5,
        "hardware": "one core",
        "versions": {"elsewhere": "3"},
        "thresholds": {},
        "seed": 0,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "told.json").write_text(json.dumps({**words, **changes}))


def test_label_images_score_like_the_same_labels_inside(
    tmp_path: Path, parts: dict[str, list[Sample]]
) -> None:
    samples = parts["test"]
    told(tmp_path / "run")
    for sample in samples:
        write_labels(
            tmp_path / "run" / "labels" / "test" / f"{sample.image_id}.png",
            np.asarray(otsu(sample.image), np.int32),
        )
    score(tmp_path / "run", samples, tmp_path / "out", data="synthetic", progress=False)
    evaluate(samples, tmp_path / "out", data="synthetic", method="otsu", progress=False)
    outside = read_run(tmp_path / "out" / "synthetic-test-otsu_elsewhere")
    within = read_run(tmp_path / "out" / "synthetic-test-otsu")
    for theirs, ours in ((outside.counts, within.counts), (outside.pixels, within.pixels)):
        assert set(theirs.method) == {"Otsu elsewhere"}
        assert theirs.drop(columns="method").equals(ours.drop(columns="method"))
    row = table1([outside, within], with_published=False).iloc[0]
    assert (row["method"], row["parameters"], row["minutes"]) == ("Otsu elsewhere", 7, 1.5)
    assert set(table2([outside], with_published=False)["method"]) == {"Otsu elsewhere"}
    assert outside.provenance["training"]["versions"] == {"elsewhere": "3"}


def test_one_nucleus_in_two_pieces_stays_one(tmp_path: Path) -> None:
    from ngat.io.labels import read_label_image

    labels = np.zeros((9, 9), np.int32)
    labels[1:3, 1:3] = labels[6:8, 6:8] = 1
    write_labels(tmp_path / "one.png", labels)
    again = read_label_image(tmp_path / "one.png")
    assert np.array_equal(again > 0, labels > 0)
    assert len(np.unique(again)) == 2


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda run: (run / "told.json").unlink(), "make peers"),
        (lambda run: told(run, minutes=None) or _drop(run, "thresholds"), "nothing of thresholds"),
        (lambda run: next((run / "labels" / "test").iterdir()).unlink(), "1 of 5"),
        (lambda run: (run / "told.json").write_text("{"), "is not JSON"),
        (
            lambda run: write_labels(
                sorted((run / "labels" / "test").iterdir())[0], np.ones((3, 3), np.int32)
            ),
            "3",
        ),
    ],
)
def test_what_is_missing_is_said_and_nothing_is_written(
    tmp_path: Path,
    parts: dict[str, list[Sample]],
    spoil: Callable[[Path], Any],
    sentence: str,
) -> None:
    run = tmp_path / "run"
    told(run)
    for sample in parts["test"]:
        empty = np.zeros(sample.labels.shape, np.int32)
        write_labels(run / "labels" / "test" / f"{sample.image_id}.png", empty)
    spoil(run)
    with pytest.raises(InputError, match=sentence):
        score(run, parts["test"], tmp_path / "out", data="synthetic", progress=False)
    assert not (tmp_path / "out").exists()


def _drop(run: Path, key: str) -> None:
    words = json.loads((run / "told.json").read_text())
    del words[key]
    (run / "told.json").write_text(json.dumps(words))


def test_the_command_says_where_label_images_are_missing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    words = ("peers", "score", "--found", str(tmp_path), "--out", str(tmp_path / "out"))
    code, _, said = inside(capsys, monkeypatch, *words, "--limit", "2", "--quiet")
    assert code == 2
    assert "told.json: is missing; `make peers` runs the peer" in said


def test_a_run_trains_chooses_and_predicts(tmp_path: Path, pictures: Path) -> None:
    path = command.run(StandIn(), pictures, tmp_path / "run", minutes=0.01)
    words = json.loads(path.read_text())
    assert words["label"] == "Stand-in"
    assert words["steps"] > 0
    assert words["minutes"] >= 0.01
    assert words["thresholds"] == {"level": 0.4}
    assert words["magnification"] == "as it is"
    assert words["magnifications"]["as it is"] > words["magnifications"]["far"]
    for split in ("val", "test"):
        found = {file.stem for file in (tmp_path / "run" / "labels" / split).iterdir()}
        assert found == {picture.image_id for picture in read(pictures, split)}
    # Once more, and nothing is done again.
    before = path.stat().st_mtime_ns
    command.run(StandIn(), pictures, tmp_path / "run", minutes=0.01)
    assert path.stat().st_mtime_ns == before
    # More time, and all that follows from the network is made anew.
    command.run(StandIn(), pictures, tmp_path / "run", minutes=0.03)
    assert json.loads(path.read_text())["steps"] > words["steps"]


def test_a_stopped_run_goes_on_with_the_batches_it_would_have_seen(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("peers.training.CHECKPOINT_SECONDS", 0.0)
    training, val = read(pictures, "train"), read(pictures, "val")
    whole = StandIn()
    state = train(whole, training, val, tmp_path / "a", minutes=2, clock=Clock())
    assert state.step == len(whole.drawn) > 20
    stopped = StandIn()
    stopped.dies_at = 9
    with pytest.raises(KeyboardInterrupt):
        train(stopped, training, val, tmp_path / "b", minutes=2, clock=Clock())
    resumed = StandIn()
    again = train(resumed, training, val, tmp_path / "b", minutes=2, clock=Clock())
    both = min(state.step, again.step)
    assert both > 20
    assert (stopped.drawn + resumed.drawn)[:both] == whole.drawn[:both]
    assert resumed.level == again.step
    assert 120 <= again.seconds < 130


def test_a_folder_keeps_one_run(tmp_path: Path, pictures: Path) -> None:
    training, val = read(pictures, "train"), read(pictures, "val")
    train(StandIn(), training, val, tmp_path, minutes=0.1, clock=Clock())
    other = StandIn()
    other.settings["patch"] = 16
    with pytest.raises(InputError, match="holds a run with other settings"):
        train(other, training, val, tmp_path, minutes=0.1, clock=Clock())
    with pytest.raises(InputError, match="positive number"):
        train(StandIn(), training, val, tmp_path, minutes=0)


def test_batches_show_every_type_and_mostly_the_trained_size() -> None:
    blank = np.zeros((4, 4, 3), np.uint8)
    many = [Picture(str(i), blank, None, "many") for i in range(40)]
    few = [Picture("few", blank, None, "few")]
    drawn = [d for step in range(200) for d in draw(many + few, step, 8, seed=0)]
    share = np.mean([index == 40 for index, _, _ in drawn])
    # One picture of 41, but √40 to 1 by type.
    assert 0.1 < share < 0.17
    assert 0.9 < np.median([scale for _, scale, _ in drawn]) < 1.1
    assert max(scale for _, scale, _ in drawn) > 4


def test_stretching_leaves_an_empty_channel_dark() -> None:
    image = np.zeros((32, 32, 3), np.uint8)
    image[..., 2] = np.arange(32, dtype=np.uint8) * 3
    image[::2, :, 0] = 2  # noise
    seen = stretched(image, 0, 100)
    assert seen[..., 2].min() == 0
    assert seen[..., 2].max() == 255
    assert seen[..., 1].max() == 0
    assert seen[..., 0].max() > 0
    assert stretched(np.full((8, 8, 3), 77, np.uint8), 1, 99).max() == 0


def test_labels_and_pictures_are_resized_alike() -> None:
    labels = np.zeros((20, 30), np.int32)
    labels[4:12, 6:18] = 3
    image = np.repeat(np.where(labels > 0, 255, 0).astype(np.uint8)[:, :, None], 3, axis=2)
    for factor in (0.5, 2.0):
        small = resized(image, factor)
        again = resized_labels(labels, (small.shape[0], small.shape[1]))
        assert np.array_equal(again > 0, small[..., 0] > 127)


def test_a_peer_that_is_not_installed_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tensorflow", None)
    words = ["--pictures", str(tmp_path), "--out", str(tmp_path)]
    assert command.main(["stardist", *words]) == 2
    assert "is not installed here; `make peers PEER=stardist`" in capsys.readouterr().err
    assert command.main(["other", *words]) == 2
    assert "Unknown peer 'other'" in capsys.readouterr().err


def test_pictures_that_were_not_exported_are_asked_for(tmp_path: Path, pictures: Path) -> None:
    with pytest.raises(InputError, match="ngat peers export"):
        read(tmp_path / "none", "train")
    next((pictures / "val" / "images").iterdir()).write_bytes(b"no picture")
    with pytest.raises(InputError, match="export the pictures again"):
        read(pictures, "val")
    Image.new("L", (4, 4)).save(next((pictures / "train" / "masks").iterdir()))
    with pytest.raises(InputError, match="does not fit its picture"):
        read(pictures, "train")


def test_requirements_are_pinned_to_the_last_package() -> None:
    for name in command.PEERS:
        lines = (Path(command.__file__).parent / f"{name}.txt").read_text().splitlines()
        pins = [line for line in lines if line and not line.startswith("#")]
        assert len(pins) > 10
        assert all("==" in pin and "nvidia" not in pin for pin in pins)


def loaded(name: str) -> list[Path]:
    """Files of this project's modules that the command loads for a peer, its own among them."""
    own = ROOT / "peers" / f"with_{name}.py"
    code = (
        "import sys, importlib; "
        "[importlib.import_module(name) for name in sys.argv[1:]]; "
        "print(*(m.__file__ for n, m in sys.modules.items() if n.startswith(('ngat', 'peers'))))"
    )
    # The peer's own module cannot be loaded without its packages; what it takes from ngat can.
    nodes = ast.parse(own.read_text("utf-8")).body
    needed = [str(n.module) for n in nodes if isinstance(n, ast.ImportFrom)]
    ours = [module for module in needed if module.split(".")[0] in ("ngat", "peers")]
    assert "ngat.training.augment" in ours
    done = subprocess.run(
        [sys.executable, "-c", code, "peers.__main__", *ours],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [*map(Path, done.stdout.split()), own]


@pytest.mark.parametrize("name", command.PEERS)
def test_a_peer_s_environment_has_what_its_run_imports(name: str) -> None:
    """All that the modules which the command loads import at their top, and the peer's own."""
    files = loaded(name)
    names = set()
    for node in (node for file in files for node in ast.parse(file.read_text("utf-8")).body):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(str(node.module).split(".")[0])
    needed = names - set(sys.stdlib_module_names) - {"ngat", "peers"}
    called = {"PIL": "pillow", "skimage": "scikit-image", "tensorflow": "tensorflow-cpu"}
    pins = (ROOT / "peers" / f"{name}.txt").read_text("utf-8").splitlines()
    there = {pin.split("==")[0].lower().replace("_", "-") for pin in pins if "==" in pin}
    assert {"numpy", "rich", "scipy", name} <= needed
    assert {called.get(name, name) for name in needed} <= there


def test_stardist_finds_the_magnification_by_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its packages: outputs are those of a network that sees disks of 40 pixels."""
    for name in ("tensorflow", "stardist", "stardist.models", "stardist.models.model2d"):
        monkeypatch.setitem(sys.modules, name, MagicMock())
    monkeypatch.delitem(sys.modules, "peers.with_stardist", raising=False)
    peer = object.__new__(importlib.import_module("peers.with_stardist").StarDist)
    peer.config = SimpleNamespace(grid=(2, 2))
    y, x = np.ogrid[:320, :320]
    picture = 200 * (np.hypot(y % 80 - 40, x % 80 - 40) < 20).astype(np.uint8)

    def outputs(seen: np.ndarray) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
        prob = (seen[::2, ::2, 0] > 100).astype(np.float32)
        radius = 20 * len(seen) / 320
        return prob, np.full((*prob.shape, 32), radius, np.float32), seen.shape[:2]

    peer.outputs = outputs
    factor = peer._found(np.repeat(picture[:, :, None], 3, axis=2))
    assert factor == pytest.approx(SIZE / (20 * np.sqrt(np.pi)), rel=0.02)
    monkeypatch.delitem(sys.modules, "peers.with_stardist")


def test_a_file_is_no_folder_of_pictures(tmp_path: Path, parts: dict[str, list[Sample]]) -> None:
    (tmp_path / "afile").write_text("mine")
    with pytest.raises(InputError, match="afile: is a file; choose a folder"):
        export(parts, tmp_path / "afile", data="synthetic", progress=False)
    assert (tmp_path / "afile").read_text() == "mine"
