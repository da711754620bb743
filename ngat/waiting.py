"""How OpenMP threads wait for work, in programs that are NGAT's own: commands and notebooks.

A library must not set variables of its user's process; ``import ngat`` leaves them alone.
"""

from __future__ import annotations

import os

# OpenMP threads that wait for work shall soon sleep. Where cores are shared (two engines, the
# thread that draws patches, other programs) threads that spin took a training step on two cores
# from 0.3 s to 2.4 s. GNU's, which torch has on Linux, may spin for as long as waking one takes,
# some ten microseconds: without it a step on two cores took a fifth longer.
WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "2000"}


def let_threads_sleep() -> None:
    """Set :data:`WAITING` for this process and those that it starts.

    It counts only before torch is first loaded. Whoever has set one of them is left alone.
    """
    if not WAITING.keys() & os.environ.keys():
        os.environ.update(WAITING)
