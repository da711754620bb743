"""torchvision's detection, on a GPU with its compiled operators, elsewhere in plain torch.

torchvision's operators are compiled for one build of torch. Beside another build (of torch for the
CPU, say) its Python modules cannot be imported, since they describe operators that are not there.
Declared by their schemas, they can; and the two that Mask R-CNN needs are here in plain torch:
:func:`nms` and :func:`roi_align`. Slow, but it trains.
"""

from __future__ import annotations

import importlib
import sys
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ngat.errors import MissingDependency

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_declared: list[torch.library.Library] = []  # a library's operators end with it


@cache
def detection() -> Any:
    """The module ``torchvision.models.detection``.

    Raises:
        MissingDependency: torchvision is not installed, or cannot be used even in plain torch.
    """
    try:
        try:
            vision = importlib.import_module("torchvision")
        except RuntimeError:  # "operator torchvision::nms does not exist"
            for name in [n for n in sys.modules if n.partition(".")[0] == "torchvision"]:
                del sys.modules[name]
            library = torch.library.Library("torchvision", "FRAGMENT")
            for schema in _SCHEMAS:
                library.define(schema)
            _declared.append(library)
            vision = importlib.import_module("torchvision")
        if not vision.extension._has_ops():
            _without_operators()
        return importlib.import_module("torchvision.models.detection")
    except (ImportError, RuntimeError, AttributeError) as error:
        raise MissingDependency(
            f"Mask R-CNN needs torchvision, which cannot be used here ({error}); install the one "
            "that belongs to this torch: pip install 'ngat[gpu]'."
        ) from error


def _without_operators() -> None:
    boxes: Any = importlib.import_module("torchvision.ops.boxes")
    align: Any = importlib.import_module("torchvision.ops.roi_align")
    boxes.nms = nms
    # torchvision's own one in plain torch reads its points one by one: seconds a step.
    align._roi_align = roi_align


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Non-maximum suppression: boxes that no better one covers by more than a threshold.

    Args:
        boxes: (left, top, right, bottom), ``[N, 4]``.
        scores: ``[N]``.
        iou_threshold: largest intersection over union of two boxes that are kept.

    Returns:
        indices of the boxes that are kept, best first.
    """
    order = scores.argsort(descending=True, stable=True)
    corners = boxes[order].float()
    area = (corners[:, 2:] - corners[:, :2]).clamp(min=0).prod(1)
    shared = torch.minimum(corners[:, None, 2:], corners[None, :, 2:])
    shared = shared - torch.maximum(corners[:, None, :2], corners[None, :, :2])
    common = shared.clamp(min=0).prod(2)
    union = area[:, None] + area[None] - common
    covers = (common > iou_threshold * union).cpu().numpy()
    kept = []
    removed = np.zeros(len(order), dtype=bool)
    for n in range(len(order)):
        if not removed[n]:
            kept.append(n)
            removed = removed | covers[n]
    return order[torch.as_tensor(kept, dtype=torch.int64, device=order.device)]


def roi_align(
    features: Tensor,
    regions: Tensor,
    scale: float,
    height: int,
    width: int,
    samples: int,
    aligned: bool,
) -> Tensor:
    """Features of regions, resampled to one size: means of bilinear samples, a grid in every cell.

    Args:
        features: ``[N, C, H, W]``.
        regions: (image, left, top, right, bottom) inside the images, ``[K, 5]``.
        scale: pixels of ``features`` per pixel of the images.
        height, width: cells of a region.
        samples: along each side of a cell; where it is not positive, 2.
        aligned: whether a pixel's value lies at its middle, not at its corner.

    Returns:
        ``[K, C, height, width]``.
    """
    samples = samples if samples > 0 else 2
    corners = regions[:, 1:] * scale - (0.5 if aligned else 0.0)
    sides = corners[:, 2:] - corners[:, :2]
    sides = sides if aligned else sides.clamp(min=1.0)
    at = []
    for axis, cells in ((0, width), (1, height)):
        line = (torch.arange(cells * samples, device=features.device) + 0.5) / (cells * samples)
        place = corners[:, axis, None] + line * sides[:, axis, None]
        at.append((2 * place + 1) / features.shape[3 - axis] - 1)  # as grid_sample counts
    x, y = at
    grid = torch.stack(
        [x[:, None].expand(-1, y.shape[1], -1), y[:, :, None].expand(-1, -1, x.shape[1])], dim=3
    )
    owner = regions[:, 0].long()
    found = features.new_zeros(len(regions), features.shape[1], height, width)
    for image in owner.unique().tolist():
        rows = (owner == image).nonzero()[:, 0]
        sampled = F.grid_sample(
            features[image : image + 1],
            grid[rows].flatten(0, 1)[None].to(features.dtype),
            padding_mode="border",
            align_corners=False,
        )
        parts = sampled.view(-1, len(rows), height, samples, width, samples)
        found = found.index_copy(0, rows, parts.mean((3, 5)).transpose(0, 1))
    return found
