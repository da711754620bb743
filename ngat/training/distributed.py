"""Several processes that train one network, as started by ``torchrun``; or just one.

Every process draws its share of each batch; gradients are averaged by DistributedDataParallel.
"""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import distributed, nn
from torch.distributed.rendezvous import rendezvous

from ngat.errors import InputError

# What torchrun sets beside WORLD_SIZE, and processes need in order to meet.
_LAUNCH = ("RANK", "MASTER_ADDR", "MASTER_PORT")
_REMEDY = "start several processes by torchrun, or unset WORLD_SIZE to train with one."

# How long a process waits for others to start, deaf to signals; torch's own limit for a step.
MEETING, WORKING = timedelta(minutes=2), timedelta(minutes=30)


@dataclass(frozen=True)
class Team:
    """The processes of a run.

    Attributes:
        rank: number of this process; 0 writes the files.
        world: how many there are.
        device: where this process computes.
    """

    rank: int
    world: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Is this the process that writes?"""
        return self.rank == 0

    def maximum(self, values: Sequence[float]) -> list[float]:
        """Elementwise maximum over all processes."""
        return self._reduce(values, distributed.ReduceOp.MAX)

    def mean(self, values: Sequence[float]) -> list[float]:
        """Elementwise mean over all processes."""
        return [v / self.world for v in self._reduce(values, distributed.ReduceOp.SUM)]

    def sum(self, values: Sequence[float]) -> list[float]:
        """Elementwise sum over all processes."""
        return self._reduce(values, distributed.ReduceOp.SUM)

    def wrap(self, module: nn.Module, *, all_used: bool = True) -> nn.Module:
        """``module`` with its gradients averaged over all processes.

        Args:
            all_used: does every parameter get a gradient in every step?
        """
        if self.world == 1:
            return module
        devices = [self.device] if self.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(
            module, device_ids=devices, find_unused_parameters=not all_used
        )

    def _reduce(
        self, values: Sequence[float], operation: distributed.ReduceOp.RedOpType
    ) -> list[float]:
        if self.world == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        distributed.all_reduce(tensor, operation)
        return [float(v) for v in tensor.tolist()]


@contextlib.contextmanager
def team(device: str = "auto") -> Iterator[Team]:
    """Join the processes that ``torchrun`` started, if it did.

    Args:
        device: ``auto`` (a GPU if there is one), ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        InputError: the device does not exist here; the environment names other processes that
            cannot be joined.
    """
    rank, world, local = _launched()
    where = find_device(device, local)
    if world == 1:
        yield Team(0, 1, where)
        return
    try:
        store, *_ = next(rendezvous("env://", rank, world, timeout=MEETING))
        # Later they may wait long for each other, as for a validation.
        store.set_timeout(WORKING)
        backend = "nccl" if where.type == "cuda" else "gloo"
        distributed.init_process_group(backend, store=store, rank=rank, world_size=world)
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"WORLD_SIZE={world} names other processes, which cannot be reached at MASTER_ADDR "
            f"{os.environ['MASTER_ADDR']} ({reason}); {_REMEDY}"
        ) from error
    try:
        yield Team(rank, world, where)
    finally:
        # DistributedDataParallel lies in a ring of references and holds on to the group. Left to
        # the interpreter's end, the group's threads may meet it half gone, and abort the process.
        gc.collect()
        distributed.destroy_process_group()


def _launched() -> tuple[int, int, int]:
    """Rank, number of processes and rank on this machine, as ``torchrun`` sets them; or 0, 1, 0.

    Raises:
        InputError: they are incomplete or no such numbers, as jobs of a cluster may leave them.
    """
    if os.environ.get("WORLD_SIZE", "1") == "1":
        return 0, 1, 0
    if missing := [name for name in _LAUNCH if not os.environ.get(name)]:
        raise InputError(
            f"WORLD_SIZE is set to {os.environ['WORLD_SIZE']} without {', '.join(missing)}; "
            + _REMEDY
        )
    try:
        world, rank = int(os.environ["WORLD_SIZE"]), int(os.environ["RANK"])
        local = int(os.environ.get("LOCAL_RANK", rank))
        if not (0 <= rank < world and local >= 0):
            raise ValueError("out of range")
    except ValueError as error:
        raise InputError(
            "WORLD_SIZE, RANK and LOCAL_RANK must be whole numbers, each rank below WORLD_SIZE; "
            + _REMEDY
        ) from error
    return rank, world, local


def find_device(device: str = "auto", local: int = 0) -> torch.device:
    """The torch device that a user means.

    Raises:
        InputError: it does not exist here.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise InputError(f"Unknown device {device!r}; choose auto, cpu, cuda or cuda:0.") from error
    if found.type not in ("cpu", "cuda"):
        raise InputError(f"Device {device!r} is not supported; choose auto, cpu or cuda.")
    if found.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        index = local if found.index is None else found.index
        if index >= count:
            raise InputError(
                f"Device {device!r} is not there; found {count} GPUs. Try --device cpu."
            )
        found = torch.device("cuda", index)
    return found
