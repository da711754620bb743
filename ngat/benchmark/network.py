"""``ngat benchmark network``: a whole network on every engine, and a U-Net, side by side."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ngat.benchmark import worker
from ngat.benchmark.hosts import check_device, threads_of
from ngat.benchmark.measure import SURROUNDINGS
from ngat.benchmark.networks import NETWORK_LABELS, UNET
from ngat.benchmark.rows import write
from ngat.config import preset
from ngat.errors import InputError
from ngat.system.files import write_json
from ngat.system.provenance import provenance

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


def benchmark_network(
    plan: NetworkPlan,
    out: Path | str | None = None,
    *,
    command: str | Sequence[str] = "ngat.benchmark.benchmark_network",
    quiet: bool = False,
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Measure a plan.

    Args:
        out: CSV file; its provenance goes beside it with the suffix ``.json``.
        command: for the provenance.
        quiet: no progress on stderr.

    Returns:
        the table (:mod:`ngat.benchmark.rows`), and by network why something is missing.

    Raises:
        BenchmarkFailed: a worker ended with an error.
    """
    began = time.perf_counter()
    rows: list[dict[str, Any]] = []
    notes: dict[str, str] = {}
    for threads in threads_of(plan.threads, plan.device):
        found = worker.run(
            "network",
            {
                "names": plan.engines or ENGINES_ON[plan.device.partition(":")[0]],
                "shape": plan.shape,
                "rounds": plan.rounds,
                "seconds": plan.seconds,
            },
            worker.Setting(threads, "kept", plan.device),
            quiet=quiet,
        )
        rows.extend(row for row in found.rows if row not in rows)
        notes.update(found.notes)
    if out is not None:
        record = provenance(
            command,
            0,
            None,
            (time.perf_counter() - began) / 60,
            device=plan.device,
            plan=asdict(plan),
            **SURROUNDINGS,
            not_measured=notes,
        )
        write_json(Path(out).with_suffix(".json"), record)
    return write(out, rows), notes
