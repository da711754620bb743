"""Small notebooks for the tests, made with nbformat."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

PARAMETERS = 'data = "synthetic"\nprofile = "smoke"\nrun_dir = ""\nseed = 0\nweights = ""'


def notebook(
    path: Path,
    *code: str,
    heading: str = "A small notebook",
    parameters: str | None = PARAMETERS,
    needs: tuple[str, ...] = (),
    files: tuple[str, ...] = (),
) -> Path:
    """Write a notebook that was never executed: heading, parameters, then one cell per string."""
    cells: list[Any] = [new_markdown_cell(f"# {heading}")]
    if parameters is not None:
        cells.append(new_code_cell(parameters, metadata={"tags": ["parameters"]}))
    cells += [new_code_cell(source) for source in code]
    made = new_notebook(cells=cells)
    made.metadata["kernelspec"] = {
        "display_name": "Python 3 (ipykernel)",
        "language": "python",
        "name": "python3",
    }
    made.metadata["language_info"] = {"name": "python"}
    if needs or files:
        made.metadata["ngat"] = {"needs": list(needs), "files": list(files)}
    # Fixed identifiers, so that a notebook written twice is the same notebook.
    for number, cell in enumerate(made.cells):
        cell["id"] = f"cell-{number}"
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(made, path)
    return path
