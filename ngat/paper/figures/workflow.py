"""Figure 1 as a workflow: picture, annotation and prediction on every level, and the nuclei."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from ngat.data import Sample
from ngat.paper.figures.dataset import outlined, visible
from ngat.paper.style import style

Map = npt.NDArray[np.floating]


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
        ("all levels", probability),
        (f"{len(np.unique(nuclei[nuclei > 0]))} nuclei found", outlined(shown, nuclei)),
    )
    columns = 1 + len(next(iter(rows.values())))
    height, width = sample.labels.shape
    with style():
        fig = Figure(figsize=(1.55 * columns, len(rows) * (1.5 * height / width + 0.25)))
        panels = fig.subplots(len(rows), columns, squeeze=False)
        for line, (name, maps), (title, whole) in zip(panels, rows.items(), last, strict=True):
            line[0].set_ylabel(name)
            for axes, values in zip(line, (*maps, whole), strict=True):
                if values.ndim == 3 and values.dtype != np.uint8:
                    values = np.clip(values * factor, 0, 1)
                axes.imshow(values, cmap="gray", vmin=0, vmax=1)
            line[-1].set_title(title, size=9)
        for m, axes in enumerate(panels[0, :-1]):
            axes.set_title(f"level {m}")
        for axes in panels.flat:
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_color("#DDDDDD")
            axes.spines[:].set_visible(True)
    return fig
