"""The same environment, written down three times: pyproject.toml, the lock, environment.yml."""

from __future__ import annotations

import ast
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
BESIDE = ("browser", "site")  # tools that no committed result depends on


def pins(lines: list[str]) -> dict[str, str]:
    """Name → version; every line must be an exact pin."""
    found: dict[str, str] = {}
    for line in lines:
        requirement = Requirement(line)
        (specifier,) = requirement.specifier
        assert specifier.operator == "==", f"{line} is not an exact pin"
        name = canonicalize_name(requirement.name)
        assert name not in found, f"{name} is pinned twice"
        found[name] = specifier.version
    return found


REFERENCE = pins(EXTRAS["reproduce"])
LOCK = pins(
    [
        line
        for line in (ROOT / ".ci/constraints.txt").read_text(encoding="utf-8").splitlines()
        if line.strip() and not line.startswith("#")
    ]
)


def test_lock_holds_every_pin() -> None:
    assert {name: LOCK.get(name) for name in REFERENCE} == REFERENCE


# numba brings its compiler; napari is a user's own, who adds this plugin to it.
COMES_WITH = {"llvmlite", "napari"}


def test_everything_that_is_imported_is_declared() -> None:
    declared = [*PROJECT["dependencies"], *(line for lines in EXTRAS.values() for line in lines)]
    names = {canonicalize_name(Requirement(line).name) for line in declared}
    known = packages_distributions()
    undeclared = {}
    for path in sorted((ROOT / "ngat").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                modules = [str(node.module)]
            for module in {module.partition(".")[0] for module in modules}:
                of = {canonicalize_name(name) for name in known.get(module, [module])}
                if module not in {"ngat", *sys.stdlib_module_names, *COMES_WITH} and not of & names:
                    undeclared[module] = path.relative_to(ROOT).as_posix()
    assert undeclared == {}


def test_lock_fits_every_machine() -> None:
    """A build tag (``+cpu``) would tie the lock to one machine's torch."""
    assert [name for name, version in LOCK.items() if Version(version).local] == []
    assert "ngat" not in LOCK


@pytest.mark.parametrize("extra", ["", *sorted(set(EXTRAS) - {"reproduce", *BESIDE})])
def test_every_direct_dependency_is_pinned_within_its_bounds(extra: str) -> None:
    for line in EXTRAS[extra] if extra else PROJECT["dependencies"]:
        requirement = Requirement(line)
        name = canonicalize_name(requirement.name)
        assert name in REFERENCE, f"{name} has no pin in the extra `reproduce`"
        assert requirement.specifier.contains(REFERENCE[name]), f"{line}: {REFERENCE[name]}"


@pytest.mark.parametrize("extra", BESIDE)
def test_what_no_result_needs_is_locked_beside_the_results(extra: str) -> None:
    assert pins(EXTRAS[extra]).items() <= LOCK.items()
    assert not set(pins(EXTRAS[extra])) & set(REFERENCE)


def test_environment_yml_has_the_same_pins() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    conda = [entry for entry in environment["dependencies"] if isinstance(entry, str)]
    (from_pip,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    options = [line for line in from_pip if line.startswith("-")]
    found = pins([line for line in from_pip if not line.startswith("-")])

    (torch,) = [entry for entry in conda if entry.startswith("pytorch-cpu=")]
    assert "torch" not in found, "torch from pip would bring CUDA"
    found["torch"] = torch.removeprefix("pytorch-cpu=")

    assert found == REFERENCE
    assert "python=3.11" in conda
    assert options == ["--constraint .ci/constraints.txt", "--editable ."]


def test_version_is_cited() -> None:
    import ngat

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == ngat.__version__
    assert citation["license"] == PROJECT["license"] == "MIT"
    paper = citation["preferred-citation"]
    assert "2201.03669" in paper["identifiers"][0]["value"]
    assert [author["family-names"] for author in paper["authors"]] == ["Alon", "Zhou"]
