"""Synthetic nuclei, the embedded default data: five types that stand for the real ones.

Polarity, contrast, size and crowding differ between the types as they do in the 2018 Data Science
Bowl, and so do their numbers, so that no single threshold serves them all. Like everything that
is drawn here they are the same, bit for bit, on every platform (:mod:`ngat.data.nuclei`).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ngat.data.nuclei import generator
from ngat.data.sample import TYPES, Sample
from ngat.data.stains import PAINTERS
from ngat.data.texture import quantise
from ngat.errors import InputError

SPLITS = ("train", "val", "test")
# Pictures per type, in the order of TYPES: imbalanced like the real set, at least four of each.
COUNTS = {
    "train": (58, 24, 8, 20, 10),
    "val": (8, 4, 4, 4, 4),
    "test": (16, 8, 5, 6, 5),
}


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
    if split not in SPLITS:
        raise InputError(f"split {split!r} is unknown; choose one of {', '.join(SPLITS)}.")
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
        samples.append(
            Sample(
                image_id=f"{name}-{index:03d}",
                image=quantise(picture),
                labels=labels,
                type=type_,
                group=f"{name}-parent-{parent:03d}",
                split=split,
            )
        )
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
