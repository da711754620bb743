"""What the machine can be asked for, and measuring on it.

Calls take turns, so that whatever drifts hits all alike.

Memory on the CPU is what the operating system gave the process, because numba and numpy allocate
outside of torch: the high-water mark of the resident set (VmHWM, reset before the call) less what
was resident before it. That needs Linux and an allocator that returns freed pages at once
(:data:`ngat.benchmark.worker.ALLOCATORS`). On a GPU it is torch's own high-water mark.
"""

from __future__ import annotations

import ctypes
import gc
import os
import time
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch

from ngat.attention import installed
from ngat.system.provenance import hardware

Key = TypeVar("Key", bound=Hashable)
Call = Callable[[], object]

MINIMUM_ROUNDS = 3
MATRIX = 1024  # side of the matrices whose product gives the rate of multiply-adds


class Times(NamedTuple):
    """Median (``value``) and quartiles of the rounds, in milliseconds; as columns of a row."""

    value: float
    low: float
    high: float
    rounds: int


class Rates(NamedTuple):
    """What the machine does a second: 10⁹ bytes of a copy, 10⁹ multiply-adds of a product."""

    copy: float
    product: float


def cores() -> int:
    """Cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


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
                wait(device)
                start = time.perf_counter()
                for _ in range(in_a_row):
                    call()
                wait(device)
                found[keys[n]].append(1e3 * (time.perf_counter() - start) / in_a_row)
    finally:
        if collecting:
            gc.enable()
    return {key: quartiles(values) for key, values in found.items()}


def wait(device: str) -> None:
    """Until a GPU has done what it was given; at once on the CPU."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def quartiles(values: list[float]) -> Times:
    """Median, lower and upper quartile."""
    low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
    return Times(float(median), float(low), float(high), len(values))


def beside_the_machine(
    calls: Mapping[Key, Call],
    numbers: int,
    dtype: torch.dtype,
    rounds: int,
    seconds: float,
    device: str,
) -> tuple[dict[Key, Times], Rates]:
    """Times of calls, and what the machine did a second in the same rounds.

    Args:
        numbers, dtype: of the array that is copied.
        rounds, seconds: see :func:`interleaved`.
    """
    of_machine = machine(numbers, dtype, device)
    turns: dict[Any, Call] = {name: call for name, (call, _) in of_machine.items()} | dict(calls)
    times = interleaved(turns, rounds, seconds, device)
    rates = {name: 1e3 * did / times[name].value for name, (_, did) in of_machine.items()}
    return {key: times[key] for key in calls}, Rates(**rates)


def machine(numbers: int, dtype: torch.dtype, device: str) -> dict[str, tuple[Call, float]]:
    """By name of :class:`Rates` a call, and 10⁹ bytes or multiply-adds that it does."""
    x = torch.zeros(numbers, dtype=dtype, device=device)
    out = torch.empty_like(x)
    a = torch.ones(MATRIX, MATRIX, dtype=dtype, device=device)
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
        before = reset_peak()
        call()
        return float(peak() - before)
    except (OSError, AttributeError):  # not Linux, or not glibc
        return None


def reset_peak() -> int:
    """Set this process's high-water mark to what is resident now; gives it in bytes."""
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM := VmRSS
    return peak()


def peak() -> int:
    """The high-water mark of this process's resident set, in bytes."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return 1024 * int(line.split()[1])
    raise OSError("/proc/self/status has no VmHWM.")
