"""What a run of the notebooks has done, and what each notebook's outcome depends on.

All by content: cells, parameters, the files that parameters name, the package, ``data/``, and the
weights and results that other notebooks left in the run's folder.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ngat.paper.notebook import needs, read
from ngat.system.files import sha256, write_json

STATE = "state.json"
# What a notebook may read of what another has written.
SHARED = ("weights", "results")
# What a run leaves in its folder.
LEFT = (STATE, "index.html", "notebooks", "figures", "tables", *SHARED)


@dataclass(frozen=True)
class Record:
    """What is known of one notebook of a run.

    Attributes:
        key: digest of all that its outcome depends on (:meth:`State.key`).
        status: ``finished``, ``failed`` or ``stopped``.
        seconds: wall time.
        error: the sentence of a failure.
        wrote: files below :data:`SHARED` that it wrote.
    """

    key: str
    status: str
    seconds: float
    error: str = ""
    wrote: tuple[str, ...] = ()


class State:
    """The records of a run, kept in ``state.json`` in its folder.

    Args:
        run: the folder.
        parameters: what all notebooks of the run are given.
    """

    def __init__(self, run: Path, parameters: Mapping[str, Any]) -> None:
        self.run, self.parameters = run, dict(parameters)
        self.records: dict[str, Record] = {}
        stored = _stored(run / STATE)
        if stored["parameters"] == self.parameters:
            self.records = stored["notebooks"]

    def finished(self, stem: str, key: str) -> bool:
        """Whether a notebook ran to its end with everything as it is now."""
        record = self.records.get(stem)
        return record is not None and record.status == "finished" and record.key == key

    def forget(self, stem: str) -> None:
        """A notebook is about to run: until it ends, nothing is known of it but what it wrote."""
        if stem in self.records:
            self.note(stem, replace(self.records[stem], key="", status="stopped", error=""))

    def note(self, stem: str, record: Record) -> None:
        """Write down at once how a notebook ended, so that nothing finished is ever repeated."""
        self.records[stem] = record
        notebooks = {name: asdict(record) for name, record in sorted(self.records.items())}
        write_json(self.run / STATE, {"parameters": self.parameters, "notebooks": notebooks})

    def key(
        self,
        path: Path,
        given: Mapping[str, Any],
        files: Mapping[str, str],
        around: Mapping[str, str],
    ) -> str:
        """Digest of all that a notebook's outcome depends on now.

        Args:
            path: the notebook.
            given: its parameters.
            files: digests of the files that its parameters name.
            around: digests of the package and of ``data/``.
        """
        own = {
            name
            for stem, record in self.records.items()
            if stem >= path.stem
            for name in record.wrote
        }
        others = {name: sha256(self.run / name) for name in self.written() if name not in own}
        before = {
            stem: record.key for stem, record in self.records.items() if stem[:2] in needs(path)
        }
        cells = [[cell.cell_type, cell.source] for cell in read(path).cells]
        text = json.dumps(
            [cells, dict(given), dict(files), dict(around), others, before], sort_keys=True
        )
        return hashlib.sha256(text.encode()).hexdigest()

    def written(self) -> dict[str, tuple[int, int]]:
        """Files below :data:`SHARED` with what changes whenever one is written."""
        found = {}
        for folder in SHARED:
            for path in sorted((self.run / folder).rglob("*")):
                if path.is_file() and not path.name.startswith("."):
                    stat = path.stat()
                    name = path.relative_to(self.run).as_posix()
                    found[name] = (stat.st_ino, stat.st_mtime_ns)
        return found


def set_aside(run: Path, parameters: Mapping[str, Any]) -> Path | None:
    """Move what a run with other parameters left in a folder into a folder of its own there.

    A notebook would take the other run's weights and results for its own.

    Returns:
        where it lies now; None where there was no such run.
    """
    old = _stored(run / STATE)["parameters"]
    # Whoever moves or copies a run's folder goes on with the same run.
    if old is None or {**old, "run_dir": ""} == {**parameters, "run_dir": ""}:
        return None
    number = 1
    while (aside := run / f"earlier-{number}").exists():
        number += 1
    aside.mkdir()
    for name in LEFT:
        if (run / name).exists():
            os.replace(run / name, aside / name)
    return aside


def digest(folder: Path) -> str:
    """SHA-256 over names and contents of the files below a folder."""
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith("."):
            found.update(f"{path.relative_to(folder).as_posix()} {sha256(path)}\n".encode())
    return found.hexdigest()


def _stored(path: Path) -> dict[str, Any]:
    """Parameters and records in a state file; no parameters where there is no such file."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        records = {
            stem: Record(**{**record, "wrote": tuple(record.get("wrote", ()))})
            for stem, record in stored["notebooks"].items()
        }
        return {"parameters": dict(stored["parameters"]), "notebooks": records}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {"parameters": None, "notebooks": {}}
