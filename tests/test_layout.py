"""The tree as a reader finds it: few modules on top, one class per name, plain words."""

import ast
import inspect
import pkgutil
import re
from collections import defaultdict
from pathlib import Path

import pytest

import ngat

PACKAGE = Path(__file__).parents[1] / "ngat"
MODULES = sorted(PACKAGE.rglob("*.py"))
# Words that only this project used, and what replaces them is in no doubt.
DIALECT = re.compile(
    r"(?<![a-z])(hears?|heard|listens?|at_hand|counterparts?|standing|fates?|summits?|vigour|"
    r"hand_on|in_one|lanes?|listeners?|dealt|shrunk)(?![a-z])",
    re.IGNORECASE,
)
# They name what earlier files hold.
WORDS_PENDING = ("config/presets.py", "training/run_folder.py")
# The paper's files, in the order of reading; `attention` is a package.
CORE = (
    *("graph", "projection", "plasticity", "attention", "model", "loss", "instances", "metrics"),
)
EQUATION = re.compile(r"eqs?\. ?(\d+(?:(?:, | and |[–-])\d+)*)", re.IGNORECASE)


def test_few_modules_stand_on_top() -> None:
    on_top = [path.name for path in PACKAGE.glob("*.py")]
    assert len(on_top) <= 15, sorted(on_top)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_no_file_is_too_long_to_read_at_once(path: Path) -> None:
    # The network stands on one page, from top to bottom.
    most = 450 if path == PACKAGE / "model.py" else 320
    assert len(path.read_text(encoding="utf-8").splitlines()) <= most


def equations(numbers: str) -> set[int]:
    """Those of a list such as "13, 18–20"."""
    found: set[int] = set()
    for first, last in re.findall(r"(\d+)(?:[–-](\d+))?", numbers):
        # A range of a whole section helps nobody who looks for one equation.
        if int(last or first) - int(first) < 4:
            found |= set(range(int(first), int(last or first) + 1))
    return found


def test_each_equation_is_where_the_first_docstring_says() -> None:
    table = re.findall(r"^(\d[\d–, ]*?) {2,}(\S+)$", ngat.__doc__ or "", re.MULTILINE)
    assert sorted(n for numbers, _ in table for n in equations(numbers)) == list(range(1, 30))
    for numbers, name in table:
        assert name.split(".")[0] in CORE, name
        source = inspect.getsource(pkgutil.resolve_name(f"ngat.{name}"))
        named = set().union(*(equations(found) for found in EQUATION.findall(source)))
        assert named >= equations(numbers), name


def test_the_network_speaks_of_no_engine_but_where_it_asks_for_one() -> None:
    text = (PACKAGE / "model.py").read_text(encoding="utf-8")
    for name in ("numba", "triton", "dgl", "cuda"):
        assert not re.search(rf"\b{name}\b", text, re.IGNORECASE), name
    assert not re.search(r"^(from|import) ngat\.engines", text, re.MULTILINE)


def test_every_package_says_what_it_is_for() -> None:
    for init in PACKAGE.rglob("__init__.py"):
        assert ast.get_docstring(ast.parse(init.read_text(encoding="utf-8"))), init


def test_a_newcomer_finds_every_package_in_the_first_docstring() -> None:
    text = ast.get_docstring(ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))) or ""
    packages = {init.parent.name for init in PACKAGE.glob("*/__init__.py")} - set(CORE)
    assert set(re.findall("``([a-z]+)``", text)) == packages


def test_nothing_of_a_test_library_is_in_the_package() -> None:
    imported = re.compile(r"^\s*(?:from|import) (unittest|pytest|hypothesis)\b", re.MULTILINE)
    found = [path for path in MODULES if imported.search(path.read_text(encoding="utf-8"))]
    assert not found


def test_one_public_class_per_name() -> None:
    places = defaultdict(list)
    for path in MODULES:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(path.relative_to(PACKAGE).as_posix())
    twice = {name: where for name, where in places.items() if len(where) > 1}
    assert not twice


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_words_of_the_field(path: Path) -> None:
    if path.relative_to(PACKAGE).as_posix().startswith(WORDS_PENDING):
        pytest.skip("reads earlier files")
    found = DIALECT.findall(path.read_text(encoding="utf-8"))
    assert not found
