"""Cellpose 3 (Stringer & Pachitariu 2025), from random weights: flows from a U-Net with styles.

Network, flows, loss, geometric augmentation, dynamics and the model of sizes are Cellpose's own.
Pictures are normalised from percentile 1 to 99, channel by channel, and bright ones inverted, so
that nuclei are bright as in fluorescence; all three channels are used.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from cellpose import core, dynamics, models, transforms
from cellpose import train as training
from PIL import Image
from scipy import ndimage

from ngat.magnification import SIZE
from ngat.metrics import average_f1
from ngat.training.augment import AugmentConfig, augment
from peers.peer import Thresholds
from peers.pictures import Labels, Picture, Pixels, resized, resized_labels, stretched

PATCH = 128
PERCENTILES = (1.0, 99.0)
# Its networks see nuclei of one diameter. That of a disk whose √area is SIZE.
DIAMETER = SIZE * 2 / np.pi**0.5
# Thresholds that are tried: first of the cell probability, then of the flow's error (0 is off).
CELLPROB, FLOW = (-2.0, -1.0, 0.0, 1.0, 2.0), (0.4, 0.2, 0.6, 0.8, 0.0)
MIN_SIZE = 15
TILE = 512
# The model of sizes: training pictures, times each is cropped, side of a crop.
SIZED, CROPS, CROP = 240, 3, 224

Floats = npt.NDArray[np.float32]
Outputs = tuple[Floats, Floats]


class Cellpose:
    """See :class:`peers.peer.Peer`."""

    name, label, rate = "cellpose", "Cellpose 3", 5e-3

    def __init__(self, seed: int) -> None:
        self.defaults: Thresholds = {"cellprob": 0.0, "flow": 0.4}
        torch.set_num_threads(1)
        torch.manual_seed(seed)
        self.device = torch.device("cpu")
        self.model = models.CellposeModel(
            pretrained_model=False, diam_mean=DIAMETER, nchan=3, device=self.device, mkldnn=False
        )
        self.net = self.model.net
        self.optimiser = torch.optim.AdamW(self.net.parameters(), lr=self.rate, weight_decay=1e-5)
        # Cellpose turns, mirrors and resizes patches, with their flows; what is left is appearance.
        self.appearance = AugmentConfig(
            **{
                **vars(AugmentConfig.varied(PATCH, 1.5)),
                **dict.fromkeys(("flip", "turn", "affine", "invert"), 0.0),
            }
        )
        self.settings: dict[str, Any] = {
            "channels": 3,
            "patch": PATCH,
            "learning_rate": self.rate,
            "percentiles": list(PERCENTILES),
            "diameter": round(float(DIAMETER), 2),
            "bright pictures": "inverted",
            "augmentation": "Cellpose's geometry, appearance as the project's networks",
        }
        self._ready: dict[int, tuple[Floats, Floats]] = {}
        self._sizes: models.SizeModel | None = None
        self._folder: Path | None = None

    def versions(self) -> dict[str, str]:
        return {name: metadata.version(name) for name in ("cellpose", "torch", "numpy")}

    def parameters(self) -> int:
        return sum(p.numel() for p in self.net.parameters() if p.requires_grad)

    def seen(self, image: Pixels) -> Pixels:
        bright = float(np.mean(stretched(image, *PERCENTILES))) > 127.5
        return stretched(255 - image if bright else image, *PERCENTILES)

    def example(
        self, index: int, picture: Picture, scale: float, rng: np.random.Generator
    ) -> tuple[Floats, Floats]:
        if index not in self._ready:
            self._ready[index] = self._with_flows(picture)
        seen, flows = self._ready[index]
        np.random.seed(int(rng.integers(2**32)))  # noqa: NPY002 - Cellpose draws from it
        patches, targets, _ = transforms.random_rotate_and_resize(
            [seen], Y=[flows], rescale=[1 / scale], scale_range=0.0, xy=(PATCH, PATCH)
        )
        pixels = np.rint(255 * np.moveaxis(patches[0], 0, 2)).astype(np.uint8)
        patch, _ = augment(pixels, np.zeros((PATCH, PATCH), np.int32), rng, self.appearance)
        return patch, targets[0]

    def step(self, examples: Sequence[Any], rate: float) -> float:
        patches, targets = (np.stack(part) for part in zip(*examples, strict=True))
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.net.train()
        output = self.net(torch.from_numpy(patches))[0]
        loss = training._loss_fn_seg(targets, output, self.device)
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        return float(loss.item())

    def save(self, folder: Path) -> None:
        self.keep(folder)
        torch.save(self.optimiser.state_dict(), folder / "optimiser.pt")

    def load(self, folder: Path) -> None:
        self.recall(folder)
        self.optimiser.load_state_dict(torch.load(folder / "optimiser.pt", weights_only=True))

    def keep(self, folder: Path) -> None:
        (folder / "size.npy").unlink(missing_ok=True)
        torch.save(self.net.state_dict(), folder / "network.pt")

    def recall(self, folder: Path) -> None:
        self.net.load_state_dict(torch.load(folder / "network.pt", weights_only=True))
        self._folder, self._sizes = folder, None

    def outputs(self, seen: Pixels) -> Outputs:
        x = seen.astype(np.float32) / 255
        output, _ = core.run_net(self.net, x[None], bsize=TILE)
        return np.moveaxis(output[0, ..., :2], 2, 0), output[0, ..., 2]

    def nuclei(self, outputs: Outputs, shape: tuple[int, int], thresholds: Thresholds) -> Labels:
        flows, cellprob = outputs
        # On the grid that the network saw; on a larger one the flows would be followed for minutes.
        masks = dynamics.resize_and_compute_masks(
            np.ascontiguousarray(flows),
            np.ascontiguousarray(cellprob),
            cellprob_threshold=thresholds["cellprob"],
            flow_threshold=thresholds["flow"],
            min_size=MIN_SIZE,
            device=self.device,
        ).astype(np.int32)
        if masks.shape[0] >= shape[0]:
            return resized_labels(masks, shape)
        return _outlined(masks, cellprob, shape, thresholds["cellprob"])

    def choose(self, pictures: Sequence[tuple[Pixels, Labels]]) -> dict[str, float]:
        outputs = [self.outputs(seen) for seen, _ in pictures]
        truths = [labels for _, labels in pictures]
        chosen = dict(self.defaults)
        for name, values in (("cellprob", CELLPROB), ("flow", FLOW)):
            scores = {}
            for value in values:
                tried = {**chosen, name: value}
                scores[value] = np.mean(
                    [
                        average_f1(self.nuclei(o, t.shape, tried), t)
                        for o, t in zip(outputs, truths, strict=True)
                    ]
                )
            # In the order in which they are tried, so that of equals the default is kept.
            chosen[name] = max(scores, key=lambda value: (scores[value], value == chosen[name]))
        return chosen

    def magnifications(self, pictures: Sequence[Picture]) -> dict[str, Callable[[Pixels], float]]:
        mean = SIZE / float(np.mean([p.known_size for p in pictures]))
        sizes = self._size_model(pictures)

        def estimated(seen: Pixels) -> float:
            with contextlib.suppress(ValueError):  # a picture without anything like a nucleus
                x = seen.astype(np.float32) / 255
                diameter, _ = sizes.eval(x, channel_axis=2, normalize=False)
                return float(DIAMETER / diameter)
            return mean

        return {"mean of training": lambda seen: mean, "size model": estimated}

    def _with_flows(self, picture: Picture) -> tuple[Floats, Floats]:
        """A training picture at its annotated size, ``[3, h, w]``, and its targets."""
        assert picture.labels is not None
        seen = resized(self.seen(picture.image), picture.known_factor)
        height, width = seen.shape[:2]
        labels = resized_labels(picture.labels, (height, width)).copy()
        flows = dynamics.labels_to_flows([labels], device=self.device)[0]
        return np.moveaxis(seen, 2, 0).astype(np.float32) / np.float32(255), flows[1:]

    def _size_model(self, pictures: Sequence[Picture]) -> models.SizeModel:
        """Its linear regression from styles to diameters, fitted to the trained network."""
        if self._sizes is not None:
            return self._sizes
        assert self._folder is not None
        stored = self._folder / "size.npy"
        if not stored.exists():
            chosen = pictures[:SIZED]
            labels = [p.labels for p in chosen if p.labels is not None]
            training.train_size(
                self.net,
                self._folder / "fit",
                [np.moveaxis(self.seen(p.image), 2, 0).astype(np.float32) / 255 for p in chosen],
                # Only diameters are read from targets that look as if they had flows.
                [np.stack([x, x > 0, 0 * x, 0 * x]).astype(np.float32) for x in labels],
                normalize=False,
                min_train_masks=1,
                batch_size=8,
                bsize=CROP,
                n_epochs=CROPS,
            )
            (self._folder / "fit_size.npy").rename(stored)
        self._sizes = models.SizeModel(self.model, pretrained_size=str(stored))
        return self._sizes


def _outlined(masks: Labels, cellprob: Floats, shape: tuple[int, int], threshold: float) -> Labels:
    """Masks on a finer grid, with the outlines that the cell probability has there."""
    large = resized_labels(masks, shape)
    fine = np.asarray(
        Image.fromarray(cellprob).resize((shape[1], shape[0]), Image.Resampling.BILINEAR)
    )
    reach = 1.5 * shape[0] / masks.shape[0]
    distance, nearest = ndimage.distance_transform_edt(large == 0, return_indices=True)
    near = large[tuple(nearest)]
    return np.where((fine > threshold) & (distance <= reach), near, 0).astype(np.int32)


def build(seed: int) -> Cellpose:
    """Cellpose with a new network."""
    return Cellpose(seed)
