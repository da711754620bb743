"""What the machine can be asked for, and measuring on it.

Calls take turns, so that whatever drifts hits all alike.

Memory on the CPU is what the operating system gave the process, because numba and numpy allocate
outside of torch: the high-water mark of the resident set (VmHWM, reset before the call) less what
was resident before it. That needs Linux and an allocator that returns freed pages at once
(:data:`ALLOCATORS`). On a GPU it is torch's own high-water mark.
"""

from __future__ import annotations

import ctypes
import gc
import os
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from ngat.attention import installed
from ngat.benchmark.layers import Case, Layer, PyramidLayer
from ngat.errors import InputError
from ngat.system.process import WAITING
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
    if device != "cpu" and not torch.cuda.is_available():
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
    from ngat.engines.cpu.compile import instruction_set

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


Key = TypeVar("Key", bound=Hashable)
Call = Callable[[], object]

# Settings of glibc's malloc, which it reads when a process starts. By default large blocks go back
# to the system when they are freed, and every call takes them anew, page fault by page fault;
# on a virtual machine that can double a layer's time. "kept" keeps them: all engines are measured
# so. "returned" gives everything back at once: how peak memory is measured.
ALLOCATORS: dict[str, dict[str, str]] = {
    "kept": {
        "MALLOC_ARENA_MAX": "1",
        "MALLOC_MMAP_MAX_": "0",
        "MALLOC_TOP_PAD_": str(256 << 20),
        "MALLOC_TRIM_THRESHOLD_": str(1 << 46),
    },
    "default": {},
    "returned": {
        "MALLOC_ARENA_MAX": "1",
        "MALLOC_MMAP_THRESHOLD_": str(64 << 10),
        "MALLOC_TOP_PAD_": "0",
        "MALLOC_TRIM_THRESHOLD_": "0",
    },
}
# For the provenance: what a process of the benchmark finds around it.
SURROUNDINGS: dict[str, Any] = {
    "allocators": ALLOCATORS,
    "waiting": {name: os.environ.get(name, "") for name in WAITING},
}
MINIMUM_ROUNDS = 3
MATRIX = 1024  # side of the matrices whose product gives the rate of multiply-adds


class Times(NamedTuple):
    """Median and quartiles of the rounds, in milliseconds."""

    median: float
    low: float
    high: float
    rounds: int


def interleaved(
    calls: Mapping[Key, Call], rounds: int, seconds: float, device: str = "cpu"
) -> dict[Key, Times]:
    """Time calls in turns: every round runs each once, in an order drawn anew.

    Each is run once beforehand. On the CPU a turn is two calls, of which the second counts: the
    first finds the caches full of what another left there, and threads asleep, as it would not be
    among layers of its own kind. On a GPU a turn is ten calls in a row between two waits.

    Args:
        rounds: at most so many; at least three, also when ``seconds`` are over.
        seconds: begin no further round after this time.
    """
    cuda = device.startswith("cuda")
    in_a_row = 10 if cuda else 1
    for call in calls.values():
        call()
    generator = np.random.default_rng(0)
    keys = list(calls)
    found: dict[Key, list[float]] = {key: [] for key in keys}
    began = time.perf_counter()
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        for done in range(max(rounds, 1)):
            if done >= MINIMUM_ROUNDS and time.perf_counter() - began > seconds:
                break
            for n in generator.permutation(len(keys)):
                call = calls[keys[n]]
                if not cuda:
                    call()
                wait(cuda)
                start = time.perf_counter()
                for _ in range(in_a_row):
                    call()
                wait(cuda)
                found[keys[n]].append(1e3 * (time.perf_counter() - start) / in_a_row)
    finally:
        if collecting:
            gc.enable()
    return {key: quartiles(values) for key, values in found.items()}


def wait(cuda: bool) -> None:
    """Until a GPU has done what it was given."""
    if cuda:
        torch.cuda.synchronize()


def quartiles(values: list[float]) -> Times:
    """Median, lower and upper quartile."""
    low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
    return Times(float(median), float(low), float(high), len(values))


def passes_of(layer: Layer, scope: str, device: str = "cpu") -> dict[str, Call]:
    """The two calls that are timed: without gradients, and with those of all inputs and weights.

    Args:
        scope: ``layer``, or ``attention`` alone, whose inputs are z, el and er.
    """
    case = layer.case
    inputs = layer.lay_out([p.to(device) for p in case.planes(case.channels, seed=1)])
    function: Callable[[list[Tensor]], list[Tensor]] = layer
    leaves = list(layer.parameters())
    if scope == "attention":
        with torch.no_grad():
            inputs = [part.contiguous() for part in layer.project(inputs)]
        function = layer.attention
        leaves = list(layer.conv.terms.parameters()) if isinstance(layer, PyramidLayer) else []
    if isinstance(layer, PyramidLayer) and layer.engine == "compile":
        function = torch.compile(function, dynamic=False)
    tracked = [x.detach().clone().requires_grad_() for x in inputs]
    with torch.no_grad():
        directions = [torch.randn_like(out) for out in function(inputs)]

    def forward() -> object:
        with torch.no_grad():
            return function(inputs)

    def both() -> object:
        return torch.autograd.grad(function(tracked), [*tracked, *leaves], directions)

    return {"forward": forward, "forward+backward": both}


def machine(case: Case, device: str = "cpu") -> dict[str, tuple[Call, float]]:
    """What the floor is measured by: name → (call, 10⁹ bytes or multiply-adds that it does)."""
    x = torch.zeros(case.nodes, case.channels, dtype=case.torch_dtype, device=device)
    out = torch.empty_like(x)
    a = torch.ones(MATRIX, MATRIX, dtype=case.torch_dtype, device=device)
    return {
        "copy": (lambda: out.copy_(x), 2e-9 * x.numel() * x.itemsize),
        "product": (lambda: torch.mm(a, a), 1e-9 * MATRIX**3),
    }


def peak_bytes(call: Call, device: str = "cpu") -> float | None:
    """What a call needs at its peak beyond what was there before; None where it can't be known.

    The call runs once beforehand, so that what it keeps for good does not count.
    """
    call()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        return float(torch.cuda.max_memory_allocated() - before)
    gc.collect()
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")  # VmHWM := VmRSS
        before = resident("VmHWM")
        call()
        return float(resident("VmHWM") - before)
    except (OSError, AttributeError):  # not Linux, or not glibc
        return None


def resident(field: str) -> int:
    """A field of /proc/self/status in bytes."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(field + ":"):
            return 1024 * int(line.split()[1])
    raise OSError(f"/proc/self/status has no {field}.")
