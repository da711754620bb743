"""All notebooks in their order, into ``runs/<name>/``; what is finished and unchanged is kept.

A run's folder holds the executed notebooks, what they wrote (``figures/``, ``tables/``,
``results/``, ``weights/``), ``state.json`` and ``index.html``. Nothing is written beside the
notebooks themselves.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

import ngat
from ngat.errors import InputError
from ngat.paper import run_index
from ngat.paper.notebook import (
    NotebookFailed,
    check,
    declared,
    execute,
    numbered,
    read,
    title,
    to_html,
)
from ngat.system.files import replacing, sha256, write_json

PROFILES = ("smoke", "full")
GENERATED = ("synthetic", "rings")


@dataclass(frozen=True)
class Record:
    """What is known of one notebook of a run.

    Attributes:
        key: digest of all that its outcome depends on (:func:`_keys`).
        status: ``finished`` or ``failed``.
        seconds: wall time.
        error: the sentence of a failure.
    """

    key: str
    status: str
    seconds: float
    error: str = ""

    def finished(self, key: str) -> bool:
        """Whether the notebook ran to its end with everything as it is now."""
        return self.status == "finished" and self.key == key


def reproduce(
    *,
    data: str = "synthetic",
    profile: str = "smoke",
    name: str = "",
    only: Sequence[str] = (),
    seed: int = 0,
    weights: str = "",
    extra: Mapping[str, Any] | None = None,
    fresh: bool = False,
    notebooks: Path = Path("notebooks"),
    runs: Path = Path("runs"),
    console: Console | None = None,
) -> Path:
    """Run the notebooks and return the path of the run's ``index.html``.

    A notebook that finished before is skipped while its own cells, its parameters, the package,
    the files under ``data/`` and the notebooks it builds on are as they were. A notebook names
    what it builds on in its metadata: ``{"ngat": {"needs": ["06"]}}``.

    Args:
        data: ``synthetic``, ``rings``, ``dsb2018`` (the prepared store), or a folder with the
            files of BBBC038, from which the store is prepared first.
        profile: ``smoke`` (minutes) or ``full``.
        name: the run's folder in ``runs``; ``<data>-<profile>`` by default.
        only: numbers of notebooks (``"03"``); what they build on is added.
        seed: passed to every notebook.
        weights: a weights file to evaluate, for the notebooks that take one.
        extra: further parameters; each goes to the notebooks that declare it.
        fresh: run what was chosen again, changed or not.
        notebooks: the folder of the notebooks; ``data/`` lies beside it.
        runs: the folder of all runs.
        console: where progress goes.

    Raises:
        InputError: a parameter, a name or a folder does not fit.
        NotebookFailed: a notebook stopped. The state and the index are written all the same, and
            the next call goes on from there.
    """
    console = console or Console()
    if profile not in PROFILES:
        raise InputError(f"Unknown profile {profile!r}; there are {' and '.join(PROFILES)}.")
    found = numbered(notebooks)
    if not found:
        raise InputError(f"{notebooks}: holds no notebook named like 01_title.ipynb.")
    if weights and not Path(weights).is_file():
        raise InputError(f"{weights}: there is no such weights file.")
    chosen = _chosen(found, only)
    data = _store(data, notebooks.resolve().parent / "data", console)

    name = name or f"{data}-{profile}"
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise InputError(f"{name!r} cannot name a run; use letters, digits, '-', '_' and '.'.")
    run = runs.resolve() / name
    standard = {
        "data": data,
        "profile": profile,
        "run_dir": str(run),
        "seed": seed,
        "weights": str(Path(weights).resolve()) if weights else "",
    }
    parameters = {path: standard | _own(path, extra or {}) for path in chosen}
    for key in extra or {}:
        if not any(key in given for given in parameters.values()):
            raise InputError(f"No notebook of this run knows a parameter {key!r}.")
    for path, given in parameters.items():
        check(path, given)  # all of them before the first one runs

    around = [_digest(Path(ngat.__file__).parent), _digest(notebooks.resolve().parent / "data")]
    around += [sha256(weights)] if weights else []
    keys = _keys(chosen, parameters, around)
    state = _load(run / "state.json", standard)
    if fresh:
        state = {
            stem: record
            for stem, record in state.items()
            if notebooks / f"{stem}.ipynb" not in keys
        }
    index = _write_index(run, found, state, standard)

    def note(path: Path, began: float, error: str = "") -> None:
        """Write down at once how a notebook ended, so that nothing finished is ever repeated."""
        seconds = round(time.monotonic() - began, 1)
        state[path.stem] = Record(keys[path], "failed" if error else "finished", seconds, error)
        records = {stem: asdict(record) for stem, record in sorted(state.items())}
        write_json(run / "state.json", {"parameters": standard, "notebooks": records})
        executed = run / "notebooks" / path.name
        if executed.is_file():
            with replacing(executed.with_suffix(".html")) as beside:
                beside.write_text(to_html(executed), encoding="utf-8")
        _write_index(run, found, state, standard)

    with _progress(console) as progress:
        overall = progress.add_task("notebooks", total=len(chosen))
        cells = progress.add_task("")
        for path in chosen:
            target = run / "notebooks" / path.name
            record = state.get(path.stem)
            if record and record.finished(keys[path]) and target.is_file():
                console.print(f"{path.stem}: unchanged since it finished, kept")
                progress.advance(overall)
                continue
            progress.reset(cells, total=len(read(path).cells) + 1, description=path.stem)
            began = time.monotonic()
            try:
                execute(
                    path,
                    target,
                    parameters[path],
                    on_cell=lambda done: progress.update(cells, completed=done),
                )
            except NotebookFailed as error:
                note(path, began, str(error))
                raise
            note(path, began)
            console.print(f"{path.stem}: finished in {time.monotonic() - began:.0f} s")
            progress.advance(overall)

    for kind in ("notebooks", "tables", "figures"):
        if (run / kind).is_dir():
            console.print(f"{kind + ':':<11}{run / kind}", soft_wrap=True)
    console.print(f"{'open:':<11}{index}", soft_wrap=True)
    return index


def _progress(console: Console) -> Progress:
    """Bars on a terminal; in a log the lines of finished notebooks are enough."""
    return Progress(
        TextColumn("{task.description:<28}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def _store(data: str, root: Path, console: Console) -> str:
    """The data set's name; a folder of BBBC038's files is made into the store first."""
    if data in GENERATED:
        return data
    # Not loaded for generated data, which need none of it.
    from ngat.data import store
    from ngat.data.dsb2018 import prepare

    folder = root / "dsb2018"
    ready = (folder / store.FILE).is_file()
    if data == "dsb2018":
        if not ready:
            raise InputError(
                f"{folder}: the store is not there; give the folder of the data set's files "
                "instead of 'dsb2018', or run: ngat data prepare --source DIR"
            )
        return data
    if not Path(data).is_dir():
        raise InputError(
            f"{data}: is neither a data set ({', '.join(GENERATED)}, dsb2018) nor a folder."
        )
    if ready:
        console.print(f"{folder / store.FILE}: prepared before, kept", soft_wrap=True)
    else:
        console.print(f"{folder}: made from {data}, once; this takes minutes", soft_wrap=True)
        console.print(prepare(Path(data), folder), soft_wrap=True, highlight=False)
    return "dsb2018"


def _chosen(found: Sequence[Path], only: Sequence[str]) -> list[Path]:
    """The notebooks asked for and what they build on, in their order."""
    by_number = {path.stem[:2]: path for path in found}
    wanted = [number.strip().zfill(2) for number in only] or list(by_number)
    taken: set[str] = set()
    while wanted:
        number = wanted.pop()
        if number not in by_number:
            raise InputError(f"There is no notebook {number}; there are {', '.join(by_number)}.")
        if number not in taken:
            taken.add(number)
            wanted.extend(_needs(by_number[number]))
    return [by_number[number] for number in sorted(taken)]


def _needs(path: Path) -> list[str]:
    """Numbers of the notebooks that this one builds on; only earlier ones can be."""
    needs = [str(number) for number in read(path).metadata.get("ngat", {}).get("needs", [])]
    for number in needs:
        if number >= path.stem[:2]:
            raise InputError(f"{path}: needs notebook {number}, which does not come before it.")
    return needs


def _own(path: Path, extra: Mapping[str, Any]) -> dict[str, Any]:
    known = declared(path)
    return {key: value for key, value in extra.items() if key in known}


def _keys(
    chosen: Sequence[Path], parameters: Mapping[Path, Mapping[str, Any]], around: Sequence[str]
) -> dict[Path, str]:
    """Per notebook a digest of its cells, its parameters, what is around it, what it needs."""
    keys: dict[Path, str] = {}
    by_number: dict[str, str] = {}
    for path in chosen:
        cells = [[cell.cell_type, cell.source] for cell in read(path).cells]
        needs = [by_number[number] for number in sorted(_needs(path))]
        text = json.dumps([cells, dict(parameters[path]), around, needs], sort_keys=True)
        keys[path] = by_number[path.stem[:2]] = hashlib.sha256(text.encode()).hexdigest()
    return keys


def _digest(folder: Path) -> str:
    """SHA-256 over names and contents of the files below a folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith("."):
            digest.update(f"{path.relative_to(folder).as_posix()} {sha256(path)}\n".encode())
    return digest.hexdigest()


def _load(path: Path, standard: Mapping[str, Any]) -> dict[str, Record]:
    """Records of an earlier call with the same parameters; none where there is no such state."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        if stored["parameters"] != standard:
            return {}
        return {stem: Record(**record) for stem, record in stored["notebooks"].items()}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _write_index(
    run: Path, found: Sequence[Path], state: Mapping[str, Record], facts: Mapping[str, Any]
) -> Path:
    rows = [
        run_index.Row(path.stem, title(read(path)), record.status, record.seconds, record.error)
        for path in found
        if (record := state.get(path.stem)) is not None
    ]
    index = run / "index.html"
    with replacing(index) as beside:
        beside.write_text(run_index.page(run, rows, facts), encoding="utf-8")
    return index
