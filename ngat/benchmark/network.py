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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from ngat.attention import TapGroup, attend
from ngat.baselines.networks import build, unet
from ngat.benchmark.measure import in_words, interleaved, processor
from ngat.benchmark.parts import split_by_part
from ngat.benchmark.rows import row, version_of
from ngat.benchmark.worker import Found, Note, Plan, Setting, Task
from ngat.config import Preset, RivalConfig, preset
from ngat.errors import InputError, MissingDependency
from ngat.graph import PyramidGraph
from ngat.loss import loss_of
from ngat.model import NGAT, Output
from ngat.system.precision import label
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


@dataclass(frozen=True)
class NetworkPlan(Plan):
    """What is measured; further attributes are those of :class:`ngat.benchmark.worker.Plan`.

    Attributes:
        engines: the first of them has its training step split by part.
        preset: NGAT's configuration.
        batch, patch: of a training step; 0 takes the preset's own.
        side: of the picture of the inference.
    """

    LABELS = NETWORK_LABELS
    ENGINES_ON: ClassVar = {
        "cpu": ("cpu", "dgl", "reference", UNET),
        "cuda": ("cuda", "reference", UNET),
    }

    seconds: float = 60.0
    preset: str = "companion"
    batch: int = 0
    patch: int = 0
    side: int = 256

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.batch, self.patch) < 0 or self.side < 32:
            raise InputError("A benchmark needs pictures of at least 32 × 32.")
        preset(self.preset)

    @property
    def of_step(self) -> tuple[int, int]:
        """Pictures of a training step, and their side."""
        own = preset(self.preset).train
        return self.batch or own.batch, self.patch or own.patch

    def tasks(self) -> Iterator[Task]:
        """Training steps and inference, side by side, for each number of threads."""
        for threads in self.of_threads:
            yield time_networks, Setting(threads, "kept", self.device), {"plan": self}


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


def network_of(name: str, preset_name: str) -> tuple[nn.Module, Preset]:
    """A network by name (an attention engine, or :data:`UNET`), and its preset.

    Raises:
        InputError: unknown preset or engine.
        MissingDependency: the network's package is not installed.
    """
    if name != UNET:
        chosen = preset(preset_name, engine=name)
        return build(chosen.model), chosen
    # Bare: the sizes here need no padding, which would cost it time.
    chosen = preset(preset_name)
    return unet(RivalConfig("unet", outputs=chosen.model.outputs)), chosen


def contender(name: str, plan: NetworkPlan) -> Contender:
    """A network by name, see :func:`network_of`, ready to be timed."""
    torch.manual_seed(0)
    where = torch.device(plan.device)
    model, chosen = network_of(name, plan.preset)
    model.to(where)
    optimiser = torch.optim.AdamW(
        parameter_groups(model, chosen.train.weight_decay), lr=1e-4, fused=where.type == "cuda"
    )
    batch, patch = plan.of_step
    image = torch.rand(batch, 3, patch, patch, device=where)
    targets = (torch.rand(batch, chosen.model.outputs, patch, patch, device=where) > 0.8).float()
    picture = torch.rand(1, 3, plan.side, plan.side, device=where)

    def mixed() -> contextlib.AbstractContextManager[object]:
        if plan.dtype == "float32":
            return contextlib.nullcontext()
        return torch.autocast(where.type, dtype=getattr(torch, plan.dtype))

    def step() -> Tensor:
        model.train()
        optimiser.zero_grad(set_to_none=True)
        with mixed():
            found = model(image) if name == UNET else model(image, targets)
        loss = objective(found, targets, chosen)
        loss.backward()
        with label("optimiser"):
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
    with label("loss"):
        if isinstance(found, Tensor):
            return F.binary_cross_entropy_with_logits(found.float(), targets)
        found = found._replace(logits=[logits.float() for logits in found.logits])
        return loss_of(found, chosen.loss)[0]


def multiply_adds(name: str, preset_name: str, side: int) -> float:
    """Multiply-adds of an inference per pixel: convolutions, products, and the sums of eq. 18.

    They do not depend on the engine; the sums are counted where the reference engine is called.
    """
    model, _ = network_of(UNET if name == UNET else "reference", preset_name)
    model.eval()
    picture = torch.rand(1, 3, side, side)
    in_place = {torch.ops.aten.baddbmm_: _flops}  # torch counts the other kind alone
    sums = 0

    def counted(groups: Sequence[TapGroup], destination: Tensor) -> Tensor:
        nonlocal sums
        taps = sum(group.tap.shape[1] for group in groups)
        sums += taps * groups[0].values.shape[1] * destination[:, 0].numel()
        return attend(groups, destination, "reference")

    with FlopCounterMode(display=False, custom_mapping=in_place) as counter, torch.no_grad():
        if isinstance(model, NGAT):
            graph = PyramidGraph(side, side, model.config.levels)
            model.message_passing(model.plasticity(picture, graph), counted)
        else:
            model(picture)
    return (counter.get_total_flops() / 2 + sums) / side**2


def _flops(_: Sequence[int], left: Sequence[int], right: Sequence[int], **__: object) -> int:
    """Twice the multiply-adds of a batched product, from the operands' shapes."""
    batch, rows, inner = left
    return 2 * batch * rows * inner * right[2]


def time_networks(setting: Setting, plan: NetworkPlan) -> Found:
    """Medians of all networks, and of the first how its step splits up."""
    names = plan.of_engines
    contenders: dict[str, Contender] = {}
    for name in names:
        try:
            contenders[name] = contender(name, plan)
        except MissingDependency as error:
            yield Note(name, str(error))
    where = {
        "scope": "network",
        "threads": setting.threads,
        "allocator": setting.allocator,
        "dtype": plan.dtype,
        "hardware": processor(setting.device),
    }
    sizes = {STEP: plan.of_step, INFERENCE: (1, plan.side)}
    for which, (batch, side) in sizes.items():
        began = time.perf_counter()
        calls = {n: c.step if which == STEP else c.inference for n, c in contenders.items()}
        times = interleaved(calls, plan.rounds, plan.seconds, setting.device)
        for name, t in times.items():
            of_pass = {"pass": which, "side": side, "batch": batch}
            of: dict[str, Any] = where | of_pass | {"engine": name, "version": version_of(name)}
            yield row("time_ms", **t._asdict(), **of)
            model = contenders[name].model
            if which == STEP and name == names[0] and isinstance(model, NGAT):
                shares = split_by_part(calls[name], model, setting.device)
                for (part, direction), share in sorted(shares.items()):
                    labelled = f"{part}, {direction}" if direction else part
                    yield row("part_ms", share * t.value, part=labelled, **of)
        print(
            f"{which}, {in_words(setting.threads)}: {time.perf_counter() - began:.0f} s",
            file=sys.stderr,
            flush=True,
        )
    for name, network in contenders.items():
        if name in (names[0], UNET):
            count = sum(p.numel() for p in network.model.parameters())
            yield row("parameters", count, scope="network", engine=name)
            work = multiply_adds(name, plan.preset, plan.side)
            what = {"scope": "network", "pass": INFERENCE, "engine": name, "side": plan.side}
            yield row("multiply_adds_per_pixel", work, **what)
