"""All notebooks in their order, into ``runs/<name>/``; what is finished and unchanged is kept.

A run's folder holds the executed notebooks, what they wrote (``figures/``, ``tables/``,
``results/``, ``weights/``), ``state.json`` and ``index.html``. Nothing is written beside the
notebooks themselves.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

import ngat
from ngat.errors import InputError
from ngat.paper.notebook import (
    check,
    declared,
    execute,
    files_of,
    needs,
    numbered,
    read,
    title,
    to_html,
)
from ngat.paper.run_state import Record, State, folder_digest, page, set_aside
from ngat.paper.session import PROFILES
from ngat.system.files import held, sha256, write_text
from ngat.system.process import Interrupted

GENERATED = ("synthetic", "rings")


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

    A notebook that finished before is skipped while all that its outcome depends on is as it was
    (:mod:`ngat.paper.run_state`). It names in its metadata the notebooks that it builds on, and
    those of its parameters that are files: ``{"ngat": {"needs": ["06"], "files": ["image"]}}``.

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
        InputError: a parameter, a name or a folder does not fit, a file that a parameter names is
            not there, or another process works in the run's folder.
        NotebookFailed: a notebook stopped.
        Interrupted: SIGINT or SIGTERM ended one. In both cases the state and the index are written
            all the same, and the next call goes on from there.
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
    standard: dict[str, Any] = {
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

    around = {
        "package": folder_digest(Path(ngat.__file__).parent),
        "data": folder_digest(notebooks.resolve().parent / "data"),
    }
    with held(run, "a run of the notebooks"):
        if aside := set_aside(run, standard):
            console.print(f"the run with other parameters: moved to {aside}", soft_wrap=True)
        state = State(run, standard)
        index = _write_index(run, found, state)
        for number, (path, given) in enumerate(parameters.items(), start=1):
            files = {n: sha256(given[n]) for n in files_of(path) if given.get(n)}
            key = state.key(path, {**around, "parameters": given, "files": files})
            target = run / "notebooks" / path.name
            if not fresh and state.finished(path.stem, key) and target.is_file():
                console.print(f"{path.stem}: unchanged since it finished, kept")
                continue
            try:
                _run_one(path, target, given, key, state, f"{number} of {len(chosen)}")
            finally:
                _write_index(run, found, state)
            console.print(f"{path.stem}: finished in {state.records[path.stem].seconds:.0f} s")

    for kind in ("notebooks", "tables", "figures"):
        if (run / kind).is_dir():
            console.print(f"{kind + ':':<11}{run / kind}", soft_wrap=True)
    console.print(f"{'open:':<11}{index}", soft_wrap=True)
    return index


def _run_one(
    path: Path, target: Path, given: Mapping[str, Any], key: str, state: State, place: str
) -> None:
    """Execute a notebook and note how it ended."""
    state.forget(path.stem)
    before, began = state.written(), time.monotonic()
    status, message = "failed", ""
    try:
        execute(path, target, given, place)
        status = "finished"
    except BaseException as error:  # a full disk, too: what did not return has not finished
        status, message = "stopped" if isinstance(error, Interrupted) else status, str(error)
        raise
    finally:
        seconds = round(time.monotonic() - began, 1)
        wrote = [name for name, at in state.written().items() if before.get(name) != at]
        state.note(path.stem, Record(key, status, seconds, message, wrote))
        if target.is_file():
            write_text(target.with_suffix(".html"), to_html(target))


def _store(data: str, root: Path, console: Console) -> str:
    """The data set's name; a folder of BBBC038's files is made into the store first."""
    if data in GENERATED:
        return data
    # Not loaded for generated data, which need none of it.
    from ngat.data import store
    from ngat.data.dsb2018 import made_from, prepare

    folder = root / "dsb2018"
    ready = (folder / store.FILE).is_file()
    if data == "dsb2018":
        if not ready:
            raise InputError(
                f"{folder}: the store is not there; give the folder of the data set's files "
                "instead of 'dsb2018', or run: ngat data prepare --source DIR"
            )
        return data
    source = Path(data)
    if not source.is_dir():
        raise InputError(
            f"{data}: is neither a data set ({', '.join(GENERATED)}, dsb2018) nor a folder."
        )
    if ready and made_from(folder, source):
        console.print(f"{folder / store.FILE}: prepared before, kept", soft_wrap=True)
    else:
        console.print(f"{folder}: made from {data}, once; this takes minutes", soft_wrap=True)
        console.print(prepare(source, folder), soft_wrap=True, highlight=False)
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
            wanted.extend(needs(by_number[number]))
    return [by_number[number] for number in sorted(taken)]


def _own(path: Path, extra: Mapping[str, Any]) -> dict[str, Any]:
    """What a notebook takes of the further parameters; files by their whole path.

    Raises:
        InputError: one of them names a file that is not there.
    """
    known, files = declared(path), files_of(path)
    own = {key: value for key, value in extra.items() if key in known}
    for key in files & own.keys():
        if own[key] and not Path(own[key]).is_file():
            raise InputError(f"{own[key]}: there is no such file; {path.name} reads it as {key}.")
        own[key] = str(Path(own[key]).resolve()) if own[key] else ""
    return own


def _write_index(run: Path, found: Sequence[Path], state: State) -> Path:
    records = {
        (path.stem, title(read(path))): state.records[path.stem]
        for path in found
        if path.stem in state.records
    }
    index = run / "index.html"
    write_text(index, page(run, records, state.parameters))
    return index
