"""Microscope pictures and what lies over them: outlines, colours, maps, figure 1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import hsv_to_rgb, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import AbstractPathEffect, withStroke
from matplotlib.transforms import Affine2D
from scipy import ndimage
from skimage.segmentation import find_boundaries

from ngat.data import TYPES, Sample
from ngat.graph import SOURCE_STEP, Relation
from ngat.magnification import areas_of
from ngat.paper.study.pictures import Labels, fullest, visible
from ngat.paper.style import RELATION_COLOURS, YELLOW, bare, image_grid, style

Map = npt.NDArray[np.floating]
Pixels = npt.NDArray[np.uint8]
Extent = tuple[float, float, float, float]  # left, right, bottom and top, as imshow takes it
MESSAGES: dict[Relation, str] = {"king": "neighbours", "child": "children", "parent": "parents"}


def one_of_each(samples: Sequence[Sample]) -> list[Sample]:
    """The first picture of each type, in the order of :data:`~ngat.data.TYPES`."""
    first = {sample.type: sample for sample in reversed(samples)}
    return [first[kind] for kind in TYPES if kind in first]


def crowded(sample: Sample, side: int) -> Sample:
    """The part of a picture that :func:`fullest` finds."""
    part = fullest(sample.labels, side)
    return replace(sample, image=sample.image[part], labels=sample.labels[part])


def count(labels: Labels) -> int:
    """Number of nuclei of a label image."""
    return int(np.count_nonzero(areas_of(labels)))


def numbered_colours(labels: Labels) -> npt.NDArray[np.float64]:
    """Nuclei in colours that tell neighbours apart, on black: ``[H, W, 3]`` in [0, 1]."""
    numbers = np.arange(labels.max(initial=0) + 1) - 1
    # Golden-angle hues: nuclei with near numbers have far hues; brightness varies as well.
    hue, value = (numbers * 0.618034) % 1, 0.65 + 0.35 * (numbers % 3) / 2
    lookup = hsv_to_rgb(np.stack([hue, np.full(len(numbers), 0.6), value], axis=1))
    lookup[0] = 0
    return lookup[labels]


def outlined(image: Pixels, labels: Labels, colour: str = YELLOW, *, wide: bool = False) -> Pixels:
    """The image with every nucleus' border in one colour: the pixels inside it, if wide all."""
    shown = image.copy()
    border = find_boundaries(labels, mode="thick" if wide else "inner")
    shown[border] = np.round(255 * np.array(to_rgb(colour)))
    return shown


def cased(image: Pixels, outlines: Mapping[str, Labels], across: int = 512) -> Pixels:
    """The image enlarged, and over it every nucleus' border as a line between two thin ones.

    The thin lines are white beside dark colours and black beside light ones, so that an outline is
    seen on any stain. All lie inside the nucleus: those of touching nuclei stay apart.

    Args:
        image: ``uint8 [h, w, 3]``.
        outlines: label images ``[h, w]`` by colour.
        across: pixels of the longer side, at least.
    """
    zoom = -(-across // max(image.shape[:2]))
    shown = np.kron(image, np.ones((zoom, zoom, 1), np.uint8))
    line = 1 + max(shown.shape) // 170
    for colour, labels in outlines.items():
        rgb = np.array(to_rgb(colour))
        light = rgb @ (0.3, 0.6, 0.1) > 0.5
        casing = np.zeros(3) if light else np.ones(3)
        rims = np.round(255 * np.stack([casing, *line * (rgb,), casing]))
        # A frame of background closes what is cut off by the edge.
        inside = np.pad(np.kron(labels, np.ones((zoom, zoom), labels.dtype)), 1)
        border = find_boundaries(inside, mode="inner")
        depth = ndimage.distance_transform_cdt((inside > 0) & ~border, "taxicab")[1:-1, 1:-1]
        drawn = (inside[1:-1, 1:-1] > 0) & (depth < len(rims))
        shown[drawn] = rims[depth[drawn]]
    return shown


def outline(axes: Axes, labels: Labels, extent: Extent, colour: str, *, casing: str = "") -> None:
    """Draw the borders of nuclei as lines, each its own, so that touching ones stay apart.

    Args:
        labels: ``[h, w]``.
        extent: of what they cover.
        casing: colour of a wider line below each; none by default.
    """
    below: list[AbstractPathEffect] = []
    if casing:
        below = [withStroke(linewidth=1.8, foreground=casing)]
    left, right, bottom, top = extent
    dx, dy = (right - left) / labels.shape[1], (bottom - top) / labels.shape[0]
    wider = (left - dx, right + dx, bottom + dy, top - dy)
    for number in np.flatnonzero(areas_of(labels)):
        mine = np.pad(labels == number, 1)  # a nucleus at the edge is closed
        lines = axes.contour(
            mine, levels=[0.5], origin="upper", extent=wider, colors=colour, linewidths=0.8
        )
        lines.set_path_effects(below)
    axes.set(xlim=(left, right), ylim=(bottom, top))


def beside_picture(
    fig: Figure, sample: Sample, columns: int, rows: int = 2
) -> tuple[list[Axes], Extent]:
    """Rows of panels without axes, the first with a picture and its annotated nuclei.

    Returns:
        the other panels, for maps of the picture, and its extent.
    """
    height, width = sample.labels.shape
    extent = (0, width, height, 0)
    first, *rest = fig.subplots(rows, columns, squeeze=False).flat
    first.imshow(visible(sample.image)[0], extent=extent)
    first.set_title("picture")
    outline(first, sample.labels, extent, YELLOW)
    bare([first, *rest])
    return rest, extent


@style()
def over_picture(
    sample: Sample,
    maps: Mapping[str, Map],
    label: str,
    *,
    signed: bool = False,
    clip: float = 100.0,
    captions: Sequence[str] = (),
    outlines: str = "",
    rows: int = 2,
) -> Figure:
    """A picture with its annotated nuclei, and maps of it in one range of colours.

    Args:
        maps: by title, ``[H_m, W_m]`` of any level.
        label: of the colour bar.
        signed: colours on both sides of zero, else from zero upwards.
        clip: per cent of all values, by size, that the range of colours holds.
        captions: what stands below the maps.
        outlines: colour of the annotated nuclei over the maps; none by default.
        rows: of panels.
    """
    height, width = sample.labels.shape
    columns = -(-(1 + len(maps)) // rows)
    sizes = np.concatenate([np.abs(values).ravel() for values in maps.values()])
    largest = float(np.percentile(sizes, clip)) or 1.0
    fig = Figure(figsize=(2.3 * columns + 0.7, rows * (2.25 * height / width + 0.45)))
    rest, extent = beside_picture(fig, sample, columns, rows)
    shades, lowest = ("PuOr", -largest) if signed else ("viridis", 0.0)
    for axes, (title, values) in zip(rest, maps.items(), strict=False):
        image = axes.imshow(values, extent=extent, cmap=shades, vmin=lowest, vmax=largest)
        axes.set_title(title)
        if outlines:
            outline(axes, sample.labels, extent, outlines)
    for axes, caption in zip(rest, captions, strict=False):
        axes.set_xlabel(caption, size=8, labelpad=2)
    beyond = "neither" if clip == 100 else "both" if signed else "max"
    fig.colorbar(image, ax=fig.axes, shrink=0.8, aspect=30, extend=beyond, label=label)
    return fig


@style()
def workflow(
    sample: Sample, rows: Mapping[str, Sequence[Map]], probability: Map, nuclei: Labels
) -> Figure:
    """Levels as columns; last what all of them give: annotated nuclei, probability, found nuclei.

    Args:
        rows: ``picture``, colours ``[H_m, W_m, 3]``; ``annotation`` and ``network``, values in
            [0, 1] ``[H_m, W_m]``.
        probability: the reconstruction of all levels, ``[H, W]``.
        nuclei: found in it, a label image.
    """
    shown, factor = visible(sample.image)
    colours = [np.clip(values * factor, 0, 1) for values in rows["picture"]]
    images = {
        "picture": [*colours, outlined(shown, sample.labels)],
        "annotation": [*rows["annotation"], probability],
        "network": [*rows["network"], outlined(shown, nuclei)],
    }
    height, width = sample.labels.shape
    size = (1.6 * (1 + len(colours)), 3 * (1.5 * height / width + 0.25))
    titles = [f"level {m}" for m in range(len(colours))]
    fig, panels = image_grid(images, titles, size, frame=True)
    shades = panels[2, 0].images[0]
    label = "share or probability of nucleus"
    fig.colorbar(shades, ax=panels[1:], aspect=30, shrink=0.7, ticks=[0, 0.5, 1], label=label)
    last = ("annotated nuclei", "network, all levels", f"{count(nuclei)} nuclei found")
    for axes, title in zip(panels[:, -1], last, strict=True):
        axes.set_title(title)
    return fig


def animation(
    sample: Sample,
    rows: Mapping[str, Sequence[Map]],
    probability: Map,
    nuclei: Labels,
    steps: Sequence[tuple[int | None, Sequence[Relation]]],
) -> list[tuple[Figure, int]]:
    """Figure 1 in motion: levels are added, messages travel, levels predict, nuclei are found.

    Args:
        rows, probability, nuclei: as :func:`workflow` takes them; ``picture`` and ``network`` of
            the rows are drawn.
        steps: updates in their order, from :func:`ngat.model.schedule`.

    Returns:
        frames, and how long each is shown, in milliseconds.
    """
    shown, factor = visible(sample.image)
    colours = [np.clip(values * factor, 0, 1) for values in rows["picture"]]
    levels = range(len(colours))
    frames = []
    for m in levels:
        caption = f"a pyramid of magnifications: level {m}"
        frames.append((_frame(colours[: m + 1], len(levels), shown, caption), 500))
    for level, relations in steps:
        caption = "messages from " + " and ".join(MESSAGES[relation] for relation in relations)
        into = dict.fromkeys(levels if level is None else (level,), relations)
        frames.append((_frame(colours, len(levels), shown, caption, into), 450))
    for beside, caption, milliseconds in (
        (probability, "every level predicts; weighted, they are one map", 1600),
        (outlined(shown, nuclei, wide=True),
         f"{count(nuclei)} nuclei, separated and outlined", 2600),
    ):  # fmt: skip
        frames.append((_frame(rows["network"], len(levels), beside, caption), milliseconds))
    return frames


@style()
def _frame(
    tiles: Sequence[Map],
    levels: int,
    beside: npt.NDArray[Any],
    caption: str,
    into: Mapping[int, Sequence[Relation]] | None = None,
) -> Figure:
    """The pyramid on the left, ``beside`` on the right, a sentence above; arrows into levels."""
    gap = 0.47  # between levels, over the width of a tile
    into = into or {}
    fig = Figure(figsize=(7.2, 3.9))
    left, right = fig.subplots(1, 2, width_ratios=(1.15, 1))
    for m, values in enumerate(tiles):
        tilted = Affine2D().scale(0.85, 0.4).skew(0.5, 0).translate(0, gap * m) + left.transData
        place: dict[str, Any] = {"transform": tilted, "clip_on": False}
        look = {"cmap": "gray", "vmin": 0, "vmax": 1, "extent": (0, 1, 0, 1)}
        left.imshow(values, zorder=m, **look, **place)
        colour, width = (RELATION_COLOURS[into[m][-1]], 2.2) if m in into else ("#BBBBBB", 0.8)
        edge = Rectangle((0, 0), 1, 1, fill=False, ec=colour, lw=width, zorder=m + 0.1, **place)
        left.add_patch(edge)
        left.text(1.13, gap * m + 0.2, f"level {m}", size=8, va="center")
    for m, relations in into.items():
        for relation in relations:
            source = m + SOURCE_STEP[relation]
            if source != m and 0 <= source < levels:
                look = {"arrowstyle": "-|>", "color": RELATION_COLOURS[relation], "lw": 3}
                ends = [(0.5, gap * level + 0.2) for level in (m, source)]
                arrow = left.annotate("", *ends, arrowprops=look | {"mutation_scale": 18})
                arrow.set_zorder(levels + 1)
    left.set(xlim=(-0.02, 1.4), ylim=(-0.05, gap * (levels - 1) + 0.44), aspect="equal")
    left.set_axis_off()
    right.imshow(beside, cmap="gray", vmin=0, vmax=1)
    bare([right], frame=True)
    fig.suptitle(caption, size=11)
    return fig
