"""Images made ready for a device: pixels, marked labels, and contrast at all their magnifications.

It takes a second an image, so as many processes do it as there are cores, and a file may keep it
for other trainings on the same images: those that begin together wait for the first.
"""

from __future__ import annotations

import math
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from ngat.data.normalize import Contrast
from ngat.data.sample import fingerprint
from ngat.errors import InputError
from ngat.system.files import locked, replacing
from ngat.training.device.images import Ready
from ngat.training.patches import TAIL, Patches

# Images from which on preparing them is shared among processes.
MANY = 40


def octave_of(zoom: float) -> int:
    """The half octave of a magnification, as :meth:`.Patches.ranges` rounds it."""
    return round(2 * math.log2(zoom))


def octaves_for(patches: Patches, median: float) -> list[int]:
    """Half octaves of all magnifications that patches of an image can have."""
    if patches.contrast != "local":
        return []
    if not patches.config.sized:
        return [0]
    usual = 6 * patches.config.octaves
    low, high = min(TAIL[0], -usual), max(TAIL[1], usual)
    first, last = (
        octave_of(patches.zoom(cast(np.random.Generator, Fixed(wanted)), median))
        for wanted in (low, high)
    )
    return list(range(first, last + 1))


class Fixed:
    """A source of chance that always asks for one size, in octaves round the usual one."""

    def __init__(self, octaves: float) -> None:
        self.octaves = octaves

    def random(self) -> float:
        """Never a rare size: see :meth:`ngat.training.patches.Patches.zoom`."""
        return -1.0

    def uniform(self, *_: float) -> float:
        """The size."""
        return self.octaves


def prepared(patches: Patches, kept: Path | None = None) -> list[Ready]:
    """All images, ready for a device.

    Args:
        patches: that are drawn of them.
        kept: a file from which they are read, if they are in it, and in which they are kept
            otherwise.

    Raises:
        InputError: the file holds something else, or cannot be written.
    """
    if kept is None:
        return made(patches)
    key = _key(patches)
    with locked(kept):
        if kept.exists():
            return _read(kept, key)
        images = made(patches)
        with replacing(kept) as beside:
            torch.save({"key": key, "images": [_plain(image) for image in images]}, beside)
        return images


def made(patches: Patches) -> list[Ready]:
    """All images; many of them by as many processes as there are cores.

    The processes are forks, which a process that has used a GPU must not make: then it takes one.
    """
    cores = os.cpu_count() or 1
    count = len(patches.samples)
    if count < MANY or cores < 3 or torch.cuda.is_initialized() or not hasattr(os, "fork"):
        return [ready(patches, i) for i in range(count)]
    global _shared
    _shared = patches
    try:
        with ProcessPoolExecutor(cores, mp_context=multiprocessing.get_context("fork")) as pool:
            return list(pool.map(_ready, range(count), chunksize=4))
    finally:
        _shared = None


def _key(patches: Patches) -> str:
    """What the outcome depends on."""
    octaves = patches.config.octaves if patches.config.sized else None
    return f"{fingerprint(patches.samples)} {patches.contrast} {octaves}"


def _plain(image: Ready) -> dict[str, Any]:
    """As tensors, which are read without running anything."""
    ranges = {
        octave: [torch.from_numpy(end) for end in (found.low, found.high)]
        for octave, found in image.ranges.items()
    }
    tensors = {name: torch.from_numpy(getattr(image, name)) for name in Ready._fields[:3]}
    return tensors | {"ranges": ranges}


def _read(path: Path, key: str) -> list[Ready]:
    try:
        content = torch.load(path, weights_only=True)
        if content["key"] != key:
            raise InputError(f"{path}: holds other images; choose another file, or delete it.")
        images = []
        for held in content["images"]:
            pixels, marked, sizes = (held[name].numpy() for name in Ready._fields[:3])
            ranges = {
                octave: Contrast(low.numpy(), high.numpy(), marked.shape)
                for octave, (low, high) in held["ranges"].items()
            }
            images.append(Ready(pixels, marked, sizes, ranges))
        return images
    except InputError:
        raise
    except Exception as error:  # whatever torch finds wrong with it
        raise InputError(f"{path}: no images are kept there ({error}); delete it.") from error


_shared: Patches | None = None


def _ready(index: int) -> Ready:
    assert _shared is not None
    return ready(_shared, index)


def ready(patches: Patches, index: int) -> Ready:
    """One image, ready for a device."""
    sizes = patches.sizes(index)
    octaves = octaves_for(patches, float(np.median(sizes[1:])))
    ranges = {octave: patches.ranges(index, 2 ** (octave / 2)) for octave in octaves}
    return Ready(patches.seen(index), patches.marked(index), sizes, ranges)
