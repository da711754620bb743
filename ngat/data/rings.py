"""The ring test bed: nuclei of the same colour as the background, told by their outline alone.

Each nucleus shows only a thin outline, in one of three stains of differing polarity; the truth is
the filled nucleus. Whoever fills it must have carried the outline inwards: a network without
context can colour the ring and no more.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ngat.data import nuclei as draw
from ngat.data.nuclei import Float, Generator, Law, between, generator
from ngat.data.sample import Sample
from ngat.data.synthetic import SPLITS, check_numbers
from ngat.data.texture import dye, grain, lay, quantise, uneven
from ngat.errors import InputError

COUNTS = {"train": 300, "val": 24, "test": 48}

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
    if split not in SPLITS:
        raise InputError(f"split {split!r} is unknown; choose one of {', '.join(SPLITS)}.")
    check_numbers(seed, limit, size)
    samples = []
    for index in range(COUNTS[split])[:limit]:
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
    canvas = np.empty((height, width, 3))
    canvas[:] = np.array(ground) + shift
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
