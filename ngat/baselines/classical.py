"""The classical pipeline: smooth, threshold, divide; with the algorithms that CellProfiler runs.

A picture becomes a grey one with bright nuclei; a threshold makes a mask of it; maxima of the
mask's depth or of the brightness seed a nucleus each, and a watershed or a propagation gives every
pixel of the mask to a seed. Thresholds, hole filling, local maxima and propagation are those of
``centrosome``, the library of CellProfiler (Carpenter et al. 2006, Genome Biology 7:R100; the
order of the steps is that of its module IdentifyPrimaryObjects); minimum cross-entropy, distance
transform and watershed come from scikit-image and scipy, as they do there. Nothing is learned; what
is set stands in :class:`Settings`, and is sought by :mod:`ngat.baselines.classical_tuning`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args, get_type_hints

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.color import rgb2gray, rgb2hed
from skimage.filters import threshold_li
from skimage.segmentation import expand_labels, watershed

from ngat.errors import InputError, MissingDependency
from ngat.instances import MIN_AREA, Labels

try:
    from centrosome.cpmorphology import fill_labeled_holes, is_local_maximum, strel_disk
    from centrosome.otsu import otsu
    from centrosome.propagate import propagate
    from centrosome.threshold import TM_ADAPTIVE, TM_GLOBAL, get_threshold
except ImportError as error:
    raise MissingDependency(
        f"The classical pipeline needs centrosome ({error}); pip install 'ngat[classical]'."
    ) from error


Channel = Literal["luminance", "red", "green", "blue", "haematoxylin"]
Polarity = Literal["auto", "bright", "dark"]
Threshold = Literal[
    "otsu", "cross_entropy", "log_otsu", "otsu3_low", "otsu3_high", "mct", "robust_background"
]
Seeds = Literal["none", "shape", "intensity", "log"]
Lines = Literal["shape", "intensity", "propagate"]


@dataclass(frozen=True)
class Settings:
    """The settings of every step; lengths in pixels, brightness between 0 and 1.

    Attributes:
        channel: what becomes grey; ``haematoxylin`` is the light that this stain alone would let
            through (colour deconvolution, Ruifrok and Johnston 2001), dark where it is.
        polarity: nuclei are ``bright`` or ``dark``; ``auto`` decides for each picture
            (:func:`ngat.baselines.classical.dark_nuclei`).
        rescale: stretch the grey values of each picture to 0 … 1.
        flatten: standard deviation of the blurred picture that is subtracted as uneven
            illumination; 0 subtracts none.
        smoothing: standard deviation of the Gaussian before the threshold.
        threshold: ``otsu``, minimum ``cross_entropy``, Otsu on logarithms (``log_otsu``), with
            three classes of which the middle one is foreground (``otsu3_low``) or background
            (``otsu3_high``), maximum correlation (``mct``), or mean plus two deviations of the
            trimmed values (``robust_background``).
        window: side of the tiles for an adaptive threshold, at most half a picture; 0 is global.
        correction: factor on the threshold.
        lower: smallest threshold.
        opening: radius of the disc that opens the mask; 0 leaves it as it is.
        max_hole: holes of fewer pixels are filled.
        seeds: a nucleus for each maximum of the ``shape``'s depth, of the ``intensity``, or of the
            Laplacian of a Gaussian (``log``); ``none`` takes connected components.
        seed_smoothing: standard deviation of the Gaussian before maxima are sought.
        suppression: a maximum is the largest value within this radius.
        lines: where touching nuclei part: by a watershed on depth (``shape``) or ``intensity``, or
            by ``propagate``, which weighs distance against brightness.
        regularisation: how much distance weighs in ``propagate``.
        min_area: smaller nuclei (pixels) are dropped.
        max_area: larger ones are dropped; 0 drops none.
        grow: nuclei are widened by so many pixels at last, or narrowed if negative.
    """

    channel: Channel = "luminance"
    polarity: Polarity = "auto"
    rescale: bool = True
    flatten: float = 0.0
    smoothing: float = 1.0
    threshold: Threshold = "otsu"
    window: int = 0
    correction: float = 1.0
    lower: float = 0.0
    opening: int = 0
    max_hole: int = 200
    seeds: Seeds = "shape"
    seed_smoothing: float = 1.0
    suppression: float = 6.0
    lines: Lines = "shape"
    regularisation: float = 0.05
    min_area: int = MIN_AREA
    max_area: int = 0
    grow: int = 0

    def __post_init__(self) -> None:
        kinds = get_type_hints(type(self))
        for name, value in asdict(self).items():
            known = get_args(kinds[name])
            if known and value not in known:
                raise InputError(f"{name} {value!r} is unknown; choose {', '.join(known)}.")
            if not known and (not isinstance(value, int | float) or not np.isfinite(value)):
                raise InputError(f"{name} must be a number; got {value!r}.")
            if not known and name != "grow" and value < 0:
                raise InputError(f"{name} must not be negative; got {value}.")


def settings_from(values: Any) -> Settings:
    """Settings as they stand in a file. Raises InputError for anything missing or unknown."""
    names = {field.name for field in fields(Settings)}
    if not isinstance(values, dict) or set(values) != names:
        raise InputError("these are no settings of the classical pipeline; tune it again.")
    return Settings(**values)


Grey = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

# Each threshold in centrosome's words. Its Otsu works on logarithms; what CellProfiler thresholds
# without it, or without logarithms, stands apart in _PLAIN.
_METHODS: dict[str, tuple[str, dict[str, bool]]] = {
    "log_otsu": ("Otsu", {"two_class_otsu": True}),
    "otsu3_low": ("Otsu", {"two_class_otsu": False, "assign_middle_to_foreground": True}),
    "otsu3_high": ("Otsu", {"two_class_otsu": False, "assign_middle_to_foreground": False}),
    "mct": ("MCT", {}),
    "robust_background": ("RobustBackground", {}),
}
_PLAIN: dict[str, Callable[[Grey], float]] = {
    "otsu": lambda grey: float(otsu(grey.ravel())),
    "cross_entropy": lambda grey: float(threshold_li(grey)),
}
# An adaptive threshold stays within these multiples of the global one, as centrosome's does.
_LEEWAY = (0.7, 1.5)
# Fewer pixels than this on a side give no histogram to threshold.
_SMALLEST_WINDOW = 10


def classical(image: npt.NDArray[np.uint8], settings: Settings) -> Labels:
    """The nuclei in a picture.

    Args:
        image: ``uint8 [H, W, 3]``.
        settings: of all steps.

    Returns:
        ``int32 [H, W]``, 1 … n; none in a picture of one colour.

    Raises:
        InputError: the picture is not ``[H, W, 3]``.
    """
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[2] != 3:
        raise InputError(f"a picture has height, width and three colours, not {image.shape}.")
    return nuclei(channel_of(image, settings.channel), settings)


def channel_of(image: npt.NDArray[np.uint8], channel: Channel) -> Grey:
    """One channel of a picture: ``float64 [H, W]`` between 0 and 1."""
    colours = image.astype(np.float64) / 255
    if channel == "luminance":
        return np.asarray(rgb2gray(colours))
    if channel == "haematoxylin":
        # The stain's amount is in units of the logarithm of 10⁻⁶, the darkest that is told apart.
        amount = np.clip(rgb2hed(colours)[:, :, 0], 0, None)
        return np.asarray(np.exp(amount * np.log(1e-6)))
    return colours[:, :, ("red", "green", "blue").index(channel)]


def nuclei(channel: Grey, settings: Settings) -> Labels:
    """As :func:`classical`, from one channel ``[H, W]``."""
    if np.ptp(channel) < 1e-6:
        return np.zeros(channel.shape, dtype=np.int32)
    grey = bright(channel, settings)
    return divide(grey, foreground(grey, settings), settings)


def dark_nuclei(channel: Grey) -> bool:
    """Are nuclei darker than what is around them?

    Transmitted light leaves a picture bright, fluorescence leaves it dark: of the Data Science
    Bowl's training pictures, the medians lie above .26 and below .18, in every channel.
    """
    return bool(np.median(channel) > 0.22)


def bright(channel: Grey, settings: Settings) -> Grey:
    """The channel with bright nuclei, rescaled, flattened and smoothed as the settings say."""
    dark = settings.polarity == "dark"
    if settings.polarity == "auto":
        dark = dark_nuclei(channel)
    grey = 1 - channel if dark else channel
    if settings.rescale:
        grey = (grey - grey.min()) / np.ptp(grey)
    if settings.flatten:
        grey = np.clip(grey - ndimage.gaussian_filter(grey, settings.flatten), 0, None)
    return ndimage.gaussian_filter(grey, settings.smoothing) if settings.smoothing else grey


def foreground(grey: Grey, settings: Settings) -> Mask:
    """Where ``grey`` lies above its threshold; opened, small holes filled."""
    mask = grey > threshold_of(grey, settings)
    if settings.opening:
        mask = ndimage.binary_opening(mask, strel_disk(settings.opening) > 0)
    return filled(mask.astype(np.int32), settings.max_hole) > 0


def threshold_of(grey: Grey, settings: Settings) -> float | Grey:
    """The threshold: one number, or ``[H, W]`` where it adapts."""
    window = min(settings.window, min(grey.shape) // 2)
    window = window if window >= _SMALLEST_WINDOW else 0
    if settings.threshold in _PLAIN:
        local = tiled(grey, _PLAIN[settings.threshold], window) * settings.correction
        return np.maximum(local, settings.lower)
    method, options = _METHODS[settings.threshold]
    # Without a mask, centrosome sorts a view of the picture in place, which numpy refuses.
    everywhere = np.ones(grey.shape, dtype=bool)
    # An empty class in a tile divides by zero; centrosome then keeps out what is not a number.
    with np.errstate(divide="ignore", invalid="ignore"):
        local, _ = get_threshold(
            method,
            TM_ADAPTIVE if window else TM_GLOBAL,
            grey,
            mask=everywhere,
            threshold_range_min=settings.lower,
            threshold_range_max=1.0,
            threshold_correction_factor=settings.correction,
            adaptive_window_size=window,
            **options,
        )
    return local


def tiled(grey: Grey, of: Callable[[Grey], float], window: int) -> float | Grey:
    """A threshold of the whole, or one for each tile of side ``window``, blended in between."""
    everywhere = of(grey)
    if not window:
        return everywhere
    rows, columns = (np.array_split(np.arange(side), max(side // window, 1)) for side in grey.shape)
    tiles = np.array([[of(grey[np.ix_(r, c)]) for c in columns] for r in rows])
    # A tile of one value has no threshold.
    tiles = np.where(np.isfinite(tiles), tiles, everywhere)
    zoom = [side / count for side, count in zip(grey.shape, tiles.shape, strict=True)]
    blended = ndimage.zoom(tiles, zoom, order=1, mode="nearest", grid_mode=True)
    low, high = (share * everywhere for share in _LEEWAY)
    return np.clip(blended, low, high)


def divide(grey: Grey, mask: Mask, settings: Settings) -> Labels:
    """Nuclei in the mask: seeded, parted, and rid of what is too small or too large."""
    whole, _ = ndimage.label(mask, structure=np.ones((3, 3)))
    if not whole.any():
        return whole.astype(np.int32)
    labels = whole
    if settings.seeds != "none":
        depth = ndimage.distance_transform_edt(np.pad(mask, 1, mode="edge"))[1:-1, 1:-1]
        labels = parted(grey, depth, whole, seeds_of(grey, depth, whole, settings), settings)
    areas = np.bincount(labels.ravel())
    keep = areas >= max(settings.min_area, 1)
    if settings.max_area:
        keep &= areas <= settings.max_area
    keep[0] = False
    labels = filled((np.cumsum(keep) * keep)[labels].astype(np.int32), settings.max_hole)
    return resized(labels, settings.grow)


def seeds_of(grey: Grey, depth: Grey, whole: Labels, settings: Settings) -> Labels:
    """One seed for each maximum, ``int32 [H, W]``; every component of the mask has one at least."""
    if settings.seeds == "log":
        height = -ndimage.gaussian_laplace(grey, max(settings.seed_smoothing, 0.5))
    else:
        height = depth if settings.seeds == "shape" else grey
        height = ndimage.gaussian_filter(height, settings.seed_smoothing)
    # Two pixels of one height within the radius would be two maxima: noise of no size decides.
    noise = np.random.default_rng(0).random(height.shape)
    height = np.ascontiguousarray(height + 1e-7 * noise)
    footprint = strel_disk(max(1.0, settings.suppression)) > 0
    peaks = is_local_maximum(height, whole, footprint)
    seeds, _ = ndimage.label(peaks, structure=np.ones((3, 3)))
    return seeds.astype(np.int32)


def parted(
    grey: Grey, depth: Grey, whole: Labels, seeds: Labels, settings: Settings
) -> npt.NDArray[np.int32]:
    """Every pixel of the mask given to a seed."""
    mask = whole > 0
    if settings.lines == "propagate":
        labels, _ = propagate(grey, seeds, mask, settings.regularisation)
        return np.where(mask, labels, 0).astype(np.int32)
    height = -depth if settings.lines == "shape" else -grey
    return watershed(height, seeds, connectivity=np.ones((3, 3)), mask=mask).astype(np.int32)


def filled(labels: Labels, max_hole: int) -> Labels:
    """Holes of fewer than ``max_hole`` pixels, given to the nucleus around them."""
    if not max_hole or not labels.any():
        return labels
    return fill_labeled_holes(labels, size_fn=lambda size, _: size < max_hole).astype(np.int32)


def resized(labels: Labels, by: int) -> Labels:
    """Nuclei widened by so many pixels, never into each other; or narrowed, until none is left."""
    if by > 0:
        return expand_labels(labels, by).astype(np.int32)
    if by == 0 or not labels.any():
        return labels
    edge = (ndimage.maximum_filter(labels, 3) != labels) | (ndimage.minimum_filter(labels, 3) == 0)
    inner = ndimage.distance_transform_edt(~(edge & (labels > 0))) >= -by
    return np.where(inner, labels, 0).astype(np.int32)
