"""The committed notebooks are as a reader needs them; and the guard itself sees what it should.

`make test` executes them too, by nbval. nbval passes over cells that were never run and over cells
without a mark, so a stripped or unmarked notebook would pass it: this guard is what forbids that.
"""

from __future__ import annotations

import base64
import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import hygiene
import nbformat
import numpy as np
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_output
from notebook_cases import PARAMETERS, notebook
from PIL import Image

import ngat
from ngat.errors import InputError

FOLDER = Path(__file__).parents[2] / "notebooks"
COMMITTED = sorted(FOLDER.glob("*.ipynb"))
# Cells that nbval compares, over all notebooks and in the poorest of them. These only ever rise.
AT_LEAST, AT_LEAST_EACH = 70, 3


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_notebook_is_fit_to_be_read(path: Path) -> None:
    assert path in hygiene.numbered(FOLDER), f"{path.name} is not named like 01_title.ipynb"
    assert hygiene.problems(path) == []
    assert hygiene.checked_cells(path) >= AT_LEAST_EACH


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_notebook_begins_like_every_other(path: Path) -> None:
    """Title, promise, badges and the Colab set-up pinned to the tag of this version."""
    first, parameters, setup = nbformat.read(path, 4).cells[:3]
    title, promise, badges = first.source.split("\n\n", 2)
    assert title.startswith(f"# {int(path.stem[:2])} ")
    assert len(promise) > 100
    tag = f"v{ngat.__version__}"
    binder, colab = badges.splitlines()
    assert f"/gh/ngat-companion/ngat/{tag}?labpath=notebooks%2F{path.name})" in binder
    assert f"/ngat-companion/ngat/blob/{tag}/notebooks/{path.name})" in colab
    assert parameters.metadata["tags"] == ["parameters"]
    assert f'"--branch", "{tag}", "https://github.com/ngat-companion/ngat"' in setup.source
    assert setup.source.startswith(hygiene.SETUP), "run: python .ci/hygiene.py stamp notebooks"
    assert "open_session(data, profile, run_dir, seed, weights)" in setup.source


def test_setup_cell_clones_once_fails_loudly_and_finds_its_folder_after_a_restart(
    tmp_path: Path,
) -> None:
    """Run as on Colab: outside of the repository, without ngat, then again in a new process."""
    tools, log = tmp_path / "tools", tmp_path / "log"
    tools.mkdir()
    (tools / "git").write_text(
        f'#!/bin/sh\necho "$@" >> {log}\n[ -n "$OFFLINE" ] && exit 128\n'
        'for last; do :; done\nmkdir -p "$last/notebooks"\n'
    )
    (tools / "git").chmod(0o755)
    code = (
        "import importlib.util as u, subprocess, sys\n"
        "sys.modules['google.colab'] = sys\n"
        "u.find_spec = lambda name: None\n"
        f"sys.executable = {str(tools / 'git')!r}\n" + hygiene.SETUP + "print(os.getcwd())\n"
    )

    def run(**more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=os.environ | {"PATH": f"{tools}:{os.environ['PATH']}"} | more,
            timeout=120,
            check=False,
        )

    failed = run(OFFLINE="1")
    assert failed.returncode != 0
    assert "CalledProcessError" in failed.stderr
    for _ in range(2):
        done = run()
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == str(tmp_path / "ngat-companion" / "notebooks")
    clones = [line for line in log.read_text().splitlines() if line.startswith("clone")]
    assert len(clones) == 2, "the failed one, and one for both runs"
    assert hygiene.TAG in clones[1]


def test_a_kernel_without_the_package_is_named_and_nothing_is_installed(tmp_path: Path) -> None:
    said = subprocess.run(
        [sys.executable, "-I", "-S", "-c", hygiene.SETUP],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert "has no ngat: choose another kernel, or run `make env`" in said.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_notebook_shows_real_tissue(path: Path) -> None:
    """One of its figures is of microscope pictures; it takes the real ones where they are."""
    shown = []
    for cell in nbformat.read(path, 4).cells:
        if "session.show(" in cell.source or "tested.show(" in cell.source:
            for output in cell.outputs:
                if "image/png" in output.get("data", {}):
                    png = base64.b64decode(output.data["image/png"])
                    shown.append((photographic(png), cell.source))
    real = [s for much, s in shown if much and "pictures=False" not in s and "generated" not in s]
    assert real, "no cell of it shows a microscope picture"
    assert 'data = "auto"' in nbformat.read(path, 4).cells[1].source


def photographic(png: bytes) -> bool:
    """Whether neighbouring pixels differ in many places: lines and bars lie on flat ground."""
    with Image.open(io.BytesIO(png)) as picture:
        grey = np.asarray(picture.convert("L").resize((400, 400)), dtype=int)
    return bool((np.diff(grey, axis=1) != 0).mean() > 0.35)


@pytest.mark.skipif(not COMMITTED, reason="no notebooks yet")
def test_enough_cells_are_checked() -> None:
    assert sum(hygiene.checked_cells(path) for path in COMMITTED) >= AT_LEAST


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small notebook as `make notebooks` leaves it."""
    path = notebook(
        tmp_path_factory.mktemp("notebooks") / "01_small.ipynb",
        "# NBVAL_CHECK_OUTPUT\nprint(6 * 7 + seed)",
        "import time; time.time()",
    )
    hygiene.execute(path)
    return path


def test_executed_notebook_passes(executed: Path) -> None:
    assert hygiene.problems(executed) == []
    assert hygiene.checked_cells(executed) == 1
    text = executed.read_text()
    for personal in ("papermill", "iopub", str(executed.parent), str(Path.home())):
        assert personal not in text


def break_count(n: NotebookNode) -> None:
    n.cells[3].execution_count = None


def break_order(n: NotebookNode) -> None:
    n.cells[1].execution_count, n.cells[2].execution_count = 2, 1


def add_error(n: NotebookNode) -> None:
    n.cells[3].outputs = [new_output("error", ename="KeyError", evalue="x", traceback=[])]


def add_stderr(n: NotebookNode) -> None:
    n.cells[3].outputs = [new_output("stream", name="stderr", text="a warning")]


def add_home(n: NotebookNode) -> None:
    n.cells[3].outputs = [new_output("stream", text=f"{Path.home()}/data")]


def add_other_home(n: NotebookNode) -> None:
    n.cells[3].outputs = [new_output("display_data", data={"text/html": "<a>/home/ada/x</a>"})]


def add_timing(n: NotebookNode) -> None:
    n.cells[2].metadata["execution"] = {"iopub.status.busy": "2022-01-01"}


def add_papermill(n: NotebookNode) -> None:
    n.metadata["papermill"] = {"duration": 1.0}


def add_cell_papermill(n: NotebookNode) -> None:
    n.cells[2].metadata["papermill"] = {"duration": 1.0}


def inject(n: NotebookNode) -> None:
    n.cells[2].metadata["tags"] = ["injected-parameters"]


def swell(n: NotebookNode) -> None:
    n.cells[3].outputs = [new_output("stream", text="x" * hygiene.LARGEST)]


def rename_kernel(n: NotebookNode) -> None:
    n.metadata["kernelspec"]["name"] = "my-env"


def version_python(n: NotebookNode) -> None:
    n.metadata["language_info"]["version"] = "3.11.0"


def untag(n: NotebookNode) -> None:
    n.cells[1].metadata["tags"] = []


def unmark(n: NotebookNode) -> None:
    n.cells[2].source = n.cells[2].source.replace("# NBVAL_CHECK_OUTPUT", "")


def empty_checked(n: NotebookNode) -> None:
    n.cells[2].outputs = []


@pytest.mark.parametrize(
    ("corrupt", "sentence"),
    [
        (break_count, "not executed from top to bottom"),
        (break_order, "not executed from top to bottom"),
        (add_error, "cell 4 shows an error (KeyError)"),
        (add_stderr, "cell 4 wrote to stderr"),
        (add_home, "cell 4 shows a path of the machine"),
        (add_other_home, "cell 4 shows a path of the machine"),
        (add_timing, "cell 3 carries run metadata (execution)"),
        (add_papermill, "carries papermill's metadata"),
        (add_cell_papermill, "cell 3 carries run metadata (papermill)"),
        (inject, "cell 3 was injected by papermill"),
        (swell, "is 3.0 MB, more than 3 MB"),
        (rename_kernel, "names another kernel"),
        (version_python, "carries the version of the Python"),
        (untag, "no cell tagged 'parameters'"),
        (unmark, "has no checked cell"),
        (empty_checked, "has no checked cell"),
    ],
)
def test_guard_sees_what_is_wrong(
    executed: Path, tmp_path: Path, corrupt: Callable[[NotebookNode], None], sentence: str
) -> None:
    content = nbformat.read(executed, 4)
    corrupt(content)
    path = tmp_path / executed.name
    nbformat.write(content, path)
    found = hygiene.problems(path)
    assert len(found) == 1, found
    assert sentence in found[0]
    assert hygiene.main(["check", str(tmp_path)]) == 1


def test_cleaning_makes_a_papermill_run_fit_again(executed: Path) -> None:
    content = nbformat.read(executed, 4)
    for mark in (add_timing, add_papermill, add_cell_papermill, rename_kernel, version_python):
        mark(content)
    hygiene.clean(content)
    assert content == nbformat.read(executed, 4)


def test_failing_notebook_stays_as_it_was(tmp_path: Path) -> None:
    path = notebook(tmp_path / "01_bad.ipynb", "1 / 0", parameters=PARAMETERS)
    before = path.read_bytes()
    with pytest.raises(InputError, match="ZeroDivisionError"):
        hygiene.execute(path)
    assert path.read_bytes() == before
    assert hygiene.main(["execute", str(tmp_path)]) == 2


def nbval(*paths: Path) -> subprocess.CompletedProcess[str]:
    """nbval with the options of `make test`, in a process of its own."""
    options = ["--nbval-lax", "--nbval-current-env", "-p", "no:cacheprovider", "-q"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *options, *map(str, paths)],
        capture_output=True,
        text=True,
        cwd=paths[0].parent,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        timeout=120,
        check=False,
    )


def test_nbval_turns_red_when_a_stored_number_is_corrupted(executed: Path, tmp_path: Path) -> None:
    """And only there: the notebook beside it, as it was executed, stays green."""
    content = nbformat.read(executed, 4)
    assert content.cells[2].outputs[0].text == "42\n"
    content.cells[2].outputs[0].text = "43\n"
    path = tmp_path / "02_corrupted.ipynb"
    nbformat.write(content, path)
    assert hygiene.problems(path) == []  # only running it can tell
    said = nbval(executed, path)
    assert said.returncode == 1
    assert "43" in said.stdout
    assert "1 failed, 5 passed" in said.stdout
    assert f"{path.name}::Cell 1" in said.stdout


def test_a_number_without_notebook_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """Numbers between blanks were one that no notebook has: nothing ran, exit 0."""
    assert hygiene.main(["check", str(FOLDER), "--only", "01 03"]) == 2
    assert "no notebook 01 03" in capsys.readouterr().err
    assert hygiene.main(["check", str(FOLDER), "--only", "1,3"]) == 0
