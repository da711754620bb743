"""The style of every figure: colours that colour-blind readers can distinguish, sizes for print."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import PlaceHolderLayoutEngine
from matplotlib.patches import Patch
from matplotlib.rcsetup import cycler
from matplotlib.transforms import Bbox
from PIL import Image

from ngat.data import TYPES
from ngat.errors import InputError, MissingDependency
from ngat.graph import Relation
from ngat.system.files import replacing

if TYPE_CHECKING:
    import pandas as pd

# Okabe & Ito, "Color Universal Design", 2008.
BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILION, PURPLE = (
    "#000000",
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#F0E442",
    "#0072B2",
    "#D55E00",
    "#CC79A7",
)
GREY, WHITE = "#767676", "#FFFFFF"
NAMED = (WHITE, BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILION, PURPLE, GREY)

TYPE_COLOURS: dict[str, str] = dict(zip(TYPES, (BLUE, PURPLE, VERMILION, GREEN, GREY), strict=True))
TYPE_NAMES: dict[str, str] = {
    "small_fluorescent": "small fluorescent",
    "purple_tissue": "purple tissue",
    "pink_and_purple_tissue": "pink and purple",
    "large_fluorescent": "large fluorescent",
    "grayscale_tissue": "grayscale tissue",
}

# Colour and dash together, so that lines stay apart in black and white too.
_DASHES = ("-", "--", "-.", ":")
_COLOURS = (VERMILION, BLUE, GREEN, PURPLE, ORANGE, SKY, BLACK, GREY)
# A sort of method has one colour in all figures, by how its name begins: ours is solid and strong,
# what is published is dashed.
_SORTS: dict[str, tuple[str, str]] = {
    "companion": (VERMILION, "-"),
    "smoke": (VERMILION, "-"),
    "unet": (BLUE, "--"),
    "fpn": (SKY, "--"),
    "maskrcnn": (SKY, ":"),
    "StarDist": (PURPLE, "-."),
    "Cellpose": (ORANGE, "-."),
    "classical": (GREEN, "-."),
    "Otsu": (GREEN, ":"),
    "paper": ("#882255", ":"),
    "untrained": (GREY, ":"),
    "NGAT (the paper)": (BLACK, "--"),
    "topcoders": (GREY, "--"),
    "CellProfiler": ("#A6A6A6", "--"),
}
_OURS = ("companion", "smoke")
# A level has one colour in all figures, from the base upwards.
LEVEL_COLOURS = (BLUE, SKY, ORANGE, VERMILION, GREY)
RELATION_COLOURS: dict[Relation, str] = {"king": BLUE, "child": GREEN, "parent": VERMILION}

_RC: dict[Any, Any] = {
    "figure.dpi": 100,
    "savefig.dpi": 200,
    "figure.constrained_layout.use": True,
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same glyphs everywhere
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": cycler(color=_COLOURS),
    "lines.linewidth": 1.6,
    "image.interpolation": "nearest",
    "pdf.fonttype": 42,  # text stays text
    "svg.hashsalt": "ngat",
}


@contextmanager
def style() -> Iterator[None]:
    """The project's style: ``@style()`` of a function that draws, or ``with style(): ...``."""
    with mpl.rc_context(_RC):
        yield


def method_styles(methods: Iterable[str]) -> dict[str, dict[str, Any]]:
    """``color`` and ``linestyle`` per method: those of its sort, and of others by their order.

    The first of ours is solid and wide. Where a sort stands there twice, its next ones have other
    dashes.
    """
    looks: dict[str, dict[str, Any]] = {}
    named = list(dict.fromkeys(methods))
    sorts = [max((s for s in _SORTS if m.startswith(s)), key=len, default="") for m in named]
    free_colours = [c for c in _COLOURS if c not in {_SORTS[s][0] for s in sorts if s}] or _COLOURS
    n, taken, others = len(free_colours), set[tuple[str, str]](), 0
    for method, sort in zip(named, sorts, strict=True):
        if sort:
            colour, dash = _SORTS[sort]
            free = [d for d in (dash, *_DASHES) if (colour, d) not in taken]
            dash = free[0] if free else dash
        else:
            colour = free_colours[others % n]
            dash = _DASHES[(others + 2 * (others // n)) % len(_DASHES)]
            others += 1
        looks[method] = {"color": colour, "linestyle": dash}
        if sort in _OURS and dash == "-":
            looks[method]["linewidth"] = 2.6
        taken.add((colour, dash))
    return looks


def style_rank(method: str) -> int:
    """The place of a method's sort where sorts stand in order: ours, other networks, the rest."""
    return next((k for k, sort in enumerate(_SORTS) if method.startswith(sort)), len(_SORTS))


def save(fig: Figure, name: str, folder: Path | str = "figures") -> list[Path]:
    """Write ``<folder>/<name>.png`` and ``.pdf``; the same figure gives the same bytes.

    Raises:
        InputError: the folder cannot be written, or the name is not a plain file name.
    """
    if not name or Path(name).name != name:
        raise InputError(f"{name!r}: give a figure a plain name, without folders.")
    # Versions and times stay out of the files: a figure changes only when its content does.
    metadata: dict[str, dict[str, None]] = {
        "png": {"Software": None},
        "pdf": {"Creator": None, "Producer": None, "CreationDate": None},
    }
    paths = [Path(folder) / f"{name}.{suffix}" for suffix in metadata]
    with style():
        drawn = lay_out(fig).padded(mpl.rcParams["savefig.pad_inches"])
        for path, (suffix, without) in zip(paths, metadata.items(), strict=True):
            with replacing(path) as beside:
                fig.savefig(beside, format=suffix, metadata=without, bbox_inches=drawn)
    return paths


@style()
def lay_out(fig: Figure) -> Bbox:
    """Give all parts of a figure their places, for good; what it covers then, in inches.

    Matplotlib does so anew for every file, which takes longer than to draw it.
    """
    if not isinstance(fig.get_layout_engine(), PlaceHolderLayoutEngine):
        fig.dpi = mpl.rcParams["savefig.dpi"]  # letters are not as wide at another
        fig.draw_without_rendering()
        fig.set_layout_engine("none")
        # A figure that is cropped on saving moves its legends to the new edge.
        for legend in fig.legends:
            box = legend.get_window_extent().transformed(fig.transFigure.inverted())
            legend.set_loc("center")
            legend.set_bbox_to_anchor(box, fig.transFigure)
    return fig.get_tightbbox()


def save_animation(
    frames: Sequence[tuple[Figure, int]], name: str, folder: Path | str = "figures"
) -> Path:
    """Write ``<folder>/<name>.gif``, which repeats; all frames share their 128 best colours.

    Args:
        frames: figures of one size, and how long each is shown, in milliseconds.
    """
    drawn = [Image.open(io.BytesIO(_png(fig, 110))).convert("RGB") for fig, _ in frames]
    # One palette, found in all frames: colours that change from frame to frame would flicker.
    palette = best_colours(np.concatenate([*map(np.asarray, drawn)]), 128)
    first, *others = (frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in drawn)
    times = [milliseconds for _, milliseconds in frames]
    path = Path(folder) / f"{name}.gif"
    with replacing(path) as beside:
        first.save(
            beside, format="gif", save_all=True, append_images=others, duration=times, loop=0
        )
    return path


def best_colours(rgb: npt.NDArray[np.uint8], count: int) -> Image.Image:
    """An image whose palette is the ``count`` best colours of a picture (rows, columns, 3).

    Every fourth pixel each way is looked at: a tenth of the time, and colours as good.
    """
    return Image.fromarray(np.ascontiguousarray(rgb[::4, ::4])).quantize(count, kmeans=1)


def _png(fig: Figure, dpi: int) -> bytes:
    stream = io.BytesIO()
    with style():
        fig.savefig(stream, format="png", dpi=dpi, metadata={"Software": None})
    return stream.getvalue()


def bare(axes: Iterable[Axes], frame: bool = False) -> None:
    """Pictures instead of graphs: no ticks, and no frame or a thin grey one."""
    for ax in axes:
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(frame)
        ax.spines[:].set_color("#DDDDDD")


@style()
def image_grid(
    rows: Mapping[str, Sequence[Any]],
    titles: Sequence[str],
    figsize: tuple[float, float],
    frame: bool = False,
) -> tuple[Figure, npt.NDArray[Any]]:
    """Images side by side, colours or values in [0, 1] as grey; gives the figure and its panels.

    Args:
        rows: images by the name that stands beside them; a row may be shorter than the first.
        titles: of the columns.
        frame: see :func:`bare`.
    """
    fig = Figure(figsize=figsize)
    columns = max(len(images) for images in rows.values())
    panels = fig.subplots(len(rows), columns, squeeze=False)
    for line, (name, images) in zip(panels, rows.items(), strict=True):
        line[0].set_ylabel(name)
        for ax, image in zip(line, images, strict=False):
            ax.imshow(image, cmap="gray", vmin=0, vmax=1)
    for ax, title in zip(panels[0], titles, strict=False):
        ax.set_title(title)
    bare(panels.flat, frame)
    return fig, panels


def grid_lines(ax: Axes, axis: Literal["both", "x", "y"] = "both") -> None:
    """Thin grey lines behind what is drawn."""
    ax.grid(axis=axis, color="#E4E4E4", linewidth=0.6)
    ax.set_axisbelow(True)


def stacked(
    ax: Axes, table: pd.DataFrame, colours: Mapping[str, str], *, across: bool = False, **look: Any
) -> None:
    """A bar per row of a table, named by its index: the columns of ``colours`` one on another.

    Args:
        across: bars lie on their side, the first row above.
        **look: of :meth:`matplotlib.axes.Axes.bar`.
    """
    ends = table[list(colours)].cumsum(axis=1)
    starts = ends.shift(axis=1, fill_value=0.0)
    for name, colour in colours.items():
        looks = {"color": colour, "label": name, **look}
        if across:
            ax.barh(table.index, table[name], left=starts[name], **looks)
        else:
            ax.bar(table.index, table[name], bottom=starts[name], **looks)
    if across:
        rows_below_another(ax)


def rows_below_another(ax: Axes) -> None:
    """The first row above, and names of rows without an axis beside them."""
    ax.yaxis.set_inverted(True)
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", length=0)


def colour_legend(
    fig: Figure,
    colours: Mapping[str, str],
    loc: Literal["outside upper center", "outside lower center", "outside lower right"],
) -> None:
    """A legend of coloured patches in one row, outside of the panels."""
    handles = [Patch(color=colour, label=name) for name, colour in colours.items()]
    fig.legend(handles=handles, loc=loc, ncols=len(handles))


def widgets() -> Any:
    """The library that sliders are made of.

    Raises:
        MissingDependency: ipywidgets is not installed.
    """
    try:
        import ipywidgets
    except ImportError as error:
        raise MissingDependency(
            "The sliders need ipywidgets: pip install 'ngat[notebooks]'."
        ) from error
    return ipywidgets


def live(sliders: Sequence[Any], draw: Callable[[], Figure]) -> Any:
    """Sliders, and below them the figure that ``draw`` makes whenever one of them moves."""
    ipywidgets = widgets()
    image = ipywidgets.Image(value=_png(draw(), 100), format="png")

    def redraw(_: object) -> None:
        image.value = _png(draw(), 100)

    for slider in sliders:
        slider.observe(redraw, names="value")
    return ipywidgets.VBox([ipywidgets.HBox(sliders, layout={"flex_flow": "row wrap"}), image])
