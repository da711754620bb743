"""A training step's forward and backward pass as a CUDA graph: one launch for some hundred kernels.

A GPU works off the small levels of a pyramid faster than Python can ask for them. Recorded once,
the kernels of both passes are launched together, always on the same memory: a batch is copied to
where the recorded one lay, and gradients appear where they did. Where nothing can be recorded (no
GPU, an operation that waits for the host), the passes are made one operation at a time, as usual.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from ngat.training.patches import Batch

WARM_UP = 3  # passes before the recorded one: kernels are compiled and constants are made
# Relative difference of gradients, recorded and not, up to which a recording is right: bfloat16
# and sums in any order leave some thousandths; those of another batch differ by about one.
CLOSE = 0.03

Results = tuple[Tensor, ...]
# Records a function and gives what it returned, and a call that does the same on the same memory.
Recorder = Callable[[Callable[[], Results]], tuple[Results, Callable[[], object]]]


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
