"""How kernels are compiled by numba, and where compiled code is kept.

Numba takes kept code to be stale by the file alone that a kernel stands in, while kernels inline
functions of other files. So it is kept in a folder that is named after a digest of all sources:
after any change, the next process compiles anew.

The folder lies in ``NUMBA_CACHE_DIR`` if that is set, else beside the sources, else in the user's
cache folder, else in the system's folder for temporary files, whichever can be written first.
Where none can, every process compiles for itself: slower at its first call, and as right.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pickle
import tempfile
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from numba import njit
from numba.core import config

from ngat.engines.cpu.instructions import SIMD

inlined = njit(nogil=True, error_model="numpy", forceinline=True)


def kernel(function: Callable[..., Any]) -> Any:
    """A function that is called from Python, compiled without the GIL and kept on disk."""
    compiled = njit(nogil=True, error_model="numpy")(function)
    folder = cache_folder()
    if folder is None or not hasattr(compiled, "enable_caching"):  # NUMBA_DISABLE_JIT
        return compiled
    before, config.CACHE_DIR = config.CACHE_DIR, str(folder)
    try:
        compiled.enable_caching()
    except (RuntimeError, OSError):  # "no locator available"
        return compiled
    finally:
        config.CACHE_DIR = before
    guard(compiled._cache, folder)
    return compiled


def guard(cache: Any, folder: Path) -> None:
    """Let processes write one at a time, and let nothing that befalls the files end a program.

    Two processes that both found an empty index would give different code the same file name.
    """
    save, load = cache.save_overload, cache.load_overload

    def save_alone(*arguments: Any) -> None:
        with contextlib.suppress(OSError), locked(folder / "lock"):
            save(*arguments)

    def load_or_none(*arguments: Any) -> Any:
        try:
            return load(*arguments)
        except (EOFError, pickle.UnpicklingError):  # cut off, by a full disk for example
            with contextlib.suppress(OSError):
                cache.flush()
        except OSError:
            pass
        return None

    cache.save_overload, cache.load_overload = save_alone, load_or_none


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file; without one where the system has none."""
    try:
        import fcntl
    except ImportError:  # Windows, where numba guards itself
        yield
        return
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@lru_cache(maxsize=1)
def cache_folder() -> Path | None:
    """The first folder that can be written; None where there is none."""
    for parent in parents():
        folder = parent / f"kernels-{digest()}"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
            if hasattr(os, "getuid") and folder.stat().st_uid != os.getuid():
                continue  # it holds code that would be run
        except OSError:
            continue
        return folder
    return None


def parents() -> Iterator[Path]:
    """Where the folder may lie, the best place first."""
    if config.CACHE_DIR:
        yield Path(config.CACHE_DIR)
    yield Path(__file__).parent / "__pycache__"
    cache = os.environ.get("XDG_CACHE_HOME")
    home = os.path.expanduser("~")
    if cache or os.path.isabs(home):
        yield Path(cache or os.path.join(home, ".cache")) / "ngat"
    user = os.getuid() if hasattr(os, "getuid") else "user"
    with contextlib.suppress(OSError):  # no folder for temporary files
        yield Path(tempfile.gettempdir()) / f"ngat-{user}"


def digest(sources: Path = Path(__file__).parent) -> str:
    """Of all sources in a folder, this one by default, and of how wide vectors are."""
    found = hashlib.sha256(str(SIMD).encode())
    for path in sorted(sources.glob("*.py")):
        found.update(path.name.encode() + path.read_bytes())
    return found.hexdigest()[:16]
