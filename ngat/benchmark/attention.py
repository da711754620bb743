"""``ngat benchmark attention``: one layer on every engine and its rivals, side by side.

The plan, and what workers measure: times in turns, peak memory, the first call.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ngat.attention import ENGINES
from ngat.benchmark.floor import PASSES, cost, floor_ms
from ngat.benchmark.graph_libraries import build
from ngat.benchmark.layers import LABELS, Case
from ngat.benchmark.measure import (
    Call,
    Times,
    check_device,
    in_words,
    interleaved,
    machine,
    passes_of,
    peak_bytes,
    processor,
    threads_of,
    wait,
)
from ngat.benchmark.rows import row, version_of
from ngat.benchmark.worker import Jobs, Setting, WorkerResult
from ngat.errors import InputError, MissingDependency

ENGINES_ON = {
    "cpu": ("cpu", "reference", "dgl", "compile", "dgl_gatconv", "pyg_gatconv"),
    "cuda": ("cuda", "reference", "compile", "dgl_gatconv", "pyg_gatconv"),
}


@dataclass(frozen=True)
class LayerPlan:
    """What is measured.

    Attributes:
        sides, batches: base sides of the pictures, and pictures at once: every combination
        most_pixels: that has no more pixels than this (PyG takes 7 kB a node and seconds a call).
        levels, heads, channels: of the layer; heads share the channels.
        layers: ``typed`` (as in the companion) and ``joint`` (as published).
        threads: one process each; empty for 1 and, where there are two cores, 2.
        device: ``cpu`` or ``cuda``.
        dtype: ``float32`` or ``bfloat16``.
        engines: keys of :data:`ngat.benchmark.layers.LABELS`; empty for all that suit the device.
        compiled: sides at which torch.compile takes part, one picture at a time: it compiles for
            every size, pass and number of threads anew, a minute or two each.
        rounds, seconds: of a size: at most so many rounds, and none begun after so long (but 3).
        memory_side: side at which peak memory is measured; 0 leaves it out.
        first_side: side of the first call in a fresh process; 0 leaves it out.
        default_side: side that is measured with the system's allocator as it comes, too; 0 leaves
            it out.
    """

    sides: tuple[int, ...] = (64, 128, 256, 512)
    batches: tuple[int, ...] = (1, 4)
    most_pixels: int = 512 * 512
    levels: int = 4
    heads: int = 4
    channels: int = 32
    layers: tuple[str, ...] = ("typed", "joint")
    threads: tuple[int, ...] = ()
    device: str = "cpu"
    dtype: str = "float32"
    engines: tuple[str, ...] = ()
    compiled: tuple[int, ...] = (256,)
    rounds: int = 15
    seconds: float = 6.0
    memory_side: int = 256
    first_side: int = 256
    default_side: int = 256

    def __post_init__(self) -> None:
        check_device(self.device, self.dtype, self.threads)
        for engine in self.engines:
            if engine not in LABELS:
                raise InputError(f"Unknown engine {engine!r}; known: {', '.join(LABELS)}.")
        if not self.cases or self.rounds < 1:  # sizes that make no layer are refused by Case
            raise InputError("A benchmark needs a side, a batch and a round within most_pixels.")

    @property
    def cases(self) -> list[Case]:
        """All sizes, the small ones first."""
        sizes = [(side, batch) for side in self.sides for batch in self.batches]
        sizes = [(side, batch) for side, batch in sizes if side**2 * batch <= self.most_pixels]
        return [case for side, batch in sizes for case in self.at(side, batch)]

    def at(self, side: int, batch: int = 1) -> list[Case]:
        """Pictures of this side, for every layer."""
        shape = self.levels, self.heads, self.channels, self.dtype
        return [Case(side, batch, *shape, relations) for relations in self.layers]

    @property
    def of_engines(self) -> tuple[str, ...]:
        """Names of the layers."""
        return self.engines or ENGINES_ON[self.device.partition(":")[0]]

    def measure(self, jobs: Jobs) -> None:
        """First calls, times and peak memory of every layer."""
        # Compiled code of this run alone, so that seconds of compilation are those of compiling.
        with tempfile.TemporaryDirectory(prefix="ngat-benchmark-") as folder:
            names = ["TORCHINDUCTOR_CACHE_DIR"]
            if self.first_side:
                names += ["NUMBA_CACHE_DIR", "TRITON_CACHE_DIR"]
            jobs.environment = {name: str(Path(folder) / name.lower()) for name in names}
            self._first_calls(jobs)
            jobs.say("times …")
            for threads in threads_of(self.threads, self.device):
                self._times(jobs, self.cases, threads, "kept")
            if self.device == "cpu" and self.default_side:
                self._times(jobs, self.at(self.default_side), 1, "default")
            self._memory(jobs)

    def _first_calls(self, jobs: Jobs) -> None:
        """Twice in fresh processes: with an empty cache of compiled code, and with a full one."""
        for engine in self.of_engines:
            if self.first_side and engine in ("cpu", "cuda"):
                for quantity in ("first_call_cold_s", "first_call_warm_s"):
                    jobs.say(f"{LABELS[engine]}: {quantity} …")
                    case = asdict(self.at(self.first_side)[0])
                    jobs.do(first_call, case=case, engine=engine, quantity=quantity)

    def _times(self, jobs: Jobs, cases: list[Case], threads: int, allocator: str) -> None:
        jobs.do(
            time_layers,
            threads=threads,
            allocator=allocator,
            cases=[asdict(case) for case in cases],
            engines=self.of_engines,
            compiled=self.compiled if allocator == "kept" else (),
            rounds=self.rounds,
            seconds=self.seconds,
        )

    def _memory(self, jobs: Jobs) -> None:
        for engine in self.of_engines if self.memory_side else ():
            # What torch.compile compiled for the times is there; more would take minutes.
            if engine != "compile" or self.memory_side in self.compiled:
                jobs.say(f"{LABELS[engine]}: peak memory …")
                for which in PASSES:
                    for case in self.at(self.memory_side):
                        where: dict[str, Any] = {"case": asdict(case), "which": which}
                        jobs.do(memory, allocator="returned", engine=engine, **where)
        if "compile" in self.of_engines and self.first_side in self.compiled:
            jobs.say("torch.compile: first_call_warm_s …")
            first = asdict(self.at(self.first_side)[0])
            jobs.do(first_call, case=first, engine="compile", quantity="first_call_warm_s")


Key = tuple[str, str, str]  # scope, pass, engine


def time_layers(
    setting: Setting,
    cases: Sequence[dict[str, Any]],
    engines: Sequence[str],
    compiled: Sequence[int],
    rounds: int,
    seconds: float,
) -> WorkerResult:
    """Times of all engines, side by side, size after size.

    Args:
        cases: arguments of :class:`Case`.
        compiled: sides at which torch.compile takes part, with the first batch only.
    """
    found = WorkerResult([], {})
    for case in (Case(**c) for c in cases):
        taking_part = [e for e in engines if e != "compile" or _compiles(case, compiled, cases)]
        where = _where(case, setting)
        calls = _calls(case, taking_part, setting.device, found, where)
        rates = machine(case, setting.device)
        turns: dict[Key, Call] = {**calls, **{("", "", n): call for n, (call, _) in rates.items()}}
        began = time.perf_counter()
        times = interleaved(turns, rounds, seconds, setting.device)
        for (scope, which, engine), t in times.items():
            if scope:
                found.rows.append(_timed(t, where, scope=scope, which=which, engine=engine))
        _add_floor(
            case, {n: 1e3 * rates[n][1] / times["", "", n].median for n in rates}, where, found
        )
        print(
            f"{case.scope}, {case.side} × {case.side}, batch {case.batch}, "
            f"{in_words(setting.threads)}: {next(iter(times.values())).rounds} rounds "
            f"in {time.perf_counter() - began:.0f} s",
            file=sys.stderr,
            flush=True,
        )
    return found


def _compiles(case: Case, sides: Sequence[int], cases: Sequence[dict[str, Any]]) -> bool:
    return case.side in sides and case.batch == min(c["batch"] for c in cases)


def _calls(
    case: Case, engines: Sequence[str], device: str, found: WorkerResult, where: dict[str, Any]
) -> dict[Key, Call]:
    """Everything that is timed at a size, each having run once."""
    calls: dict[Key, Call] = {}
    cuda = device.startswith("cuda")
    for engine in engines:
        own = engine in ENGINES
        try:
            for scope in ("layer", "attention"):
                began = time.perf_counter()
                layer = build(engine, case, device)
                # Kernels alone are compared on a GPU; on the CPU only ours is shown alone, too.
                if scope == "attention" and not (layer.apart and (cuda or engine == "cpu")):
                    continue
                named = case.scope if scope == "layer" else scope
                for which, call in passes_of(layer, scope, device).items():
                    call()
                    wait(cuda)
                    calls[named, which, engine] = call
                if engine == "compile":
                    spent = time.perf_counter() - began
                    what = {"scope": named, "engine": engine, "version": version_of(engine)}
                    found.rows.append(row("compile_s", spent, **where, **what))
        except MissingDependency as error:
            found.notes[engine] = str(error)
        except Exception as error:
            if own:
                raise
            # A rival may lack a compiler, memory or support for a dtype.
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            found.notes[engine] = f"at {case.side} × {case.side}: {first}"
            calls = {key: call for key, call in calls.items() if key[2] != engine}
    return calls


def _add_floor(
    case: Case, rates: dict[str, float], where: dict[str, Any], found: WorkerResult
) -> None:
    """Rates of the machine, and the floors that follow from them."""
    for name, rate in rates.items():
        quantity = {"copy": "copy_gb_per_s", "product": "gfma_per_s"}[name]
        of_case = {} if case.relations == "joint" else {"scope": case.scope}
        found.rows.append(row(quantity, rate, engine="machine", **of_case, **where))
    for scope in (case.scope, "attention") if case.relations == "joint" else (case.scope,):
        for which in PASSES:
            price = cost(case, scope, which)
            what = {"scope": scope, "pass": which, "engine": "floor"}
            least = floor_ms(price, rates["copy"], rates["product"])
            found.rows.append(row("floor_ms", least, **where, **what))
            for quantity, total in (
                ("floor_bytes_per_node", price.bytes),
                ("floor_fma_per_node", price.multiply_adds),
            ):
                found.rows.append(row(quantity, total / case.nodes, **where, **what))


def memory(setting: Setting, case: dict[str, Any], engine: str, which: str) -> WorkerResult:
    """Peak memory of one layer's pass, per node; the graph and the inputs do not count."""
    found = WorkerResult([], {})
    at = Case(**case)
    try:
        layer = build(engine, at, setting.device)
        peak = peak_bytes(passes_of(layer, "layer", setting.device)[which], setting.device)
    except MissingDependency as error:
        return found._replace(notes={engine: str(error)})
    if peak is None:
        return found._replace(notes={"memory": "peak memory needs Linux and glibc, or a GPU"})
    what = {"scope": at.scope, "pass": which, "engine": engine, "version": version_of(engine)}
    found.rows.append(row("peak_bytes_per_node", peak / at.nodes, **_where(at, setting), **what))
    return found


def first_call(setting: Setting, case: dict[str, Any], engine: str, quantity: str) -> WorkerResult:
    """Seconds of a layer's first forward and backward pass in a process, compilation included.

    Then the same for a picture of another size (``<quantity>`` and ``..._other_size``).
    """
    found = WorkerResult([], {})
    for name, side in ((quantity, case["side"]), (f"{quantity}_other_size", case["side"] - 3)):
        at = Case(**{**case, "side": side})
        began = time.perf_counter()
        try:
            layer = build(engine, at, setting.device)
            passes_of(layer, "layer", setting.device)["forward+backward"]()
        except MissingDependency as error:
            return found._replace(notes={engine: str(error)})
        wait(setting.device.startswith("cuda"))
        spent = time.perf_counter() - began
        what = {"scope": at.scope, "engine": engine, "version": version_of(engine)}
        found.rows.append(row(name, spent, **_where(at, setting), **what))
        if engine == "compile":
            break
    return found


def _where(case: Case, setting: Setting) -> dict[str, Any]:
    return {
        "side": case.side,
        "batch": case.batch,
        "nodes": case.nodes,
        "threads": setting.threads,
        "allocator": setting.allocator,
        "dtype": case.dtype,
        "hardware": processor(setting.device),
    }


def _timed(t: Times, where: dict[str, Any], scope: str, which: str, engine: str) -> dict[str, Any]:
    what = {"scope": scope, "pass": which, "engine": engine, "version": version_of(engine)}
    return row("time_ms", t.median, low=t.low, high=t.high, rounds=t.rounds, **where, **what)
