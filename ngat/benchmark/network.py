"""``ngat benchmark network``: a whole network on every engine, and a U-Net, side by side.

Each is measured as one training step and one inference. NGAT runs with every attention engine;
MONAI's BasicUNet (about 2 million parameters) stands for the convolutional networks that are used
for the same task. A training step is what :mod:`ngat.training.trainer` does with a batch: forward,
loss, backward, clipped gradient, AdamW.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from ngat.attention import TapGroup, attend
from ngat.baselines.networks import build, unet
from ngat.benchmark.measure import (
    Call,
    check_device,
    in_words,
    interleaved,
    processor,
    threads_of,
    wait,
)
from ngat.benchmark.parts import split_by_part
from ngat.benchmark.rows import row, version_of
from ngat.benchmark.worker import Jobs, Setting, WorkerResult
from ngat.config import Preset, RivalConfig, preset
from ngat.errors import InputError, MissingDependency
from ngat.graph import PyramidGraph
from ngat.loss import loss_of
from ngat.model import NGAT, Output
from ngat.training.step import parameter_groups

STEP, INFERENCE = "training step", "inference"
UNET = "basicunet"
NETWORK_LABELS = {
    "cpu": "NGAT cpu",
    "cuda": "NGAT cuda",
    "reference": "NGAT reference",
    "dgl": "NGAT dgl",
    UNET: "BasicUNet",
}


class Contender(NamedTuple):
    """A network with its two calls.

    Attributes:
        model: in the state that the last call left it in.
        step: one training step on a batch of random pictures and nuclei.
        inference: probabilities of one random picture.
    """

    model: nn.Module
    step: Callable[[], object]
    inference: Callable[[], object]


def contender(
    name: str, preset_name: str, batch: int, patch: int, side: int, device: str, dtype: str
) -> Contender:
    """A network by name.

    Args:
        name: an attention engine, or :data:`UNET`.
        preset_name: NGAT's configuration.
        batch, patch: pictures of a training step, and their side.
        side: of the picture of the inference.
        dtype: ``float32``, or ``bfloat16`` for autocast.

    Raises:
        InputError: unknown preset or engine.
        MissingDependency: the network's package is not installed.
    """
    torch.manual_seed(0)
    where = torch.device(device)
    chosen = preset(preset_name) if name == UNET else preset(preset_name, engine=name)
    model: nn.Module
    if name == UNET:  # bare: the sizes here need no padding, which would cost it time
        model = unet(RivalConfig("unet", outputs=chosen.model.outputs)).to(where)
    else:
        model = build(chosen.model).to(where)
    optimiser = torch.optim.AdamW(
        parameter_groups(model, chosen.train.weight_decay), lr=1e-4, fused=where.type == "cuda"
    )
    image = torch.rand(batch, 3, patch, patch, device=where)
    targets = (torch.rand(batch, chosen.model.outputs, patch, patch, device=where) > 0.8).float()
    picture = torch.rand(1, 3, side, side, device=where)

    def mixed() -> contextlib.AbstractContextManager[object]:
        if dtype == "float32":
            return contextlib.nullcontext()
        return torch.autocast(where.type, dtype=getattr(torch, dtype))

    def step() -> Tensor:
        model.train()
        optimiser.zero_grad(set_to_none=True)
        with mixed():
            found = model(image) if name == UNET else model(image, targets)
        loss = objective(found, targets, chosen)
        loss.backward()
        with torch.profiler.record_function("ngat: optimiser"):
            nn.utils.clip_grad_norm_(model.parameters(), chosen.train.clip)
            optimiser.step()
        return loss.detach()

    def inference() -> Tensor:
        model.eval()
        with torch.inference_mode(), mixed():
            if isinstance(model, NGAT):
                return model.reconstruct(model(picture))
            return torch.sigmoid(model(picture))

    return Contender(model, step, inference)


def objective(found: Output | Tensor, targets: Tensor, chosen: Preset) -> Tensor:
    """NGAT's own loss; binary cross-entropy for the U-Net."""
    with torch.profiler.record_function("ngat: loss"):
        if isinstance(found, Tensor):
            return F.binary_cross_entropy_with_logits(found.float(), targets)
        found = found._replace(logits=[logits.float() for logits in found.logits])
        return loss_of(found, chosen.loss)[0]


def multiply_adds(name: str, preset_name: str, side: int) -> float:
    """Multiply-adds of an inference per pixel: convolutions, products, and the sums of eq. 18.

    They do not depend on the engine; the sums are counted where the reference engine is called.
    """
    network = contender(
        UNET if name == UNET else "reference", preset_name, 1, side, side, "cpu", "float32"
    )
    in_place = {torch.ops.aten.baddbmm_: _flops}  # torch counts the other kind alone
    sums = 0

    def counted(groups: Sequence[TapGroup], destination: Tensor) -> Tensor:
        nonlocal sums
        taps = sum(group.tap.shape[1] for group in groups)
        sums += taps * groups[0].values.shape[1] * destination[:, 0].numel()
        return attend(groups, destination, "reference")

    with FlopCounterMode(display=False, custom_mapping=in_place) as counter, torch.no_grad():
        if isinstance(network.model, NGAT):
            picture, model = torch.rand(1, 3, side, side), network.model.eval()
            graph = PyramidGraph(side, side, model.config.levels)
            model.message_passing(model.plasticity(picture, graph), counted)
        else:
            network.inference()
    return (counter.get_total_flops() / 2 + sums) / side**2


def _flops(_: Sequence[int], left: Sequence[int], right: Sequence[int], **__: object) -> int:
    """Twice the multiply-adds of a batched product, from the operands' shapes."""
    batch, rows, inner = left
    return 2 * batch * rows * inner * right[2]


def time_networks(
    setting: Setting,
    names: Sequence[str],
    shape: dict[str, Any],
    rounds: int,
    seconds: float,
) -> WorkerResult:
    """Medians of all networks, and of the first how its step splits up.

    Args:
        names: engines, and :data:`ngat.benchmark.network.UNET`.
        shape: preset_name, batch, patch, side and dtype of
            :func:`ngat.benchmark.network.contender`.
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
                steps = min(2, rounds)
                shares = split_by_part(network.step, network.model, setting.device, steps)
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


ENGINES_ON = {"cpu": ("cpu", "dgl", "reference", UNET), "cuda": ("cuda", "reference", UNET)}


@dataclass(frozen=True)
class NetworkPlan:
    """What is measured.

    Attributes:
        preset: NGAT's configuration.
        batch, patch: of a training step; 0 takes the preset's own.
        side: of the picture of the inference.
        threads: one process each; empty for 1 and, where there are two cores, 2.
        device: ``cpu`` or ``cuda``.
        dtype: ``float32``, or ``bfloat16`` for autocast.
        engines: keys of :data:`NETWORK_LABELS`, the first of which has its training step split by
            part; empty for all that suit the device.
        rounds, seconds: of training and of inference: at most so many rounds, and none begun after
            so long (but 3).
    """

    preset: str = "companion"
    batch: int = 0
    patch: int = 0
    side: int = 256
    threads: tuple[int, ...] = ()
    device: str = "cpu"
    dtype: str = "float32"
    engines: tuple[str, ...] = ()
    rounds: int = 15
    seconds: float = 60.0

    def __post_init__(self) -> None:
        check_device(self.device, self.dtype, self.threads)
        for engine in self.engines:
            if engine not in NETWORK_LABELS:
                known = ", ".join(NETWORK_LABELS)
                raise InputError(f"Unknown network {engine!r}; known: {known}.")
        if min(self.batch, self.patch) < 0 or self.side < 32 or self.rounds < 1:
            raise InputError("A benchmark needs pictures of at least 32 × 32 and a round.")
        preset(self.preset)

    @property
    def shape(self) -> dict[str, Any]:
        """Arguments of :func:`ngat.benchmark.network.contender`."""
        own = preset(self.preset).train
        return {
            "preset_name": self.preset,
            "batch": self.batch or own.batch,
            "patch": self.patch or own.patch,
            "side": self.side,
            "dtype": self.dtype,
        }

    def measure(self, jobs: Jobs) -> None:
        """Training steps and inference, side by side, for each number of threads."""
        for threads in threads_of(self.threads, self.device):
            jobs.do(
                time_networks,
                threads=threads,
                names=self.engines or ENGINES_ON[self.device.partition(":")[0]],
                shape=self.shape,
                rounds=self.rounds,
                seconds=self.seconds,
            )
