"""Images made ready for a device: pixels, marked labels, and contrast at all their magnifications.

Contrast takes most of a second an image, so as many processes find it as there are cores, and a
file may keep it for other trainings on the same images: those that begin together wait for the
first.
"""

from __future__ import annotations

import math
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ngat.data import fingerprint
from ngat.data.contrast import LOCAL, Contrast
from ngat.errors import InputError
from ngat.system.files import locked, replacing
from ngat.training.device.images import Ready
from ngat.training.patches import TAIL, Patches, zoom_to

# Images from which on their contrast is shared among processes.
MANY = 40
FILE = "contrast.safetensors"  # beside the images' own file, where a machine with a GPU finds it

Ranges = dict[int, Contrast]


def octave_of(zoom: float) -> int:
    """The half octave of a magnification, as :meth:`.Patches.ranges` rounds it."""
    return round(2 * math.log2(zoom))


def octaves_for(patches: Patches, median: float) -> list[int]:
    """Half octaves of all magnifications that patches of an image can have."""
    if patches.contrast not in LOCAL:
        return []
    if not patches.config.sized:
        return [0]
    usual = 6 * patches.config.octaves
    low, high = min(TAIL[0], -usual), max(TAIL[1], usual)
    first, last = (octave_of(zoom_to(octaves, median)) for octaves in (low, high))
    return list(range(first, last + 1))


def prepared(patches: Patches, kept: Path | None = None) -> list[Ready]:
    """All images, ready for a device.

    Args:
        patches: that are drawn of them.
        kept: a file from which their contrast is read, if it is there, and else kept in.

    Raises:
        InputError: the file is of other images, damaged, or cannot be written.
    """
    return [
        Ready(patches.seen(i), patches.marked(i), patches.sizes(i), ranges)
        for i, ranges in enumerate(contrasts(patches, kept))
    ]


def contrasts(patches: Patches, kept: Path | None = None) -> list[Ranges]:
    """The contrast of all images by half octaves of the magnification; see :func:`prepared`."""
    if kept is None:
        return found(patches)
    octaves = patches.config.octaves if patches.config.sized else 0.0
    key = f"{fingerprint(patches.samples)} {patches.contrast} {octaves}"
    with locked(kept):
        if kept.exists():
            return _read(kept, key, patches)
        ranges = found(patches)
        tensors = {
            f"{i} {octave}": torch.from_numpy(np.stack([one.low, one.high]).astype(np.float32))
            for i, of_image in enumerate(ranges)
            for octave, one in of_image.items()
        }
        with replacing(kept) as beside:
            save_file(tensors, beside, {"images": key})
        return ranges


def found(patches: Patches) -> list[Ranges]:
    """The contrast of all images; of many by as many processes as there are cores.

    The processes are forks, which a process that has used a GPU must not make: then it takes one.
    """
    cores = os.cpu_count() or 1
    count = len(patches.samples)
    if count < MANY or cores < 2 or torch.cuda.is_initialized() or not hasattr(os, "fork"):
        return [_ranges(patches, i) for i in range(count)]
    global _shared
    _shared = patches
    try:
        with ProcessPoolExecutor(cores, mp_context=multiprocessing.get_context("fork")) as pool:
            return list(pool.map(_shared_ranges, range(count), chunksize=4))
    finally:
        _shared = None


_shared: Patches | None = None


def _shared_ranges(index: int) -> Ranges:
    assert _shared is not None
    return _ranges(_shared, index)


def _ranges(patches: Patches, index: int) -> Ranges:
    octaves = octaves_for(patches, float(np.median(patches.sizes(index)[1:])))
    return {octave: patches.ranges(index, 2 ** (octave / 2)) for octave in octaves}


def _read(path: Path, key: str, patches: Patches) -> list[Ranges]:
    ranges: list[Ranges] = [{} for _ in patches.samples]
    try:
        with safe_open(path, "np") as held:
            if (held.metadata() or {}).get("images") != key:
                raise InputError(f"{path}: is of other images; choose another file, or delete it.")
            for name in held.keys():  # noqa: SIM118  # it is no dictionary
                i, octave = map(int, name.split())
                low, high = held.get_tensor(name)
                ranges[i][octave] = Contrast(low, high, patches.samples[i].labels.shape)
    except (OSError, SafetensorError, ValueError, IndexError) as error:
        raise InputError(f"{path}: holds no contrast of images ({error}); delete it.") from error
    return ranges
