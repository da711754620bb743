"""Training patches made on the device: :mod:`ngat.training.patches`, a whole batch at once.

Which image, which size of nuclei, which corner and which turn are drawn on the host, a few numbers
a patch; pixels are gathered and changed on the device, where all images lie. Distributions are
those of :class:`ngat.training.patches.Patches`, whose parts are used (shares of the types, sizes,
magnification, contrast); the very patches of a step are others. There is no compression as JPEG.
"""

from __future__ import annotations

import math
import os
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ngat.baselines.networks import Network, finds_nuclei
from ngat.config import Preset, TrainConfig
from ngat.data import Sample
from ngat.data.contrast import LOCAL
from ngat.magnification import OCTAVES, SIZE
from ngat.training.augment import corner
from ngat.training.device.appearance import appearance, textured
from ngat.training.device.images import DeviceImages, Places
from ngat.training.device.prepared import octave_of, prepared
from ngat.training.distributed import Team
from ngat.training.patches import DRAWS, Batch, Patches


class Drawn(NamedTuple):
    """What was drawn of a batch on the host.

    Attributes:
        which: of the images, ``int64 [B]``.
        zoom: magnifications, ``[B]``.
        matrices: from pixels of a patch to those of its image, ``[draws, B, 2, 2]``.
        centres: of the patches, in pixels of their images, ``[draws, B, 2]``.
        flips: mirror images by axis, ``bool [B, 2]``.
        turns: quarters, ``int64 [B]``.
    """

    which: npt.NDArray[np.int64]
    zoom: npt.NDArray[np.float64]
    matrices: npt.NDArray[np.float64]
    centres: npt.NDArray[np.float64]
    flips: npt.NDArray[np.bool_]
    turns: npt.NDArray[np.int64]


def patches_for(
    model: Network,
    samples: Sequence[Sample],
    preset: Preset,
    members: Team,
    pipeline: str,
    kept: Path | None = None,
) -> Patches | DevicePatches:
    """The patches of this process for a network, made by the host or by the device.

    ``pipeline`` as in :func:`ngat.training.trainer.train`, ``kept`` as in :class:`DevicePatches`.
    """
    drawn = samples, preset.train, preset.model.contrast
    rank, world = members.rank, members.world
    cuda = members.device.type == "cuda"
    if pipeline == "device" or (pipeline == "auto" and (cuda or finds_nuclei(model))):
        return DevicePatches(*drawn, device=members.device, kept=kept, rank=rank, world=world)
    cores = (os.cpu_count() or 2) // world
    workers = max(1, cores - 1) if cuda else 1
    return Patches(*drawn, workers=workers, rank=rank, world=world)


class DevicePatches:
    """As :class:`ngat.training.patches.Patches`, with batches that are made on a device.

    Args:
        samples, config, contrast, rank, world: as there.
        device: where images are held and patches are made.
        kept: see :func:`ngat.training.device.prepared.prepared`.

    Raises:
        InputError: as there.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        config: TrainConfig,
        contrast: str = "plain",
        *,
        device: torch.device | str = "cpu",
        rank: int = 0,
        world: int = 1,
        kept: Path | None = None,
    ) -> None:
        self.host = Patches(samples, config, contrast=contrast, rank=rank, world=world)
        self.config = config
        self.device = torch.device(device)
        # Its own: what preparing keeps of every picture is not needed afterwards.
        images = prepared(Patches(samples, config, contrast=contrast), kept)
        self.medians = [float(np.median(image.sizes[1:])) for image in images]
        self.images = DeviceImages(images, self.device)

    def batches(self, first: int, last: int) -> Generator[Batch, None, None]:
        """Batches of steps ``first`` … ``last`` − 1, in order."""
        for step in range(first, last):
            yield self.batch(step)

    def batch(self, step: int) -> Batch:
        """This process's patches of one step, on the device."""
        rows = np.asarray(self.host.places)
        rng = np.random.default_rng([self.config.seed, step])
        drawn = self.drawn(rng)
        drawn = Drawn(
            drawn.which[rows],
            drawn.zoom[rows],
            drawn.matrices[:, rows],
            drawn.centres[:, rows],
            drawn.flips[rows],
            drawn.turns[rows],
        )
        generator = torch.Generator(self.device)
        generator.manual_seed(int(rng.integers(2**62)) + int(rows[0]))
        places, marked = self.placed(drawn)
        size = torch.tensor([self.medians[i] for i in drawn.which], device=self.device)
        picture = self.seen(drawn, places)
        picture = textured(
            picture, marked > 0, size * places.zoom, generator, self.host.augmentation
        )
        picture = appearance(picture, generator, self.host.augmentation)
        targets = self.targets(places, marked)
        bare, value = self.margins(len(picture), generator)
        return Batch(torch.where(bare, value, picture), targets.masked_fill(bare, 0))

    def drawn(self, rng: np.random.Generator) -> Drawn:
        """Images, magnifications and geometry of a whole batch."""
        config, count = self.host.augmentation, self.config.batch
        index = rng.choice(len(self.medians), size=count, p=self.host.shares)
        free = rng.random(count) < config.affine
        low, high = np.log(config.scale)
        zoom = np.where(free, np.exp(rng.uniform(low, high, count)), 1.0)
        if self.config.sized:
            zoom = np.array([self.host.zoom(rng, self.medians[i]) for i in index])
        shapes = [self.host.samples[i].labels.shape for i in index]
        near = rng.random(count) < self.config.nuclei
        around = [self.host.place(rng, i) if n else None for i, n in zip(index, near, strict=True)]
        matrices, centres = [], []
        for _ in range(DRAWS if self.config.sized else 1):
            angle = np.radians(rng.uniform(-config.angle, config.angle, count))
            if self.config.sized:
                free = rng.random(count) < config.affine
            angle = np.where(free, angle, 0.0)
            c, s = np.cos(angle) / zoom, np.sin(angle) / zoom
            matrices.append(np.stack([np.stack([c, -s], 1), np.stack([s, c], 1)], 1))
            drawn = zip(shapes, angle, zoom, around, strict=True)
            centres.append([centre(rng, shape, config.size, a, z, p) for shape, a, z, p in drawn])
        flips = rng.random((count, 2)) < config.flip
        turns = rng.integers(1, 4, count) * (rng.random(count) < config.turn)
        return Drawn(index, zoom, np.array(matrices), np.array(centres), flips, turns)

    def placed(self, drawn: Drawn) -> tuple[Places, Tensor]:
        """Places of the patches, and their marked labels ``int64 [B, S, S]``.

        A patch without a nucleus takes its next geometry: many images are mostly empty.
        """
        found = [self._places(drawn, n) for n in range(len(drawn.matrices))]
        places, marked = found[0], self.images.marked(found[0])
        for other in found[1:]:
            empty = ~(marked > 0).flatten(1).any(1)[:, None, None]
            places = places._replace(
                y=torch.where(empty, other.y, places.y), x=torch.where(empty, other.x, places.x)
            )
            marked = torch.where(empty, self.images.marked(other), marked)
        return places, marked

    def seen(self, drawn: Drawn, places: Places) -> Tensor:
        """What the network would be shown of these places, ``float32 [B, 3, S, S]`` in [0, 1]."""
        reduced = drawn.zoom < 1
        size = self.host.augmentation.size
        picture = torch.empty(len(drawn.zoom), 3, size, size, device=self.device)
        for chosen in (reduced, ~reduced):  # those that need no filter read a ninth of the pixels
            if chosen.any():
                rows = torch.as_tensor(np.flatnonzero(chosen), device=self.device)
                picture[rows] = self.images.pictures(places.chosen(rows), drawn.zoom[chosen])
        if self.host.contrast in LOCAL:
            octaves = [octave_of(zoom) if self.config.sized else 0 for zoom in drawn.zoom]
            octave = torch.as_tensor(octaves, device=self.device)
            return self.images.contrasted(picture, places, octave)
        return (picture / 255).clamp(0, 1)

    def targets(self, places: Places, marked: Tensor) -> Tensor:
        """Nucleus, core, encoded size and number of the nucleus, ``float32 [B, 4, S, S]``."""
        nucleus = marked > 1
        zoom = places.zoom[:, None, None] if self.config.sized else 1.0
        size = self.images.sizes(places.which, marked) * zoom
        encoded = (0.5 + (size.clamp(min=1e-3) / SIZE).log2() / OCTAVES).clamp(0, 1)
        numbers = self.images.numbers(places, marked).float()
        return torch.stack([nucleus.float(), (marked % 2).float(), encoded * nucleus, numbers], 1)

    def margins(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Where patches are bare, ``bool [B, 1, S, S]``, and black or white, ``[B, 1, 1, 1]``.

        See ``margin`` of :class:`ngat.training.augment.AugmentConfig`.
        """
        size = self.host.augmentation.size
        chance = torch.rand(4, count, 1, 1, 1, generator=generator, device=self.device)
        happens, width, side, value = chance.unbind(0)
        width = (width * (size // 2 + 1)).floor() + 1
        width = torch.where(happens < self.host.augmentation.margin, width, torch.zeros_like(width))
        line = torch.arange(size, device=self.device)
        along = torch.where(side < 0.5, line[:, None], line[None, :])
        along = torch.where((2 * side) % 1 < 0.5, along, size - 1 - along)
        return along < width, value.round()

    def _places(self, drawn: Drawn, draw: int) -> Places:
        """Of every pixel of the patches, with flips and turns."""
        size = self.host.augmentation.size
        numbers = np.concatenate(
            [
                drawn.matrices[draw].reshape(-1, 4),
                drawn.centres[draw],
                drawn.flips,
                drawn.turns[:, None],
                drawn.zoom[:, None],
            ],
            axis=1,
        ).astype(np.float32)
        on_device = torch.from_numpy(numbers).to(self.device, non_blocking=True)
        a, b, c, d, top, left, flip_y, flip_x, turn, zoom = on_device[..., None, None].unbind(1)
        # From the middle of the patch; a turn by 90 degrees takes [i, j] to [j, −i].
        line = torch.arange(size, device=self.device) - (size - 1) / 2
        i, j = line[:, None], line[None, :]
        y = torch.where(turn == 0, i, torch.where(turn == 1, j, torch.where(turn == 2, -i, -j)))
        x = torch.where(turn == 0, j, torch.where(turn == 1, -i, torch.where(turn == 2, -j, i)))
        y, x = y * (1 - 2 * flip_y), x * (1 - 2 * flip_x)
        index = torch.as_tensor(drawn.which, device=self.device)
        return Places(index, zoom[:, 0, 0], a * y + b * x + top, c * y + d * x + left)


def centre(
    rng: np.random.Generator,
    shape: tuple[int, int],
    size: int,
    angle: float,
    zoom: float,
    around: tuple[float, float] | None = None,
) -> tuple[float, float]:
    """The middle of a patch that lies inside an image, or covers all of it, in its pixels.

    Rounded as :mod:`ngat.training.augment` does it, who cuts windows of whole pixels.
    """
    side = math.ceil(size / zoom)
    bound = math.ceil(size * (abs(math.cos(angle)) + abs(math.sin(angle))) / zoom) + 2
    middle = (bound - 1) / 2 - (bound - side) // 2
    row, column = (
        corner(rng, length, side, place) + middle
        for length, place in zip(shape, around or (None, None), strict=True)
    )
    return row, column
