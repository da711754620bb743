"""The README and the page of results say what the result files say."""

from __future__ import annotations

import re
from pathlib import Path

import hygiene
import nbformat
import numpy as np
import pandas as pd
import pytest

from ngat.data import Sample
from ngat.errors import InputError
from ngat.evaluation import published, results
from ngat.evaluation.results import Run
from ngat.paper import readme

ROOT = Path(__file__).parents[2]
WRITTEN = [
    ROOT / name
    for name in (
        "README.md",
        readme.PAGE,
        "notebooks/LEDGER.md",
        "notebooks/GLOSSARY.md",
        "notebooks/OWN_IMAGES.md",
    )
]
MOST_WORDS = 1200
EMPTY = {
    Path("README.md"): "before\n<!-- begin:short -->\nSTALE\n<!-- end:short -->\nafter\n",
    readme.PAGE: "<!-- begin:paper -->\n<!-- end:paper -->\n"
    "<!-- begin:tables -->\nSTALE\n<!-- end:tables -->\nafter\n",
}


def pages(root: Path) -> dict[Path, str]:
    return {name: (root / name).read_text(encoding="utf-8") for name in EMPTY}


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """A repository with both pages and nothing else."""
    for name, text in EMPTY.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_committed_pages_are_up_to_date() -> None:
    assert not readme.refresh(ROOT, check=True), "README.md is out of date; run: make readme"


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) <= MOST_WORDS


@pytest.mark.parametrize("path", [ROOT / name for name in EMPTY], ids=lambda path: path.parent.name)
def test_paper_row_stands_on_both_pages(path: Path) -> None:
    """Independent of the code that prints tables: table 1's own digits."""
    (paper,) = [row for row in published.TABLE_1 if "paper" in row.system]
    lines = path.read_text(encoding="utf-8").splitlines()
    (line,) = [line for line in lines if "NGAT (the paper)" in line and "0.7384" in line]
    for number in (paper.average_f1, paper.recall, paper.extra):
        assert f"{number:.4f}" in line


def test_short_table_has_the_literal_reading_and_is_sorted() -> None:
    text = readme.short(readme.committed(ROOT))
    lines = text.splitlines()[2 + len(readme.SHORT) :]
    scores = [float(line.split(" | ")[1].partition(" ")[0]) for line in lines]
    assert scores == sorted(scores, reverse=True)
    assert sum(line.startswith("| paper") for line in lines) == 1


def test_a_result_file_makes_a_page_stale_until_it_is_refreshed(empty: Path) -> None:
    assert readme.refresh(empty)
    first = pages(empty)
    assert all("No measured rows yet" in text and "STALE" not in text for text in first.values())
    assert first[Path("README.md")].startswith("before\n")
    assert all(text.endswith("-->\nafter\n") for text in first.values())
    assert not readme.refresh(empty)

    labels = np.zeros((8, 8), np.int32)
    labels[2:5, 2:5] = 1
    sample = Sample("one", np.zeros((8, 8, 3), np.uint8), labels, "purple_tissue", "g", "test")
    measured = [results.measure(sample, labels)]
    results.write_run(
        empty / readme.RESULTS, "perfect", measured, method="perf|ect", data="x", provenance={}
    )
    assert readme.refresh(empty, check=True)
    assert pages(empty) == first  # checking writes nothing
    assert readme.refresh(empty)
    second = pages(empty)
    # One picture is not stage 2: it stands apart, and never beside the published rows.
    before, _, after = second[readme.PAGE].partition("**Other images**")
    assert "0.6762" in before
    assert "perf\\|ect" not in before
    assert "perf\\|ect" in after
    assert second[Path("README.md")] == first[Path("README.md")]
    assert not readme.refresh(empty, check=True)


@pytest.mark.parametrize(
    ("preset", "way", "minutes", "hardware", "compared"),
    [
        ("unet", "split", 5.2, "GPU", True),
        ("unet", "split", 9.0, "GPU", False),  # trained longer
        ("unet", "split", 5.2, "CPU", False),  # elsewhere
        ("unet", "components", 5.2, "GPU", False),  # nuclei made in another way
        ("paper", "split", 5.2, "GPU", False),  # of the same family
    ],
)
def test_equal_minutes_of_one_machine(preset, way, minutes, hardware, compared) -> None:
    def run(name: str, preset: str, minutes: float, hardware: str, right: list[int]) -> Run:
        rows = [
            [
                f"image{k}",
                "small_fluorescent",
                "dsb2018",
                "test",
                name,
                0.7,
                tp,
                4 - tp,
                4 - tp,
                4,
                4,
            ]
            for k, tp in enumerate(right)
        ]
        training = {"hardware": hardware, "minutes": minutes}
        counts = pd.DataFrame(rows, columns=results.COUNT_COLUMNS)
        return Run(name, counts, pd.DataFrame(), {"preset": preset, "training": training})

    ours = run("ours (split)", "companion", 5.0, "GPU", [4, 2])
    other = run(f"theirs ({way})", preset, minutes, hardware, [2, 2])
    text = "\n".join(readme._differences([ours, other], []))
    # F1 is 1 and .5 where the other's is .5 and .5.
    assert ("| ours (split) | theirs (split) | dsb2018, test | 2 | +0.2500" in text) == compared


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.name)
def test_files_that_a_page_links_are_there(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", text)
    assert [link for link in links if not (path.parent / link).exists()] == []


def test_readme_shows_a_picture_and_clones_this_repository() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert re.search(r"!\[[^]]{20,}\]\(figures/\S+\.png\)", text)
    assert f"git clone --depth=1 {hygiene.REPOSITORY}\n" in text
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        assert f"](notebooks/{path.name})" in text, path.name


def test_every_reading_that_code_or_notebooks_name_is_in_the_ledger() -> None:
    ledger = (ROOT / "notebooks" / "LEDGER.md").read_text(encoding="utf-8")
    numbers = [int(n) for n in re.findall(r"^\| L(\d+) \|", ledger, re.MULTILINE)]
    assert numbers == list(range(1, len(numbers) + 1))
    texts = {
        path.name: path.read_text(encoding="utf-8")
        for path in [*(ROOT / "ngat").rglob("*.py"), ROOT / "README.md"]
    }
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        texts[path.name] = "\n".join(cell.source for cell in nbformat.read(path, 4).cells)
    for name, text in texts.items():
        named = {int(n) for n in re.findall(r"\bL(\d{1,2})\b", text)}
        assert named <= set(numbers), name


def test_every_figure_and_table_has_a_line() -> None:
    text = (ROOT / readme.PAGE).read_text(encoding="utf-8")
    for name in [*(f"Figure {k}" for k in range(1, 10)), "Table 1", "Table 2"]:
        (line,) = [line for line in text.splitlines() if line.startswith(f"| {name}: ")]
        assert re.search(
            r"\| (drawn|measured|reached|not reached|not measured)[:;,]? .*\d.* \|$", line
        ), line


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<!-- begin:short -->\n",
        "<!-- end:short -->\n<!-- begin:short -->\n",
        "<!-- begin:short -->\n<!-- end:short -->\n" * 2,
    ],
)
def test_wrong_marks_are_refused(empty: Path, text: str) -> None:
    (empty / "README.md").write_text(text)
    before = pages(empty)
    with pytest.raises(InputError, match="README"):
        readme.refresh(empty)
    assert pages(empty) == before


def test_backslashes_survive() -> None:
    text = "<!-- begin:a -->\n<!-- end:a -->"
    assert readme.replace(text, "a", r"x \| \1") == f"{text[:17]}x \\| \\1\n<!-- end:a -->"


def test_no_readme(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        readme.refresh(tmp_path)


def test_pages_that_a_page_of_the_site_links_to_are_on_the_site() -> None:
    """`make site` ends with an error otherwise; it is not part of these tests."""
    text = (ROOT / ".ci/site/conf.py").read_text(encoding="utf-8")
    (listed,) = re.findall(r"^include_patterns = \[(.*?)^\]", text, re.DOTALL | re.MULTILINE)
    pages = {page for pattern in re.findall(r'"([^"]+)"', listed) for page in ROOT.glob(pattern)}
    assert ROOT / "README.md" in pages
    for page in (page for page in pages if page.suffix == ".md"):
        for link in re.findall(r"\]\(([^)#:]+\.md)\b", page.read_text(encoding="utf-8")):
            assert (page.parent / link).resolve() in pages, f"{page.name}: {link}"
