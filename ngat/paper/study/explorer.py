"""What the attention explorer shows: the weights of every node of a window."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from ngat.data.normalize import as_tensor
from ngat.graph import TAP_COUNT, PyramidGraph
from ngat.inference import evaluating, find_magnification
from ngat.model import NGAT
from ngat.paper.study.graph import FIRST_TAP
from ngat.paper.study.network import coefficients
from ngat.paper.study.pictures import fullest, visible

SIDE = 64  # pixels of the window that is shown


class WindowLevel(NamedTuple):
    """The nodes of one level in the window.

    Attributes:
        alpha: coefficients (eq. 17) of the level's last update by each relation, ``[heads, 14, h,
            w]``: king 9, children 4, parent 1; zero where there is no tap.
        home: ζ before any move, ``[3, h, w]``, x, y and z in pixels of the window.
        position: ζ after ξ, likewise.
    """

    alpha: npt.NDArray[np.float64]
    home: npt.NDArray[np.float64]
    position: npt.NDArray[np.float64]


class Explored(NamedTuple):
    """A window of a picture, as large as the network sees it.

    Attributes:
        name: of the picture.
        image: ``uint8 [H, W, 3]``, brightened for the eye where it is dark.
        probability: of nucleus, ``[H, W]``.
        magnification: how much the picture was resized for the network.
        corner: row and column of the window in the resized picture.
        levels: base first.
    """

    name: str
    image: npt.NDArray[np.uint8]
    probability: npt.NDArray[np.float32]
    magnification: float
    corner: tuple[int, int]
    levels: list[WindowLevel]


def explore(
    model: NGAT,
    image: npt.NDArray[Any],
    name: str,
    *,
    magnification: float | None = None,
    side: int = SIDE,
) -> Explored:
    """Everything that the explorer shows of a picture; the network sees the whole of it.

    Args:
        model: on the CPU.
        image: ``[H, W, 3]`` or ``[H, W]``.
        name: what to call it.
        magnification: as in :func:`ngat.inference.predict`; None finds it.
        side: of the window, which is where most nuclei were predicted; on the grid of the coarsest
            level, so that cells are whole.

    Raises:
        InputError: what :func:`ngat.data.normalize.as_pixels` refuses.
    """
    factor = find_magnification(model, image)[0] if magnification is None else magnification
    picture = as_tensor(image, model.config.contrast, factor)
    with evaluating(model):
        output = model(picture)
        probability = model.reconstruct(output)[0, 0].numpy()
    step = 2 ** (model.config.levels - 1)
    rows, columns = fullest((probability > 0.5).astype(np.int64), max(step, side // step * step))
    top, left = (part.start // step * step for part in (rows, columns))
    bottom, right = top + rows.stop - rows.start, left + columns.stop - columns.start

    height, width = probability.shape
    graph, longer = PyramidGraph(height, width, model.config.levels), max(height, width)
    alphas = [
        np.zeros((model.config.heads, sum(TAP_COUNT.values()), *size)) for size in graph.sizes
    ]
    for m in range(graph.levels - 1):
        alphas[m][:, FIRST_TAP["parent"]] = 1.0  # a lone parent needs no softmax
    for softmax in coefficients(model, picture):  # later updates replace earlier ones
        taps = [FIRST_TAP[r] + k for r in softmax.relations for k in range(TAP_COUNT[r])]
        alphas[softmax.level][:, taps] = softmax.alpha

    corner = np.array([left, top, 0.0])[:, None, None]
    levels = []
    for m, alpha in enumerate(alphas):
        part = (..., slice(top >> m, -(-bottom // 2**m)), slice(left >> m, -(-right // 2**m)))
        home, moved = graph.home(m), output.positions[m][0].double().numpy()
        places = (zeta[part] * longer - corner for zeta in (home, moved))
        levels.append(WindowLevel(alpha[part], *places))
    window = (slice(top, bottom), slice(left, right))
    pixels = shown(image, (height, width))[window]
    return Explored(name, pixels, probability[window], factor, (top, left), levels)


def shown(image: npt.NDArray[Any], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """A picture of 8 bits for the eye, ``uint8 [H, W, 3]`` of the size asked for."""
    pixels = np.asarray(image)
    if pixels.dtype != np.uint8:
        low, high = float(pixels.min()), float(pixels.max())
        pixels = (255 * (pixels.astype(np.float64) - low) / max(high - low, 1e-9)).astype(np.uint8)
    picture = Image.fromarray(visible(pixels)[0]).convert("RGB")
    return np.asarray(picture.resize(size[::-1], Image.Resampling.BILINEAR))


def steepest(probability: npt.NDArray[np.float32]) -> tuple[int, int]:
    """The pixel of the middle where the probability of nucleus changes most: on an outline."""
    slope = np.hypot(*np.gradient(probability.astype(np.float64)))
    height, width = slope.shape
    slope[: height // 4] = slope[height - height // 4 :] = 0
    slope[:, : width // 4] = slope[:, width - width // 4 :] = 0
    row, column = np.unravel_index(int(slope.argmax()), slope.shape)
    return int(row), int(column)
