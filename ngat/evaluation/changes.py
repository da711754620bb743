"""Changes that other laboratories make to an image: magnification, colour, surroundings, cameras,
files. Each keeps the annotation, changed alike.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from ngat.data import Sample
from ngat.data.resize import resized_sample
from ngat.magnification import size_of
from ngat.training.appearance import textured

Pixels = npt.NDArray[Any]
Labels = npt.NDArray[np.int32]

FLUORESCENT = ("small_fluorescent", "large_fluorescent")
# Smaller nuclei than this are no longer nuclei, larger images take too long for what they tell.
LEAST_SIZE = 6.0
MOST_PIXELS, MOST_TEXTURED = 6_000_000, 1_100_000


@dataclass(frozen=True)
class Changed:
    """A changed image, its annotation, and the part of both that counts."""

    image: Pixels
    labels: Labels
    part: tuple[slice, slice] = (slice(None), slice(None))


# From a sample and another of its type to a changed image; None where the change makes no sense.
Change = Callable[[Sample, Sample], Changed | None]


def resized(factor: float) -> Change:
    """The image at another magnification."""

    def change(sample: Sample, other: Sample) -> Changed | None:
        height, width = (round(side * factor) for side in sample.labels.shape)
        if size_of(sample.labels) * factor < LEAST_SIZE or height * width > MOST_PIXELS:
            return None
        found = resized_sample(sample, factor)
        return Changed(found.image, found.labels)

    return change


def tinted(*colour: float) -> Change:
    """A fluorescent image in one colour."""

    def change(sample: Sample, other: Sample) -> Changed | None:
        if sample.type not in FLUORESCENT:
            return None
        grey = sample.image.max(axis=2, keepdims=True)
        return Changed(np.rint(grey * np.array(colour)).astype(np.uint8), sample.labels)

    return change


def inverted(sample: Sample, other: Sample) -> Changed:
    """Light and dark exchanged."""
    return Changed(255 - sample.image, sample.labels)


def beside(fill: int | None) -> Change:
    """As much again to the right: one value, or another image of the same type."""

    def change(sample: Sample, other: Sample) -> Changed:
        height, width = sample.labels.shape
        neighbour = np.full_like(sample.image, fill or 0)
        if fill is None:
            rows, columns = np.arange(height), np.arange(width)
            neighbour = other.image[
                rows[:, None] % other.labels.shape[0], columns % other.labels.shape[1]
            ]
        image = np.concatenate([sample.image, neighbour], axis=1)
        labels = np.concatenate([sample.labels, np.zeros_like(sample.labels)], axis=1)
        return Changed(image, labels, (slice(None), slice(0, width)))

    return change


def with_scale_bar(sample: Sample, other: Sample) -> Changed:
    """A bar with letters in the lower right: white on a dark picture, black on a bright one."""
    height, width = sample.labels.shape
    picture = Image.fromarray(sample.image)
    draw = ImageDraw.Draw(picture)
    colour = (255, 255, 255) if np.median(sample.image) < 128 else (0, 0, 0)
    bottom, right = height - height // 20, width - width // 20
    left, top = right - width // 5, bottom - max(2, height // 80)
    draw.rectangle((left, top, right, bottom), fill=colour)
    font = ImageFont.load_default(size=max(10, height // 18))  # it has no µ
    draw.text(((left + right) / 2, top - 2), "20 um", fill=colour, font=font, anchor="md")
    return Changed(np.asarray(picture), sample.labels)


def camera(gain: float, offset: float) -> Change:
    """The values of another camera in a 16-bit file."""

    def change(sample: Sample, other: Sample) -> Changed:
        values = gain * sample.image.astype(np.float64) + offset
        return Changed(np.rint(values).astype(np.uint16), sample.labels)

    return change


def jpeg(quality: int) -> Change:
    """The image after compression as JPEG."""

    def change(sample: Sample, other: Sample) -> Changed:
        stream = io.BytesIO()
        Image.fromarray(sample.image).save(stream, "JPEG", quality=quality)
        return Changed(np.asarray(Image.open(stream)), sample.labels)

    return change


def exposed(counts: float) -> Change:
    """The image as a short exposure, a brightest pixel of which counts ``counts`` photons.

    Args:
        counts: mean number of photons of a pixel of value 255.
    """

    def change(sample: Sample, other: Sample) -> Changed | None:
        if sample.type not in FLUORESCENT:
            return None
        brightest = max(1, int(sample.image.max()))
        expected = sample.image.max(axis=2, keepdims=True) / brightest * counts
        photons = np.random.default_rng(0).poisson(expected)
        image = np.minimum(np.rint(255 * photons / counts), 255).astype(np.uint8)
        return Changed(np.repeat(image, 3, axis=2), sample.labels)

    return change


def with_texture(factor: float) -> Change:
    """The image at a higher magnification, which shows what is in its nuclei and between them."""

    def change(sample: Sample, other: Sample) -> Changed | None:
        changed = resized(factor)(sample, other)
        if changed is None or changed.labels.size > MOST_TEXTURED:
            return None
        rng = np.random.default_rng(zlib.crc32(sample.image_id.encode()))
        view, size = changed.image.astype(np.float32) / np.float32(255), size_of(changed.labels)
        view = textured(view, changed.labels > 0, size, rng).clip(0, 1)
        return Changed(np.rint(255 * view).astype(np.uint8), changed.labels)

    return change


CHANGES: dict[str, Change] = {
    "magnification x 1/4": resized(1 / 4),
    "magnification x 1/2": resized(1 / 2),
    "magnification x 2": resized(2.0),
    "magnification x 4": resized(4.0),
    "magnification x 4, with texture": with_texture(4.0),
    "fluorescence in blue": tinted(0, 0, 1),
    "fluorescence in green": tinted(0, 1, 0),
    "fluorescence in red": tinted(1, 0, 0),
    "fluorescence in cyan (1/8, 1/3, 1)": tinted(1 / 8, 1 / 3, 1),
    "inverted": inverted,
    "white beside it": beside(255),
    "black beside it": beside(0),
    "another image beside it": beside(None),
    "scale bar with letters": with_scale_bar,
    "12-bit camera, values 100 to 1000": camera(900 / 255, 100),
    "16-bit camera, full range": camera(257, 0),
    "JPEG, quality 50": jpeg(50),
    "fluorescence, 8 photons": exposed(8),
}
# What ``ngat segment`` looks for before the network sees an image.
LOOKED_FOR = tuple(name for name in CHANGES if name.endswith(("beside it", "with letters")))
