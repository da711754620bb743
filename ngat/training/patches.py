"""Training patches: a stream that depends on nothing but the samples, the seed and the step.

Patch i of step k is drawn by a generator of its own, seeded with (seed, k, i). So a run that was
killed goes on with the very patches that it would have seen, threads may draw ahead in any order,
and several processes share a batch by dealing its places among them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from ngat.config import TrainConfig
from ngat.data import Sample
from ngat.data.contrast import LOCAL, Contrast, local_contrast
from ngat.data.contrast import TILE as WINDOW
from ngat.data.normalize import stretch_bytes
from ngat.errors import InputError
from ngat.instances import core_of
from ngat.magnification import OCTAVES, SIZE, areas_of, encode
from ngat.training.augment import AugmentConfig, augment

Patch = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]
# Sizes of nuclei beyond the usual, in octaves round SIZE, and the limits of a patch's zoom.
TAIL = (-2.3, 3.0)
ZOOM = (0.1, 4.0)
# A patch without a nucleus is drawn again, so many times in all: many images are mostly empty.
DRAWS = 2


class Batch(NamedTuple):
    """Patches of one step.

    Attributes:
        image: ``float32 [B, 3, S, S]`` in [0, 1].
        targets: ``float32 [B, 4, S, S]``: nucleus, core, the encoded size of the nucleus
            (:func:`ngat.magnification.encode`) and its number, all zero on the background.
    """

    image: Tensor
    targets: Tensor

    def to(self, device: torch.device) -> Batch:
        """The batch on a device."""
        return Batch(*(t.to(device, non_blocking=True) for t in self))

    def halved(self) -> Batch:
        """The batch at half resolution: targets become shares of nucleus, and sizes an octave less.

        Numbers stay numbers.
        """
        image, targets = (F.avg_pool2d(t, 2, ceil_mode=True, count_include_pad=False) for t in self)
        targets[:, 2] = (targets[:, 2] - targets[:, 0] / OCTAVES).clamp(min=0)
        targets[:, 3:] = self.targets[:, 3:, ::2, ::2]
        return Batch(image, targets)


class Patches:
    """Patches from annotated pictures, balanced over types, drawn ahead by threads.

    Args:
        samples: at least one.
        config: how patches are drawn and changed; steps, rates and validation do not count here.
        contrast: as :class:`ngat.config.ModelConfig` says.
        workers: threads that draw ahead.
        rank, world: this process draws places rank, rank + world … of every batch.

    Raises:
        InputError: no samples, or the batch cannot be shared evenly.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        config: TrainConfig,
        contrast: str = "plain",
        *,
        workers: int = 1,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        if not samples:
            raise InputError("There is no training picture; choose a data set that has some.")
        if config.batch % world or config.batch < 1 or config.patch < 1:
            raise InputError(
                f"A batch of {config.batch} patches of {config.patch} pixels cannot be shared by "
                f"{world} processes; choose a batch that is a multiple of {world}."
            )
        self.samples = samples
        self.config = config
        self.workers = workers
        self.places = range(rank, config.batch, world)
        self.shares = shares([sample.type for sample in samples], config.balance)
        self.augmentation = AugmentConfig.none(config.patch)
        if config.augment:
            kind = AugmentConfig.varied if config.sized else AugmentConfig.of
            self.augmentation = replace(
                kind(config.patch, config.strength), positive=contrast == "positive"
            )
        self.contrast = contrast
        self._seen: dict[int, npt.NDArray[np.uint8]] = {}
        self._marked: dict[int, npt.NDArray[np.int32]] = {}
        self._sizes: dict[int, npt.NDArray[np.float64]] = {}
        self._places: dict[int, npt.NDArray[np.float64]] = {}
        self._ranges: dict[tuple[int, int], Contrast] = {}

    def draw(self, step: int, place: int) -> Patch:
        """One patch: picture ``[3, S, S]`` in [0, 1] and targets ``[4, S, S]``."""
        rng = np.random.default_rng([self.config.seed, step, place])
        index = int(rng.choice(len(self.samples), p=self.shares))
        sizes = self.sizes(index)
        median = float(np.median(sizes[1:]))
        zoom = self.zoom(rng, median) if self.config.sized else None
        ranges = self.ranges(index, zoom or 1.0) if self.contrast in LOCAL else None
        around = self.place(rng, index) if rng.random() < self.config.nuclei else None
        for _ in range(DRAWS if self.config.sized else 1):
            picture, marked = augment(
                self.seen(index),
                self.marked(index),
                rng,
                self.augmentation,
                zoom=zoom,
                contrast=ranges,
                around=around,
                nucleus=median * (zoom or 1.0),
            )
            if marked.any():
                break
        nucleus = marked > 1
        size = encode(sizes[marked // 2] * (zoom or 1.0)) * nucleus
        targets = np.stack([nucleus, marked % 2 == 1, size, marked // 2])
        return picture, targets.astype(np.float32)

    def zoom(self, rng: np.random.Generator, size: float) -> float:
        """How much a patch of an image whose nuclei have this size in pixels is magnified."""
        if rng.random() < self.config.tail:
            return zoom_to(rng.uniform(*TAIL), size)
        return zoom_to(self.config.octaves * rng.standard_normal(), size)

    def place(self, rng: np.random.Generator, index: int) -> tuple[float, float] | None:
        """The middle of one of a picture's nuclei, row and column; None where there is none."""
        if index not in self._places:
            labels = self.samples[index].labels
            boxes = [box for box in ndimage.find_objects(labels) if box is not None]
            self._places[index] = np.array(
                [[(side.start + side.stop - 1) / 2 for side in box] for box in boxes]
            ).reshape(-1, 2)
        places = self._places[index]
        if len(places) == 0:
            return None
        row, column = places[rng.integers(len(places))]
        return float(row), float(column)

    def sizes(self, index: int) -> npt.NDArray[np.float64]:
        """√area in pixels of each of a picture's nuclei, from the first label on.

        The median stands for labels that are not there, and once more at the end.
        """
        if index not in self._sizes:
            areas = areas_of(self.samples[index].labels)
            middle = np.median(areas[areas > 0]) if areas.any() else SIZE**2
            self._sizes[index] = np.sqrt(np.append(np.where(areas > 0, areas, middle), middle))
        return self._sizes[index]

    def ranges(self, index: int, zoom: float) -> Contrast:
        """A picture's contrast as it is found at nearly this magnification."""
        octave = round(2 * np.log2(zoom))
        key = index, octave
        if key not in self._ranges:
            tile = WINDOW / 2.0 ** (octave / 2)
            positive = self.contrast == "positive"
            found = local_contrast(self.samples[index].image, tile, positive=positive)
            # Patches show blank background as it is, on every device alike.
            self._ranges[key] = replace(found, blank=None)
        return self._ranges[key]

    def seen(self, index: int) -> npt.NDArray[np.uint8]:
        """A picture as the network is shown it, ``[H, W, 3]``."""
        if self.contrast != "percentile":
            return self.samples[index].image
        if index not in self._seen:
            self._seen[index] = stretch_bytes(self.samples[index].image)
        return self._seen[index]

    def marked(self, index: int) -> npt.NDArray[np.int32]:
        """A picture's labels with the core as the lowest bit, ``[H, W]``, found when first drawn.

        The core is that of the whole picture, where no nucleus is cut; as a bit of the labels it
        follows them through every turn and magnification.
        """
        if index not in self._marked:
            labels = self.samples[index].labels
            self._marked[index] = 2 * labels + core_of(labels)
        return self._marked[index]

    def batch(self, step: int) -> Batch:
        """This process's patches of one step."""
        return _collate([self.draw(step, place) for place in self.places])

    def batches(self, first: int, last: int) -> Generator[Batch, None, None]:
        """Batches of steps ``first`` … ``last`` − 1, in order, drawn ahead."""
        ahead = 2 + self.workers // max(len(self.places), 1)
        waiting: deque[list[Future[Patch]]] = deque()
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="patches")
        try:
            step = first
            while step < last or waiting:
                while step < last and len(waiting) < ahead:
                    waiting.append([pool.submit(self.draw, step, place) for place in self.places])
                    step += 1
                yield _collate([future.result() for future in waiting.popleft()])
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def zoom_to(octaves: float, size: float) -> float:
    """How much nuclei of this size in pixels are magnified to lie so many octaves from SIZE."""
    return float(np.clip(SIZE * 2.0**octaves / size, *ZOOM))


def shares(types: Sequence[str], balance: float) -> npt.NDArray[np.float64]:
    """Probability of every picture: a type of n pictures gets a share ∝ n^(1 − balance)."""
    _, which, counts = np.unique(np.asarray(types), return_inverse=True, return_counts=True)
    of_kind = counts ** (1.0 - balance)
    return (of_kind / of_kind.sum() / counts)[which]


def _collate(patches: Sequence[Patch]) -> Batch:
    image = torch.from_numpy(np.stack([picture for picture, _ in patches]))
    targets = torch.from_numpy(np.stack([target for _, target in patches]))
    return Batch(image, targets)
