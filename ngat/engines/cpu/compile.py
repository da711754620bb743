"""How kernels are compiled by numba, where compiled code is kept, and who runs it.

Numba takes kept code to be stale by the file alone that a kernel stands in, while kernels inline
functions of other files. So it is kept in a folder that is named after a digest of all sources:
after any change, the next process compiles anew.

The folder lies in ``NUMBA_CACHE_DIR`` if that is set, else beside the sources, else in the user's
cache folder, else in the system's folder for temporary files, whichever can be written first.
Where none can, every process compiles for itself: slower at its first call, and as right.

``NGAT_SIMD=avx2`` keeps kernels to AVX2 on a processor that has AVX-512, as most do not: so the
narrow kernels can be tested and measured on the wide machine. It is read once, and must be set
before the first kernel is compiled.

Threads that share work live as long as the process.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pickle
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ngat.errors import InputError, MissingDependency
from ngat.system.files import locked

try:
    import llvmlite.binding as llvm
    from numba import njit
    from numba.core import config
except ImportError as error:
    raise MissingDependency(
        f"The cpu engine needs numba, which cannot be loaded here ({error}): pip install numba. "
        "The engine 'reference' does the same without it, only slower."
    ) from error

ASKED = os.environ.get("NGAT_SIMD", "")
if ASKED not in ("", "avx2"):
    raise InputError(f"NGAT_SIMD={ASKED}: leave it unset, or set it to avx2.")

_HOST = llvm.get_host_cpu_features()
NARROW = ASKED == "avx2" and bool(_HOST.get("avx512f"))
if NARROW:
    config.CPU_NAME, config.CPU_FEATURES = "haswell", "+avx2,+fma"

AVX512 = bool(_HOST.get("avx512f")) and not NARROW
SIMD = 16 if AVX512 else 8  # numbers of a vector; two registers each for float64
REGISTERS = 32 if AVX512 or llvm.get_default_triple().startswith("aarch64") else 16


def instruction_set() -> str:
    """AVX-512, AVX2, or what the processor has instead."""
    if AVX512:
        return "AVX-512"
    if _HOST.get("avx2"):
        return "AVX2" + (" of an AVX-512 processor" if NARROW else "")
    return llvm.get_default_triple().partition("-")[0]


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
        with contextlib.suppress(OSError, InputError), locked(folder / "index"):
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


@lru_cache(maxsize=1)
def cache_folder() -> Path | None:
    """The first folder that can be written; None where there is none."""
    for parent in parents():
        folder = parent / f"kernels-{sources_digest()}"
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


def sources_digest(sources: Path = Path(__file__).parent) -> str:
    """Of all sources in a folder, this one by default, and of how wide vectors are."""
    found = hashlib.sha256(str(SIMD).encode())
    for path in sorted(sources.glob("*.py")):
        found.update(path.name.encode() + path.read_bytes())
    return found.hexdigest()[:16]


# Below this many numbers in a level's update a second thread costs more than it saves.
GRAIN = 1 << 15


class Job(NamedTuple):
    """Pieces of work that any thread may do.

    Attributes:
        run: called with a thread's number and its pieces, from … to before ….
        pieces: how many there are.
        threads: how many share them.
    """

    run: Callable[[int, int, int], None]
    pieces: int
    threads: int


def threads_for(numbers: int) -> int:
    """As many as torch uses, unless so few numbers are too few to share."""
    return torch.get_num_threads() if numbers >= GRAIN else 1


def share(job: Job) -> None:
    """Do a job, every thread its equal part.

    Torch's own threads, once a product of torch's has woken them, look out for the next one for
    milliseconds and keep a core busy. Hence nothing between two jobs should be left to them.
    """
    run, pieces, threads = job

    def part(n: int) -> None:
        run(n, pieces * n // threads, pieces * (n + 1) // threads)

    pool = workers(threads, os.getpid()) if threads > 1 else None
    others = [pool.submit(part, n) for n in range(1, threads)] if pool else []
    part(0)
    for other in others:
        other.result()


@lru_cache(maxsize=1)
def workers(threads: int, process: int) -> ThreadPoolExecutor:
    """Those threads; a forked child gets its own.

    Plain threads and kernels without the GIL, because numba's own threading layers must not be
    entered from several threads at once, and autograd may do so.
    """
    return ThreadPoolExecutor(threads, thread_name_prefix="ngat-attention")
