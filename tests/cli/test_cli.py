"""The command line as users see it: exit codes, stderr, no tracebacks."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import processes
import pytest
import tifffile
from command import inside
from notebook_cases import PARAMETERS, notebook
from PIL import Image
from tiny import SMALL, log_of, tiny

from ngat.cli.options import check_words
from ngat.model import NGAT
from ngat.training.weights import save_weights

ROOT = Path(__file__).parents[2]


def ngat(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the installed command in its own process, where nobody watches a terminal."""
    return subprocess.run(
        [sys.executable, "-m", "ngat", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=120,
        check=False,
    )


def test_help_and_version(tmp_path: Path) -> None:
    assert "reproduce" in ngat("--help", cwd=tmp_path).stdout
    from ngat import __version__

    assert ngat("--version", cwd=tmp_path).stdout.strip() == __version__


def test_help_loads_no_heavy_library(tmp_path: Path) -> None:
    """`ngat --help` answers at once."""
    code = "import sys, ngat.cli; print([m for m in ('torch', 'papermill') if m in sys.modules])"
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert said.stdout.strip() == "[]"


def test_bad_input_is_one_sentence_and_exit_code_2(tmp_path: Path) -> None:
    said = ngat("score", "absent", "absent", cwd=tmp_path)
    assert said.returncode == 2
    assert "absent: no such file or folder" in said.stderr
    assert said.stderr.strip().count("\n") == 0
    assert said.stdout == ""


def test_reproduce_passes_parameters_and_fails_with_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    notebook(
        tmp_path / "notebooks/01_first.ipynb",
        "assert (steps, seed, profile) == (0.5, 4, 'full')",
        "open('../ran.txt', 'w').write(word)",
        parameters=PARAMETERS + "\nsteps: float = 1.0\nword = ''",
    )
    monkeypatch.chdir(tmp_path)
    asked = ["reproduce", "--seed", "4", "--profile", "full", "--only", "1"]
    more = ["--set", "steps=0.5", "--set", "word=a=b"]
    code, out, err = inside(capsys, monkeypatch, *asked, *more)
    assert code == 0, err
    assert (tmp_path / "ran.txt").read_text() == "a=b"
    assert out.rstrip().endswith("runs/synthetic-full/index.html")

    code, _, err = inside(capsys, monkeypatch, *asked)
    assert code == 1
    assert err.startswith("01_first.ipynb: cell [3] stopped with AssertionError")
    assert err.strip().count("\n") == 0


def test_readme_check_tells_by_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pages = {"README.md": ["short"], "data/results/README.md": ["paper", "tables"]}
    for page, names in pages.items():
        marks = [f"<!-- {end}:{name} -->\n" for name in names for end in ("begin", "end")]
        (tmp_path / page).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / page).write_text("".join(marks))
    assert inside(capsys, monkeypatch, "readme", "--check")[0] == 1
    assert inside(capsys, monkeypatch, "readme")[0] == 0
    assert inside(capsys, monkeypatch, "readme", "--check")[0] == 0


def train(**overrides: object) -> list[str]:
    """``ngat train`` of the tiny network."""
    words = ["train", "--data", "rings", "--preset", "smoke", "--limit", "3", "--device", "cpu"]
    # What is tested here is the command; its process would wait for kernels to be compiled.
    for key, value in {**SMALL, "engine": "reference", **overrides}.items():
        words += ["--set", f"{key}={value}"]
    return words


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with pictures and weights in it."""
    monkeypatch.chdir(tmp_path)
    chosen = tiny()
    save_weights("w.safetensors", NGAT(chosen.model), chosen, {})
    Path("half.safetensors").write_bytes(Path("w.safetensors").read_bytes()[:999])
    pixels = np.random.default_rng(0).integers(0, 256, (30, 21, 3), dtype=np.uint8)
    Image.fromarray(pixels).save("rgb.png")
    Image.fromarray(pixels[:, :, 0]).save("grey.png")
    Image.fromarray(pixels[:, :, 0].astype(np.uint16) * 257).save("deep.png")
    tifffile.imwrite("nan.tif", np.full((30, 21), np.nan, np.float32))
    Path("text.png").write_text("no picture")
    Path("sub").mkdir()
    Image.fromarray(pixels).save("sub/rgb.png")
    return tmp_path


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("reproduce", "notebooks: there is no such folder"),
        ("reproduce --profile huge", "Unknown profile 'huge'"),
        ("reproduce --set steps", "--set steps: write it as name=value"),
        ("readme", "README.md: there is no such file"),
        ("train --out o --preset huge", "Unknown preset 'huge'; known: paper, companion, smoke"),
        ("train --out o --set colour=1", "no parameter 'colour'; it has: levels"),
        ("train --out o --set steps=0", "steps must be a number at least 1"),
        ("train --out o --set steps", "--set steps: write it as name=value"),
        ("train --out o --set steps=1 --set steps=2", "--set steps is there twice"),
        ("train --out o --set channels=9 --set steps=1", "channels (9) must be a multiple"),
        ("train --out o --data moon", "data 'moon' are unknown"),
        ("train --out o --data dsb2018", "the 2018 Data Science Bowl is not prepared"),
        ("train --out o --limit 0", "limit 0 is too small"),
        ("train --out o --limit 3 --minutes -1", "minutes must be a positive number"),
        ("train --out o --limit 3 --device moon", "Unknown device 'moon'"),
        ("train --out o --limit 3 --device cuda:99", "Device 'cuda:99' is not there"),
        ("train --out rgb.png/o --limit 3 --set steps=1", "cannot be written"),
        ("evaluate --out o", "give --weights for it"),
        ("evaluate --out o --weights absent", "absent: cannot be read"),
        ("evaluate --out o --weights half.safetensors --limit 1", "half.safetensors: is truncated"),
        ("evaluate --out o --weights text.png --limit 1", "text.png: is truncated or not"),
        ("evaluate --out o --method otsu --split best", "split 'best' is unknown"),
        ("evaluate --out o --method guess --limit 1", "Unknown method 'guess'"),
        ("evaluate --out rgb.png/o --method otsu --limit 1", "cannot be written"),
        ("evaluate --out o --method otsu --masks no --limit 1", "masks 'no' are unknown"),
        ("segment absent.png --out o", "absent.png: there is no such file or folder"),
        ("segment *.gif --out o", "*.gif: holds no picture"),
        ("segment sub --weights half.safetensors --out o", "half.safetensors: is truncated"),
        ("segment rgb.png --out o --method no", "Unknown method 'no'"),
        ("segment rgb.png --out o --format gif", "Unknown format 'gif'; known: labels, overlay"),
        ("segment rgb.png --out o --page x", "--page x: give a number from 0, or all"),
        ("segment rgb.png --out o --diameter 0", "--diameter must be from 1.41"),
        ("segment rgb.png --out o --scale nan", "--scale must be from 0.015625 to 16; got nan"),
        ("segment rgb.png --out o --scale 1 --diameter 9", "--diameter or --scale, not both"),
        ("ablate --out o.csv --steps 3 --minutes 1", "Give --steps or --minutes"),
        ("leave-out --out o.csv --minutes 0", "minutes must be a positive number; got 0"),
        ("leave-out --out o.csv --steps 0", "steps must be at least 1; got 0"),
        ("peers score --found absent --out o --limit 1", "make peers"),
        ("score absent absent", "absent: no such file or folder"),
        ("tables --results sub", "sub: holds no result file"),
        ("data prepare", "Give either --source DIR or --download"),
        ("data prepare --source absent", "absent: no such folder"),
        ("data types --source absent.csv", "absent.csv: no such file"),
        ("data split", "image_types.csv: no such file"),
    ],
)
def test_bad_input_of_every_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, line: str, sentence: str
) -> None:
    code, out, err = inside(capsys, monkeypatch, *line.split())
    assert (code, out) == (2, "")
    assert sentence in err
    assert err.strip().count("\n") == 0  # one sentence, no traceback
    assert not Path("o").exists()


@pytest.mark.parametrize("line", ["train --colour blue --out o", "train", "fly", "data fly"])
def test_a_line_that_is_no_command_is_explained(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    code, _, err = inside(capsys, monkeypatch, *line.split())
    assert code == 2
    assert "Usage: ngat" in err
    assert "Traceback" not in err


def test_a_killed_training_goes_on_to_the_same_losses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGKILL gives no time to write anything."""
    line = [*train(steps=20, validate_every=10), "--out"]
    monkeypatch.chdir(tmp_path)
    process = processes.ngat(*line, "killed", cwd=tmp_path)
    log = tmp_path / "killed" / "log.csv"
    processes.wait_for(lambda: log.exists() and log.read_text().count("\n") > 1, process)
    process.kill()
    processes.end(process)
    assert not (tmp_path / "killed" / "best.safetensors.tmp").exists()
    for arguments in (["killed", "--resume"], ["whole"]):
        code, out, err = inside(capsys, monkeypatch, *line, *arguments)
        assert code == 0, err
    assert "average F1" in out
    for name in ("log.csv", "validation.csv"):
        assert log_of(tmp_path / "killed", name) == log_of(tmp_path / "whole", name)
    assert (tmp_path / "killed/best.safetensors").stat().st_size > 0


def test_ctrl_c_says_how_to_go_on(tmp_path: Path) -> None:
    process = processes.ngat(*train(steps=100000), "--out", "o", cwd=tmp_path)
    log = tmp_path / "o" / "log.csv"
    processes.wait_for(lambda: log.exists() and log.read_text().count("\n") > 1, process)
    process.send_signal(signal.SIGINT)
    code, _, err = processes.end(process)
    assert code == 130
    assert "with --resume goes on" in err.splitlines()[-1]
    assert "Traceback" not in err


def test_from_pictures_to_scores(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One channel and 16 bits are simply read."""
    pictures = ["rgb.png", "grey.png", "deep.png"]
    words = ["--weights", "w.safetensors", "--out", "found", "--device", "cpu"]
    code, out, err = inside(capsys, monkeypatch, "segment", *pictures, *words)
    assert code == 0, err
    assert out.count(" done ") == 3
    assert "3 done, 0 skipped, 0 failed" in out
    grey, deep = (tifffile.imread(folder / f"found/labels/{n}.tif") for n in ("grey", "deep"))
    assert grey.shape == deep.shape == (30, 21)
    assert np.asarray(Image.open("found/overlay/rgb.png")).shape == (30, 21, 3)

    sides = ("found/labels", "found/labels")
    code, out, err = inside(capsys, monkeypatch, "score", *sides, "--out", "s.csv")
    assert code == 0, err
    assert "score: 1.0000" in out
    assert Path("s.csv").read_text().startswith("image_id,")

    words = ["--data", "rings", "--limit", "2", "--out", "res", "--device", "cpu"]
    code, out, err = inside(capsys, monkeypatch, "evaluate", "--weights", "w.safetensors", *words)
    assert code == 0, err
    assert "smoke (split)" in out
    assert inside(capsys, monkeypatch, "evaluate", "--method", "otsu", *words)[0] == 0
    code, out, err = inside(capsys, monkeypatch, "tables", "--results", "res", "--out", "tab")
    assert code == 0, err
    assert "Otsu" in Path("tab/table1.md").read_text()


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("score a.csv a.csv --out a.csv", "--out a.csv: is an input or among them"),
        ("score sub sub --out sub/rgb.png", "give a name that ends in .csv or .csv.gz"),
        ("score sub sub --out sub/s.csv", "--out sub/s.csv: is an input or among them"),
        ("score sub sub --out d.csv", "--out d.csv: is a folder"),
        ("explorer rgb.png --out rgb.png", "--out rgb.png: give a name that ends in .html"),
        ("explorer page.html --out page.html", "--out page.html: is an input or among them"),
        ("explorer rgb.png --out w.html --weights w.html", "is an input or among them"),
        ("error-types --runs x --out a.json", "--out a.json: give a name that ends in .csv"),
        ("error-types --runs x --out a.csv", "a.json: is no record of a table; it would be"),
        ("robustness --weights w.safetensors --out a.json", "--out a.json: give a name that"),
        ("robustness --weights w.safetensors --out a.csv", "a.json: is no record of a table"),
        ("ablate --steps 1 --limit 3 --out a.json", "--out a.json: give a name that ends in .csv"),
        ("ablate --steps 1 --limit 3 --out a.csv", "a.json: is no record of a table"),
        ("evaluate --method otsu --tta --out o", "--tta is for networks; leave it out with"),
        ("evaluate --method otsu --masks corrected --data sub --out o", "is for dsb2018; leave it"),
        ("tune-classical --seed -1 --out o.json", "seed must be at least 0; got -1"),
    ],
)
def test_what_would_be_overwritten_or_ignored_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, line: str, sentence: str
) -> None:
    Path("a.csv").write_text("ImageId,EncodedPixels,Height,Width\na,1 3,8,8\n")
    Path("a.json").write_text('{"mine": 1}')
    Path("d.csv").mkdir()
    for page in ("page.html", "w.html"):
        Path(page).write_text("mine")
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    code, out, err = inside(capsys, monkeypatch, *line.split())
    assert (code, out) == (2, "")
    assert sentence in err
    assert err.strip().count("\n") == 0
    assert before == {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("words", "option"),
    [
        (["segment", "", "--out", "o"], "An argument"),
        (["segment", "rgb.png", "--out", ""], "--out"),
        (["segment", "rgb.png", "--out=", "--quiet"], "--out"),
        (["segment", "rgb.png", "--out", "o", "--weights", ""], "--weights"),
        (["evaluate", "--out", "o", "--data", ""], "--data"),
        (["score", "sub", ""], "An argument"),
    ],
)
def test_an_empty_word_is_not_the_current_folder(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    option: str,
) -> None:
    said = inside(capsys, monkeypatch, *words)
    assert said == (2, "", f"{option} is empty; give a value, or . for the folder you are in.\n")
    assert not Path("o").exists()


@pytest.mark.parametrize(
    ("line", "option"),
    [
        ("tables --seed -1", "--seed"),
        ("evaluate --method otsu --data-seed -1 --out o", "--data-seed"),
    ],
)
def test_a_negative_seed_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, line: str, option: str
) -> None:
    code, _, err = inside(capsys, monkeypatch, *line.split())
    assert code == 2
    assert f"Invalid value for '{option}'" in err
    assert "Traceback" not in err


def test_an_option_that_may_be_empty_may_be_given_so() -> None:
    check_words(["explorer", "a.png", "--weights", "", "--out", "p.html"])
    check_words(["reproduce", "--name=", "--only", "", "--weights="])
