"""The benchmark's layers by name."""

from __future__ import annotations

import torch

from ngat.attention import ENGINES
from ngat.benchmark.graph_libraries import DGLLayer, PyGLayer
from ngat.benchmark.layers import LABELS, Case, Layer, PyramidLayer, draw
from ngat.errors import InputError


def build(engine: str, case: Case, device: str = "cpu") -> Layer:
    """The layer of this name with the common weights, on a device.

    Raises:
        InputError: no layer has this name.
        MissingDependency: its package is not installed.
    """
    where = torch.device(device)
    weights = draw(case)
    layer: Layer
    if engine == "dgl_gatconv":
        layer = DGLLayer(case, weights, where)
    elif engine == "pyg_gatconv":
        layer = PyGLayer(case, weights, where)
    elif engine in ENGINES or engine == "compile":
        layer = PyramidLayer(case, weights, engine)
    else:
        raise InputError(f"Unknown layer {engine!r}; known: {', '.join(LABELS)}.")
    return layer.to(where, case.torch_dtype)
