"""How OpenMP threads wait for work: set by commands and notebooks, never by ``import ngat``."""

from __future__ import annotations

import os

# OpenMP threads that wait for work shall soon sleep. Where cores are shared (two engines, the
# thread that draws patches, other programs) threads that spin took a training step on two cores
# from 0.3 s to 2.4 s. GNU's, which torch has on Linux, may spin for as long as waking one takes,
# some ten microseconds: without it a step on two cores took a fifth longer.
WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "2000"}


def sleep_while_waiting() -> None:
    """Set :data:`WAITING` in this process's environment, unless the user has set either variable.

    It has an effect only before torch is first loaded.
    """
    if not WAITING.keys() & os.environ.keys():
        os.environ.update(WAITING)
