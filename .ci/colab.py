"""Notebooks as on Colab: Python 3.12 with torch, no DGL, no numba; the set-up cell adds the rest.

python .ci/colab.py [--python python3.12] [--only 01,06,11] [--environment .venv-colab]

The set-up cell clones the last commit in place of the published tag. Nobody clicks: what Colab asks
for (a drive, a download) is answered by a stand-in for its package, which prints it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from hygiene import REPOSITORY, TAG

TOP = Path(__file__).parents[1]
# What Colab has before anything is installed, as far as notebooks use it. No versions but torch's:
# those of Colab change by the week.
THERE = (
    *("torch==2.13.0", "numpy", "pandas", "scipy", "scikit-image", "matplotlib", "pillow"),
    *("requests", "ipykernel", "ipywidgets", "nbclient", "nbformat", "papermill"),
)
# Colab has imported this before the first cell runs.
STAND_IN = {
    "google/colab/__init__.py": "from google.colab import drive, files\n",
    "google/colab/drive.py": "def mount(place):\n    print('drive mounted at', place)\n",
    "google/colab/files.py": "def download(path):\n    print('downloaded', path)\n",
    "sitecustomize.py": "import google.colab\n",
}
RUN = """
import sys
import nbformat
from nbclient import NotebookClient
notebook = nbformat.read(sys.argv[1], 4)
for cell in notebook.cells:
    if cell.cell_type == "code":
        cell.outputs, cell.execution_count = [], None
try:
    NotebookClient(notebook, timeout=1200, kernel_name="python3").execute()
finally:
    nbformat.write(notebook, sys.argv[1])
for cell in notebook.cells:
    for output in cell.get("outputs", []):
        if output.output_type == "stream":
            print(output.text, end="")
"""


def environment(folder: Path, python: str) -> Path:
    """An environment with what Colab has and nothing that an earlier run added; its Python."""
    own = folder / "bin" / "python"
    listed = folder / "there.txt"
    pip = [str(own), "-m", "pip"]
    if not listed.is_file():
        # A version manager may offer a name that does not start.
        if not (there := shutil.which(python)) or subprocess.run([there, "-c", ""]).returncode:
            sys.exit(f"{python} does not start here; name another one, as --python python3.11.")
        subprocess.run([python, "-m", "venv", "--clear", folder], check=True)
        subprocess.run([*pip, "install", "--quiet", *THERE], check=True)
        listed.write_text(_installed(pip))
    added = set(_installed(pip).splitlines()) - set(listed.read_text().splitlines())
    names = [line.split(" @ ")[0].split("==")[0] for line in sorted(added)]
    if names:
        subprocess.run([*pip, "uninstall", "--quiet", "--yes", *names], check=True)
    return own


def _installed(pip: list[str]) -> str:
    return subprocess.run([*pip, "freeze"], check=True, capture_output=True, text=True).stdout


def run(python: Path, work: Path, only: Sequence[str]) -> list[str]:
    """Run notebooks in a folder that holds nothing but them; the names of those that failed."""
    origin, content, stand_in = work / "origin", work / "content", work / "stand-in"
    subprocess.run(["git", "clone", "--quiet", TOP, origin], check=True)
    subprocess.run(["git", "-C", origin, "tag", "--force", TAG], check=True, capture_output=True)
    for name, text in STAND_IN.items():
        (stand_in / name).parent.mkdir(parents=True, exist_ok=True)
        (stand_in / name).write_text(text)
    content.mkdir()
    address = {"KEY_0": f"url.{origin.as_uri()}.insteadOf", "VALUE_0": REPOSITORY, "COUNT": "1"}
    env = {name: value for name, value in os.environ.items() if not name.startswith("NGAT_")}
    env |= {f"GIT_CONFIG_{name}": value for name, value in address.items()}
    env |= {"PYTHONPATH": str(stand_in), "HOME": str(work)}
    failed = []
    for path in sorted((origin / "notebooks").glob("[0-9][0-9]_*.ipynb")):
        if path.name[:2] not in only:
            continue
        (content / path.name).write_bytes(path.read_bytes())
        print(f"{path.name} …", flush=True)
        began = time.monotonic()
        done = subprocess.run([python, "-c", RUN, path.name], cwd=content, env=env, check=False)
        how = "failed" if done.returncode else "passed"
        print(f"{path.name} {how}, {time.monotonic() - began:.0f} s", flush=True)
        if done.returncode:
            failed.append(path.name)
    return failed


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", default="python3.12")
    parser.add_argument("--only", default="01,06,11", help="numbers of notebooks")
    parser.add_argument("--environment", type=Path, default=TOP / ".venv-colab")
    options = parser.parse_args(arguments)
    python = environment(options.environment.absolute(), options.python)
    with tempfile.TemporaryDirectory() as work:
        failed = run(python, Path(work), options.only.split(","))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
