"""What a peer has to offer, so that all of them are trained, chosen and measured alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from peers.pictures import Labels, Picture, Pixels

Thresholds = Mapping[str, float]


class Peer(Protocol):
    """A program of somebody else's, behind one door.

    Attributes:
        name: of its result files.
        label: of its rows in tables.
        rate: highest learning rate.
        settings: all that was chosen for it and is worth reporting.
        defaults: its own thresholds, by which training validates.
    """

    name: str
    label: str
    rate: float
    settings: dict[str, Any]
    defaults: Thresholds

    def versions(self) -> dict[str, str]:
        """Versions of the packages that its results depend on."""

    def parameters(self) -> int:
        """Trained values of its network."""

    def seen(self, image: Pixels) -> Pixels:
        """A picture as it recommends to normalise it, ``[H, W, 3]``."""

    def example(self, index: int, picture: Picture, scale: float, rng: np.random.Generator) -> Any:
        """A training patch with its targets.

        Args:
            index: of the picture, for what is worth keeping.
            scale: factor between the wanted size of nuclei and the size it is trained for.
        """

    def step(self, examples: Sequence[Any], rate: float) -> float:
        """One step of training on a batch; its loss."""

    def save(self, folder: Path) -> None:
        """Write network and optimiser."""

    def load(self, folder: Path) -> None:
        """Read what :meth:`save` wrote."""

    def keep(self, folder: Path) -> None:
        """Write the network alone, as the best so far."""

    def recall(self, folder: Path) -> None:
        """Read what :meth:`keep` wrote."""

    def outputs(self, seen: Pixels) -> Any:
        """What the network says of a picture, at the magnification it is given in."""

    def nuclei(self, outputs: Any, shape: tuple[int, int], thresholds: Thresholds) -> Labels:
        """Nuclei ``int32 [H, W]`` on the grid of the picture before it was resized."""

    def choose(self, pictures: Sequence[tuple[Pixels, Labels]]) -> dict[str, float]:
        """Thresholds by its own way, on pictures as it sees them with their annotation."""

    def magnifications(self, pictures: Sequence[Picture]) -> dict[str, Callable[[Pixels], float]]:
        """Ways to find a picture's magnification that need no labels of it, by name.

        Args:
            pictures: for training, where a way has to be learnt.
        """
