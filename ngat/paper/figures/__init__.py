"""Figures, one module per subject: each takes values that are tested elsewhere and draws them."""

from ngat.paper.figures.radar import radar

__all__ = ["radar"]
