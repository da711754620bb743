"""A training step on a device: its floors, its profile, and what a CUDA graph makes of it.

    python -m ngat.benchmark.step --device cuda --out runs/gpu/benchmark

writes ``step.json`` and ``step_profile.txt``. The step is the trainer's own, in the precision that
the device computes well. A graph is tried in this process, so that no training is lost where it
cannot be had; ``difference`` in the file says how its gradients differ, ``why`` what refused it.
"""

from __future__ import annotations

import argparse
import copy
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ngat.baselines.networks import build
from ngat.benchmark.floor import step_costs, step_floors
from ngat.benchmark.layers import Case
from ngat.benchmark.measure import interleaved, machine
from ngat.config import Preset, preset
from ngat.model import NGAT
from ngat.system.files import replacing, write_json
from ngat.system.precision import lowest, scaler
from ngat.system.provenance import provenance
from ngat.training.patches import Batch
from ngat.training.step import Objective, Passes, Recorder, parameter_groups, recorder_for

GOAL = 3.0  # a step should take at most so many times the sum of its floors


class TimedStep:
    """A network with its optimiser, stepping over one batch.

    Args:
        objective: with the network; its weights change.
        chosen: weight decay, rate and clipping.
        recorder: see :class:`ngat.training.step.Passes`.
    """

    def __init__(self, objective: nn.Module, chosen: Preset, recorder: Recorder | None) -> None:
        device = next(objective.parameters()).device
        self.scaler, self.clip = scaler(device), chosen.train.clip
        self.passes = Passes(objective, self.scaler, recorder)
        self.optimiser = torch.optim.AdamW(
            parameter_groups(objective, chosen.train.weight_decay),
            lr=chosen.train.learning_rate,
            fused=device.type == "cuda",
        )

    def __call__(self, batch: Batch) -> Tensor:
        """One step; gives the loss."""
        loss, _ = self.passes(batch)
        self.scaler.unscale_(self.optimiser)
        nn.utils.clip_grad_norm_(self.passes.objective.parameters(), self.clip)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        return loss


def measure_step(
    chosen: Preset,
    batch: int,
    device: str,
    *,
    recorder: Recorder | None = None,
    rounds: int = 15,
    seconds: float = 10.0,
) -> tuple[dict[str, Any], str]:
    """Times, floors and profile of a step.

    Args:
        chosen: the network and how it is trained; its ``patch`` counts, its ``batch`` does not.
        recorder: how a graph is made; None for none.

    Returns:
        what :func:`main` writes, and the profile as a table.
    """
    where, side = torch.device(device), chosen.train.patch
    torch.manual_seed(0)
    model = build(chosen.model)
    assert isinstance(model, NGAT)
    dtype = lowest(where)
    costs = step_costs(model, side, batch, dtype.itemsize)
    objective = Objective(model, chosen.loss).to(where).train()
    batches = [_batch(batch, side, where, seed) for seed in (0, 1)]
    found: dict[str, Any] = {"batch": batch, "patch": side, "dtype": str(dtype).split(".")[-1]}
    found |= _compared(objective, batches, recorder)
    steps = {"one by one": TimedStep(copy.deepcopy(objective), chosen, None)}
    if found["recorded"]:
        steps["graph"] = TimedStep(copy.deepcopy(objective), chosen, recorder)
    calls: dict[str, Callable[[], object]] = {
        name: lambda step=step: step(batches[0])  # type: ignore[misc]
        for name, step in steps.items()
    }
    names = {torch.float16: "bfloat16", torch.bfloat16: "bfloat16"}
    case = Case(side, batch, channels=32, dtype=names.get(dtype, "float32"))
    rates = machine(case, device)
    times = interleaved(calls | {n: c for n, (c, _) in rates.items()}, rounds, seconds, device)
    per_second = {name: 1e3 * rates[name][1] / times[name].median for name in rates}
    floors = step_floors(costs, per_second["copy"], per_second["product"])
    least, best = sum(floors.values()), min(times[name].median for name in steps)
    found |= {
        "milliseconds": {name: times[name].median for name in steps},
        "quartiles": {name: [times[name].low, times[name].high] for name in steps},
        "copy_gb_per_s": per_second["copy"],
        "gfma_per_s": per_second["product"],
        "floor_ms": floors,
        "times_the_floor": best / least,
        "goal": GOAL,
    }
    try:
        return found, _profile(calls["one by one"], where)
    except RuntimeError as error:  # counters of a GPU may be forbidden
        return found, f"There is no profile: {error}\n"


def _batch(count: int, side: int, device: torch.device, seed: int) -> Batch:
    """Random pictures and nuclei."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.rand(count, 3, side, side, generator=generator)
    nuclei = (torch.rand(count, 4, side, side, generator=generator) > 0.8).float()
    return Batch(image, nuclei).to(device)


def _compared(
    objective: nn.Module, batches: list[Batch], recorder: Recorder | None
) -> dict[str, Any]:
    """Whether a step can be recorded, and how its gradients differ from those one by one.

    The second batch counts: a recorded step must not remember the one that it was recorded with.
    """
    if recorder is None:
        return {"recorded": False, "difference": None, "why": "A CUDA graph was not tried."}
    device = batches[0].image.device
    one = Passes(copy.deepcopy(objective), scaler(device))
    other = Passes(copy.deepcopy(objective), scaler(device), recorder)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for batch in batches:
            for passes in (one, other):
                passes(batch)
    if other.recorder is None:
        return {"recorded": False, "difference": None, "why": str(said[-1].message)}
    pairs = zip(one.objective.parameters(), other.objective.parameters(), strict=True)
    both = [(a.grad, b.grad) for a, b in pairs if a.grad is not None and b.grad is not None]
    apart = torch.stack([(a - b).double().norm() for a, b in both]).norm()
    size = torch.stack([a.double().norm() for a, _ in both]).norm()
    return {"recorded": True, "difference": float(apart / size), "why": ""}


def _profile(call: Callable[[], object], device: torch.device) -> str:
    """Operations by the time that they take, as a table."""
    cuda = device.type == "cuda"
    kinds = [torch.profiler.ProfilerActivity.CPU]
    kinds += [torch.profiler.ProfilerActivity.CUDA] * cuda
    with torch.profiler.profile(activities=kinds) as found:
        call()
        if cuda:
            torch.cuda.synchronize()
    order = "self_device_time_total" if cuda else "self_cpu_time_total"
    return str(found.key_averages().table(sort_by=order, row_limit=40, max_name_column_width=60))


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
        found, table = measure_step(
            chosen, asked.batch, asked.device, recorder=tried, seconds=asked.seconds
        )
        minutes = (time.perf_counter() - began) / 60
        command = "python -m ngat.benchmark.step"
        record = provenance(command, 0, None, minutes, device=asked.device, step=found)
        with replacing(asked.out / "step_profile.txt") as beside:
            beside.write_text(table, encoding="utf-8")
        write_json(asked.out / "step.json", record)
        print(
            f"A step takes {found['times_the_floor']:.1f} times the sum of its floors "
            f"({', '.join(f'{n} {t:.2f} ms' for n, t in found['milliseconds'].items())}). "
            f"{found['why']}".rstrip(),
            flush=True,
        )


if __name__ == "__main__":
    main()
