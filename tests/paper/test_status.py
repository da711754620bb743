"""What the README says of each figure and table follows from files, and from nothing else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ngat.data.sample import TYPES, Sample
from ngat.evaluation import published, results
from ngat.paper import readme
from ngat.paper.index import COUNTERPARTS
from ngat.paper.status import EXECUTED, RESULTS, _held, standing

ROOT = Path(__file__).parents[2]
RUN = "companion-split"


def one(kind: str, k: int, right: int) -> results.Measured:
    """A picture of ten nuclei, of which a network has found some."""
    true = np.zeros((8, 64), np.int32)
    for n in range(10):
        true[2:5, 6 * n + 1 : 6 * n + 4] = n + 1
    pred = np.where(true <= right, true, 0)
    sample = Sample(f"{kind}-{k}", np.zeros((8, 64, 3), np.uint8), true, kind, "g", "test")
    return results.measure(sample, pred)


def write(root: Path, right: dict[str, int], data: str = "dsb2018") -> list[results.Run]:
    """Result files of a network that finds so many of ten nuclei in pictures of each type."""
    facts = {"preset": "companion", "hardware": "a machine", "minutes": 60.0}
    facts["evaluation"] = {"minutes": 1.5}
    measured = [one(kind, k, n) for kind, n in right.items() for k in range(3)]
    folder = root / RESULTS
    results.write_run(
        folder, RUN, measured, method="companion (split)", data=data, provenance=facts
    )
    return readme.committed(root)


def test_without_files_nothing_is_claimed(tmp_path: Path) -> None:
    for here in COUNTERPARTS:
        found = standing(tmp_path, here.of, [])
        assert (found.status, found.result, found.minutes) == ("not yet", None, None)


def test_generated_pictures_alone_are_not_yet(tmp_path: Path) -> None:
    runs = write(tmp_path, dict.fromkeys(TYPES, 10), data="synthetic")
    for of in ("Table 1", "Table 2", "Figure 5", "Figure 6", "Figure 7", "Figure 9"):
        found = standing(tmp_path, of, runs)
        assert found.status.startswith("not yet; generated: average F1 1.000")
        assert not found.real
    assert "DATA=" not in readme.paper(tmp_path, runs)


@pytest.mark.parametrize("of", ["Figure 5", "Figure 6"])
def test_pictures_are_reproduced_once_all_of_them_show_real_ones(tmp_path: Path, of: str) -> None:
    runs = write(tmp_path, dict.fromkeys(TYPES, 10))
    (here,) = [here for here in COUNTERPARTS if here.of == of]
    for name in here.figures:
        status = standing(tmp_path, of, runs).status
        assert status.startswith("partly: average F1 1.000")
        assert status.endswith("the figure shows generated ones")
        path = tmp_path / "figures" / "dsb2018" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert standing(tmp_path, of, runs).status.startswith("reproduced: average F1 1.000")


@pytest.mark.parametrize(
    ("right", "table_1", "table_2"),
    [
        (dict.fromkeys(TYPES, 10), "reproduced: 5 of 5", "reproduced: 5 of 5"),
        (dict.fromkeys(TYPES, 1), "partly: 1 of 5", "not: 0 of 5"),
        # F1 is 2·4/(10+4) = 0.57: above the paper's 0.56 for grayscale tissue alone.
        (dict.fromkeys(TYPES, 4), "partly: 1 of 5", "partly: 1 of 5"),
        ({"grayscale_tissue": 10}, "reproduced: 5 of 5", "partly: 1 of 5"),
    ],
)
def test_verdict_counts_the_published_numbers_that_are_reached(
    tmp_path: Path, right: dict[str, int], table_1: str, table_2: str
) -> None:
    """Nothing extra is ever found here, so that of table 1 at least that number is reached."""
    runs = write(tmp_path, right)
    assert standing(tmp_path, "Table 1", runs).status.startswith(f"{table_1} published numbers;")
    for of in ("Table 2", "Figure 7"):
        found = standing(tmp_path, of, runs)
        assert found.status.startswith(f"{table_2} published numbers;")
    assert (found.hardware, found.minutes, found.real) == ("a machine", 61.5, True)
    assert found.result == RESULTS / f"{RUN}.counts.csv"
    assert "make reproduce DATA=../shared/dsb2018 ONLY=09" in readme.paper(tmp_path, runs)


def test_a_number_is_held_by_its_interval() -> None:
    assert _held(0.7, 0.6, 0.5, 0.71, True)
    assert not _held(0.7, 0.6, 0.5, 0.69, True)
    assert _held(0.2, 0.3, 0.19, 0.4, False)
    assert not _held(0.2, 0.3, 0.21, 0.4, False)
    assert _held(0.7, 0.8, np.nan, np.nan, True)
    assert published.TABLE_1[-1].system == published.PAPER


def test_a_wrong_count_is_told(tmp_path: Path) -> None:
    path = tmp_path / "figures" / "graph_census.csv"
    path.parent.mkdir()
    shutil.copyfile(ROOT / "figures" / "graph_census.csv", path)
    # 128² + 64² + 32² + 16² + 8² nodes.
    assert "reproduced: 21,824 nodes" in standing(tmp_path, "Figure 1", []).status
    census = pd.read_csv(path)
    census.loc[1, "king"] += 1
    census.to_csv(path, index=False)
    assert standing(tmp_path, "Figure 1", []).status == "not: 1 counts differ"


def test_time_is_that_of_the_notebook_where_it_was_noted(tmp_path: Path) -> None:
    for name in ("figures/graph_census.csv", RESULTS / "dsb2018.pictures.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, tmp_path / name)
    (tmp_path / EXECUTED).parent.mkdir()
    (tmp_path / EXECUTED).write_text(json.dumps({"01": {"minutes": 0.4, "hardware": "mine"}}))
    first, second = (standing(tmp_path, f"Figure {k}", []) for k in (1, 2))
    assert (first.minutes, first.hardware) == (0.4, "mine")
    assert (second.minutes, second.hardware) == (None, "")
    assert second.status == "reproduced: 5 of 5 types in 735 real pictures"
    (tmp_path / RESULTS / "dsb2018.pictures.csv").write_text("image_id,type\na,purple_tissue\n")
    assert standing(tmp_path, "Figure 2", []).status == "partly: 1 of 5 types in 1 real pictures"


def test_losses_are_compared_by_their_last_validation(tmp_path: Path) -> None:
    for folder, gain in (("synthetic", -0.02), (".", 0.03)):
        (tmp_path / RESULTS / folder).mkdir(parents=True, exist_ok=True)
        for kind, dice in (("balanced", 0.8 + gain), ("bce", 0.8)):
            path = tmp_path / RESULTS / folder / f"training-{kind}.validation.csv"
            path.write_text(f"step,minutes,dice\n1,1,0.1\n2,2,{dice}\n")
        status = standing(tmp_path, "Figure 8", []).status
        where = "not yet; generated" if folder == "synthetic" else "reproduced"
        assert status == f"{where}: Dice {gain:+.3f} for the balanced loss"
