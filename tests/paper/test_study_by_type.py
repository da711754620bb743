"""Figure 9's numbers against the metrics' own scalar properties."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ngat.errors import InputError
from ngat.metrics import Counts
from ngat.paper.study.by_type import curves


def test_means_over_images_of_a_type() -> None:
    rng = np.random.default_rng(3)
    rows, expected = [], {}
    for image in range(12):
        kind = ("purple_tissue", "small_fluorescent")[image % 2]
        for threshold in (0.5, 0.7):
            # Some images without annotated, without predicted, and without any nuclei.
            tp, fp, fn = (int(n) for n in rng.integers(0, 3, 3))
            rows.append([f"i{image}", kind, "m", threshold, tp, fp, fn])
            expected.setdefault((kind, threshold), []).append(Counts(threshold, tp, fp, fn))
    assert any(c.n_true == c.n_pred == 0 for found in expected.values() for c in found)
    columns = ["image_id", "type", "method", "threshold", "tp", "fp", "fn"]
    table = curves(pd.DataFrame(rows, columns=columns), "m")
    # The order of the paper's table 2, not of the alphabet.
    assert table["type"].tolist() == ["small_fluorescent"] * 2 + ["purple_tissue"] * 2
    for line in table.itertuples():
        found = expected[line.type, line.threshold]
        assert line.images == len(found)
        for name in ("f1", "precision", "recall"):
            assert getattr(line, name) == pytest.approx(np.mean([getattr(c, name) for c in found]))
    with pytest.raises(InputError, match="there are m"):
        curves(pd.DataFrame(rows, columns=columns), "other")
