"""NGAT: neuroplastic graph attention networks for nuclei segmentation (Alon & Zhou).

Read the rooms in the order in which data flows: graph, projection, plasticity, attention,
model, loss, instances, metrics.
"""

import os
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


def __getattr__(name: str) -> Any:
    """``ngat.segment``, loaded when it is first asked for: torch takes seconds."""
    if name == "segment":
        from ngat.segmentation.result import segment

        return segment
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
