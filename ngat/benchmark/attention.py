"""``ngat benchmark attention``: one layer on every engine and its rivals, side by side.

The plan, and what workers measure: times in turns, peak memory, the first call.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch

from ngat.attention import ENGINES
from ngat.benchmark.graph_libraries import build
from ngat.benchmark.layers import LABELS, PASSES, Case, Layer, PyramidLayer, cost, floor_ms
from ngat.benchmark.measure import (
    Call,
    beside_the_machine,
    in_words,
    peak_bytes,
    processor,
    wait,
)
from ngat.benchmark.rows import row, version_of
from ngat.benchmark.worker import Found, Note, Plan, Setting, Task
from ngat.errors import InputError, MissingDependency


@dataclass(frozen=True)
class LayerPlan(Plan):
    """What is measured; further attributes are those of :class:`ngat.benchmark.worker.Plan`.

    Attributes:
        sides, batches: base sides of the pictures, and pictures at once: every combination
        most_pixels: that has no more pixels than this (PyG takes 7 kB a node and seconds a call).
        levels, heads, channels: of the layer; heads share the channels.
        layers: ``typed`` (as in the companion) and ``joint`` (as published).
        compiled: sides at which torch.compile takes part, one picture at a time: it compiles for
            every size, pass and number of threads anew, a minute or two each.
        memory_side: side at which peak memory is measured; 0 leaves it out.
        first_side: side of the first call in a fresh process; 0 leaves it out.
        default_side: side that is measured with the system's allocator as it comes, too; 0 leaves
            it out.
    """

    LABELS = LABELS
    ENGINES_ON: ClassVar = {
        "cpu": ("cpu", "reference", "dgl", "compile", "dgl_gatconv", "pyg_gatconv"),
        "cuda": ("cuda", "reference", "compile", "dgl_gatconv", "pyg_gatconv"),
    }

    sides: tuple[int, ...] = (64, 128, 256, 512)
    batches: tuple[int, ...] = (1, 4)
    most_pixels: int = 512 * 512
    levels: int = 4
    heads: int = 4
    channels: int = 32
    layers: tuple[str, ...] = ("typed", "joint")
    compiled: tuple[int, ...] = (256,)
    memory_side: int = 256
    first_side: int = 256
    default_side: int = 256

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.cases:  # sizes that make no layer are refused by Case
            raise InputError("A benchmark needs a side and a batch within most_pixels.")

    @property
    def caches(self) -> tuple[str, ...]:
        """Of this run alone, so that seconds of compilation are those of compiling."""
        of_ours = ("NUMBA_CACHE_DIR", "TRITON_CACHE_DIR") if self.first_side else ()
        return "TORCHINDUCTOR_CACHE_DIR", *of_ours

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

    def tasks(self) -> Iterator[Task]:
        """First calls, times and peak memory of every layer."""
        # With an empty cache of compiled code, and with a full one.
        for engine in self.of_engines:
            if engine in ("cpu", "cuda"):
                yield from self._first_call(engine, "first_call_cold_s")
                yield from self._first_call(engine, "first_call_warm_s")
        arguments = {"plan": self, "cases": self.cases, "compiled": self.compiled}
        for threads in self.of_threads:
            yield time_layers, Setting(threads, "kept", self.device), arguments
        if self.device == "cpu" and self.default_side:
            arguments = {"plan": self, "cases": self.at(self.default_side), "compiled": ()}
            yield time_layers, Setting(1, "default"), arguments
        for engine in self.of_engines if self.memory_side else ():
            # What torch.compile compiled for the times is there; more would take minutes.
            if engine != "compile" or self.memory_side in self.compiled:
                for case in self.at(self.memory_side):
                    for which in PASSES:
                        setting = Setting(1, "returned", self.device)
                        yield memory, setting, {"case": case, "engine": engine, "which": which}
        if "compile" in self.of_engines and self.first_side in self.compiled:
            yield from self._first_call("compile", "first_call_warm_s")

    def _first_call(self, engine: str, quantity: str) -> Iterator[Task]:
        if self.first_side:
            arguments = {"case": self.at(self.first_side)[0], "engine": engine}
            yield first_call, Setting(device=self.device), {**arguments, "quantity": quantity}


def time_layers(
    setting: Setting, plan: LayerPlan, cases: Sequence[Case], compiled: Sequence[int]
) -> Found:
    """Times of all engines, side by side, size after size; and the floors.

    Args:
        compiled: sides at which torch.compile takes part, with the first batch only.
    """
    for case in cases:
        compiles = case.side in compiled and case.batch == min(c.batch for c in cases)
        where = _where(case, setting)
        calls: dict[tuple[str, str], Call] = {}
        for engine in plan.of_engines:
            if engine != "compile" or compiles:
                began = time.perf_counter()
                try:
                    of_engine = passes_of(build(engine, case, setting.device))
                    for call in of_engine.values():
                        call()
                        wait(setting.device)
                except Exception as error:
                    yield _note(engine, case, error)
                    continue
                calls |= {(engine, which): call for which, call in of_engine.items()}
                if engine == "compile":
                    spent = time.perf_counter() - began
                    yield row("compile_s", spent, **where, **_layer(case, engine))
        began, numbers = time.perf_counter(), case.nodes * case.channels
        times, rates = beside_the_machine(
            calls, numbers, case.torch_dtype, plan.rounds, plan.seconds, setting.device
        )
        for (engine, which), t in times.items():
            what = _layer(case, engine) | {"pass": which}
            yield row("time_ms", **t._asdict(), **where, **what)
        of_case = {} if case.relations == "joint" else {"scope": case.scope}
        yield row("copy_gb_per_s", rates.copy, engine="machine", **of_case, **where)
        yield row("gfma_per_s", rates.product, engine="machine", **of_case, **where)
        for which in PASSES:
            least = floor_ms(cost(case, which), rates)
            what = {"scope": case.scope, "pass": which, "engine": "floor"}
            yield row("floor_ms", least, **where, **what)
        _say(
            f"{case.scope}, {case.side} × {case.side}, batch {case.batch}, "
            f"{in_words(setting.threads)}: {time.perf_counter() - began:.0f} s"
        )


def _note(engine: str, case: Case, error: Exception) -> Note:
    """Why an engine is not measured. Trouble of an engine of ours is raised again."""
    if isinstance(error, MissingDependency):
        return Note(engine, str(error))
    if engine in ENGINES:
        raise error
    # A rival may lack a compiler, memory or support for a dtype.
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return Note(engine, f"at {case.side} × {case.side}: {first}")


def passes_of(layer: Layer) -> dict[str, Call]:
    """The two calls that are timed: without gradients, and with those of all inputs and weights."""
    weights = list(layer.parameters())
    device = weights[0].device
    inputs = layer.lay_out([plane.to(device) for plane in layer.case.planes()])
    compiled = isinstance(layer, PyramidLayer) and layer.engine == "compile"
    function = torch.compile(layer, dynamic=False) if compiled else layer
    tracked = [x.detach().clone().requires_grad_() for x in inputs]
    with torch.no_grad():
        directions = [torch.randn_like(out) for out in function(inputs)]

    def forward() -> object:
        with torch.no_grad():
            return function(inputs)

    def both() -> object:
        return torch.autograd.grad(function(tracked), [*tracked, *weights], directions)

    return {"forward": forward, "forward+backward": both}


def memory(setting: Setting, case: Case, engine: str, which: str) -> Found:
    """Peak memory of one layer's pass, per node; the graph and the inputs do not count."""
    _say(f"{LABELS[engine]}: peak memory …")
    peak = peak_bytes(passes_of(build(engine, case, setting.device))[which], setting.device)
    if peak is None:
        yield Note("memory", "peak memory needs Linux and glibc, or a GPU")
    else:
        what = _layer(case, engine) | {"pass": which}
        yield row("peak_bytes_per_node", peak / case.nodes, **_where(case, setting), **what)


def first_call(setting: Setting, case: Case, engine: str, quantity: str) -> Found:
    """Seconds of a layer's first forward and backward pass in a process, compilation included.

    Then the same for a picture of another size (``<quantity>`` and ``..._other_size``), which
    torch.compile would compile anew.
    """
    _say(f"{LABELS[engine]}: {quantity} …")
    cases = {quantity: case}
    if engine != "compile":
        cases[f"{quantity}_other_size"] = replace(case, side=case.side - 3)
    for name, at in cases.items():
        began = time.perf_counter()
        passes_of(build(engine, at, setting.device))["forward+backward"]()
        wait(setting.device)
        spent = time.perf_counter() - began
        yield row(name, spent, **_where(at, setting), **_layer(at, engine))


def _where(case: Case, setting: Setting) -> dict[str, Any]:
    """Columns of all rows of a case."""
    return {
        "side": case.side,
        "batch": case.batch,
        "nodes": case.nodes,
        "threads": setting.threads,
        "allocator": setting.allocator,
        "dtype": case.dtype,
        "hardware": processor(setting.device),
    }


def _layer(case: Case, engine: str) -> dict[str, Any]:
    """Columns that name a layer."""
    return {"scope": case.scope, "engine": engine, "version": version_of(engine)}


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
