"""Running all notebooks: resumed, skipped, refused, indexed; tiny notebooks, real kernels."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import nbformat
import processes
import pytest
from notebook_cases import PARAMETERS, notebook
from rich.console import Console

from ngat.paper.run_state import Record, page, rounded

pytest.importorskip("papermill")

from ngat.data import store
from ngat.errors import InputError
from ngat.paper.notebook import NotebookFailed, declared, files_of
from ngat.paper.reproduce import reproduce
from ngat.system.files import DiskFull, sha256

# Appends a line to a file beside the notebooks' folder: how often did this notebook really run?
COUNT = "from pathlib import Path\nwith open('../ran.txt', 'a') as file:\n    file.write('{} ')"
WRITE = """from pathlib import Path
folder = Path(run_dir) / "tables"
folder.mkdir(parents=True, exist_ok=True)
(folder / "seeds.csv").write_text(f"name,seed\\n<b>,{seed}\\n")"""


class Bench:
    """A repository in a temporary folder with notebooks, and what is said while they run."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.notebooks = root / "notebooks"
        self.notebooks.mkdir()
        self.said = ""

    def add(self, name: str, *code: str, **more: object) -> Path:
        return notebook(self.notebooks / f"{name}.ipynb", COUNT.format(name), *code, **more)  # type: ignore[arg-type]

    def run(self, **arguments: object) -> Path:
        stream = io.StringIO()
        try:
            return reproduce(
                notebooks=self.notebooks,
                runs=self.root / "runs",
                console=Console(file=stream, width=200),
                **arguments,  # type: ignore[arg-type]
            )
        finally:
            self.said = stream.getvalue()

    def ran(self) -> list[str]:
        """Names of the notebooks that ran since this was last asked."""
        path = self.root / "ran.txt"
        names = path.read_text().split() if path.exists() else []
        path.unlink(missing_ok=True)
        return names


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    # A package of the test's own: nobody edits it while the test runs, but the test may.
    package = tmp_path / "package/__init__.py"
    package.parent.mkdir()
    package.write_text("")
    monkeypatch.setattr("ngat.__file__", str(package))
    return Bench(tmp_path)


@pytest.fixture
def without_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of what is run and what is kept: cells run here, where no kernel has to start."""

    def execute(path: Path, target: Path, given: Mapping[str, object], _: object) -> None:
        content = nbformat.read(path, 4)
        names: dict[str, object] = {}
        with contextlib.chdir(path.parent):
            for cell in content.cells:
                if cell.cell_type == "code":
                    exec(cell.source, names)
                if "parameters" in cell.metadata.get("tags", []):
                    names |= given
        target.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(content, target)

    monkeypatch.setattr("ngat.paper.reproduce.execute", execute)


@pytest.mark.usefixtures("without_kernels")
def test_runs_in_order_skips_what_is_unchanged_and_repeats_what_changed(bench: Bench) -> None:
    bench.add("02_second")
    first = bench.add("01_first", WRITE)
    before = {path: path.read_bytes() for path in bench.notebooks.iterdir()}

    index = bench.run()
    assert bench.ran() == ["01_first", "02_second"]
    assert index == bench.root / "runs/synthetic-smoke/index.html"
    assert (index.parent / "tables/seeds.csv").read_text() == "name,seed\n<b>,0\n"
    assert {path: path.read_bytes() for path in bench.notebooks.iterdir()} == before
    assert str(index) in bench.said

    bench.run()
    assert bench.ran() == []
    assert bench.said.count("unchanged") == 2

    # Outputs are no part of a notebook's source; its cells are.
    content = nbformat.read(first, 4)
    content.cells[1].outputs = [nbformat.v4.new_output("stream", text="old")]
    nbformat.write(content, first)
    bench.run()
    assert bench.ran() == []
    bench.add("01_first", WRITE, "1 + 1")
    bench.run()
    assert bench.ran() == ["01_first"]

    # Another seed is another run, even under the same name; so is other data beside it.
    bench.run(seed=3)
    assert bench.ran() == ["01_first", "02_second"]
    assert (index.parent / "tables/seeds.csv").read_text() == "name,seed\n<b>,3\n"
    (bench.root / "data").mkdir()
    (bench.root / "data/results.csv").write_text("1")
    bench.run(seed=3, only=["2"])
    assert bench.ran() == ["02_second"]
    (bench.root / "package/loss.py").write_text("alpha = 0.25")
    bench.run(seed=3, only=["2"])
    assert bench.ran() == ["02_second"]
    bench.run(seed=3, only=["2"])
    assert bench.ran() == []
    bench.run(seed=3, only=["02"], fresh=True)
    assert bench.ran() == ["02_second"]


@pytest.mark.usefixtures("without_kernels")
def test_a_folder_of_files_becomes_the_store_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[Path, Path]] = []

    def prepare(source: Path, out: Path) -> str:
        made.append((source, out))
        store.write(out, [], {"files": {p.name: sha256(p) for p in source.iterdir()}})
        return "3 images"

    monkeypatch.setattr("ngat.data.dsb2018.prepare", prepare)
    bench.add("01_first", "open('../data.txt', 'w').write(data)")
    source = bench.root / "files"
    source.mkdir()
    (source / "stage1_train.zip").write_bytes(b"pictures")
    index = bench.run(data=str(source))
    assert made == [(source, bench.root / "data/dsb2018")]
    assert "3 images" in bench.said
    assert index.parent.name == "dsb2018-smoke"
    assert (bench.root / "data.txt").read_text() == "dsb2018"
    bench.run(data=str(source))
    bench.run(data="dsb2018")
    assert len(made) == 1
    assert bench.ran() == ["01_first"]

    # The folder's files are others now: so is the store, and what was made of it.
    (source / "stage1_train.zip").write_bytes(b"other pictures")
    bench.run(data=str(source))
    assert len(made) == 2
    assert bench.ran() == ["01_first"]
    (bench.root / "data/dsb2018/store.zip").write_bytes(b"damaged")
    bench.run(data=str(source))
    assert len(made) == 3


def test_goes_on_where_it_failed(bench: Bench) -> None:
    bench.add("01_first")
    bench.add("02_second", "x = 1", "raise KeyError('no such\\nthing')", "x = 2")
    bench.add("03_third")
    with pytest.raises(NotebookFailed, match=r"^02_second.ipynb: cell \[5\] .*KeyError") as failed:
        bench.run(name="try")
    assert "\n" not in str(failed.value)
    assert bench.ran() == ["01_first", "02_second"]
    run = bench.root / "runs/try"
    assert str(run / "notebooks") in str(failed.value)

    kept = nbformat.read(run / "notebooks/02_second.ipynb", 4)
    assert any(o.output_type == "error" for c in kept.cells for o in c.get("outputs", []))
    state = json.loads((run / "state.json").read_text())
    assert [r["status"] for r in state["notebooks"].values()] == ["finished", "failed"]
    assert "KeyError" in (run / "index.html").read_text()
    assert "KeyError" in (run / "notebooks/02_second.html").read_text()

    bench.add("02_second", "x = 1")
    index = bench.run(name="try")
    assert bench.ran() == ["02_second", "03_third"]
    assert "KeyError" not in index.read_text()


IMAGE = PARAMETERS + "\nimage = ''"


@pytest.mark.usefixtures("without_kernels")
def test_a_picture_that_was_replaced_is_looked_at_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its name is relative to where the command is given, not to where the kernel runs."""
    bench.add(
        "11_own",
        "open('../seen.txt', 'w').write(open(image).read())",
        parameters=IMAGE,
        files=("image",),
    )
    monkeypatch.chdir(bench.root)
    Path("a.png").write_text("one")
    bench.run(extra={"image": "a.png"})
    bench.run(extra={"image": "a.png"})
    assert bench.ran() == ["11_own"]
    assert Path("seen.txt").read_text() == "one"
    Path("a.png").write_text("two")
    bench.run(extra={"image": "a.png"})
    assert bench.ran() == ["11_own"]
    assert Path("seen.txt").read_text() == "two"
    with pytest.raises(InputError, match=r"^b.png: there is no such file; 11_own.ipynb reads it"):
        bench.run(extra={"image": "b.png"})
    assert bench.ran() == []


def test_the_committed_notebook_says_which_parameter_is_a_file() -> None:
    own = Path(__file__).parents[2] / "notebooks/13_your_own_images.ipynb"
    assert files_of(own) == {"weights", "image"}


SAVE = """from pathlib import Path
folder = Path(run_dir) / "weights"
folder.mkdir(exist_ok=True)
(folder / "own.safetensors").write_text(Path("../wanted.txt").read_text())"""


@pytest.mark.usefixtures("without_kernels")
def test_weights_that_another_notebook_left_count_by_content(bench: Bench) -> None:
    """Whoever reads the run's own weights is stale when they are others."""
    bench.add("06_trains", SAVE)
    bench.add("11_reads")
    (bench.root / "wanted.txt").write_text("one")
    bench.run()
    bench.run()
    assert bench.ran() == ["06_trains", "11_reads"]
    bench.run(only=["06"], fresh=True)  # again the same
    bench.run()
    assert bench.ran() == ["06_trains"]
    (bench.root / "wanted.txt").write_text("two")
    bench.run(only=["06"], fresh=True)
    bench.run()
    assert bench.ran() == ["06_trains", "11_reads"]


@pytest.mark.usefixtures("without_kernels")
def test_a_run_with_other_parameters_is_moved_out_of_the_way(bench: Bench) -> None:
    """Its weights are not those of this run; and they are not lost."""
    bench.add("06_trains", SAVE)
    (bench.root / "wanted.txt").write_text("one")
    run = bench.run(name="try").parent
    (run / "note.txt").write_text("mine")
    bench.run(name="try", seed=1)
    assert "moved to" in bench.said
    assert bench.ran() == ["06_trains", "06_trains"]
    assert (run / "earlier-1/weights/own.safetensors").read_text() == "one"
    assert (run / "earlier-1/state.json").is_file()
    assert (run / "note.txt").read_text() == "mine"
    bench.run(name="try", seed=1)
    assert bench.ran() == []


def test_two_runs_of_one_name(bench: Bench) -> None:
    """The second is refused in a sentence; a notebook would vanish from the index."""
    bench.add("01_first", "open('../begun', 'w'); import time; time.sleep(60)")
    words = ["reproduce", "--name", "try"]
    first = processes.ngat(*words, cwd=bench.root)
    processes.wait_for((bench.root / "begun").exists, first)
    code, out, err = processes.end(processes.ngat(*words, cwd=bench.root))
    assert (code, out) == (2, "")
    assert "another process works on a run of the notebooks there" in err
    assert err.count("\n") == 1
    first.send_signal(signal.SIGTERM)
    assert processes.end(first)[0] == 143


def test_a_signal_ends_with_a_sentence_and_the_same_command_goes_on(bench: Bench) -> None:
    begun = bench.root / "begun"
    bench.add("01_first")
    bench.add("02_second", "open('../begun', 'w'); import time", "time.sleep(0 if seed else 60)")
    slow = bench.notebooks / "02_second.ipynb"
    for number, ran in (
        (signal.SIGINT, ["01_first", "02_second"]),
        (signal.SIGTERM, ["02_second"]),
    ):
        begun.unlink(missing_ok=True)
        stopped = processes.ngat("reproduce", cwd=bench.root)
        processes.wait_for(begun.exists, stopped)
        stopped.send_signal(number)
        code, _, err = processes.end(stopped)
        assert code == 128 + number
        assert err == "02_second.ipynb: stopped; the same command goes on with it.\n"
        assert bench.ran() == ran
        state = json.loads((bench.root / "runs/synthetic-smoke/state.json").read_text())
        assert [r["status"] for r in state["notebooks"].values()] == ["finished", "stopped"]
        assert "stopped" in (bench.root / "runs/synthetic-smoke/index.html").read_text()

    slow.write_text(slow.read_text().replace("60", "0 "))
    code, _, err = processes.end(processes.ngat("reproduce", cwd=bench.root))
    assert (code, err) == (0, "")
    assert bench.ran() == ["02_second"]


def test_a_run_that_was_killed_is_not_taken_for_finished(bench: Bench) -> None:
    """Not even one that had finished before and was to run afresh."""
    bench.add("01_first", "import os; os.path.exists('../die') and os.kill(os.getppid(), 9)")
    code, _, err = processes.end(processes.ngat("reproduce", cwd=bench.root))
    assert code == 0, err
    (bench.root / "die").touch()
    assert processes.end(processes.ngat("reproduce", "--fresh", cwd=bench.root))[0] == -9
    (bench.root / "die").unlink()
    bench.ran()
    assert processes.end(processes.ngat("reproduce", cwd=bench.root))[0] == 0
    assert bench.ran() == ["01_first"]


@pytest.mark.parametrize("argv", [["false"], ["/nowhere/python"]])
def test_a_kernel_that_does_not_start_is_named(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, argv: list[str]
) -> None:
    spec = {"argv": argv, "display_name": "x", "language": "python"}
    monkeypatch.setattr("ngat.paper.notebook.get_kernel_dict", lambda: spec)
    bench.add("01_first")
    with pytest.raises(NotebookFailed, match=r"^01_first.ipynb: the Jupyter kernel of .* did not"):
        bench.run()
    assert bench.ran() == []


def test_the_kernel_finds_the_package_that_runs_it(bench: Bench) -> None:
    """Installed or not: else a notebook would fetch and install another copy."""
    bench.add("01_first", "import package; open('../found.txt', 'w').write(package.__file__)")
    bench.run()
    assert (bench.root / "found.txt").read_text() == str(bench.root / "package/__init__.py")


HOMELESS = """
import os, pwd, sys
def unknown(*_): raise KeyError("uid not found")
pwd.getpwuid = pwd.getpwnam = unknown
os.environ.pop("HOME", None)
sys.argv = ["ngat", "reproduce"]
from ngat.cli import main
main()
"""


def test_a_user_without_a_home_folder(bench: Bench) -> None:
    """As in a container that runs as a user whom its system does not know."""
    bench.add("01_first")
    done = subprocess.run([sys.executable, "-c", HOMELESS], cwd=bench.root, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert bench.ran() == ["01_first"]


def test_a_full_disk_is_one_sentence(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.add("01_first")

    whole = Path.write_text

    def full(path: Path, *words: Any, **named: Any) -> int:
        if path.name.startswith(".01_first.html"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return whole(path, *words, **named)

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(DiskFull, match=r"01_first\.html: cannot be written \(No space left"):
        bench.run()


def test_a_notebook_that_found_no_space_has_not_finished(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.add("01_first")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("ngat.paper.reproduce.execute", full)
        with pytest.raises(OSError, match="No space left"):
            bench.run()
    records = json.loads((bench.root / "runs/synthetic-smoke/state.json").read_text())
    assert '"failed"' in json.dumps(records)
    assert "finished" not in json.dumps(records)


def test_a_dead_kernel_is_a_failure_with_a_sentence(bench: Bench) -> None:
    bench.add("01_first", "import os; os._exit(1)")
    with pytest.raises(NotebookFailed, match=r"^01_first.ipynb: the kernel died"):
        bench.run()


def test_the_kernel_is_this_interpreter(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where the user's own ``python3`` kernel belongs to another environment."""
    spec = bench.root / "jupyter/kernels/python3/kernel.json"
    spec.parent.mkdir(parents=True)
    spec.write_text(json.dumps({"argv": ["false"], "display_name": "x", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(bench.root / "jupyter"))
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "0")
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(bench.root / "jupyter"))
    bench.add(
        "01_first",
        "import sys; open('../python.txt', 'w').write(sys.prefix)",
        "from pathlib import Path; assert Path.cwd().name == 'notebooks'",
    )
    bench.run()
    assert (bench.root / "python.txt").read_text() == sys.prefix


@pytest.mark.usefixtures("without_kernels")
def test_subset_brings_what_it_builds_on(bench: Bench) -> None:
    bench.add("01_first")
    bench.add("02_trains")
    bench.add("03_shows", needs=("02",))
    bench.run(only=["03"])
    assert bench.ran() == ["02_trains", "03_shows"]
    # A change of what a notebook builds on makes it stale too.
    bench.add("02_trains", "1")
    bench.run(only=["3"])
    assert bench.ran() == ["02_trains", "03_shows"]
    bench.run()
    assert bench.ran() == ["01_first"]


def test_extra_parameters_reach_those_that_know_them(bench: Bench) -> None:
    bench.add("01_first")
    bench.add(
        "02_second",
        "open('../steps.txt', 'w').write(repr(steps))",
        parameters=PARAMETERS + "\nsteps: float = 5.0",
    )
    bench.run(extra={"steps": 7})
    assert (bench.root / "steps.txt").read_text() == "7"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"extra": {"stepz": 7}}, "No notebook of this run knows a parameter 'stepz'"),
        ({"extra": {"steps": "many"}}, "01_first.ipynb: parameter steps must be int, not 'many'"),
        ({"profile": "huge"}, "Unknown profile 'huge'; there are smoke and full"),
        ({"only": ["04"]}, "There is no notebook 04; there are 01"),
        ({"name": "../out"}, "'../out' cannot name a run"),
        ({"data": "nowhere"}, "nowhere: is neither a data set"),
        ({"data": "dsb2018"}, "dsb2018: the store is not there"),
        ({"weights": "none.safetensors"}, "none.safetensors: there is no such weights file"),
    ],
)
def test_bad_input_is_refused_before_anything_runs(
    bench: Bench, arguments: dict[str, object], sentence: str
) -> None:
    bench.add("01_first", parameters=PARAMETERS + "\nsteps: int = 5")
    with pytest.raises(InputError, match=re.escape(sentence)):
        bench.run(**arguments)
    assert bench.ran() == []
    assert not (bench.root / "runs").exists()


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        (None, "no cell tagged 'parameters'"),
        ('data = "synthetic"\nseed = 0', "lacks profile, run_dir, weights"),
        (PARAMETERS + "\ntwice = 2 * seed", "twice = 2 * seed is not a plain value"),
    ],
)
def test_every_notebook_declares_the_common_parameters(
    bench: Bench, parameters: str | None, sentence: str
) -> None:
    path = bench.add("01_first", parameters=parameters)
    with pytest.raises(InputError, match=re.escape(sentence)):
        declared(path)
    with pytest.raises(InputError, match=re.escape(sentence)):
        bench.run()


def test_a_notebook_of_another_language_is_refused_by_its_kernel(bench: Bench) -> None:
    path = bench.add("01_first")
    made = nbformat.read(path, 4)
    made.metadata["kernelspec"] = {"name": "julia-1.9", "language": "julia", "display_name": "J"}
    nbformat.write(made, path)
    with pytest.raises(InputError, match=r"asks for the kernel 'julia-1\.9' \(julia\)"):
        bench.run()
    assert bench.ran() == []


def test_folders_without_notebooks(bench: Bench) -> None:
    with pytest.raises(InputError, match="holds no notebook"):
        bench.run()
    bench.notebooks.rmdir()
    with pytest.raises(InputError, match="no such folder"):
        bench.run()


def test_numbers_name_one_notebook_and_needs_point_back(bench: Bench) -> None:
    bench.add("01_first", needs=("02",))
    bench.add("02_second")
    with pytest.raises(InputError, match="needs notebook 02, which does not come before it"):
        bench.run()
    bench.add("02_other")
    with pytest.raises(InputError, match="two notebooks are numbered 02"):
        bench.run()


class Links(HTMLParser):
    """Everything that a page refers to."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in ("href", "src")]


def test_index_links_only_what_is_there_and_nothing_elsewhere(tmp_path: Path) -> None:
    for name in (
        "notebooks/01_a.ipynb",
        "notebooks/01_a.html",
        "figures/figure 1.png",
        "figures/figure 1.pdf",
        "tables/table1.csv",
        "tables/table1.md",
        "weights/a.safetensors",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("a,b\n<1>,2\n" + "3,4\n" * 50)
    records = {("01_a", "Graph & <levels>"): Record("", "failed", 61.4, "it <broke>")}
    text = page(tmp_path, records, {"seed": 0, "weights": "", "run_dir": "secret"})

    links = Links()
    links.feed(text)
    assert len(links.found) == 8  # the figure is both shown and linked
    for link in links.found:
        assert (tmp_path / unquote(link)).is_file(), link
    assert "secret" not in text
    assert "<td>&lt;1&gt;</td>" in text
    assert "Graph &amp; &lt;levels&gt;" in text
    assert "failed: it &lt;broke&gt;" in text
    assert "11 more rows" in text
    # The paper's table stands open, what else was drawn is folded; numbers are short.
    assert text.index("<h2>Tables of the paper</h2>") < text.index("<details>")
    assert "1 further figures" in text
    assert rounded("0.12345678901234567") == "0.1235"
    assert [rounded(cell) for cell in ("3717", "a.b", "")] == ["3717", "a.b", ""]
