"""Errors that a user can mend: one sentence that names the file or parameter and the remedy."""

from __future__ import annotations


class InputError(ValueError):
    """Bad input. The command line prints the sentence and ends with exit code 2."""


class MissingDependency(InputError):
    """An optional package is absent. The sentence says how to get it."""
