"""NGAT: neuroplastic graph attention networks for nuclei segmentation (Alon & Zhou).

``ngat.segment("cells.tif")`` finds the nuclei of a picture. The modules of the paper, in the order
in which data flows: graph, projection, plasticity, attention, model, loss, instances, metrics. The
names below are loaded when first used.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

# Name → module that defines it. Loaded late: the command line answers --help without torch.
_OFFERED = {
    "PyramidGraph": "ngat.graph",
    "Plasticity": "ngat.plasticity",
    "TapGroup": "ngat.attention",
    "attend": "ngat.attention",
    "NGAT": "ngat.model",
    "loss_of": "ngat.loss",
    "match": "ngat.metrics",
    "preset": "ngat.config",
    "load": "ngat.data",
    "predict": "ngat.inference",
    "segment": "ngat.segmentation.result",
    "load_weights": "ngat.training.weights",
    "train": "ngat.training.trainer",
}
__all__ = [*_OFFERED, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _OFFERED:
        raise AttributeError(f"module 'ngat' has no attribute {name!r}")
    return getattr(import_module(_OFFERED[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
