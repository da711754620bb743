"""``ngat benchmark network``: a whole network on every engine, and a U-Net, side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ngat.benchmark.hosts import check_device, threads_of
from ngat.benchmark.networks import NETWORK_LABELS, UNET
from ngat.benchmark.worker import Jobs
from ngat.config import preset
from ngat.errors import InputError

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
        """Arguments of :func:`ngat.benchmark.networks.contender`."""
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
                "network",
                threads=threads,
                names=self.engines or ENGINES_ON[self.device.partition(":")[0]],
                shape=self.shape,
                rounds=self.rounds,
                seconds=self.seconds,
            )
