"""NGAT: neuroplastic graph attention networks for nuclei segmentation (Alon & Zhou).

``ngat.segment("cells.tif")`` finds the nuclei of a picture.

Read the paper's modules in the order in which data flows: graph, projection, plasticity, attention,
model, loss, instances, metrics. What the paper leaves open, how an image of any size and
magnification becomes nuclei, follows in magnification, parts, thresholds, inference.

Where the paper's equations are:

1       model.features_of
2–4     graph.PyramidGraph.edges
5       projection.project
6, 7    graph.PyramidGraph.home
8–10    plasticity.Plasticity
11      projection.project_home
12      model.PyramidGATConv.forward
13, 21  model.PyramidGATConv.update
14      attention.reference.convolve
15      model.Maps
16, 17  attention.reference.coefficients
18, 20  attention.reference.attend
19      attention.position.PositionTerm
22      loss.binary_cross_entropy
23      loss.focal_loss
24      loss.field
25      loss.loss_of
26      metrics.Counts
27      metrics.image_score
28      metrics.pixel_iou
29      metrics.pixel_dice

Letters are the paper's, but for these: M is the number of levels (its n), k counts the iterations
of ξ (its i), i is the node that is updated (its c or u in eq. 12–14) and j a neighbour; in eq. 1–11
its i and j are row and column. z is a node's height in ζ and in eq. 24, and its value W h from
eq. 15 on. A number such as L5 is a reading or deviation in notebooks/LEDGER.md; terms are in
notebooks/GLOSSARY.md.

Around these modules lie packages, each importing only from those above it:

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
