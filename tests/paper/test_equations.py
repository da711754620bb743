"""Every equation of the paper is shown in a notebook, and so are the lines of code that are it.

An equation is shown where a markdown cell sets it with its number (``\\tag{13}``); its lines are
those of a code cell that names it in a comment (``# eq. 13``).
"""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
EQUATIONS = range(1, 30)
SET = re.compile(r"\\tag\{([\d, ]+)\}")
LINES = re.compile(r"#.*?\beq\. ([\d, ]+)")


def numbers(kind: str, pattern: re.Pattern[str]) -> dict[int, list[str]]:
    """Notebooks by the equation that a cell of this kind has."""
    found: dict[int, list[str]] = {}
    for path in NOTEBOOKS:
        for cell in nbformat.read(path, 4).cells:
            if cell.cell_type == kind:
                for group in pattern.findall(cell.source):
                    for number in re.findall(r"\d+", group):
                        found.setdefault(int(number), []).append(path.stem)
    return found


@pytest.mark.parametrize(("kind", "pattern"), [("markdown", SET), ("code", LINES)])
def test_every_equation_is_there(kind: str, pattern: re.Pattern[str]) -> None:
    found = numbers(kind, pattern)
    assert sorted(set(EQUATIONS) - set(found)) == [], f"missing from all {kind} cells"
    assert sorted(set(found) - set(EQUATIONS)) == [], "there are no such equations"


def test_an_equation_that_is_missing_is_seen() -> None:
    assert SET.findall(r"a = b \tag{19, 20, 21}") == ["19, 20, 21"]
    assert LINES.findall("h = U(h, A)  # eq. 12, 13") == ["12, 13"]
    assert not LINES.findall("print('eq. 11 as eq. 5')")
