"""A training step on a device: its floors, and what a CUDA graph makes of it.

    python -m ngat.benchmark.step --device cuda --out runs/gpu/benchmark

writes ``step.json``. The step is the trainer's own, in the precision that the device computes well.
A graph is tried in this process, so that no training is lost where it cannot be had; ``why`` in the
file says what refused it.

The floor of a step is the sum of those of its operations. An operation reads its inputs once and
writes its outputs once, forward; backward it reads inputs and the outputs' gradient, and writes
those of its inputs. Activations, residuals and projections are taken to be part of their
neighbours, which a fused kernel can make them: the sum is optimistic.
"""

from __future__ import annotations

import argparse
import copy
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ngat.attention import TapGroup, attend
from ngat.baselines.networks import build
from ngat.benchmark.layers import Cost, floor_ms
from ngat.benchmark.measure import Rates, beside_the_machine
from ngat.benchmark.parts import PARTS
from ngat.benchmark.rows import record
from ngat.config import Preset, preset
from ngat.graph import PyramidGraph
from ngat.model import NGAT, Maps, Norm
from ngat.plasticity import Dense, Plasticity
from ngat.system.precision import lowest
from ngat.training.distributed import Team
from ngat.training.patches import Batch
from ngat.training.step import Optimisation, Recorder, recorder_for

SINGLE = 4  # bytes of a number of losses, weights and their moments
PLACE = 0.5  # in the schedule: the learning rate does not matter here


def measure_step(
    chosen: Preset,
    count: int,
    device: str,
    *,
    recorder: Recorder | None = None,
    rounds: int = 15,
    seconds: float = 10.0,
) -> dict[str, Any]:
    """Times and floors of a step.

    Args:
        chosen: the network and how it is trained; its ``patch`` counts, its ``batch`` does not.
        count: pictures at once.
        recorder: how a graph is made; None for none.

    Returns:
        what :func:`main` writes.
    """
    where, side = torch.device(device), chosen.train.patch
    torch.manual_seed(0)
    model = build(chosen.model)
    assert isinstance(model, NGAT)
    dtype = lowest(where)
    costs = step_costs(model, side, count, dtype.itemsize)
    nuclei = (torch.rand(count, 4, side, side) > 0.8).float()
    batch = Batch(torch.rand(count, 3, side, side), nuclei).to(where)
    members = Team(0, 1, where)
    steps = {"one by one": Optimisation(copy.deepcopy(model).to(where), chosen, members)}
    why = "A CUDA graph was not tried."
    if recorder is not None:
        recorded = Optimisation(model.to(where), chosen, members)
        recorded.passes.recorder = recorder
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            recorded.step(batch, 0, PLACE)
        why = str(said[-1].message) if recorded.passes.recorder is None else ""
        if not why:
            steps["graph"] = recorded
    calls: dict[str, Callable[[], object]] = {
        name: lambda one=one: one.step(batch, 0, PLACE)  # type: ignore[misc]
        for name, one in steps.items()
    }
    nodes = count * PyramidGraph(side, side, model.config.levels).num_nodes
    numbers = nodes * model.config.channels
    times, rates = beside_the_machine(calls, numbers, dtype, rounds, seconds, device)
    floors = step_floors(costs, rates)
    return {
        "batch": count,
        "patch": side,
        "dtype": str(dtype).removeprefix("torch."),
        "recorded": "graph" in steps,
        "why": why,
        "milliseconds": {name: t.value for name, t in times.items()},
        "quartiles": {name: [t.low, t.high] for name, t in times.items()},
        "copy_gb_per_s": rates.copy,
        "gfma_per_s": rates.product,
        "floor_ms": floors,
        "times_the_floor": min(t.value for t in times.values()) / sum(floors.values()),
    }


def step_costs(model: NGAT, side: int, batch: int, itemsize: int) -> list[tuple[str, Cost]]:
    """(part, cost) of every operation of a training step, forward and backward together.

    Args:
        model: on the CPU.
        side, batch: of the pictures.
        itemsize: bytes of a number of the embeddings.
    """
    found: list[tuple[str, Cost]] = []

    def add(part: str, numbers: int, multiply_adds: int, size: int = itemsize) -> None:
        found.append((part, Cost(batch * numbers * size, batch * multiply_adds)))

    def of_maps(part: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Sequence[Tensor], outputs: Any) -> None:
            channels, made = inputs[0].shape[1], outputs
            made = sum(o.shape[1] for o in made) if isinstance(made, tuple) else made.shape[1]
            nodes = inputs[0].numel() // channels
            add(part, nodes * (3 * channels + 2 * made), 3 * nodes * channels * made)

        return hook

    def of_norm(module: nn.Module, inputs: Sequence[Tensor], _: Tensor) -> None:
        add(PARTS[Norm], 5 * inputs[0].numel(), 0)

    def attended(groups: Sequence[TapGroup], destination: Tensor) -> Tensor:
        out = attend(groups, destination, "reference")
        read = destination.numel() + sum(g.values.numel() + g.source.numel() for g in groups)
        taps = sum(group.tap.shape[1] for group in groups)
        add("attention", 3 * read + 2 * out.numel(), 3 * taps * out.numel())
        return out

    hooks = {Maps: of_maps(PARTS[Maps]), Dense: of_maps(PARTS[Plasticity]), Norm: of_norm}
    with ExitStack() as stack, torch.no_grad():
        for module in model.modules():
            if type(module) in hooks:
                stack.enter_context(module.register_forward_hook(hooks[type(module)]))
        image, graph = torch.rand(1, 3, side, side), PyramidGraph(side, side, model.config.levels)
        logits = model.message_passing(model.plasticity(image, graph), attended)
    for level in logits:  # logits and targets in, a gradient out
        add("loss", 3 * level.numel(), 0, SINGLE)
    # AdamW reads weight, gradient and two moments, and writes all but the gradient.
    weights = sum(parameter.numel() for parameter in model.parameters())
    found.append(("optimiser", Cost(7 * weights * SINGLE, 0)))
    return found


def step_floors(costs: Sequence[tuple[str, Cost]], rates: Rates) -> dict[str, float]:
    """Sums of the operations' floors in milliseconds, by part."""
    floors: dict[str, float] = defaultdict(float)
    for part, price in costs:
        floors[part] += floor_ms(price, rates)
    return dict(floors)


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--few", action="store_true", help="a small network and small patches")
    asked = parser.parse_args()
    small: dict[str, Any] = {}
    if asked.few:
        small = {"channels": 8, "depth": 1, "patch": 32, "engine": "reference"}
    chosen = preset("companion", **small)
    recorder = recorder_for(torch.device(asked.device))
    # Written without a graph first: a trial that fails badly may end this process.
    for tried in (None, recorder) if recorder else (None,):
        began = time.perf_counter()
        found = measure_step(
            chosen, asked.batch, asked.device, recorder=tried, seconds=asked.seconds
        )
        command = "python -m ngat.benchmark.step"
        record(asked.out / "step.json", command, began, device=asked.device, step=found)
        print(
            f"A step takes {found['times_the_floor']:.1f} times the sum of its floors "
            f"({', '.join(f'{n} {t:.2f} ms' for n, t in found['milliseconds'].items())}). "
            f"{found['why']}".rstrip(),
            flush=True,
        )


if __name__ == "__main__":
    main()
