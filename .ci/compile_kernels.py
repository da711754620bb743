"""Compile the CPU engine's kernels, which every test process would otherwise do for itself."""

from __future__ import annotations

import torch

from ngat.config import ModelConfig, preset
from ngat.model import NGAT


def main() -> None:
    """One step and one prediction of a small network of each preset, in both precisions."""
    for name in ("companion", "paper"):
        config = preset(name, channels=8, depth=1, engine="cpu").model
        assert isinstance(config, ModelConfig)
        for dtype in (torch.float32, torch.float64):
            model = NGAT(config).to(dtype)
            image = torch.rand(1, 3, 32, 32, dtype=dtype)
            torch.stack([logits.sum() for logits in model(image).logits]).sum().backward()
            with torch.no_grad():
                model.eval()(image)


if __name__ == "__main__":
    main()
