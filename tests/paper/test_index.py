"""Every figure and table of the paper is here: as files, and in an executed notebook."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ngat.paper.status import PAPER_ITEMS, PaperItem

ROOT = Path(__file__).parents[2]
FIGURES = ROOT / "figures"


def cells(item: PaperItem) -> list[nbformat.NotebookNode]:
    (path,) = (ROOT / "notebooks").glob(f"{item.notebook}_*.ipynb")
    return [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]


def rgb(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), float)


def test_all_of_the_paper_is_there_once() -> None:
    wanted = [f"Figure {k}" for k in range(1, 10)] + ["Table 1", "Table 2"]
    assert [item.of for item in PAPER_ITEMS] == wanted
    for item in PAPER_ITEMS:
        assert item.figures if item.of.startswith("Figure") else item.tables


@pytest.mark.parametrize("item", PAPER_ITEMS, ids=lambda item: item.of)
def test_its_files_hold_something(item: PaperItem) -> None:
    for name in item.figures:
        assert rgb((FIGURES / f"{name}.png").read_bytes()).std() > 5, f"{name}.png is blank"
        pdf = (FIGURES / f"{name}.pdf").read_bytes()
        assert pdf.startswith(b"%PDF-")
        assert b"%%EOF" in pdf[-32:]
    for name in item.tables:
        table = pd.read_csv(FIGURES / f"{name}.csv")
        text = (FIGURES / f"{name}.md").read_text(encoding="utf-8")
        for method in table["method"].unique():
            assert f"| {method} |" in text


@pytest.mark.parametrize("item", [h for h in PAPER_ITEMS if h.figures], ids=lambda item: item.of)
def test_its_notebook_shows_the_picture_that_lies_in_figures(item: PaperItem) -> None:
    for name in item.figures:
        (cell,) = [cell for cell in cells(item) if f'"{name}"' in cell.source]
        (shown,) = [
            output.data["image/png"]
            for output in cell.outputs
            if "image/png" in output.get("data", {})
        ]
        inside, beside = rgb(base64.b64decode(shown)), rgb((FIGURES / f"{name}.png").read_bytes())
        assert inside.shape == beside.shape
        # A large picture has fewer colours in a notebook; another picture would be far off.
        assert np.abs(inside - beside).mean() < 3, f"{name} in the notebook is another picture"


@pytest.mark.parametrize("item", [h for h in PAPER_ITEMS if h.tables], ids=lambda item: item.of)
def test_its_notebook_shows_the_numbers_of_the_table(item: PaperItem) -> None:
    shown = [
        output.data["text/html"]
        for cell in cells(item)
        for output in cell.outputs
        if "text/html" in output.get("data", {})
    ]
    for name in item.tables:
        lines = (FIGURES / f"{name}.md").read_text(encoding="utf-8").splitlines()[2:]
        # Cells with an interval are the measured ones: none of them can stand there by chance.
        numbers = [cell.strip() for line in lines for cell in line.split("|") if "[" in cell]
        assert len(numbers) >= 10
        assert any(all(number in html for number in numbers) for html in shown)
