"""Rewrite a weights file in eight bits a number: ``python -m ngat.gpu.compact FROM TO``."""

from __future__ import annotations

import sys
from pathlib import Path

from ngat.training.weights import FORMAT, read_tensors, reduced, write_tensors


def compact(source: Path | str, target: Path | str) -> None:
    """Rewrite a weights file in eight bits a number; ``ngat`` reads it like any other.

    Raises:
        InputError: the file cannot be read.
    """
    tensors, metadata = read_tensors(source, FORMAT)
    write_tensors(target, reduced(tensors), FORMAT, metadata)


if __name__ == "__main__":
    compact(sys.argv[1], sys.argv[2])
