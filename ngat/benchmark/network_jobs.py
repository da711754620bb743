"""What workers measure of whole networks: training steps and inference, and a step's parts."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

from ngat.benchmark.hosts import in_words, processor
from ngat.benchmark.measure import Call, interleaved, wait
from ngat.benchmark.networks import INFERENCE, STEP, UNET, Contender, contender, multiply_adds
from ngat.benchmark.parts import split_by_part
from ngat.benchmark.rows import row, version_of
from ngat.benchmark.worker import Setting, WorkerResult
from ngat.errors import MissingDependency
from ngat.model import NGAT


def time_networks(
    setting: Setting,
    names: Sequence[str],
    shape: dict[str, Any],
    rounds: int,
    seconds: float,
) -> WorkerResult:
    """Medians of all networks, and of the first how its step splits up.

    Args:
        names: engines, and :data:`ngat.benchmark.networks.UNET`.
        shape: preset_name, batch, patch, side and dtype of
            :func:`ngat.benchmark.networks.contender`.
    """
    found = WorkerResult([], {})
    contenders: dict[str, Contender] = {}
    calls: dict[tuple[str, str], Call] = {}
    for name in names:
        try:
            contenders[name] = contender(name, device=setting.device, **shape)
        except MissingDependency as error:
            found.notes[name] = str(error)
            continue
        calls[STEP, name], calls[INFERENCE, name] = contenders[name][1:]
    sizes = {
        STEP: {"side": shape["patch"], "batch": shape["batch"]},
        INFERENCE: {"side": shape["side"], "batch": 1},
    }
    where = {
        "scope": "network",
        "threads": setting.threads,
        "allocator": setting.allocator,
        "dtype": shape["dtype"],
        "hardware": processor(setting.device),
    }
    for which in (STEP, INFERENCE):
        began = time.perf_counter()
        turns = {name: call for (of, name), call in calls.items() if of == which}
        times = interleaved(turns, rounds, seconds, setting.device)
        for name, t in times.items():
            what = {"pass": which, "engine": name, "version": version_of(name), **sizes[which]}
            numbers = {"low": t.low, "high": t.high, "rounds": t.rounds}
            found.rows.append(row("time_ms", t.median, **numbers, **where, **what))
        for name, network in contenders.items():
            if which == STEP and isinstance(network.model, NGAT) and name == names[0]:
                shares = split_by_part(network.step, network.model, setting.device)
                what = {"pass": which, "engine": name, "version": version_of(name), **sizes[which]}
                for (part, direction), share in sorted(shares.items()):
                    label = f"{part}, {direction}" if direction else part
                    spent = share * times[name].median
                    found.rows.append(row("part_ms", spent, part=label, **where, **what))
        wait(setting.device.startswith("cuda"))
        print(
            f"{which}, {in_words(setting.threads)}: {time.perf_counter() - began:.0f} s",
            file=sys.stderr,
            flush=True,
        )
    for name, network in contenders.items():
        if name in (names[0], UNET):
            count = sum(p.numel() for p in network.model.parameters())
            found.rows.append(row("parameters", count, scope="network", engine=name))
            work = multiply_adds(name, shape["preset_name"], shape["side"])
            what = {"scope": "network", "pass": INFERENCE, "engine": name, "side": shape["side"]}
            found.rows.append(row("multiply_adds_per_pixel", work, **what))
    return found
