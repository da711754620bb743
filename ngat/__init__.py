"""NGAT: neuroplastic graph attention networks for nuclei segmentation (Alon & Zhou).

``ngat.segment("cells.tif")`` finds the nuclei of a picture.

Read the paper's modules in the order in which data flows: graph, projection, plasticity, attention,
model, loss, instances, metrics. Around them lie packages, each importing only from those above it:

- ``system``: files written whole, signals, provenance; ``config``: parameters and presets;
  ``io``: pictures and label images in files of any kind;
- ``engines``: the same attention, faster, on processors and GPUs;
- ``data``: data sets, their split, and pictures drawn in their place;
- ``baselines``: the methods that the network is compared with;
- ``training``: presets in, weights out; ``gpu``: the same within some minutes of a GPU;
- ``segmentation``: nuclei in a user's own pictures, of any size and number;
- ``evaluation``: result files, tables, published values; ``benchmark``: speed and memory;
- ``paper``: what only the notebooks and the README need; ``cli``: the commands.

What a user needs is offered here, and loaded when first used.
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
    "segment": "ngat.segmentation",
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
