"""What workers measure of one attention layer: times in turns, peak memory, the first call."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

from ngat.attention import ENGINES
from ngat.benchmark.floor import PASSES, cost, floor_ms
from ngat.benchmark.graph_libraries import build
from ngat.benchmark.hosts import in_words, processor
from ngat.benchmark.layers import Case
from ngat.benchmark.measure import Call, Times, interleaved, machine, passes_of, peak_bytes, wait
from ngat.benchmark.rows import row, version_of
from ngat.benchmark.worker import Setting, WorkerResult
from ngat.errors import MissingDependency

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
