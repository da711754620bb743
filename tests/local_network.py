"""A network without weights whose maps depend on a few pixels: bright is nucleus, brighter core."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from torch.nn import functional as F

from ngat.inference import Prediction
from ngat.thresholds import Thresholds


class Local:
    """Smooths at its own scale, as far as its halo reaches."""

    halo = 24
    path, identity = None, {"name": "local", "sha256": "0" * 64}

    def __init__(self, seen: float = 1.0, **thresholds) -> None:
        self.seen, self.chosen = seen, Thresholds(**{"prominence": 0.02, **thresholds})

    def thresholds(self, method):
        return self.chosen

    def magnification(self, picture):
        return self.seen, ()

    def survey(self, picture, magnification):
        overview = picture.overview()
        return {"low": np.array(overview.min()), "high": np.array(overview.max())}

    def predict(self, image, magnification, survey, rows, columns):
        pixels = image.astype(np.float64)
        pixels = pixels.mean(axis=2) if pixels.ndim == 3 else pixels
        pixels = (pixels - survey["low"]) / max(float(survey["high"] - survey["low"]), 1e-9)
        size = [max(1, round(n * magnification)) for n in pixels.shape]
        seen = resized(pixels, size)
        maps = [ndimage.gaussian_filter(seen, sigma, truncate=4) for sigma in (1.0, 2.0)]
        maps = [resized(m, pixels.shape).astype(np.float32) for m in maps]
        return Prediction(*maps, magnification)


def resized(plane, size):
    if tuple(plane.shape) == tuple(size):
        return plane
    tensor = torch.from_numpy(np.ascontiguousarray(plane))[None, None]
    return F.interpolate(tensor, tuple(size), mode="bilinear", antialias=True)[0, 0].numpy()


def clumps(shape, seed=0, share=0.004):
    """Blurred spots, many of which touch."""
    rng = np.random.default_rng(seed)
    spots = np.zeros(shape)
    count = int(share * shape[0] * shape[1])
    spots[rng.integers(0, shape[0], count), rng.integers(0, shape[1], count)] = 1
    light = ndimage.gaussian_filter(spots, 4.0)
    return (60000 * light / light.max()).astype(np.uint16)
