"""The command line: thin, each command calls one function of the library.

A module of this package holds the commands of one subject in its ``app``; here they are assembled.
Libraries that take long to load are imported by the commands that need them.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

import ngat
from ngat.cli import benchmark, data, network, results, segment, study
from ngat.cli.options import Commands, check_words
from ngat.errors import InputError
from ngat.system.files import space_for
from ngat.system.process import sleep_while_waiting

app = typer.Typer(
    name="ngat",
    cls=Commands,
    help="Neuroplastic graph attention networks for nuclei segmentation.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for _commands in (network, segment, study, results):
    app.add_typer(_commands.app)
app.add_typer(data.app, name="data")
app.add_typer(benchmark.app, name="benchmark")
app.add_typer(results.peers, name="peers")


def _version(asked: bool) -> None:
    if asked:
        typer.echo(ngat.__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Entry point: bad input and a full disk end with a sentence on stderr and exit code 2."""
    sleep_while_waiting()
    # MONAI and nbformat load jsonschema, which compiles a grammar of web addresses if it finds
    # this package: a second and more at each start. No command checks such an address.
    sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
    for stream in (sys.stdout, sys.stderr):
        # A terminal that lacks a letter of a file's name shows its number: no reason to stop.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        check_words(sys.argv[1:])
        with space_for("A file"):
            app(prog_name="ngat")
    except InputError as error:
        typer.echo(str(error), err=True)
        sys.exit(2)
