"""One step of training: the loss of a batch (eq. 22–25), its gradient, and AdamW.

And what depends on the place in the schedule: learning rate, weight decay, and seeding.

On a GPU the forward and backward pass can be one CUDA graph, one launch for some hundred kernels: a
GPU works off the small levels of a pyramid faster than Python can ask for them. Recorded once, the
kernels of both passes are launched together, always on the same memory: a batch is copied to where
the recorded one lay, and gradients appear where they did. Where nothing can be recorded (no GPU, an
operation that waits for the host), the passes are made one operation at a time, as usual.
"""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ngat.baselines.networks import Network, finds_nuclei
from ngat.config import LossConfig, Preset, TrainConfig
from ngat.loss import loss_of
from ngat.system.precision import autocast, scaler
from ngat.training.distributed import Team
from ngat.training.patches import Batch

WARM_UP = 3  # passes before the recorded one: kernels are compiled and constants are made
# Relative difference of gradients, recorded and not, up to which a recording is right: bfloat16
# and sums in any order leave some thousandths; those of another batch differ by about one.
CLOSE = 0.03

Results = tuple[Tensor, ...]
# Records a function and gives what it returned, and a call that does the same on the same memory.
Recorder = Callable[[Callable[[], Results]], tuple[Results, Callable[[], object]]]


def position(step: int, seconds: float, minutes: float | None, config: TrainConfig) -> float:
    """Place in the schedule, 0 … 1: by steps, or by the clock where that is further."""
    by_steps = (step + 0.5) / config.steps
    by_clock = seconds / (60 * minutes) if minutes else 0.0
    return min(1.0, max(by_steps, by_clock))


def learning_rate(place: float, config: TrainConfig) -> float:
    """One cycle: a linear rise over ``warmup``, then a cosine down to zero."""
    if place < config.warmup:
        return config.learning_rate * place / config.warmup
    fall = (place - config.warmup) / max(1.0 - config.warmup, 1e-9)
    return config.learning_rate * 0.5 * (1.0 + math.cos(math.pi * fall))


def parameter_groups(model: nn.Module, decay: float) -> list[dict[str, Any]]:
    """AdamW's groups: matrices decay, biases, gains and position terms do not."""
    named = dict(model.named_parameters())
    decaying = [name for name, p in named.items() if name.endswith("weight") and p.ndim > 1]
    return [
        {"params": [named[name] for name in decaying], "weight_decay": decay},
        {"params": [p for name, p in named.items() if name not in decaying], "weight_decay": 0.0},
    ]


@contextlib.contextmanager
def seeded(device: torch.device, *seed: int) -> Iterator[None]:
    """Seed torch's generators inside the block; restore them on exit."""
    devices = [device] if device.type == "cuda" else []
    # A seed sequence takes (1, 2) and (1, 2, 0) for the same; with their number they differ.
    entropy = np.random.SeedSequence([len(seed), *seed]).generate_state(1, np.uint64)
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(int(entropy[0]) >> 1)
        yield


class Objective(nn.Module):
    """Network and loss as one module, so that DistributedDataParallel sees the whole step."""

    def __init__(self, model: Network, config: LossConfig) -> None:
        super().__init__()
        self.model = model
        self.config = config

    def forward(self, image: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The loss of a batch, and the mean loss of every level ``[M]``."""
        if finds_nuclei(self.model):
            with autocast(image.device):
                own: Tensor = self.model.losses(image, targets)  # type: ignore[operator]
            return own, own.detach()[None]
        with autocast(image.device):
            output = self.model(image, targets[:, : self.model.config.outputs])
        output = output._replace(logits=[logits.float() for logits in output.logits])
        loss, per_level = loss_of(output, self.config, targets[:, 3:4])
        return loss, torch.stack(per_level)


class Passes:
    """Both passes of a batch; gradients are in the parameters afterwards.

    Args:
        objective: of image and targets; gives the loss and the losses by level.
        scaler: of the loss.
        recorder: :func:`cuda_graph`; None for one operation at a time. A recording that gives
            other gradients is not used.
    """

    def __init__(
        self,
        objective: nn.Module,
        scaler: torch.amp.GradScaler,
        recorder: Recorder | None = None,
    ) -> None:
        self.objective, self.scaler, self.recorder = objective, scaler, recorder
        self._recorded: _Recorded | None = None

    def __call__(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The loss, and the loss of every level ``[M]``."""
        if self.recorder is not None and not (self._recorded and self._recorded.fits(batch)):
            self._recorded = None  # its memory goes before other memory is taken
            try:
                recorded = _Recorded(self, batch, self.recorder)
                if recorded.difference > CLOSE:
                    raise RuntimeError(f"gradients differ by {recorded.difference:.1e}")
                self._recorded = recorded
            except RuntimeError as error:
                first = (str(error).strip().splitlines() or [type(error).__name__])[0]
                warnings.warn(f"Steps are not recorded as a CUDA graph: {first}", stacklevel=2)
                self.recorder = None
        if self._recorded is not None:
            return self._recorded(batch)
        loss, per_level = self.at_once(batch)
        return loss, per_level

    def at_once(self, batch: Batch) -> Results:
        """The same, one operation at a time."""
        for parameter in self.objective.parameters():
            parameter.grad = None
        loss, per_level = self.objective(*batch)
        self.scaler.scale(loss).backward()
        return loss.detach(), per_level.detach()


class _Recorded:
    """Both passes of batches of one shape, recorded."""

    def __init__(self, passes: Passes, batch: Batch, recorder: Recorder) -> None:
        self.batch = Batch(*(t.clone() for t in batch))
        self.parameters = list(passes.objective.parameters())
        # Warming up must not count as steps in running statistics.
        kept = [(buffer, buffer.clone()) for buffer in passes.objective.buffers()]
        try:
            self.results, self.replay = recorder(partial(passes.at_once, self.batch))
            self.gradients = [parameter.grad for parameter in self.parameters]
            # Of a batch that it was not recorded with.
            mirrored = Batch(*(t.flip(-1) for t in batch))
            self(mirrored)
            found = self._flat()
            passes.at_once(mirrored)
            expected = self._flat()
            self.difference = float((found - expected).norm() / expected.norm().clamp(min=1e-30))
        finally:
            for buffer, before in kept:
                buffer.copy_(before)

    def _flat(self) -> Tensor:
        """A copy of all gradients in one line."""
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        return torch.cat([gradient.double().flatten() for gradient in gradients])

    def fits(self, batch: Batch) -> bool:
        """Whether a batch has the recorded shape."""
        return all(a.shape == b.shape for a, b in zip(batch, self.batch, strict=True))

    def __call__(self, batch: Batch) -> tuple[Tensor, Tensor]:
        for place, tensor in zip(self.batch, batch, strict=True):
            place.copy_(tensor, non_blocking=True)
        self.replay()
        for parameter, gradient in zip(self.parameters, self.gradients, strict=True):
            parameter.grad = gradient
        loss, per_level = (result.clone() for result in self.results)
        return loss, per_level


def recorder_for(device: torch.device) -> Recorder | None:
    """How steps are recorded on a device; None where they cannot be."""
    return cuda_graph if device.type == "cuda" else None


def cuda_graph(function: Callable[[], Results]) -> tuple[Results, Callable[[], object]]:
    """Record a function as a CUDA graph.

    Raises:
        RuntimeError: it does something that a graph cannot.
    """
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UP):
            function()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        results = function()
    return results, graph.replay


class Optimisation:
    """A network, its loss and AdamW, with gradients averaged over all processes.

    Args:
        model: the network, on the device.
        preset: the run's configuration.
        members: the processes that train it.
        captured: launch both passes as one CUDA graph, where there is one process with a GPU and
            the network's work does not depend on what it finds.
    """

    def __init__(
        self, model: Network, preset: Preset, members: Team, *, captured: bool = False
    ) -> None:
        self.model, self.config, self.team = model, preset.train, members
        objective = members.wrap(
            # The other losses look at the base alone, and the coarse heads go without gradient.
            Objective(model, preset.loss),
            all_used=preset.loss.kind == "balanced",
        )
        self.optimiser = torch.optim.AdamW(
            parameter_groups(model, preset.train.weight_decay),
            lr=preset.train.learning_rate,
            betas=(0.9, 0.99),
            fused=members.device.type == "cuda",
        )
        self.scaler = scaler(members.device)
        captured = captured and members.world == 1 and not finds_nuclei(model)
        recorder = recorder_for(members.device) if captured else None
        self.passes = Passes(objective, self.scaler, recorder)

    def step(self, batch: Batch, number: int, place: float) -> tuple[float, Tensor]:
        """Change the network by one step.

        Args:
            batch: this process's patches.
            number: steps done before; dropout is drawn from it.
            place: place in the schedule, 0 … 1.

        Returns:
            The learning rate; and ``float64 [2 + M]`` on the device: the loss, the norm of its
            gradient and the mean loss of every level.
        """
        if place < self.config.low_resolution:
            batch = batch.halved()
        rate = learning_rate(place, self.config)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.model.train()
        with seeded(self.team.device, self.config.seed, number, self.team.rank):
            loss, per_level = self.passes(batch.to(self.team.device))
        self.scaler.unscale_(self.optimiser)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        if self.scaler.is_enabled():  # a step whose scaled gradients overflowed is skipped
            norm = norm.nan_to_num(0.0, 0.0, 0.0)
        return rate, torch.cat([loss[None], norm.detach()[None], per_level]).double()
