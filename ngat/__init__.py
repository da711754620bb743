"""NGAT: neuroplastic graph attention networks for nuclei segmentation (Alon & Zhou).

Read the paper's modules in the order in which data flows: graph, projection, plasticity, attention,
model, loss, instances, metrics. What a user needs is offered here, and loaded when first used.
"""

import os
from importlib import import_module
from typing import Any

# OpenMP threads that wait for work shall soon sleep. Where cores are shared (two engines, the
# thread that draws patches, other programs) threads that spin took a training step on two cores
# from 0.3 s to 2.4 s. GNU's, which torch has on Linux, may spin for as long as waking one takes,
# some ten microseconds: without it a step on two cores took a fifth longer. It counts only if it is
# set before torch is first loaded, and whoever has set it differently is left alone.
WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "2000"}
if not WAITING.keys() & os.environ.keys():
    os.environ.update(WAITING)

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
