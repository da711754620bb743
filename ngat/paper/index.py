"""The paper's figures and tables, and the notebook and files that correspond to each."""

from __future__ import annotations

from typing import NamedTuple

from ngat.data.sample import TYPES


class PaperItem(NamedTuple):
    """A figure or table of the paper and what corresponds to it in this repository.

    Attributes:
        of: ``Figure 1`` … or ``Table 1`` …, as the paper numbers it.
        shows: what it is about.
        notebook: the number of the notebook that makes it.
        figures: names in ``figures/``, each as PNG and PDF.
        tables: names in ``figures/``, each as CSV and Markdown.
    """

    of: str
    shows: str
    notebook: str
    figures: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()


PAPER_ITEMS = (
    PaperItem(
        "Figure 1",
        "the pyramid graph",
        "01",
        ("fig01_workflow", "fig01_pyramid_graph", "fig01_taps"),
    ),
    PaperItem("Figure 2", "types of pictures", "05", ("fig02_types", "fig02_composition")),
    PaperItem(
        "Figure 3",
        "projection",
        "01",
        ("fig03_projection", "fig03_levels", "fig03_footprint"),
    ),
    PaperItem("Figure 4", "the network", "03", ("fig04_network", "fig04_paper", "fig04_schedule")),
    PaperItem(
        "Figure 5",
        "methods side by side",
        "07",
        (*(f"fig05_{kind}" for kind in TYPES), "fig05_scores", "fig05_errors"),
    ),
    PaperItem(
        "Figure 6",
        "from scores to nuclei",
        "07",
        ("fig06_types", "fig06_levels", "fig06_best_median_worst"),
    ),
    PaperItem("Figure 7", "radar of types", "09", ("fig07_radar",)),
    PaperItem("Figure 8", "training by loss", "06", ("fig08_losses", "fig08_levels")),
    PaperItem("Figure 9", "scores by type and threshold", "09", ("fig09_by_type",)),
    PaperItem("Table 1", "scores of all methods", "09", tables=("table1",)),
    PaperItem("Table 2", "F1 by type", "09", tables=("table2",)),
)
