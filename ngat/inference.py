"""Inference: from an image of any size to probabilities, and from those to nuclei.

The magnification is found first (:mod:`ngat.magnification`): an image is resized so that its nuclei
have the size that the network was trained for, and the probabilities are resized back. A part whose
nuclei have another size is seen once more (:mod:`ngat.parts`). What is too large to go through the
network at once goes in tiles. A tile has a margin as wide as the network's receptive field, of
which nothing is kept; so a network with fixed statistics (batch norm) says of every pixel what it
says with the whole image in view.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ngat.data.normalize import as_pixels, mirrored, views
from ngat.data.resize import resized
from ngat.errors import InputError
from ngat.instances import MIN_SEED, Labels, components, split
from ngat.io.values import as_array
from ngat.magnification import Seen, best_magnification
from ngat.parts import Part, PartLabels, merged, parts_of, whole_of
from ngat.system.precision import autocast
from ngat.thresholds import METHODS, Method, Thresholds, thresholds_from

if TYPE_CHECKING:
    from ngat.baselines.networks import Network

Floats = npt.NDArray[np.float32]

# Pixels that go through at once, and the side of the tiles for images with more.
WHOLE = 3_000_000
TILE = 1536
# Smaller images are mirrored up to this side, so that a nucleus has surroundings as in training.
SMALLEST = 96

# What test-time augmentation averages over: the image and its flips, by the axes of [B, C, H, W].
FLIPS: tuple[tuple[int, ...], ...] = ((), (3,), (2,), (2, 3))


class Prediction(NamedTuple):
    """What the network says of a picture, both ``float32 [H, W]`` in [0, 1].

    Attributes:
        probability: of nucleus, the weighted reconstruction of all levels (fig. 6).
        core: of the eroded interior, which seeds the split. A network with one output has none of
            its own and repeats ``probability``.
        magnification: how much the image was resized for the network.
        thresholds: those chosen for the network, by method; without any the defaults hold.
        parts: of the image that ask for another magnification, and what the network says there.
    """

    probability: Floats
    core: Floats
    magnification: float = 1.0
    thresholds: Mapping[Method, Thresholds] = MappingProxyType({})
    parts: tuple[tuple[Part, Prediction], ...] = ()


def predict(
    model: Network,
    image: npt.NDArray[Any],
    *,
    magnification: float | None = None,
    tta: bool = False,
    whole: int = WHOLE,
    tile: int = TILE,
    margin: int | None = None,
) -> Prediction:
    """Probabilities for an image of any size, on the model's device.

    Args:
        model: its mode (training or evaluation) is left as found.
        image: ``[H, W, 3]`` or ``[H, W]``, as :func:`ngat.data.normalize.as_pixels` takes it.
        magnification: how much the image is resized before the network sees it; None finds it
            (:func:`find_magnification`).
        tta: average over the image and its three flips (four times the work).
        whole: images of at most so many pixels, once resized, go through at once.
        tile: side of the square tiles for larger ones, in pixels.
        margin: pixels of a tile, on each side, of which nothing is kept; the receptive field.

    Raises:
        InputError: what :func:`~ngat.data.normalize.as_pixels` refuses, a magnification that is not
            positive, a tile that is all margin, or thresholds of the weights that make no sense.
    """
    image = as_array(image, "the image")
    if not isinstance(model, torch.nn.Module) or image.ndim < 2:
        raise InputError(
            "predict takes a network, as ngat.load_weights(file).model, and a picture as an array; "
            "of a file take ngat.segment."
        )
    height, width = image.shape[:2]
    parts: tuple[Part, ...] = ()
    if magnification is None:
        magnification, looks = find_magnification(model, image)
        parts = parts_of(looks, height, width)
    elif not (math.isfinite(magnification) and magnification > 0):
        raise InputError(f"magnification must be a positive number; got {magnification}.")
    options: dict[str, Any] = {"tta": tta, "whole": whole, "tile": tile, "margin": margin}
    result = look(model, image, magnification, **options)
    if result.shape[-2:] != (height, width):
        result = resized(result, height, width)
    values = result[0].numpy()
    chosen = thresholds_from(getattr(model, "provenance", {}), tta)  # which `load_weights` read
    seen = tuple(
        (part, predict(model, image[part.window], magnification=part.magnification, **options))
        for part in parts
    )
    return Prediction(values[0], values[min(1, len(values) - 1)], magnification, chosen, seen)


def look(
    model: Network,
    image: npt.NDArray[Any],
    magnification: float,
    *,
    tta: bool = False,
    whole: int = WHOLE,
    tile: int = TILE,
    margin: int | None = None,
) -> Tensor:
    """What the network says of an image at a magnification, on the grid that it sees.

    Arguments and errors as :func:`predict`.

    Returns:
        ``float32 [1, K, H', W']`` on the CPU: probability of nucleus, of core, and encoded size.
    """
    picture = views(image, model.config.contrast, magnification)
    height, width = picture.shape[-2:]
    picture = mirrored(picture, SMALLEST, SMALLEST).to(next(model.parameters()).device)
    with evaluating(model):
        if picture.shape[2] * picture.shape[3] <= whole:
            result = probabilities(model, picture, tta)
        else:
            result = _tiled(model, picture, tta, tile, margin)
    return result[..., :height, :width].float().cpu()


def find_magnification(model: Network, image: npt.NDArray[Any]) -> tuple[float, list[Seen]]:
    """The magnification that suits an image's nuclei, and the looks that decided.

    It is 1, without a look, for a network that has no size output.
    """
    if model.config.outputs < 3:
        return 1.0, []
    pixels = as_pixels(image, model.config.contrast)
    low, high = np.percentile(pixels[::2, ::2], (0.2, 99.8), axis=(0, 1))
    grey = torch.from_numpy(pixels.mean(axis=2))[None, None] / max(1e-30, float((high - low).max()))

    def values(factor: float) -> npt.NDArray[np.float32]:
        maps = look(model, image, factor)
        return torch.cat([maps, resized(grey, *maps.shape[-2:])], dim=1)[0].numpy()

    return best_magnification(values, *pixels.shape[:2])


def instances(
    prediction: Prediction, method: Method = "split", thresholds: Thresholds | None = None
) -> Labels:
    """Nuclei as a label image ``int32 [H, W]``, 0 is background.

    Args:
        thresholds: None takes those of the weights that made the prediction.

    Raises:
        InputError: unknown method.
    """
    if prediction.parts:
        every = whole_of(prediction.probability.shape, prediction.magnification)
        whole, *parts = (
            PartLabels(part, instances(one, method, thresholds))
            for part, one in ((every, prediction._replace(parts=())), *prediction.parts)
        )
        return merged(whole, parts)
    t = thresholds or prediction.thresholds.get(method) or Thresholds()
    pixels = prediction.magnification**-2  # of the image for one that the network sees
    min_area = max(MIN_SEED, round(t.min_area * pixels))
    if method == "components":
        return components(prediction.probability, t.probability, min_area, confidence=t.confidence)
    if method == "split":
        return split(
            prediction.probability,
            prediction.core,
            t.probability,
            t.core,
            min_area,
            max(1, round(MIN_SEED * pixels)),
            landscape=t.landscape,
            prominence=t.prominence,
            smoothing=smoothing_at(t, prediction.magnification),
            confidence=t.confidence,
        )
    raise InputError(f"Unknown instance method {method!r}; known: {', '.join(METHODS)}.")


def smoothing_at(thresholds: Thresholds, magnification: float) -> float:
    """σ of the smoothing in pixels of an image that the network sees at this magnification."""
    return thresholds.smoothing / magnification


@contextlib.contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; the mode before is restored."""
    training = model.training
    model.eval()
    try:
        with torch.inference_mode(), autocast(next(model.parameters()).device):
            yield
    finally:
        model.train(training)


def probabilities(model: Network, picture: Tensor, tta: bool = False) -> Tensor:
    """What the network says of a picture: the mean over its views and, with ``tta``, their flips.

    ``[V, 3, H, W]`` → ``[1, K, H, W]``.
    """
    flips = FLIPS if tta else FLIPS[:1]
    shown = [(view, dims) for view in picture.split(1) for dims in flips]
    return torch.stack([_one(model, view.flip(dims)).flip(dims) for view, dims in shown]).mean(0)


def _one(model: Network, picture: Tensor) -> Tensor:
    # A cell that overhangs the picture would lie elsewhere in a tile than in the whole.
    height, width = picture.shape[-2:]
    cell = model.config.coarsest_cell
    seen = mirrored(picture, -(-height // cell) * cell, -(-width // cell) * cell)
    return model.reconstruct(model(seen)).float()[..., :height, :width]


def _tiled(model: Network, picture: Tensor, tta: bool, tile: int, margin: int | None) -> Tensor:
    """As :func:`probabilities`, tile by tile; of each its middle is kept."""
    step = model.config.coarsest_cell
    margin = model.config.receptive_field if margin is None else margin
    margin = -(-margin // step) * step
    middle = (tile - 2 * margin) // step * step
    if middle < 1:
        raise InputError(
            f"tiles of {tile} pixels are all margin; choose more than {2 * margin + step}."
        )
    height, width = picture.shape[-2:]
    total: Tensor | None = None
    for top in range(0, height, middle):
        for left in range(0, width, middle):
            # Tiles begin on the grid of the coarsest level, so that cells are those of the whole.
            above, before = max(0, top - margin), max(0, left - margin)
            window = picture[..., above : top + middle + margin, before : left + middle + margin]
            result = probabilities(model, window, tta)
            kept = result[
                ..., top - above : top - above + middle, left - before : left - before + middle
            ]
            if total is None:
                total = kept.new_empty(1, kept.shape[1], height, width)
            total[..., top : top + middle, left : left + middle] = kept
    assert total is not None
    return total
