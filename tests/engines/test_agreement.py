"""The comparison of engines that needs no test suite notices an engine that is off."""

from __future__ import annotations

import pytest
import torch

from ngat.attention import attend
from ngat.engines import agreement


@pytest.mark.parametrize("factor", [1.0, 1.001])
def test_kernels_that_are_off_are_noticed(factor, monkeypatch):
    def engine(groups, er, name):
        return attend(groups, er, "reference") * (factor if name == "cuda" else 1.0)

    monkeypatch.setattr(agreement, "attend", engine)
    arguments = torch.device("cpu"), agreement.SHAPES[:1], [torch.float32, torch.float64]
    said = list(agreement.disagreements(*arguments))
    assert bool(said) == (factor != 1.0)
    assert all("value of" in line or "gradient" in line for line in said)
