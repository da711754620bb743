"""What the machine at hand can be asked for."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ngat.attention import installed
from ngat.errors import InputError
from ngat.system.provenance import hardware


def cores() -> int:
    """Cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def threads_of(threads: Sequence[int], device: str) -> tuple[int, ...]:
    """Numbers of threads to measure with: those asked for, or 1 and 2 as far as there are cores."""
    if threads:
        return tuple(threads)
    return (1, 2) if cores() > 1 and device == "cpu" else (1,)


def check_device(device: str, dtype: str, threads: Sequence[int]) -> None:
    """Refuse what cannot be measured here.

    Raises:
        InputError: unknown device or dtype, no CUDA device, or more threads than cores.
    """
    if device.partition(":")[0] not in ("cpu", "cuda"):
        raise InputError(f"Unknown device {device!r}; known: cpu, cuda, cuda:N.")
    if device != "cpu":
        import torch

        if not torch.cuda.is_available():
            raise InputError("There is no CUDA device here; use --device cpu.")
    if dtype not in ("float32", "bfloat16"):
        raise InputError(f"Unknown dtype {dtype!r}; known: float32, bfloat16.")
    for count in threads:
        if not 1 <= count <= cores():
            raise InputError(
                f"{count} threads cannot be measured on {cores()} cores; change --threads."
            )


def in_words(threads: int) -> str:
    """1 thread, 2 threads."""
    return f"{threads} thread{'' if threads == 1 else 's'}"


def processor(device: str) -> str:
    """The processor's name, its cores and the instruction set that kernels use; or the GPU's."""
    named = hardware(device)
    if device != "cpu" or not installed("cpu"):
        return named
    from ngat.engines.cpu.instructions import instruction_set

    return f"{named}, {instruction_set()}"


def restrictions() -> dict[str, str]:
    """Variables that keep torch's own libraries, too, to the instructions that ours may use."""
    if os.environ.get("NGAT_SIMD") != "avx2":
        return {}
    return {
        "ATEN_CPU_CAPABILITY": "avx2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
    }
