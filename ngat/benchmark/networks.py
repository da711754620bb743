"""The networks that are compared, each as one training step and one inference.

NGAT runs with every attention engine; MONAI's BasicUNet (about 2 million parameters) stands for
the convolutional networks that are used for the same task. A training step is what
:mod:`ngat.training.trainer` does with a batch: forward, loss, backward, clipped gradient, AdamW.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from ngat import update as update_room
from ngat.attention import TapGroup, attend
from ngat.baselines.convolutional import unet
from ngat.baselines.networks import build
from ngat.benchmark.parts import substituted
from ngat.config import Preset, RivalConfig, preset
from ngat.loss import loss_of
from ngat.model import NGAT, Output
from ngat.training.schedule import parameter_groups

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

    def counted(groups: Sequence[TapGroup], destination: Tensor, engine: str = "auto") -> Tensor:
        nonlocal sums
        taps = sum(group.tap.shape[1] for group in groups)
        sums += taps * groups[0].values.shape[1] * destination[:, 0].numel()
        return attend(groups, destination, engine)

    with (
        substituted(update_room, "attend", counted),
        FlopCounterMode(display=False, custom_mapping=in_place) as counter,
    ):
        network.inference()
    return (counter.get_total_flops() / 2 + sums) / side**2


def _flops(_: Sequence[int], left: Sequence[int], right: Sequence[int], **__: object) -> int:
    """Twice the multiply-adds of a batched product, from the operands' shapes."""
    batch, rows, inner = left
    return 2 * batch * rows * inner * right[2]
