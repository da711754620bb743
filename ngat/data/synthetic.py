"""Synthetic nuclei, the embedded default data: five types that stand for the real ones.

Polarity, contrast, size and crowding differ between the types as they do in the 2018 Data Science
Bowl, and so do their numbers, so that no single threshold serves them all. Like everything that
is drawn here they are the same, bit for bit, on every platform (:mod:`ngat.data.nuclei`).

Of the ring test bed, each nucleus shows only a thin outline, in one of three stains of differing
polarity; the truth is the filled nucleus. To fill it, a network must carry the outline inwards:
without context it can only colour the ring.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ngat.data import SPLITS, TYPES, Sample, check_split
from ngat.data import nuclei as draw
from ngat.data.nuclei import (
    Float,
    Generator,
    Law,
    between,
    dye,
    generator,
    grain,
    lay,
    quantise,
    uneven,
)
from ngat.data.stains import PAINTERS
from ngat.errors import InputError

# Pictures per type, in the order of TYPES: imbalanced like the real set, at least four of each.
COUNTS = {"train": (58, 24, 8, 20, 10), "val": (8, 4, 4, 4, 4), "test": (16, 8, 5, 6, 5)}


def load_synthetic(
    split: str, seed: int = 0, limit: int | None = None, size: int = 128
) -> list[Sample]:
    """Draw the pictures of one split: 120 for train, 24 for val, 40 for test.

    The first five pictures show one type each, the others follow in even mixture, so that a
    small ``limit`` still sees every type. Two pictures of each type in each split are the halves
    of one parent picture and share its group; a group never straddles a split.

    Args:
        split: ``train``, ``val`` or ``test``; the same seed gives each split its own pictures.
        seed: not negative; another seed is another data set.
        limit: only the first ``limit`` pictures; they are those of the full list.
        size: side of the square pictures in pixels. Nuclei keep their size, there are more.

    Raises:
        InputError: unknown split, or a negative seed or limit, or a size below 32.
    """
    check_split(split)
    check_numbers(seed, limit, size)
    counts = COUNTS[split]
    samples = []
    for kind, index in mixture(counts)[:limit]:
        type_ = TYPES[kind]
        # The last two pictures of a type are the left and right half of one parent.
        parent = min(index, counts[kind] - 2)
        shared = index >= counts[kind] - 2
        rng = generator(seed, 0, SPLITS.index(split), kind, parent)
        picture, labels = PAINTERS[type_](rng, size, 2 * size if shared else size)
        if shared:
            left = (index - parent) * size
            picture = picture[:, left : left + size]
            labels = cut(labels[:, left : left + size])
        name = f"synthetic-{seed}-{split}-{type_}"
        named, group = f"{name}-{index:03d}", f"{name}-parent-{parent:03d}"
        samples.append(Sample(named, quantise(picture), labels, type_, group, split))
    return samples


def check_numbers(seed: int, limit: int | None, size: int) -> None:
    """Raise :class:`InputError` where a number makes no data set."""
    if seed < 0:
        raise InputError(f"seed {seed} is negative; choose a whole number from 0 up.")
    if limit is not None and limit < 0:
        raise InputError(f"limit {limit} is negative; choose a number of pictures or none.")
    if size < 32:
        raise InputError(f"size {size} is too small for nuclei; choose 32 pixels or more.")


def mixture(counts: tuple[int, ...]) -> list[tuple[int, int]]:
    """Order ``counts`` pictures of each kind evenly: pairs (kind, index within the kind).

    One of each kind comes first; after that the kind that is furthest behind its share.
    """
    total = sum(counts)
    order = [(kind, 0) for kind, count in enumerate(counts) if count]
    done = [min(count, 1) for count in counts]
    while len(order) < total:
        # Shares are compared in whole numbers, so that ties fall the same way everywhere.
        behind = [
            count * (len(order) + 1) - done[kind] * total if done[kind] < count else -total * total
            for kind, count in enumerate(counts)
        ]
        kind = behind.index(max(behind))
        order.append((kind, done[kind]))
        done[kind] += 1
    return order


def cut(labels: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Number a crop's nuclei anew from 1; what the cut has parted counts as several nuclei."""
    fresh = np.zeros(labels.shape, dtype=np.int32)
    used = 0
    for label in np.unique(labels[labels > 0]):
        pieces, count = ndimage.label(labels == label)
        fresh[pieces > 0] = pieces[pieces > 0] + used
        used += count
    return fresh


RING_COUNTS = {"train": 300, "val": 24, "test": 48}

# Ground and outline of each stain in grey levels: bright on dark, purple on lavender, dark on grey.
STAINS = {
    "small_fluorescent": ((28.0, 28.0, 28.0), (150.0, 150.0, 150.0)),
    "purple_tissue": ((186.0, 164.0, 208.0), (96.0, 40.0, 150.0)),
    "grayscale_tissue": ((176.0, 176.0, 176.0), (84.0, 84.0, 84.0)),
}


def load_rings(split: str, seed: int = 0, limit: int | None = None, size: int = 96) -> list[Sample]:
    """Draw the ring pictures of one split: 300 for train, 24 for val, 48 for test.

    The three stains follow one another in turn. Arguments and errors are those of
    :func:`ngat.data.synthetic.load_synthetic`; every picture is its own group.
    """
    check_split(split)
    check_numbers(seed, limit, size)
    samples = []
    for index in range(RING_COUNTS[split])[:limit]:
        type_ = tuple(STAINS)[index % len(STAINS)]
        rng = generator(seed, 1, SPLITS.index(split), index)
        picture, labels = ring_picture(rng, size, size, type_)
        name = f"rings-{seed}-{split}-{index:03d}"
        samples.append(Sample(name, quantise(picture), labels, type_, name, split))
    return samples


def ring_picture(
    rng: Generator, height: int, width: int, stain: str
) -> tuple[Float, npt.NDArray[np.int32]]:
    """One picture ``float64 [H, W, 3]`` in grey levels and its filled nuclei ``int32 [H, W]``."""
    count = max(1, int(between(rng, 5.0, 11.0) * height * width / (96 * 96)))
    law = Law(count, (6.0, 12.0), (1.0, 1.6), ripple=0.04, bend=0.1, touching=0.15, min_area=40)
    labels, placed = draw.pack(rng, height, width, law)
    ground, outline = STAINS[stain]
    shift = between(rng, -14.0, 14.0)  # one slide is darker than the next, ring and ground alike
    canvas = np.full((height, width, 3), np.array(ground) + shift)
    colour = dye(rng, *outline, 8.0) + shift
    if stain != "purple_tissue":
        colour[:] = colour[0]
    for nucleus in placed:
        thickness = between(rng, 1.4, 2.2)
        inner = np.clip((nucleus.depth - thickness) + 0.5, 0.0, 1.0)
        # Where another nucleus lies on top, its own outline is the border of the two.
        owner = labels[nucleus.window]
        seen = (owner == 0) | (owner == nucleus.label)
        opacity = (nucleus.coverage() - inner) * seen * between(rng, 0.75, 1.0)
        lay(canvas, nucleus.window, opacity, colour)
    canvas = canvas * uneven(rng, height, width, 0.08)[:, :, None]
    planes = 3 if stain == "purple_tissue" else 1  # a grey camera has one
    return canvas + 4.0 * grain(rng, height, width, planes), labels
