"""The same environment, written down three times: pyproject.toml, the lock, environment.yml."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]


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


def test_lock_fits_every_machine() -> None:
    """A build tag (``+cpu``) would tie the lock to one machine's torch."""
    assert [name for name, version in LOCK.items() if Version(version).local] == []
    assert "ngat" not in LOCK


@pytest.mark.parametrize("extra", ["", *sorted(set(EXTRAS) - {"reproduce", "browser"})])
def test_every_direct_dependency_is_pinned_within_its_bounds(extra: str) -> None:
    for line in EXTRAS[extra] if extra else PROJECT["dependencies"]:
        requirement = Requirement(line)
        name = canonicalize_name(requirement.name)
        assert name in REFERENCE, f"{name} has no pin in the extra `reproduce`"
        assert requirement.specifier.contains(REFERENCE[name]), f"{line}: {REFERENCE[name]}"


def test_browser_is_locked_beside_the_results() -> None:
    assert pins(EXTRAS["browser"]).items() <= LOCK.items()
    assert not set(pins(EXTRAS["browser"])) & set(REFERENCE)


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


@pytest.mark.parametrize(
    ("code", "found", "left"),
    [
        ("import ngat, ngat.model", {}, "None None"),
        ("from ngat.waiting import let_threads_sleep; let_threads_sleep()", {}, "PASSIVE 2000"),
        ("import ngat.paper.session", {}, "PASSIVE 2000"),
        ("import ngat.paper.session", {"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE None"),
    ],
)
def test_threads_sleep_in_our_own_programs_alone(
    code: str, found: dict[str, str], left: str
) -> None:
    """Importing the library sets nothing; commands and notebooks do, unless somebody else did."""
    names = "OMP_WAIT_POLICY", "GOMP_SPINCOUNT"
    code += f"; import os; print(*(os.environ.get(name) for name in {names}))"
    environment = {name: value for name, value in os.environ.items() if name not in names}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment | found,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == left


def test_commands_let_threads_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    from ngat import cli

    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(cli, "app", lambda **_: None)
    cli.main()
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
