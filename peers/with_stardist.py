"""StarDist (Schmidt et al. 2018): star-convex polygons from a U-Net; TensorFlow on the CPU.

Network, losses, targets, non-maximum suppression and the search of thresholds are StarDist's own;
pictures are normalised from percentile 1 to 99.8, channel by channel, as its documentation has it.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from stardist.models import Config2D, StarDist2D
from stardist.models.model2d import StarDistData2D

from ngat.magnification import SIZE, best_magnification, encode
from ngat.training.augment import AugmentConfig, augment
from peers.peer import Thresholds
from peers.pictures import FACTORS, Labels, Picture, Pixels, resized, stretched

PATCH = 128
PERCENTILES = (1.0, 99.8)
# IoU thresholds that its own search of thresholds averages over: the protocol's range.
IOUS = (0.5, 0.6, 0.7, 0.8, 0.9)
TILE = 1024

Outputs = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], tuple[int, int]]


class StarDist:
    """See :class:`peers.peer.Peer`."""

    name, label, rate = "stardist", "StarDist", 3e-4

    def __init__(self, seed: int) -> None:
        self.defaults: Thresholds = {"prob": 0.5, "nms": 0.4}
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        tf.keras.utils.set_random_seed(seed)
        self.config = Config2D(
            n_rays=32,
            grid=(2, 2),
            n_channel_in=3,
            train_patch_size=(PATCH, PATCH),
            train_learning_rate=self.rate,
            train_reduce_lr=None,
            train_tensorboard=False,
        )
        with contextlib.redirect_stdout(sys.stderr):
            self.model = StarDist2D(self.config, name="stardist", basedir=None)
        self.model.prepare_for_training()
        self.augmentation = AugmentConfig.varied(PATCH, 1.5)
        self.settings: dict[str, Any] = {
            "rays": 32,
            "grid": 2,
            "patch": PATCH,
            "learning_rate": self.rate,
            "percentiles": list(PERCENTILES),
            "size": SIZE,
            "augmentation": "as the project's networks",
        }
        self._seen: dict[int, Pixels] = {}

    def versions(self) -> dict[str, str]:
        return {name: metadata.version(name) for name in ("stardist", "tensorflow-cpu", "keras")}

    def parameters(self) -> int:
        return int(self.model.keras_model.count_params())

    def seen(self, image: Pixels) -> Pixels:
        return stretched(image, *PERCENTILES)

    def example(
        self, index: int, picture: Picture, scale: float, rng: np.random.Generator
    ) -> tuple[npt.NDArray[np.float32], Labels]:
        assert picture.labels is not None
        if index not in self._seen:
            self._seen[index] = self.seen(picture.image)
        zoom = float(np.clip(scale * SIZE / picture.known_size, *FACTORS))
        for _ in range(2):  # a patch without nuclei is drawn once more
            patch, labels = augment(
                self._seen[index], picture.labels, rng, self.augmentation, zoom=zoom
            )
            if labels.any():
                break
        return np.moveaxis(patch, 0, 2), labels

    def step(self, examples: Sequence[Any], rate: float) -> float:
        pictures, labels = zip(*examples, strict=True)
        batch = StarDistData2D(
            list(pictures),
            list(labels),
            batch_size=len(examples),
            n_rays=self.config.n_rays,
            length=1,
            patch_size=self.config.train_patch_size,
            grid=self.config.grid,
        )
        x, y = batch[0]
        network = self.model.keras_model
        network.optimizer.learning_rate = rate
        return float(np.ravel(network.train_on_batch(x[0], list(y)))[0])

    def save(self, folder: Path) -> None:
        self.keep(folder)
        values = [np.asarray(v) for v in self.model.keras_model.optimizer.variables]
        np.savez(folder / "optimiser.npz", *values)

    def load(self, folder: Path) -> None:
        self.recall(folder)
        network = self.model.keras_model
        network.optimizer.build(network.trainable_variables)
        with np.load(folder / "optimiser.npz") as stored:
            for variable, name in zip(network.optimizer.variables, stored.files, strict=True):
                variable.assign(stored[name])

    def keep(self, folder: Path) -> None:
        self.model.keras_model.save_weights(folder / "network.weights.h5")

    def recall(self, folder: Path) -> None:
        self.model.keras_model.load_weights(folder / "network.weights.h5")

    def outputs(self, seen: Pixels) -> Outputs:
        height, width = seen.shape[:2]
        tiles = (-(-height // TILE), -(-width // TILE), 1)
        x = seen.astype(np.float32) / 255
        prob, dist = self.model.predict(x, n_tiles=tiles, show_tile_progress=False)[:2]
        return prob, dist, (height, width)

    def nuclei(self, outputs: Outputs, shape: tuple[int, int], thresholds: Thresholds) -> Labels:
        prob, dist, (height, width) = outputs
        labels, _ = self.model._instances_from_prediction(
            shape,
            prob,
            dist,
            prob_thresh=thresholds["prob"],
            nms_thresh=thresholds["nms"],
            # Polygons are drawn on the picture's own grid, however it was resized.
            scale={"Y": height / shape[0], "X": width / shape[1]},
        )
        return np.asarray(labels, np.int32)

    def choose(self, pictures: Sequence[tuple[Pixels, Labels]]) -> dict[str, float]:
        with contextlib.redirect_stdout(sys.stderr):
            found = self.model.optimize_thresholds(
                [seen.astype(np.float32) / 255 for seen, _ in pictures],
                [labels for _, labels in pictures],
                iou_threshs=IOUS,
                optimize_kwargs={"measure": "f1", "verbose": 0},
                save_to_json=False,
            )
        return {"prob": float(np.clip(found["prob"], 0.05, 0.95)), "nms": float(found["nms"])}

    def magnifications(self, pictures: Sequence[Picture]) -> dict[str, Callable[[Pixels], float]]:
        mean = SIZE / float(np.exp(np.mean(np.log([p.known_size for p in pictures]))))
        return {
            "as it is": lambda seen: 1.0,
            "mean of training": lambda seen: mean,
            "found by looks": self._found,
        }

    def _found(self, seen: Pixels) -> float:
        """The magnification by this project's rule, from what StarDist says of coarse looks."""
        height, width = seen.shape[:2]
        return best_magnification(functools.partial(self._look, seen), height, width)[0]

    def _look(self, seen: Pixels, factor: float) -> npt.NDArray[np.float32]:
        """Probability, the same again, encoded size of nuclei, grey level, on the resized grid."""
        small = resized(seen, factor)
        prob, dist, (height, width) = self.outputs(small)
        # The area of a polygon whose corners lie at these distances, at equal angles.
        turn = np.sin(2 * np.pi / dist.shape[2])
        area = 0.5 * turn * (dist * np.roll(dist, -1, axis=2)).sum(axis=2)
        planes = np.stack([prob, prob, encode(np.sqrt(area))])
        grid = self.config.grid
        planes = planes.repeat(grid[0], axis=1).repeat(grid[1], axis=2)[:, :height, :width]
        return np.concatenate([planes, small.mean(axis=2, dtype=np.float32)[None] / 255])


def build(seed: int) -> StarDist:
    """StarDist with a new network."""
    return StarDist(seed)
