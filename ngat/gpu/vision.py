"""torchvision's detection, on a GPU with its compiled operators, elsewhere in plain torch.

torchvision's operators are compiled for one build of torch. Beside another build (of torch for the
CPU, say) its Python modules cannot be imported, since they describe operators that are not there.
Declared by their schemas, they can; and the two that Mask R-CNN needs exist in plain torch: here
``nms``, in torchvision ``roi_align``. Slow, but it trains.
"""

from __future__ import annotations

import importlib
import sys
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

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
    # Compiling it takes a minute and a C++ compiler; a rehearsal has few regions.
    align._roi_align = getattr(align._roi_align, "__wrapped__", align._roi_align)
    # Masks to learn are read at as many points as they need, which plain torch takes for all there
    # are: seconds a step. Two by two are enough for regions as small as nuclei.
    heads: Any = importlib.import_module("torchvision.models.detection.roi_heads")
    heads.roi_align = partial(align.roi_align, sampling_ratio=2)


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
