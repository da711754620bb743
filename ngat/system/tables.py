"""Tables as CSV: read with a sentence for what is wrong, written whole or not at all."""

from __future__ import annotations

import gzip
import io
import re
import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ngat.errors import InputError
from ngat.system.files import check_regular, replacing

if TYPE_CHECKING:
    import pandas as pd


def read_csv(path: Path | str, *, remedy: str = "", **options: Any) -> pd.DataFrame:
    """:func:`pandas.read_csv`, or InputError saying what is wrong; no column becomes the index.

    Args:
        path: the file.
        remedy: what the message of an unreadable file ends with.
        **options: of pandas.
    """
    import pandas as pd

    check_regular(Path(path))
    advice = f"; {remedy}" if remedy else ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            return pd.read_csv(path, index_col=False, **options)
    except (pd.errors.ParserError, pd.errors.ParserWarning) as error:
        if found := re.search(r"in line (\d+), saw|^Length of header", str(error)):
            line = f"line {found[1]}" if found[1] else "a line"
            raise InputError(
                f"{path}: {line} has more fields than the header; quote fields that hold commas."
            ) from error
        raise InputError(
            f"{path}: cannot be read as CSV ({str(error).strip()}){advice}."
        ) from error
    except (OSError, ValueError, EOFError, zlib.error) as error:  # the last two: compressed ones
        raise InputError(f"{path}: cannot be read as CSV ({error}){advice}.") from error


def read_table(
    path: Path | str,
    columns: Sequence[str],
    what: str,
    made_by: str,
    *,
    exact: bool = True,
    **options: Any,
) -> pd.DataFrame:
    """Read a CSV file that has exactly these columns, or at least them.

    Args:
        path: the file.
        columns: their names, in order.
        what: what the table holds, and ``made_by`` the command that makes it, for the message.
        exact: refuse further columns, and another order.
        **options: of :func:`pandas.read_csv`.

    Raises:
        InputError: it cannot be read, or has other columns.
    """
    table = read_csv(path, **options)
    found = table.columns
    if not (tuple(found) == tuple(columns) if exact else set(columns) <= set(found)):
        raise InputError(f"{path}: is no table of {what}; make it with `{made_by}`.")
    return table


def read_text_table(path: Path | str, columns: Sequence[str], remedy: str) -> pd.DataFrame:
    """Read a CSV file that has at least these columns, as text; "" where a field is empty.

    Raises:
        InputError: it is absent, cannot be read or lacks a column; the message ends with
            ``remedy``.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file; {remedy}.")
    table = read_csv(path, remedy=remedy, dtype=str, keep_default_na=False)
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise InputError(
            f"{path}: lacks the column {missing[0]} (expected {','.join(columns)}); {remedy}."
        )
    return table


def write_table(path: Path | str, table: pd.DataFrame) -> None:
    """Write a table as CSV, compressed if the name ends in ``.gz``: whole or not at all.

    The same table gives the same bytes: no clock and no name stand in a compressed file.
    """
    content = table.to_csv(index=False, lineterminator="\n").encode()
    if str(path).endswith(".gz"):
        packed = io.BytesIO()
        with gzip.GzipFile(filename="", mode="wb", fileobj=packed, mtime=0) as file:
            file.write(content)
        content = packed.getvalue()
    with replacing(path) as beside:
        beside.write_bytes(content)
