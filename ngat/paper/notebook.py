"""One notebook: its declared parameters, and its execution by the running interpreter."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import logging
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import ngat
from ngat.errors import InputError, MissingDependency
from ngat.paper.session import HEADLESS
from ngat.system.files import FULL, ensure_home
from ngat.system.process import SIGNALS, Interrupted, keeping

try:
    ensure_home()
    import nbformat
    import papermill
    import zmq
    from ipykernel.kernelspec import get_kernel_dict
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from nbconvert import HTMLExporter
    from traitlets import default
except ImportError as error:  # pragma: no cover - the environment of the tests has them
    raise MissingDependency(
        f"Running notebooks needs {error.name or error}; install the extra: "
        "pip install 'ngat[notebooks]'."
    ) from error

NAME = re.compile(r"\d\d_\w+")
# The parameters of every notebook, with their defaults.
STANDARD: dict[str, Any] = {
    "data": "synthetic",
    "profile": "smoke",
    "run_dir": "",
    "seed": 0,
    "weights": "",
}


class NotebookFailed(RuntimeError):
    """A notebook stopped: one sentence that names the notebook, the cell and the error."""


class ThisInterpreter(AsyncKernelManager):
    """Starts the kernel with the running Python, whatever kernels are installed elsewhere.

    A kernel named ``python3`` in the user's home may belong to another environment; looking it up
    by name would then run the notebooks without this package.
    """

    # The signal that ended the last kernel; 0 for none.
    stopped_by: ClassVar[int] = 0

    @property
    def kernel_spec(self) -> KernelSpec:
        """The specification of ipykernel in this interpreter, without interactive widgets.

        The kernel finds the package that runs it, installed or not.
        """
        paths = [str(Path(ngat.__file__).resolve().parents[1]), os.environ.get("PYTHONPATH", "")]
        env = {HEADLESS: "1", "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        return KernelSpec(**get_kernel_dict(), env=env)

    async def start_kernel(self, **options: Any) -> None:  # type: ignore[override]
        """Start it without its stderr, on which it may write at shutdown.

        What cells write to stderr arrives as messages, and is kept.
        """
        ThisInterpreter.stopped_by = 0
        # In place of nbclient's handlers, which end the kernel without saying why.
        with contextlib.suppress(NotImplementedError, RuntimeError):
            for number in SIGNALS:
                asyncio.get_running_loop().add_signal_handler(number, self._stop, number)
        await super().start_kernel(**{"stderr": subprocess.DEVNULL, **options})

    def _stop(self, number: int) -> None:
        ThisInterpreter.stopped_by = number
        self._stopping = asyncio.ensure_future(self.shutdown_kernel(now=True))

    @default("transport_encryption")
    def _encrypt_where_possible(self) -> str:
        """The connection is private to this user, so the kernel need not warn of it."""
        return "auto" if zmq.has("curve") else "disabled"


def numbered(folder: Path) -> list[Path]:
    """The notebooks ``NN_name.ipynb`` of a folder in their order.

    Raises:
        InputError: there is no such folder, or two notebooks share a number.
    """
    if not folder.is_dir():
        raise InputError(
            f"{folder}: there is no such folder; run this from the top of the repository."
        )
    found = sorted(path for path in folder.glob("*.ipynb") if NAME.fullmatch(path.stem))
    for one, two in pairwise(found):
        if one.stem[:2] == two.stem[:2]:
            raise InputError(f"{folder}: two notebooks are numbered {one.stem[:2]}; renumber one.")
    return found


def read(path: Path) -> nbformat.NotebookNode:
    """A notebook in format 4.

    Raises:
        InputError: the file is not a notebook.
    """
    try:
        return nbformat.read(path, as_version=4)
    except (OSError, ValueError, AttributeError, nbformat.ValidationError) as error:
        raise InputError(f"{path}: is not a notebook that can be read ({error}).") from error


def title(notebook: nbformat.NotebookNode) -> str:
    """The first heading, without its signs; empty where there is none."""
    prose = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    heading = re.search(r"^#+ *(.*?) *$", prose, re.MULTILINE)
    return heading[1] if heading else ""


def declared(path: Path) -> dict[str, Any]:
    """The parameters of a notebook's ``parameters`` cell and their defaults.

    Raises:
        InputError: it is of another language; there is no such cell, it is not plain Python
            assignments, or it lacks a parameter that every notebook must take.
    """
    kernel = read(path).metadata.get("kernelspec", {})
    if kernel.get("language", "python") != "python":
        raise InputError(
            f"{path}: asks for the kernel {kernel.get('name')!r} ({kernel['language']}); notebooks "
            "run in Python, in this interpreter: choose its kernel in Jupyter and save it again."
        )
    inspected = papermill.inspect_notebook(str(path))
    if not inspected:
        raise InputError(f"{path}: has no cell tagged 'parameters' that assigns its parameters.")
    found = {name: parameter["default"] for name, parameter in inspected.items()}
    for name, default in found.items():
        try:
            found[name] = ast.literal_eval(default)
        except (ValueError, SyntaxError) as error:
            # papermill would silently keep a value that the cell computes.
            raise InputError(
                f"{path}: parameter {name} = {default} is not a plain value; compute it in a "
                "later cell."
            ) from error
    missing = [name for name in STANDARD if name not in found]
    if missing:
        raise InputError(f"{path}: its 'parameters' cell lacks {', '.join(missing)}.")
    return found


def needs(path: Path) -> list[str]:
    """Numbers of the notebooks that this one builds on.

    Raises:
        InputError: one of them does not come before it.
    """
    found = [str(number) for number in read(path).metadata.get("ngat", {}).get("needs", [])]
    for number in found:
        if number >= path.stem[:2]:
            raise InputError(f"{path}: needs notebook {number}, which does not come before it.")
    return found


def files_of(path: Path) -> set[str]:
    """Names of the parameters that are files: ``weights``, and those that its metadata names."""
    return {"weights", *read(path).metadata.get("ngat", {}).get("files", [])}


def check(path: Path, parameters: Mapping[str, Any]) -> None:
    """Check parameters against the notebook's own; papermill itself would only warn.

    Raises:
        InputError: a parameter is unknown to the notebook or of another type than its default.
    """
    known = declared(path)
    for name, value in parameters.items():
        if name not in known:
            raise InputError(
                f"{path.name} knows no parameter {name!r}; it takes {', '.join(sorted(known))}."
            )
        kind = type(known[name])
        fits = type(value) is kind or (kind is float and type(value) is int)
        if not fits and known[name] is not None:
            raise InputError(
                f"{path.name}: parameter {name} must be {kind.__name__}, not {value!r}."
            )


def execute(source: Path, target: Path, parameters: Mapping[str, Any], place: str = "") -> None:
    """Run ``source`` with ``parameters`` and write the executed notebook to ``target``.

    The kernel works in the folder of ``source``, as it does in JupyterLab and under nbval, so
    that a relative path means the same in all three. ``target`` is written cell by cell and is
    kept when the notebook fails.

    Args:
        source: the notebook; it is not changed.
        target: where the executed notebook goes, in another folder.
        parameters: values for the ``parameters`` cell.
        place: for the progress bar on a terminal: ``3 of 14``.

    Raises:
        InputError: a parameter does not fit the notebook.
        NotebookFailed: a cell raised, ran out of time, or its kernel died or did not start.
        Interrupted: SIGINT or SIGTERM ended it.
    """
    check(source, parameters)
    target.parent.mkdir(parents=True, exist_ok=True)
    at = f"{target.name} in {target.parent} shows how far it came."
    # The errors below say all of what papermill and nbclient would log.
    logging.getLogger("papermill").setLevel(logging.CRITICAL)
    try:
        with keeping(*SIGNALS):  # nbclient resets them when it is done
            papermill.execute_notebook(
                str(source),
                str(target.resolve()),
                parameters=dict(parameters),
                kernel_name="python3",
                kernel_manager_class=ThisInterpreter,
                cwd=str(source.parent.resolve()),
                progress_bar={"desc": f"{source.stem} {place}", "leave": False, "disable": None},
                start_timeout=180,
            )
    except papermill.PapermillExecutionError as error:
        failure = (
            f"cell [{error.exec_count}] stopped with {error.ename}: {_first_line(error.evalue)}"
        )
        raise NotebookFailed(f"{source.name}: {failure}; {at}") from error
    except CellTimeoutError as error:
        raise NotebookFailed(f"{source.name}: a cell ran out of time; {at}") from error
    except (RuntimeError, OSError) as error:
        if number := ThisInterpreter.stopped_by:
            sentence = f"{source.name}: stopped; the same command goes on with it."
            raise Interrupted(sentence, number) from error
        if isinstance(error, DeadKernelError):
            failure = "the kernel died, perhaps for want of memory"
            raise NotebookFailed(f"{source.name}: {failure}; {at}") from error
        if isinstance(error, OSError) and error.errno in FULL:
            raise
        raise NotebookFailed(
            f"{source.name}: the Jupyter kernel of {sys.executable} did not start "
            f"({_first_line(error)}); try: {sys.executable} -m pip install --force-reinstall "
            "ipykernel"
        ) from error


def _first_line(error: object) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def to_html(path: Path) -> str:
    """An executed notebook as one HTML page with its pictures inside."""
    return str(_exporter().from_notebook_node(read(path))[0])


@lru_cache(maxsize=1)
def _exporter() -> HTMLExporter:
    """One for all notebooks: it compiles its templates once."""
    quiet = logging.getLogger("ngat.paper.notebook.html")
    quiet.setLevel(logging.ERROR)
    return HTMLExporter(log=quiet)
