"""The README says what the result files say."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from ngat.data.sample import Sample
from ngat.errors import InputError
from ngat.evaluation import published, results
from ngat.paper import readme

ROOT = Path(__file__).parents[2]


def test_committed_readme_is_up_to_date() -> None:
    assert not readme.refresh(ROOT, check=True), "README.md is out of date; run: make readme"


def test_paper_row_stands_in_the_readme() -> None:
    """Independent of the code that prints tables: table 1's own digits."""
    (paper,) = [row for row in published.TABLE_1 if "paper" in row.system]
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (line,) = [line for line in text.splitlines() if "0.6762" in line]
    for number in (paper.average_f1, paper.recall, paper.missed, paper.extra):
        assert f"{number:.4f}" in line


def test_a_result_file_makes_the_readme_stale_until_it_is_refreshed(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text(
        "before\n<!-- begin:paper -->\n<!-- end:paper -->\n"
        "<!-- begin:tables -->\nSTALE\n<!-- end:tables -->\nafter\n"
    )
    assert readme.refresh(tmp_path)
    first = path.read_text()
    assert "No measured rows yet" in first
    assert "STALE" not in first
    assert first.startswith("before\n")
    assert first.endswith("<!-- end:tables -->\nafter\n")
    assert not readme.refresh(tmp_path)

    labels = np.zeros((8, 8), np.int32)
    labels[2:5, 2:5] = 1
    sample = Sample("one", np.zeros((8, 8, 3), np.uint8), labels, "purple_tissue", "g", "test")
    measured = [results.measure(sample, labels)]
    results.write_run(
        tmp_path / readme.RESULTS, "perfect", measured, method="perf|ect", data="x", provenance={}
    )
    assert readme.refresh(tmp_path, check=True)
    assert path.read_text() == first  # checking writes nothing
    assert readme.refresh(tmp_path)
    assert "perf\\|ect" in path.read_text()
    assert not readme.refresh(tmp_path, check=True)


def test_pictures_and_files_that_the_readme_names_are_there() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", text)
    shown = {"figures/fig07_radar.png", "figures/dsb2018/fig06_best_median_worst.png"}
    assert shown <= set(links)
    assert [link for link in links if not (ROOT / link).is_file()] == []


def test_every_figure_and_table_has_a_line() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in [*(f"Figure {k}" for k in range(1, 10)), "Table 1", "Table 2"]:
        (line,) = [line for line in text.splitlines() if line.startswith(f"| {name}: ")]
        assert re.search(r"\| (reproduced|partly|not|not yet)[:;] .*\d.* \|$", line), line


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<!-- begin:tables -->\n",
        "<!-- end:tables -->\n<!-- begin:tables -->\n",
        "<!-- begin:tables -->\n<!-- end:tables -->\n" * 2,
    ],
)
def test_wrong_marks_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "README.md").write_text(text)
    with pytest.raises(InputError, match="README"):
        readme.refresh(tmp_path)
    assert (tmp_path / "README.md").read_text() == text


def test_backslashes_survive() -> None:
    text = "<!-- begin:a -->\n<!-- end:a -->"
    assert readme.replace(text, "a", r"x \| \1") == f"{text[:17]}x \\| \\1\n<!-- end:a -->"


def test_no_readme(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        readme.refresh(tmp_path)
