"""The tree as a reader finds it: few modules on top, one class per name, plain words."""

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "ngat"
MODULES = sorted(PACKAGE.rglob("*.py"))
# Words that only this project used, and what replaces them is in no doubt.
DIALECT = re.compile(
    r"(?<![a-z])(hears?|heard|listens?|at_hand|counterparts?|standing|fates?|summits?|vigour|"
    r"hand_on|in_one|lanes?)(?![a-z])",
    re.IGNORECASE,
)
# Still to be renamed, and names of one thing in two packages that are being merged.
# The last two name what earlier files hold.
WORDS_PENDING = ("engines/", "config.py", "training/checkpoint.py")


def test_few_modules_stand_on_top() -> None:
    on_top = [path.name for path in PACKAGE.glob("*.py")]
    assert len(on_top) <= 16, sorted(on_top)


def test_every_package_says_what_it_is_for() -> None:
    for init in PACKAGE.rglob("__init__.py"):
        assert ast.get_docstring(ast.parse(init.read_text(encoding="utf-8"))), init


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
        pytest.skip("not yet gone through")
    found = DIALECT.findall(path.read_text(encoding="utf-8"))
    assert not found
