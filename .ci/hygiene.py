"""Notebooks as they are committed: executed by one command, and held to what a reader needs.

python .ci/hygiene.py stamp notebooks                     badges and set-up cells for this version
python .ci/hygiene.py execute [--only 01,03] notebooks    run in place, leave out what is personal
python .ci/hygiene.py check notebooks                     list what is wrong, exit 1 if anything is
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

import ngat
from ngat.errors import InputError
from ngat.paper.notebook import ThisInterpreter, declared, numbered, read
from ngat.paper.session import FIGURES
from ngat.paper.status import EXECUTED
from ngat.system.files import locked, read_json, write_json, write_text
from ngat.system.provenance import hardware

LARGEST = 3_000_000
# nbval compares the outputs of these cells and of no others.
CHECKED = re.compile(r"^#\s*NBVAL_CHECK_OUTPUT\b", re.MULTILINE)
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
# Folders of people and of runs; a committed output that names one was made for one machine.
PERSONAL = re.compile(r"/(?:home|Users|root)/|[A-Z]:\\+Users\\+")


# The repository's address stands here alone; `stamp` writes it into notebooks, a test holds the
# README to it.
REPOSITORY = "https://github.com/ngat-companion/ngat"
TAG = f"v{ngat.__version__}"
# A failed clone or installation raises. After a restart the clone is found again.
SETUP = f"""\
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

if not Path("../ngat/__init__.py").is_file():  # on Colab, say: torch stays, the rest is added
    clone = Path("ngat-companion")
    if importlib.util.find_spec("ngat") is None:
        if "google.colab" not in sys.modules:
            raise ImportError(
                f"{{sys.executable}} has no ngat: choose another kernel, or run `make env`."
            )
        if not clone.is_dir():
            address = ["--branch", "{TAG}", "{REPOSITORY}"]
            subprocess.run(["git", "clone", "--quiet", "--depth=1", *address, clone], check=True)
        pip = [sys.executable, "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, clone.resolve()], check=True)
        importlib.invalidate_caches()
    if clone.is_dir():
        os.chdir(clone / "notebooks")

"""
AFTER_SETUP = "from ngat.paper.session import open_session\n"


def badges(name: str) -> str:
    """Where a notebook of this version opens in Binder and in Colab."""
    project = REPOSITORY.removeprefix("https://github.com/")
    return (
        "[![Binder](https://mybinder.org/badge_logo.svg)]"
        f"(https://mybinder.org/v2/gh/{project}/{TAG}?labpath=notebooks%2F{name})\n"
        "[![Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
        f"(https://colab.research.google.com/github/{project}/blob/{TAG}/notebooks/{name})"
    )


def stamp(path: Path) -> bool:
    """Write a notebook's badges and set-up cell; return whether they were out of date.

    Raises:
        InputError: its first three cells are not a title with badges, parameters and set-up.
    """
    notebook = read(path)
    if len(notebook.cells) < 3 or AFTER_SETUP not in notebook.cells[2].source:
        raise InputError(f"{path}: its third cell must hold '{AFTER_SETUP.strip()}'.")
    first, _, third = notebook.cells[:3]
    before = first.source, third.source
    first.source = first.source.partition("\n\n[![Binder]")[0] + "\n\n" + badges(path.name)
    third.source = SETUP + AFTER_SETUP + third.source.partition(AFTER_SETUP)[2]
    if stale := before != (first.source, third.source):
        write_text(path, nbformat.writes(notebook) + "\n")
    return stale


def clean(notebook: nbformat.NotebookNode) -> None:
    """Remove what differs from run to run and from machine to machine; keep the outputs."""
    notebook.metadata.pop("papermill", None)
    notebook.metadata["kernelspec"] = dict(KERNEL)
    notebook.metadata["language_info"] = {"name": "python"}
    for cell in notebook.cells:
        for key in ("papermill", "execution", "collapsed", "scrolled"):
            cell.metadata.pop(key, None)


def execute(path: Path, timeout: int = 600) -> None:
    """Run a notebook in place with its own defaults and write it back, whole or not at all.

    Raises:
        InputError: a cell fails; the file stays as it was.
    """
    notebook = read(path)
    began = time.monotonic()
    client = NotebookClient(
        notebook,
        timeout=timeout,
        kernel_name="python3",
        kernel_manager_class=ThisInterpreter,
        record_timing=False,
        coalesce_streams=True,  # where a stream is cut depends on the moment
        resources={"metadata": {"path": str(path.parent.resolve())}},
    )
    try:
        # What a notebook draws while it is being committed is committed too.
        client.execute(env=os.environ | {FIGURES: str(path.parent.resolve().parent / "figures")})
    except CellExecutionError as error:
        raise InputError(f"{path}: {error.ename}: {error.evalue}") from error
    clean(notebook)
    write_text(path, nbformat.writes(notebook) + "\n")
    note(path, time.monotonic() - began)


def note(path: Path, seconds: float) -> None:
    """Write down beside the notebooks how long one took and where; the README tells it."""
    beside = path.with_name(EXECUTED.name)
    with locked(beside):
        noted = read_json(beside, "remove it", absent={})
        noted[path.stem[:2]] = {"minutes": round(seconds / 60, 2), "hardware": hardware()}
        write_json(beside, dict(sorted(noted.items())))


def checked_cells(path: Path) -> int:
    """How many cells nbval would compare: marked, executed and with an output."""
    return sum(
        1
        for cell in read(path).cells
        if cell.cell_type == "code"
        and (CHECKED.search(cell.source) or "nbval-check-output" in cell.metadata.get("tags", []))
        and cell.execution_count is not None
        and cell.outputs
    )


def problems(path: Path) -> list[str]:
    """What keeps a notebook from being committed, one sentence each."""
    found: list[str] = []
    size = path.stat().st_size
    if size > LARGEST:
        found.append(f"is {size / 1e6:.1f} MB, more than {LARGEST / 1e6:.0f} MB")
    notebook = read(path)
    if "papermill" in notebook.metadata:
        found.append("carries papermill's metadata")
    if dict(notebook.metadata.get("kernelspec", {})) != KERNEL:
        found.append("names another kernel than python3")
    if set(notebook.metadata.get("language_info", {})) - {"name"}:
        found.append("carries the version of the Python that ran it")
    try:
        declared(path)
    except InputError as error:
        found.append(str(error))

    code = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    if [cell.execution_count for cell in code] != list(range(1, len(code) + 1)):
        found.append("was not executed from top to bottom in one go")
    for number, cell in enumerate(notebook.cells, start=1):
        found += [f"cell {number} {what}" for what in _of_cell(cell)]
    if checked_cells(path) == 0:
        found.append("has no checked cell (# NBVAL_CHECK_OUTPUT) with an output")
    return found


def _of_cell(cell: nbformat.NotebookNode) -> list[str]:
    found = [
        f"carries run metadata ({key})"
        for key in ("papermill", "execution")
        if key in cell.metadata
    ]
    if "injected-parameters" in cell.metadata.get("tags", []):
        found.append("was injected by papermill")
    if cell.cell_type != "code":
        return found
    for output in cell.outputs:
        if output.output_type == "error":
            found.append(f"shows an error ({output.ename})")
        elif output.output_type == "stream" and output.name == "stderr":
            found.append("wrote to stderr")
    here = (str(Path.cwd()), str(Path.home()), tempfile.gettempdir() + os.sep)
    written = _text(cell.outputs)
    if PERSONAL.search(written) or any(place in written for place in here if len(place) > 1):
        found.append("shows a path of the machine it ran on")
    return found


def _text(value: object) -> str:
    """All text below a JSON value, leaving out pictures (base64 may spell anything)."""
    if isinstance(value, str):
        return value + "\n"
    if isinstance(value, dict):
        return "".join(_text(v) for k, v in value.items() if not str(k).startswith("image/"))
    if isinstance(value, list | tuple):
        return "".join(_text(v) for v in value)
    return ""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=("stamp", "execute", "check"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default="", help="numbers, for example 01,03")
    options = parser.parse_args(arguments)
    only = {number.zfill(2) for number in options.only.split(",") if number}
    wrong = 0
    try:
        found = numbered(options.folder)
        if absent := sorted(only - {path.stem[:2] for path in found}):
            raise InputError(f"--only: no notebook {', '.join(absent)}; give numbers like 01,03.")
        for path in found:
            if only and path.stem[:2] not in only:
                continue
            if options.action == "stamp":
                stamp(path)
                continue
            if options.action == "execute":
                print(f"{path.name} …", flush=True)
                execute(path)
            for problem in problems(path):
                wrong += 1
                print(f"{path}: {problem}", file=sys.stderr)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
