"""Paired differences against a bootstrap written as a loop, and against what must hold."""

import numpy as np
import pandas as pd
import pytest

from ngat import metrics
from ngat.errors import InputError
from ngat.evaluation.paired import COLUMNS, paired, printed
from ngat.evaluation.results import COUNT_COLUMNS, Run


def run(method, right, split="test", order=1):
    """A run in which the image k has ``right[k]`` of 20 nuclei at every threshold."""
    rows = []
    for k, tp in list(enumerate(right))[::order]:
        where = [f"image{k:02}", "small_fluorescent", "dsb2018", split, method]
        rows += [[*where, t, tp, 20 - tp, 20 - tp, 20, 20] for t in metrics.THRESHOLDS]
    return Run(method, pd.DataFrame(rows, columns=COUNT_COLUMNS), pd.DataFrame(), {})


RIGHT = np.random.default_rng(0).integers(2, 16, 30)


def test_a_small_steady_gain_shows_although_images_differ_widely():
    gain = np.random.default_rng(1).integers(0, 3, 30)
    # In another order: images are paired by their names.
    table = paired([run("ours", RIGHT + gain), run("theirs", RIGHT, order=-1)], "ours")
    assert list(table.columns) == COLUMNS
    row = table.iloc[0]
    assert (row["method"], row["against"], row["images"]) == ("ours", "theirs", 30)
    assert row["difference"] == pytest.approx(gain.mean() / 20)
    assert 0 < row["low"] < row["difference"] < row["high"]
    rng = np.random.default_rng(5)
    means = [(gain / 20)[rng.integers(0, 30, 30)].mean() for _ in range(4000)]
    assert row["low"] == pytest.approx(np.percentile(means, 2.5), abs=0.003)
    assert row["high"] == pytest.approx(np.percentile(means, 97.5), abs=0.003)
    back = paired([run("ours", RIGHT + gain), run("theirs", RIGHT)], "theirs").iloc[0]
    assert back["difference"] == pytest.approx(-row["difference"])
    assert back["high"] == pytest.approx(-row["low"])


def test_other_images_are_not_compared():
    runs = [run("ours", RIGHT), run("fewer", RIGHT[:9]), run("elsewhere", RIGHT, split="val")]
    assert paired(runs, "ours").empty
    with pytest.raises(InputError, match="0 runs are called 'nobody'"):
        paired(runs, "nobody")
    with pytest.raises(InputError, match="2 runs"):
        paired([runs[0], runs[0]], "ours")


def test_equal_runs_have_no_interval():
    table = paired([run("ours", RIGHT), run("same", RIGHT), run("less", RIGHT - 2)], "ours")
    assert printed(table)["difference of average F1"].tolist() == ["0.0000", "+0.1000"]
    assert table["low"].isna().all()
