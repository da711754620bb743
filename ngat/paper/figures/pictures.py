"""Microscope pictures and what lies over them: brightness, outlines, colours, figure 1."""

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
from matplotlib.transforms import Affine2D
from skimage.segmentation import find_boundaries

from ngat.data import TYPES, Sample
from ngat.graph import SOURCE_STEP, Relation
from ngat.paper.figures.graph import RELATION_COLOURS
from ngat.paper.study.pictures import fullest, visible
from ngat.paper.style import YELLOW, bare, style

Map = npt.NDArray[np.floating]
MESSAGES: dict[Relation, str] = {"king": "neighbours", "child": "children", "parent": "parents"}


def one_of_each(samples: Sequence[Sample]) -> list[Sample]:
    """The first picture of each type, in the order of :data:`~ngat.data.TYPES`."""
    first = {sample.type: sample for sample in reversed(samples)}
    return [first[kind] for kind in TYPES if kind in first]


def numbered_colours(labels: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
    """Nuclei in colours that tell neighbours apart, on black: ``[H, W, 3]`` in [0, 1]."""
    count = int(labels.max(initial=0))
    # Golden-angle hues: nuclei with near numbers have far hues; brightness varies as well.
    hue = (np.arange(count) * 0.618034) % 1
    value = 0.65 + 0.35 * (np.arange(count) % 3) / 2
    lookup = np.zeros((count + 1, 3))
    if count:
        lookup[1:] = hsv_to_rgb(np.stack([hue, np.full(count, 0.6), value], axis=1))
    return lookup[labels]


def crowded(sample: Sample, side: int) -> Sample:
    """The part of a picture that :func:`fullest` finds."""
    part = fullest(sample.labels, side)
    return replace(sample, image=sample.image[part], labels=sample.labels[part])


def outlined(
    image: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.integer],
    colour: str = YELLOW,
    *,
    wide: bool = False,
) -> npt.NDArray[np.uint8]:
    """The image with every nucleus' border in one colour: the pixels inside it, if wide all."""
    shown = image.copy()
    shown[find_boundaries(labels, mode="thick" if wide else "inner")] = np.round(
        255 * np.array(to_rgb(colour))
    )
    return shown


def outline(
    axes: Axes, labels: npt.NDArray[np.integer], extent: tuple[float, ...], colour: str
) -> None:
    """Draw the borders of nuclei as lines, each its own, so that touching ones stay apart.

    Args:
        labels: ``[h, w]``.
        extent: left, right, bottom and top of what they cover, as imshow takes it.
    """
    for number in np.unique(labels[labels > 0]):
        mine = np.pad(labels == number, 1)  # a nucleus at the edge is closed
        dx = (extent[1] - extent[0]) / labels.shape[1]
        dy = (extent[2] - extent[3]) / labels.shape[0]
        wider = (extent[0] - dx, extent[1] + dx, extent[2] + dy, extent[3] - dy)
        axes.contour(
            mine, levels=[0.5], origin="upper", extent=wider, colors=colour, linewidths=0.8
        )
    axes.set(xlim=extent[:2], ylim=extent[2:])


def beside_picture(
    fig: Figure, sample: Sample, columns: int
) -> tuple[list[Axes], tuple[int, int, int, int]]:
    """Two rows of panels without axes, the first with a picture and its annotated nuclei.

    Returns:
        the other panels, for maps of the picture, and its extent, as imshow takes it.
    """
    height, width = sample.labels.shape
    extent = (0, width, height, 0)
    panels = fig.subplots(2, columns)
    first, *rest = panels.flat
    first.imshow(visible(sample.image)[0], extent=extent)
    first.set_title("picture")
    outline(first, sample.labels, extent, YELLOW)
    bare(panels.flat)
    return rest, extent


def workflow(
    sample: Sample,
    rows: Mapping[str, Sequence[Map]],
    probability: Map,
    nuclei: npt.NDArray[np.integer],
) -> Figure:
    """Levels as columns; last what all of them give: annotated nuclei, probability, found nuclei.

    Args:
        rows: three rows by name, colours ``[H_m, W_m, 3]`` or values in [0, 1] ``[H_m, W_m]``.
        probability: the reconstruction of all levels, ``[H, W]``.
        nuclei: found in it, a label image.
    """
    shown, factor = visible(sample.image)
    last = (
        ("annotated nuclei", outlined(shown, sample.labels)),
        ("network, all levels", probability),
        (f"{len(np.unique(nuclei[nuclei > 0]))} nuclei found", outlined(shown, nuclei)),
    )
    columns = 1 + len(next(iter(rows.values())))
    height, width = sample.labels.shape
    with style():
        fig = Figure(figsize=(1.6 * columns, len(rows) * (1.5 * height / width + 0.25)))
        panels = fig.subplots(len(rows), columns, squeeze=False)
        for line, (name, maps), (title, whole) in zip(panels, rows.items(), last, strict=True):
            line[0].set_ylabel(name)
            for axes, values in zip(line, (*maps, whole), strict=True):
                if values.ndim == 3 and values.dtype != np.uint8:
                    values = np.clip(values * factor, 0, 1)
                axes.imshow(values, cmap="gray", vmin=0, vmax=1)
            line[-1].set_title(title)
        for m, axes in enumerate(panels[0, :-1]):
            axes.set_title(f"level {m}")
        bare(panels.flat, frame=True)
    return fig


def animation(
    sample: Sample,
    rows: Mapping[str, Sequence[Map]],
    probability: Map,
    nuclei: npt.NDArray[np.integer],
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
    found = len(np.unique(nuclei[nuclei > 0]))
    frames = []
    for m in range(len(colours)):
        caption = f"a pyramid of magnifications: level {m}"
        frames.append((_frame(colours[: m + 1], len(colours), shown, caption), 500))
    for level, relations in steps:
        updated = range(len(colours)) if level is None else (level,)
        caption = "messages from " + " and ".join(MESSAGES[relation] for relation in relations)
        frame = _frame(colours, len(colours), shown, caption, [(m, relations) for m in updated])
        frames.append((frame, 450))
    caption = "every level predicts; weighted, they are one map"
    frames.append((_frame(rows["network"], len(colours), probability, caption), 1600))
    outlines = outlined(shown, nuclei, wide=True)
    caption = f"{found} nuclei, separated and outlined"
    frames.append((_frame(rows["network"], len(colours), outlines, caption), 2600))
    return frames


def _frame(
    tiles: Sequence[Map],
    levels: int,
    beside: npt.NDArray[Any],
    caption: str,
    updates: Sequence[tuple[int, Sequence[Relation]]] = (),
) -> Figure:
    """The pyramid on the left, ``beside`` on the right, a sentence above; arrows into updates."""
    gap = 0.47  # between levels, over the width of a tile
    with style():
        fig = Figure(figsize=(7.2, 3.9))
        left, right = fig.subplots(1, 2, width_ratios=(1.15, 1))
        for m, values in enumerate(tiles):
            seen = Affine2D().scale(0.85, 0.4).skew(0.5, 0).translate(0, gap * m) + left.transData
            left.imshow(
                values, cmap="gray", vmin=0, vmax=1, extent=(0, 1, 0, 1), transform=seen, zorder=m,
                clip_on=False,
            )  # fmt: skip
            relation = next((r[-1] for level, r in updates if level == m), None)
            colour = RELATION_COLOURS[relation] if relation else "#BBBBBB"
            left.add_patch(
                Rectangle(
                    (0, 0), 1, 1, fill=False, ec=colour, lw=2.2 if relation else 0.8,
                    transform=seen, zorder=m + 0.1, clip_on=False,
                )
            )  # fmt: skip
            left.text(1.13, gap * m + 0.2, f"level {m}", size=8, va="center")
        for m, relations in updates:
            for relation in relations:
                source = m + SOURCE_STEP[relation]
                if source == m or not 0 <= source < levels:
                    continue
                look = {"arrowstyle": "-|>", "color": RELATION_COLOURS[relation], "lw": 3}
                ends = [(0.5, gap * level + 0.2) for level in (m, source)]
                arrow = left.annotate("", *ends, arrowprops=look | {"mutation_scale": 18})
                arrow.set_zorder(levels + 1)
        left.set(xlim=(-0.02, 1.4), ylim=(-0.05, gap * (levels - 1) + 0.44), aspect="equal")
        left.set_axis_off()
        right.imshow(beside, cmap="gray", vmin=0, vmax=1)
        right.set(xticks=[], yticks=[])
        right.spines[:].set_color("#DDDDDD")
        fig.suptitle(caption, size=11)
    return fig
