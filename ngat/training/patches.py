"""Training patches: a stream that depends on nothing but the samples, the seed and the step.

Patch i of step k is drawn by a generator of its own, seeded with (seed, k, i). So a run that was
killed goes on with the very patches that it would have seen, threads may draw ahead in any order,
and several processes share a batch by dealing its places among them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from ngat.config import TrainConfig
from ngat.data.contrast import stretch_bytes
from ngat.data.sample import Sample
from ngat.errors import InputError
from ngat.instances import core_of
from ngat.training.augment import AugmentConfig, augment


class Batch(NamedTuple):
    """Patches of one step.

    Attributes:
        image: ``float32 [B, 3, S, S]`` in [0, 1].
        targets: ``float32 [B, 2, S, S]``, channel 0 nucleus, channel 1 core.
    """

    image: Tensor
    targets: Tensor

    def to(self, device: torch.device) -> Batch:
        """The batch on a device."""
        return Batch(*(t.to(device, non_blocking=True) for t in self))

    def halved(self) -> Batch:
        """The batch at half resolution; targets become shares of nucleus."""
        return Batch(*(F.avg_pool2d(t, 2, ceil_mode=True, count_include_pad=False) for t in self))


class Patches:
    """Patches from annotated pictures, balanced over types, drawn ahead by threads.

    Args:
        samples: at least one.
        config: batch, patch, balance, augment and seed count here.
        contrast: ``plain`` or ``stretched``, as :class:`ngat.config.ModelConfig` says.
        workers: threads that draw ahead.
        rank, world: this process draws places rank, rank + world … of every batch.

    Raises:
        InputError: no samples, or the batch cannot be shared evenly.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        config: TrainConfig,
        *,
        contrast: str = "plain",
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
        self.augmentation = (
            AugmentConfig.of(config.patch, config.vigour)
            if config.augment
            else AugmentConfig.none(config.patch)
        )
        self.contrast = contrast
        self._seen: dict[int, npt.NDArray[np.uint8]] = {}
        self._marked: dict[int, npt.NDArray[np.int32]] = {}

    def draw(self, step: int, place: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """One patch: picture ``[3, S, S]`` in [0, 1] and targets ``[2, S, S]``."""
        rng = np.random.default_rng([self.config.seed, step, place])
        index = int(rng.choice(len(self.samples), p=self.shares))
        picture, marked = augment(self.seen(index), self.marked(index), rng, self.augmentation)
        return picture, np.stack([marked > 1, marked % 2 == 1])

    def seen(self, index: int) -> npt.NDArray[np.uint8]:
        """A picture as the network is shown it, ``[H, W, 3]``."""
        if self.contrast == "plain":
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
        waiting: deque[list[Future[tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]]]]
        waiting = deque()
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


def shares(types: Sequence[str], balance: float) -> npt.NDArray[np.float64]:
    """Probability of every picture: a type of n pictures gets a share ∝ n^(1 − balance)."""
    _, which, counts = np.unique(np.asarray(types), return_inverse=True, return_counts=True)
    of_kind = counts ** (1.0 - balance)
    return (of_kind / of_kind.sum() / counts)[which]


def _collate(
    patches: Sequence[tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]],
) -> Batch:
    image = torch.from_numpy(np.stack([picture for picture, _ in patches]))
    targets = torch.from_numpy(np.stack([target for _, target in patches])).float()
    return Batch(image, targets)
