"""Where a number comes from: the command, the code, the data and the machine that made it.

Provenance is published beside results, so it names no folder, user or host: of an absolute path in
a command only the last part stays.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shlex
import subprocess
from collections.abc import Sequence
from functools import lru_cache
from importlib import metadata
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

import ngat
from ngat.system.files import write_json
from ngat.system.tables import write_table

if TYPE_CHECKING:
    import pandas as pd

_PACKAGES = ("numpy", "scipy", "scikit-image", "pandas", "torch", "numba", "dgl", "centrosome")
DRIVER = "/proc/driver/nvidia/version"
_GPU_PACKAGES = ("triton", "torchvision", "torch-geometric", "monai")
# A path from the root, from home or from a drive, alone or behind "option=".
_ROOTED = re.compile(r"^(?P<option>[^=/\\]*=)?(?P<path>(~|/|[A-Za-z]:[\\/]).*)$")


def provenance(
    command: str | Sequence[str],
    seed: int | None,
    data_fingerprint: str | None,
    minutes: float,
    *,
    device: str = "cpu",
    **extra: Any,
) -> dict[str, Any]:
    """A dictionary for JSON that says how a result was made.

    Args:
        command: the command line, as text or as a list of words.
        seed: the seed of everything random, if anything was.
        data_fingerprint: :func:`ngat.data.fingerprint` of what was measured on.
        minutes: wall time.
        device: a torch device; with ``cuda`` the hardware is the GPU's name.
        **extra: what else belongs there: method, parameters, preset ... Paths keep their name only.

    Returns:
        command, seed, data_fingerprint, minutes, commit, hardware, versions and what was given.
    """
    words = shlex.split(command) if isinstance(command, str) else [str(word) for word in command]
    return {
        "command": shlex.join(_nameless(word) for word in words),
        "seed": seed,
        "data_fingerprint": data_fingerprint,
        "minutes": round(float(minutes), 2),
        "commit": commit(),
        "hardware": hardware(device),
        "versions": versions(device),
        **{key: _clean(value) for key, value in extra.items()},
    }


def write_with_provenance(path: Path | str, table: pd.DataFrame, told: dict[str, Any]) -> None:
    """Write a table, and what :func:`provenance` gave beside it with the suffix ``.json``."""
    write_table(path, table)
    write_json(Path(path).with_suffix(".json"), told)


def commit() -> str:
    """The git commit of this code, "+" behind it if the code was changed since; or the version.

    The variable NGAT_COMMIT names it for a copy that was made without its history.
    """
    if given := os.environ.get("NGAT_COMMIT"):
        return given
    package = Path(ngat.__file__).resolve().parent

    def git(*words: str) -> str:
        return subprocess.run(
            # No lock is left in the user's repository by one that a signal or the time ends.
            ["git", "--no-optional-locks", "-C", str(package), *words],
            capture_output=True,
            text=True,
            check=True,
            timeout=20,
        ).stdout.strip()

    try:
        # Installed inside somebody else's checkout, the package would report their commit.
        if Path(git("rev-parse", "--show-toplevel")).resolve() != package.parent:
            return f"ngat {ngat.__version__}"
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ".")
        return git("rev-parse", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return f"ngat {ngat.__version__}"


def hardware(device: str = "cpu") -> str:
    """The GPU's name and driver, or the processor's and how many cores this process may use."""
    if device.startswith("cuda"):
        import torch

        named, number = str(torch.cuda.get_device_name(device)), driver()
        return f"{named}, driver {number}" if number else named
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return f"{_processor()}, {cores} core{'s' if cores > 1 else ''}"


def versions(device: str = "cpu") -> dict[str, str]:
    """Versions of Python, NGAT and what its numbers depend on, as far as installed.

    Of a result on a GPU also those of CUDA, its driver and its packages.
    """
    found = {"python": platform.python_version(), "ngat": ngat.__version__}
    packages = [*_PACKAGES]
    if device.startswith("cuda"):
        import torch

        found["cuda"] = str(torch.version.cuda)
        if number := driver():
            found["driver"] = number
        packages += _GPU_PACKAGES
    return found | {name: version for name in packages if (version := _version(name))}


@lru_cache
def _version(package: str) -> str:
    """Of an installed package; empty if there is none. It stays what this process has loaded."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def driver() -> str:
    """Version of the GPU's driver, by the kernel's module or its own tool; empty if unknown."""
    text = ""
    with contextlib.suppress(OSError):
        text = Path(DRIVER).read_text(encoding="utf-8")
    if not text:  # a container may not show it
        ask = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            text = subprocess.run(
                ask, capture_output=True, text=True, check=True, timeout=20
            ).stdout
    number = re.search(r"\b\d+\.\d+(\.\d+)?\b", text)
    return number[0] if number else ""


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return " ".join(line.split(":", 1)[1].split())
    except OSError:
        pass
    return platform.processor() or platform.machine() or "unknown processor"


def _nameless(word: str) -> str:
    found = _ROOTED.match(word)
    if not found:
        return word
    flavour = PureWindowsPath if "\\" in word or word[1:2] == ":" else PurePosixPath
    return (found["option"] or "") + flavour(found["path"]).name


def _clean(value: Any) -> Any:
    if isinstance(value, Path):
        return value.name
    if isinstance(value, str):
        return _nameless(value)
    if isinstance(value, dict):
        return {str(key): _clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(item) for item in value]
    return value
