"""Committed figures are what the code draws: those that rest on nothing that is trained or timed.

They are compared as pictures, with a tolerance for what another version of FreeType does to the
edges of letters; the other figures are tested through the data behind them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from matplotlib.testing.compare import compare_images

from ngat.config import preset
from ngat.graph import PyramidGraph
from ngat.paper.figures import audit as audit_figures
from ngat.paper.figures import graph as graph_figures
from ngat.paper.figures import loss as loss_figures
from ngat.paper.figures import network as network_figures
from ngat.paper.figures.network import blocks
from ngat.paper.study import audit
from ngat.paper.study import loss as loss_study
from ngat.paper.style import save

COMMITTED = Path(__file__).parents[2] / "figures"
TOLERANCE = 4.0  # root mean square over pixels, of 255


def updates() -> Figure:
    return network_figures.updates(
        {
            "paper: synchronous layers": preset("paper").model,
            "companion: V-cycles (two of three)": preset("companion", depth=2).model,
        }
    )


DRAWN: dict[str, Callable[[], Figure]] = {
    "fig01_taps": lambda: graph_figures.taps(PyramidGraph(32, 32, levels=4), (2, 3, 3)),
    "fig04_network": lambda: blocks(preset("companion").model),
    "fig04_paper": lambda: blocks(preset("paper").model),
    "fig04_schedule": updates,
    "loss_curves": lambda: loss_figures.curves(loss_study.curves([0, 0.5, 1, 2])),
    "audit_left_out": lambda: audit_figures.one_column_less(audit.left_out()),
}


@pytest.mark.parametrize("name", DRAWN)
def test_committed_figure_is_what_is_drawn(name: str, tmp_path: Path) -> None:
    png, pdf = save(DRAWN[name](), name, tmp_path)
    found = compare_images(str(COMMITTED / f"{name}.png"), str(png), TOLERANCE)
    assert found is None, found
    assert pdf.stat().st_size > 1000


def test_comparison_sees_a_line_that_moved(tmp_path: Path) -> None:
    curves = loss_study.curves([0, 0.5, 1, 2])
    curves["gradient"] *= 1.1
    png, _ = save(loss_figures.curves(curves), "loss_curves", tmp_path)
    assert compare_images(str(COMMITTED / "loss_curves.png"), str(png), TOLERANCE) is not None


def test_every_committed_figure_is_there_as_png_and_pdf() -> None:
    names = [{path.stem for path in COMMITTED.glob(f"*.{kind}")} for kind in ("png", "pdf")]
    assert names[0] == names[1]
    assert len(names[0]) >= len(DRAWN)
