"""The committed network finds what the committed result files say that it found."""

from pathlib import Path

import pandas as pd
import pytest

from ngat.data import load
from ngat.evaluation.evaluator import evaluate
from ngat.evaluation.results import read_run

REPOSITORY = Path(__file__).parents[2]
RESULTS = REPOSITORY / "data" / "results" / "validation"
COUNTS = ["tp", "fp", "fn", "n_true", "n_pred"]


@pytest.mark.slow
def test_weights_evaluate_to_the_committed_counts(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    root = REPOSITORY / "data"
    if not (root / "dsb2018" / "store.zip").exists():
        (tmp_path / "data").mkdir()
        for name in ("split.csv", "image_types.csv"):
            (tmp_path / "data" / name).write_bytes((root / name).read_bytes())
        store: Path = request.getfixturevalue("dsb2018_store")
        (tmp_path / "data" / "dsb2018").symlink_to(store)
        root = tmp_path / "data"
    samples = load("dsb2018", "val", root=root, limit=15, progress=False)
    weights = REPOSITORY / "data" / "weights" / "companion.safetensors"
    evaluate(samples, tmp_path, data="dsb2018", weights=weights, device="cpu", progress=False)
    for method in ("split", "components"):
        name = f"dsb2018-val-companion-{method}"
        now, then = (
            read_run(folder / name).counts.set_index(["image_id", "threshold"])
            for folder in (tmp_path, RESULTS)
        )
        then = then.loc[now.index]
        assert len(now) == 15 * now.index.get_level_values("threshold").nunique()
        # On another processor a pixel at an edge may be rounded otherwise, and a nucleus cross a
        # threshold of IoU; on one processor all counts are equal.
        differing = (now[COUNTS] != then[COUNTS]).any(axis=1)
        pd.testing.assert_series_equal(now["n_true"], then["n_true"])
        assert differing.mean() <= 0.05, now[differing].compare(then[differing])
