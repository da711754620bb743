"""The start of every notebook: parameters checked, data loaded, output folders chosen.

A run by `ngat reproduce` gives ``run_dir`` and everything goes there. Opened by hand, a notebook
writes into ``runs/notebooks`` of the repository (or below the working folder, where there is no
repository). When notebooks are executed to be committed, ``NGAT_FIGURES`` names the folder of the
committed figures and tables. ``NGAT_HEADLESS`` is set wherever a program runs the notebook.
"""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

import ngat
from ngat.data import DATA, Sample, load
from ngat.errors import InputError
from ngat.paper.style import GREY, NAMED, best_colours, lay_out, save
from ngat.system.files import write_text
from ngat.system.process import sleep_while_waiting
from ngat.system.tables import write_table

if TYPE_CHECKING:
    import pandas as pd
    from IPython.display import Image

sleep_while_waiting()  # here, because notebooks import this before torch

PROFILES = ("smoke", "full")
AUTO = "auto"  # real images where they have been prepared, else generated ones
FIGURES = "NGAT_FIGURES"
HEADLESS = "NGAT_HEADLESS"
# Bytes of a PNG from which on a notebook gets it with fewer colours.
LARGE = 300_000


@dataclass(frozen=True)
class Session:
    """A notebook's checked parameters and folders; see :func:`open_session`.

    Attributes:
        data: ``synthetic``, ``rings`` or ``dsb2018``.
        profile: ``smoke`` or ``full``.
        seed: for everything random.
        weights: a weights file, or None.
        top: the repository, whose ``data/`` holds stored results and the data set's store.
        run: the folder of this run.
        figures, tables, results: where figures, tables and result files go.
    """

    data: str
    profile: str
    seed: int
    weights: Path | None
    top: Path
    run: Path
    figures: Path
    tables: Path
    results: Path

    @property
    def full(self) -> bool:
        """Whether the long form was asked for."""
        return self.profile == "full"

    @property
    def interactive(self) -> bool:
        """False under papermill, nbval and CI, where no user can move a slider."""
        return not os.environ.get(HEADLESS)

    @property
    def source(self) -> str:
        """What the pictures are, for a figure's margin and for a sentence."""
        if self.data == "dsb2018":
            return "2018 Data Science Bowl (BBBC038)"
        return f"generated pictures ({self.data}, seed {self.seed})"

    def samples(self, split: str, limit: int | None = None) -> list[Sample]:
        """Pictures of a split; few of them show every type. See :func:`ngat.data.load`."""
        return load(
            self.data, split, root=self.top / "data", seed=self.seed, limit=limit, progress=False
        )

    def found(self, name: str) -> Path | None:
        """A committed result file ``data/results/<name>``, or None where it is not measured yet."""
        path = self.top / "data" / "results" / name
        return path if path.is_file() else None

    def stored(self, name: str) -> Path:
        """A committed result file ``data/results/<name>``.

        Raises:
            InputError: it is not there.
        """
        path = self.found(name)
        if path is None:
            raise InputError(f"data/results/{name}: is missing; work inside the repository.")
        return path

    def show(
        self,
        fig: Figure,
        name: str,
        alt: str,
        *,
        pictures: bool | str = True,
        width: int | None = None,
    ) -> Image:
        """Save a figure as PNG and PDF, and give its PNG to the notebook (see :func:`inline`).

        Args:
            fig: the figure.
            name: its file name without suffix.
            alt: what it shows, for those who cannot see it.
            pictures: it shows what depends on the pictures: their source stands above it. Text
                is written as it is, for a figure that shows other pictures.
            width: in the notebook, in pixels; 100 per inch of the figure by default.
        """
        from IPython.display import Image

        if pictures:
            drawn = lay_out(fig)
            source = pictures if isinstance(pictures, str) else self.source
            x, y = drawn.x0 / fig.get_figwidth(), drawn.y1 / fig.get_figheight()
            fig.text(x, y + 0.02, source, ha="left", va="bottom", size=8, color=GREY)
        png, _ = save(fig, name, self.figures)
        shown = width or round(100 * fig.get_figwidth())
        return Image(data=inline(png.read_bytes()), format="png", width=shown, alt=alt)

    def table(self, frame: pd.DataFrame, name: str) -> pd.DataFrame:
        """Write a table as CSV and Markdown; gives it back, to be shown."""
        from ngat.evaluation.tables import markdown

        write_table(self.tables / f"{name}.csv", frame)
        write_text(self.tables / f"{name}.md", markdown(frame))
        return frame


def inline(png: bytes) -> bytes:
    """A PNG for a notebook: a large one in 160 colours, about half of the bytes.

    Photographs at the resolution of print make a notebook too large to be committed or opened at
    ease. The file keeps all its colours; a picture with few of them is not large. The colours of
    the style are always among them: chosen by frequency alone, two thin lines of a legend share
    one colour between them.
    """
    if len(png) <= LARGE:
        return png
    import PIL.Image

    reduced = io.BytesIO()
    with PIL.Image.open(io.BytesIO(png)) as picture:
        colours = picture.convert("RGB")
        free = 160 - len(NAMED)
        chosen = best_colours(np.asarray(colours), free)
        palette = (chosen.getpalette() or [])[: 3 * free]
        indices = np.array(colours.quantize(palette=chosen, dither=PIL.Image.Dither.NONE))
        packed = np.asarray(colours) @ np.array([1 << 16, 1 << 8, 1])  # one number per colour
        for name in NAMED:
            indices[packed == int(name[1:], 16)] = len(palette) // 3
            palette += bytes.fromhex(name[1:])
        shown = PIL.Image.fromarray(indices)
        shown.putpalette(palette)
        shown.save(reduced, "png", optimize=True)
    return reduced.getvalue()


def open_session(data: str, profile: str, run_dir: str, seed: int, weights: str) -> Session:
    """Check a notebook's parameters.

    Args:
        data: ``synthetic``, ``rings`` or ``dsb2018``; ``auto`` is dsb2018 where its store has been
            prepared, else synthetic.
        profile: ``smoke`` or ``full``.
        run_dir: the run's folder; empty outside of a run.
        seed: 0 or larger.
        weights: a weights file; empty for none.

    Raises:
        InputError: one of them cannot be used.
    """
    top = repository()
    if data == AUTO:
        prepared = (top / "data" / "dsb2018" / "store.zip").is_file()
        data = "dsb2018" if prepared else "synthetic"
    if data not in DATA:
        raise InputError(f"data {data!r} are unknown; choose one of {', '.join(DATA)}, {AUTO}.")
    if profile not in PROFILES:
        raise InputError(f"profile {profile!r} is unknown; choose one of {', '.join(PROFILES)}.")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise InputError(f"seed must be a whole number from 0; got {seed!r}.")
    if weights and not Path(weights).is_file():
        raise InputError(f"{weights}: there is no such weights file.")
    run = Path(run_dir).absolute() if run_dir else top / "runs" / "notebooks"
    committed = os.environ.get(FIGURES) if not run_dir else None
    return Session(
        data=data,
        profile=profile,
        seed=seed,
        weights=Path(weights) if weights else None,
        top=top,
        run=run,
        figures=Path(committed) if committed else run / "figures",
        tables=Path(committed) if committed else run / "tables",
        results=run / "results",
    )


def repository() -> Path:
    """The repository that the working folder or else the package lies in; else the former."""
    here = Path.cwd()
    for folder in (here, *here.parents, Path(ngat.__file__).resolve().parents[1]):
        if (folder / "notebooks").is_dir() and (folder / "ngat" / "__init__.py").is_file():
            return folder
    return here
