"""Inference: from a picture of any size to probabilities, and from those to nuclei.

A picture goes through the network whole where it fits. Larger ones go in overlapping tiles whose
predictions are blended; with group norm a tile has statistics of its own, so tiles and the whole
picture agree only nearly.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from ngat.baselines.networks import Network
from ngat.data.contrast import stretch
from ngat.errors import InputError
from ngat.instances import MIN_AREA, Labels, Landscape, components, split

Method = Literal["components", "split"]
METHODS: tuple[Method, ...] = get_args(Method)
Floats = npt.NDArray[np.float32]

# Pixels that go through the network at once, and the tiles for pictures with more.
WHOLE = 3_000_000
TILE = 1536
OVERLAP = 256

# What test-time augmentation averages over, chosen on validation pictures.
FLIPS: tuple[tuple[int, ...], ...] = ((), (3,), (2,), (2, 3))
REDUCED = 0.7
VIEW_WEIGHTS = (2 / 3, 1 / 3)  # of the full and of the reduced magnification


@dataclass(frozen=True)
class Thresholds:
    """How probabilities become nuclei; chosen on validation, see :mod:`ngat.training.validation`.

    Attributes:
        probability: a pixel is foreground above it.
        core: a pixel seeds a nucleus above it (``split`` only).
        prominence: if not 0, only on a summit of the core map that rises so much above the pass
            to any higher one (``split`` only).
        min_area: smallest nucleus in pixels.
        landscape: what the watershed floods from the seeds, see :func:`ngat.instances.split`.
    """

    probability: float = 0.5
    core: float = 0.5
    prominence: float = 0.0
    min_area: int = MIN_AREA
    landscape: Landscape = "distance"


class Prediction(NamedTuple):
    """What the network says of a picture, both ``float32 [H, W]`` in [0, 1].

    Attributes:
        probability: of nucleus, the weighted reconstruction of all levels (fig. 6).
        core: of the eroded interior, which seeds the split. A network with one output has none of
            its own and repeats ``probability``.
    """

    probability: Floats
    core: Floats


def predict(
    model: Network,
    image: npt.NDArray[Any],
    *,
    tta: bool = False,
    whole: int = WHOLE,
    tile: int = TILE,
    overlap: int = OVERLAP,
) -> Prediction:
    """Probabilities for a picture of any size, on the model's device.

    Args:
        model: its mode (training or evaluation) is left as found.
        image: ``[H, W, 3]`` or ``[H, W]``; uint8 or uint16 over their full range, or float in
            [0, 1].
        tta: average over views: the picture and its three flips, and the same at ``REDUCED``
            times the magnification (six times the work).
        whole: pictures of at most so many pixels go through at once.
        tile: side of the square tiles for larger ones, in pixels.
        overlap: pixels that neighbouring tiles share at least.

    Raises:
        InputError: the picture has another shape, is empty, or holds NaN or values out of range;
            or ``overlap`` is not smaller than ``tile``.
    """
    if not 0 <= overlap < tile:
        raise InputError(f"tiles of {tile} pixels cannot overlap by {overlap}; choose less.")
    picture = as_tensor(image, model.config.contrast).to(next(model.parameters()).device)
    height, width = picture.shape[-2:]
    with evaluating(model):
        if height * width <= whole:
            result = _probabilities(model, picture, tta)
        else:
            result = _tiled(model, picture, tta, tile, overlap)
    values = result[0].float().cpu().numpy()
    return Prediction(values[0], values[-1])


def instances(
    prediction: Prediction, method: Method = "split", thresholds: Thresholds | None = None
) -> Labels:
    """Nuclei as a label image ``int32 [H, W]``, 0 is background.

    Raises:
        InputError: unknown method.
    """
    t = thresholds or Thresholds()
    if method == "components":
        return components(prediction.probability, t.probability, t.min_area)
    if method == "split":
        return split(
            prediction.probability,
            prediction.core,
            t.probability,
            t.core,
            t.min_area,
            landscape=t.landscape,
            prominence=t.prominence,
        )
    raise InputError(f"Unknown instance method {method!r}; known: {', '.join(METHODS)}.")


def thresholds_to_dict(thresholds: Mapping[Method, Thresholds]) -> dict[str, dict[str, Any]]:
    """Thresholds by method as plain values (for JSON)."""
    return {method: asdict(t) for method, t in thresholds.items()}


def thresholds_from(provenance: Mapping[str, Any], tta: bool = False) -> dict[Method, Thresholds]:
    """Thresholds by method from a weights file's provenance; the defaults where it has none.

    Args:
        tta: those chosen for averages over views, where there are some.

    Raises:
        InputError: the entry is there but makes no sense.
    """
    stored = provenance.get("thresholds", {})
    if tta:
        stored = provenance.get("thresholds_tta", stored)
    try:
        return {method: Thresholds(**stored.get(method, {})) for method in METHODS}
    except (AttributeError, TypeError) as error:
        raise InputError(
            f"The thresholds inside the weights file are not of this version of ngat ({error})."
        ) from error


def as_tensor(image: npt.NDArray[Any], contrast: str = "plain") -> Tensor:
    """A picture as ``float32 [1, 3, H, W]`` in [0, 1]; arguments and errors as :func:`predict`.

    Args:
        contrast: ``plain`` or ``stretched``, as :class:`ngat.config.ModelConfig` says.
    """
    pixels = np.asarray(image)
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[:, :, None], 3, axis=2)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.size == 0:
        raise InputError(
            f"A picture is [height, width] or [height, width, 3]; got {image.shape}. Save it as "
            "RGB or with one channel."
        )
    if pixels.dtype.kind == "f":
        if not np.isfinite(pixels).all():
            raise InputError("The picture holds NaN or infinite values; replace them first.")
        if pixels.min() < 0 or pixels.max() > 1:
            raise InputError("Float pictures must lie in 0 to 1; scale the picture first.")
        scale = 1.0
    elif pixels.dtype in (np.uint8, np.uint16):
        scale = float(np.iinfo(pixels.dtype).max)
    else:
        raise InputError(f"Pictures are uint8, uint16 or float in 0 to 1; got {pixels.dtype}.")
    seen = pixels.astype(np.float32) / np.float32(scale)
    if contrast == "stretched":
        seen = stretch(seen)
    planes = np.moveaxis(seen, 2, 0)
    return torch.from_numpy(np.ascontiguousarray(planes))[None]


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


def autocast(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Mixed precision (bfloat16) on a GPU; nothing on the CPU, where it would not pay."""
    if device.type == "cuda":
        return torch.autocast("cuda", dtype=torch.bfloat16)
    return contextlib.nullcontext()


def _probabilities(model: Network, picture: Tensor, tta: bool) -> Tensor:
    """``[1, 3, H, W]`` → ``[1, K, H, W]``."""
    if not tta:
        return _one_view(model, picture)
    height, width = picture.shape[-2:]
    sizes = [(height, width), (max(1, round(REDUCED * height)), max(1, round(REDUCED * width)))]
    total = torch.zeros(())
    for size, weight in zip(sizes, VIEW_WEIGHTS, strict=True):
        seen = F.interpolate(picture, size, mode="bilinear", antialias=True)
        views = [_one_view(model, seen.flip(dims)).flip(dims) for dims in FLIPS]
        mean = torch.stack(views).mean(0)
        total = total + weight * F.interpolate(mean, (height, width), mode="bilinear")
    return total


def _one_view(model: Network, picture: Tensor) -> Tensor:
    height, width = picture.shape[-2:]
    return model.reconstruct(model(picture)).float()[..., :height, :width]


def _tiled(model: Network, picture: Tensor, tta: bool, tile: int, overlap: int) -> Tensor:
    """As :func:`_probabilities`, tile by tile; weights fall linearly towards a tile's edge."""
    height, width = picture.shape[-2:]
    total = weight = torch.zeros(())
    for top in _starts(height, tile, overlap):
        for left in _starts(width, tile, overlap):
            window = (..., slice(top, top + tile), slice(left, left + tile))
            result = _probabilities(model, picture[window], tta)
            ramps = [
                torch.minimum(torch.arange(1, n + 1), torch.arange(n, 0, -1)).clamp(max=overlap + 1)
                for n in result.shape[-2:]
            ]
            share = (ramps[0][:, None] * ramps[1][None]).to(result)
            if total.ndim == 0:
                total = result.new_zeros(1, result.shape[1], height, width)
                weight = result.new_zeros(1, 1, height, width)
            total[window] += result * share
            weight[window] += share
    return total / weight


def _starts(length: int, tile: int, overlap: int) -> list[int]:
    """First pixels of the fewest tiles that cover ``length`` with at least ``overlap`` shared."""
    if length <= tile:
        return [0]
    count = -(-(length - overlap) // (tile - overlap))
    return [round(i * (length - tile) / (count - 1)) for i in range(count)]
