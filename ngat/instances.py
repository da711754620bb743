"""From node scores to nuclei: connected components, and the split of touching nuclei.

The paper gives a threshold and counts objects, without saying how a mask becomes objects.
*Components* is the least one can do. *Split* uses the network's second channel, the eroded
interior ("core") of each nucleus: cores of touching nuclei do not touch, so each core seeds one
nucleus and a watershed inside the mask gives every pixel to a seed. Where a network is not sure, no
threshold separates all cores; then the h-maxima of its core map are better seeds (``prominence``),
and its saddles may be better borders (``landscape``). Nuclei of which the network is not sure are
dropped (``confidence``). Each of these is a reading: L16, L26, L32, L34.
Neighbours share an edge here (4-connectivity): nuclei that meet at a corner only are two.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.segmentation import watershed

from ngat.errors import InputError
from ngat.h_maxima import h_maxima

Labels = npt.NDArray[np.int32]
Floats = npt.NDArray[np.floating]
Landscape = Literal["distance", "core"]

# No nucleus annotated in the challenge's training set is smaller than about twenty pixels.
MIN_AREA = 16
# Smaller specks of core are not seeds. Real masks and real cores give back an average F1 of .977
# with it and .972 without: an indented nucleus has a core in several pieces.
MIN_SEED = 4
# The core map is smoothed before it is read as a landscape, σ in pixels: a ripple is no maximum.
SMOOTHING = 1.0
TRUNCATE = 4.0  # σ at which the smoothing's kernel ends
# Depth at which the core begins, as a share of the nucleus' largest depth.
CORE_DEPTH = 0.4


def components(
    probability: Floats,
    threshold: float = 0.5,
    min_area: int = MIN_AREA,
    confidence: float = 0.0,
) -> Labels:
    """Connected components of the thresholded mask.

    Args:
        probability: ``[H, W]`` in [0, 1].
        threshold: a pixel is foreground where ``probability > threshold``.
        min_area: smaller components (pixels) are dropped.
        confidence: a component whose mean probability is lower is dropped.

    Returns:
        ``int32 [H, W]``, 1 ... n in reading order.

    Raises:
        InputError: the map is not two-dimensional, or holds NaN.
    """
    mask = _mask(probability, threshold)
    labels, _ = ndimage.label(mask)
    return _drop_doubtful(_drop_small(labels, min_area), probability, confidence)


def split(
    probability: Floats,
    core: Floats,
    threshold: float = 0.5,
    core_threshold: float = 0.5,
    min_area: int = MIN_AREA,
    min_seed: int = MIN_SEED,
    landscape: Landscape = "distance",
    prominence: float = 0.0,
    smoothing: float = SMOOTHING,
    confidence: float = 0.0,
) -> Labels:
    """Components, divided where several cores lie in one component.

    No nucleus is lost: a component without a seed stays one nucleus, and the nuclei together cover
    what :func:`components` covers, unless ``confidence`` drops some. A seed that would win fewer
    than ``min_area`` pixels is withdrawn and its pixels go to its neighbours.

    How a component is divided depends only on it and :func:`margin` pixels around it.

    Args:
        probability: ``[H, W]``, foreground.
        core: ``[H, W]``, interior (:func:`core_of` is its training target).
        threshold: as in :func:`components`.
        core_threshold: a seed is a component of ``core > core_threshold`` inside the mask.
        min_area: smaller components are dropped, and no seed may win less.
        min_seed: smaller seeds (pixels) are ignored.
        landscape: what the watershed floods, deepest first: the ``distance`` to the mask's edge, or
            the ``core`` map, whose saddles lie where two nuclei touch.
        prominence: if not 0, seeds are the :func:`~ngat.h_maxima.h_maxima` of the core map above
            the threshold, whatever their size.
        smoothing: of the core map, as a landscape and for its maxima: σ in pixels.
        confidence: a nucleus whose mean probability is lower is dropped, once all are divided.

    Returns:
        ``int32 [H, W]``, 1 ... n in reading order.

    Raises:
        InputError: as :func:`components`; sizes differ, or the landscape is unknown.
    """
    probability, core = np.asarray(probability), np.asarray(core)
    if probability.shape != core.shape:
        raise InputError(f"foreground is {probability.shape} and core {core.shape}; sizes differ.")
    if landscape not in get_args(Landscape):
        raise InputError(f"unknown landscape {landscape!r}; choose distance or core.")
    whole = components(probability, threshold, min_area)
    seeding = (core > core_threshold) & (whole > 0)
    smooth = _smooth(core, smoothing) if prominence or landscape == "core" else core
    if prominence:
        # A maximum is one seed, also where the core's threshold leaves two pieces of it.
        seeds, count = ndimage.label(h_maxima(smooth, prominence, whole > 0))
        seeds[~seeding] = 0
    else:
        seeds = _drop_small(ndimage.label(seeding)[0], min_seed)
        count = int(seeds.max(initial=0))
    # The component of each seed; most have one seed or none, and are one nucleus as they are.
    last = int(whole.max(initial=0))
    owner = np.zeros(count + 1, dtype=np.int64)
    owner[seeds[seeding]] = whole[seeding]
    owner[0] = 0
    several = np.bincount(owner, minlength=last + 1) > 1
    several[0] = False
    labels = whole.copy()
    boxes = ndimage.find_objects(whole)
    for component in np.flatnonzero(several):
        # One pixel more on each side holds the background that is nearest to any pixel inside.
        window = _wider(boxes[component - 1], 1)
        inside = whole[window] == component
        height = -_distance(inside) if landscape == "distance" else -smooth[window]
        parts = _flood(height, np.where(inside, seeds[window], 0), inside, min_area)
        labels[window][inside] = parts[inside] + last
        last += int(parts.max())
    return _drop_doubtful(in_reading_order(labels), probability, confidence)


def confidences(labels: npt.NDArray[np.integer], probability: Floats) -> npt.NDArray[np.float64]:
    """Mean probability of the pixels of each label, from 0 to the largest; 0 where it has none."""
    counts = np.bincount(labels.ravel(), minlength=1)
    return np.bincount(labels.ravel(), np.ravel(probability), len(counts)) / np.maximum(counts, 1)


def in_reading_order(labels: npt.NDArray[np.integer]) -> Labels:
    """The labels numbered 1 ... n by their first pixels, row by row."""
    place = np.flatnonzero(labels)
    found = labels.ravel()[place]
    first = np.full(int(labels.max(initial=0)) + 1, -1, dtype=np.intp)
    first[found[::-1]] = place[::-1]  # of several the one that is written last stays
    present = np.flatnonzero(first >= 0)
    numbers = np.zeros(len(first), dtype=np.int32)
    numbers[present[np.argsort(first[present])]] = np.arange(1, len(present) + 1)
    return numbers[labels]


def core_of(labels: npt.NDArray[np.integer]) -> npt.NDArray[np.bool_]:
    """The interior of each nucleus: deeper than :data:`CORE_DEPTH` times its own largest depth.

    Depth is the distance from a pixel's centre to the edge of its *own* nucleus, whether background
    or another nucleus lies beyond. The picture's border is no edge: a nucleus cut by it goes on
    outside. The deepest pixel of every nucleus is in its core.

    Returns:
        ``bool [H, W]``.
    """
    labels = np.asarray(labels)
    inside = labels > 0
    if not inside.any():
        return inside
    # One transform for the whole picture is enough: a staircase of pixels from here to another
    # nucleus leaves the own one through an outermost pixel, which is no farther away.
    outermost = np.zeros(labels.shape, dtype=bool)
    for axis in (0, 1):
        a = np.moveaxis(labels, axis, 0)
        edge = np.moveaxis(outermost, axis, 0)
        differs = a[1:] != a[:-1]
        edge[1:] |= differs
        edge[:-1] |= differs
    # An outermost pixel's centre is half a pixel away from the crack that is the edge.
    distance = _distance(~outermost) + 0.5
    index = labels.astype(np.int64)
    deepest = np.zeros(int(index.max()) + 1)
    np.maximum.at(deepest, index[inside], distance[inside])
    return inside & (distance > CORE_DEPTH * deepest[index])


def _mask(probability: Floats, threshold: float) -> npt.NDArray[np.bool_]:
    """The foreground, as :func:`components` says."""
    probability = np.asarray(probability)
    if probability.ndim != 2:
        raise InputError(f"a probability map has two dimensions, not {probability.ndim}.")
    if np.isnan(probability).any():
        raise InputError("the probability map holds NaN; the network's output cannot be used.")
    return probability > threshold


def margin(smoothing: float = SMOOTHING) -> int:
    """Pixels around a component that its nuclei depend on: what smoothing reaches."""
    return math.ceil(TRUNCATE * smoothing) + 1


def _smooth(core: Floats, smoothing: float) -> npt.NDArray[np.float64]:
    values = np.asarray(core, dtype=np.float64)
    return ndimage.gaussian_filter(values, smoothing, truncate=TRUNCATE)


def _distance(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Euclidean distance to the nearest False pixel; 1 everywhere if there is none."""
    return np.ones(mask.shape) if mask.all() else ndimage.distance_transform_edt(mask)


def _wider(window: tuple[slice, slice], margin: int) -> tuple[slice, slice]:
    rows, columns = (slice(max(0, side.start - margin), side.stop + margin) for side in window)
    return rows, columns


def _flood(height: Floats, seeds: Labels, inside: npt.NDArray[np.bool_], min_area: int) -> Labels:
    """Watershed from the seeds inside one component, ``int [h, w]``, 0 outside.

    Without any seed the component is one nucleus.
    """
    while seeds.any():
        labels = watershed(height, seeds, mask=inside).astype(np.int32)
        small = _smaller(labels, min_area)
        if not small.any():
            return labels
        # Withdrawing a seed may shift the ties between others, so look again; each round withdraws
        # one at least.
        seeds = np.where(small[labels], 0, seeds)
    return inside.astype(np.int32)


def _smaller(labels: npt.NDArray[np.integer], min_area: int) -> npt.NDArray[np.bool_]:
    """For every label that occurs: has it fewer than ``min_area`` pixels? Background never has."""
    areas = np.bincount(labels.ravel(), minlength=1)
    small = (areas > 0) & (areas < min_area)
    small[0] = False
    return small


def _drop_small(labels: npt.NDArray[np.integer], min_area: int) -> Labels:
    """The labels with at least ``min_area`` pixels, renumbered 1 ... n."""
    return _kept(labels, np.bincount(labels.ravel(), minlength=1) >= max(min_area, 1))


def _drop_doubtful(labels: Labels, probability: Floats, confidence: float) -> Labels:
    """The labels with at least this mean probability, renumbered 1 ... n.

    A pale patch is a little like a nucleus everywhere. No threshold of single pixels removes it
    that does not remove the rims of nuclei too.
    """
    return _kept(labels, confidences(labels, probability) >= confidence) if confidence else labels


def _kept(labels: npt.NDArray[np.integer], keep: npt.NDArray[np.bool_]) -> Labels:
    """Those of the labels 0 ... n that ``keep`` has as true, renumbered 1 ... n."""
    keep[0] = False
    return (np.cumsum(keep) * keep)[labels].astype(np.int32)
