"""Figures, one module per subject: each takes values that are tested elsewhere and draws them."""
