"""What notebooks start with: parameters refused in a sentence, folders, pictures, saved figures."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from ngat.errors import InputError
from ngat.paper.session import FIGURES, LARGE, Session, open_session
from ngat.paper.style import NAMED, style

GOOD = {"data": "synthetic", "profile": "smoke", "run_dir": "", "seed": 0, "weights": ""}
TOP = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"data": "cats"}, "data 'cats' are unknown; choose one of synthetic"),
        ({"profile": "huge"}, "profile 'huge' is unknown"),
        ({"seed": -1}, "seed must be a whole number"),
        ({"seed": True}, "seed must be a whole number"),
        ({"seed": 0.5}, "seed must be a whole number"),
        ({"weights": "nowhere.safetensors"}, "nowhere.safetensors: there is no such weights file"),
    ],
)
def test_bad_parameters_are_refused(change: dict, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        open_session(**GOOD | change)


def test_auto_is_real_pictures_where_they_are_prepared(tmp_path, monkeypatch) -> None:
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "ngat").mkdir()
    (tmp_path / "ngat" / "__init__.py").touch()
    monkeypatch.chdir(tmp_path / "notebooks")
    assert open_session(**GOOD | {"data": "auto"}).data == "synthetic"
    store = tmp_path / "data" / "dsb2018" / "store.zip"
    store.parent.mkdir(parents=True)
    store.touch()
    real = open_session(**GOOD | {"data": "auto"})
    assert real.data == "dsb2018"
    assert "2018 Data Science Bowl" in real.source
    assert open_session(**GOOD).data == "synthetic"


def test_a_result_that_is_not_measured_yet_is_none() -> None:
    session = open_session(**GOOD)
    assert session.found("dsb2018.pictures.csv") == session.stored("dsb2018.pictures.csv")
    assert session.found("never-measured.csv") is None


def test_folders_of_a_run_of_a_commit_and_of_neither(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(TOP / "notebooks")
    monkeypatch.delenv(FIGURES, raising=False)
    alone = open_session(**GOOD)
    assert alone.top == TOP
    assert alone.figures == TOP / "runs" / "notebooks" / "figures"

    monkeypatch.setenv(FIGURES, str(tmp_path / "kept"))
    committed = open_session(**GOOD)
    assert committed.figures == committed.tables == tmp_path / "kept"
    assert committed.results == alone.results, "results of a commit stay out of the repository"

    run = open_session(**GOOD | {"run_dir": str(tmp_path / "run")})
    assert run.figures == tmp_path / "run" / "figures"
    assert run.tables == tmp_path / "run" / "tables"


@pytest.fixture
def session(tmp_path) -> Session:
    return open_session(**GOOD | {"run_dir": str(tmp_path), "seed": 3})


def test_samples_follow_the_seed(session) -> None:
    (sample,) = session.samples("val", limit=1)
    assert sample.image_id.startswith("synthetic-3-val")
    assert "generated pictures (synthetic, seed 3)" in session.source


def test_figure_is_saved_and_says_where_its_pictures_come_from(session, tmp_path) -> None:
    fig = Figure(figsize=(4, 2))
    fig.add_subplot().plot([0, 1])
    image = session.show(fig, "line", "a line")
    assert [text.get_text() for text in fig.texts] == [session.source]
    assert image.data == (tmp_path / "figures" / "line.png").read_bytes()
    assert (tmp_path / "figures" / "line.pdf").is_file()
    assert (image.width, image.alt) == (400, "a line")

    other = Figure()
    session.show(other, "other", "nothing", pictures="rings")
    assert [text.get_text() for text in other.texts] == ["rings"]

    plain = Figure()
    session.show(plain, "plain", "nothing", pictures=False)
    assert plain.texts == []


def test_the_source_stands_above_a_legend(session, tmp_path) -> None:
    """Saving crops a figure; its legend must not move into the line of the source."""
    with style():
        fig = Figure(figsize=(5, 3))
        fig.subplots().plot([0, 1], label="x" * 50)
        fig.legend(loc="outside upper center")
    session.show(fig, "legend", "a line", pictures="S" * 30)
    with Image.open(tmp_path / "figures" / "legend.png") as png:
        grey = np.asarray(png.convert("L"))
    ink = np.flatnonzero((grey < 200).any(axis=1))
    end_of_source = ink[np.flatnonzero(np.diff(ink) > 1)[0]]
    black = np.flatnonzero((grey < 40).any(axis=1))
    assert black[0] > end_of_source  # the legend's text is black, the source's is grey


def test_a_large_picture_has_fewer_colours_in_the_notebook(session, tmp_path) -> None:
    rng = np.random.default_rng(0)
    smooth = np.linspace(0, 1, 400)[:, None, None] * np.ones((400, 400, 3))
    noisy = np.clip(smooth + rng.normal(0, 0.03, smooth.shape), 0, 1)
    fig = Figure(figsize=(4, 4))
    fig.add_subplot().imshow(noisy)
    image = session.show(fig, "noise", "noise", pictures=False)
    whole = (tmp_path / "figures" / "noise.png").read_bytes()
    assert len(whole) > LARGE
    assert len(image.data) < len(whole) / 2
    shown, kept = (
        np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), float)
        for data in (image.data, whole)
    )
    assert shown.shape == kept.shape
    assert np.abs(shown - kept).mean() < 6
    assert len(np.unique(kept.reshape(-1, 3), axis=0)) > 256
    assert len(np.unique(shown.reshape(-1, 3), axis=0)) <= 256


def test_a_legend_keeps_its_colours_beside_a_photograph(session) -> None:
    noisy = np.random.default_rng(0).random((400, 400, 3))  # many colours, all of them frequent
    fig = Figure(figsize=(4, 4))
    axes = fig.add_subplot()
    axes.imshow(noisy)
    for colour in NAMED:
        axes.plot([0, 1], [0, 0], color=colour, lw=4, label=colour)
    axes.legend()
    shown = Image.open(io.BytesIO(session.show(fig, "legend", "noise", pictures=False).data))
    kept = {colour for _, colour in shown.convert("RGB").getcolors()}
    assert {tuple(bytes.fromhex(colour[1:])) for colour in NAMED} <= kept


def test_table_is_written_whole(session, tmp_path) -> None:
    session.table(pd.DataFrame({"level": [0, 1], "nodes": [16, 4]}), "nodes")
    assert (tmp_path / "tables" / "nodes.csv").read_text() == "level,nodes\n0,16\n1,4\n"
    assert "| 1 | 4 |" in (tmp_path / "tables" / "nodes.md").read_text()


def test_stored_result_that_is_missing(session) -> None:
    with pytest.raises(InputError, match=r"data/results/none.json: is missing"):
        session.stored("none.json")
