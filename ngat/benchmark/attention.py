"""``ngat benchmark attention``: one layer on every engine and its rivals, side by side."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ngat.benchmark.floor import PASSES
from ngat.benchmark.hosts import check_device, threads_of
from ngat.benchmark.layers import LABELS, Case
from ngat.benchmark.worker import Jobs
from ngat.errors import InputError

ENGINES_ON = {
    "cpu": ("cpu", "reference", "dgl", "compile", "dgl_gatconv", "pyg_gatconv"),
    "cuda": ("cuda", "reference", "compile", "dgl_gatconv", "pyg_gatconv"),
}


@dataclass(frozen=True)
class LayerPlan:
    """What is measured.

    Attributes:
        sides, batches: base sides of the pictures, and pictures at once: every combination
        most_pixels: that has no more pixels than this (PyG takes 7 kB a node and seconds a call).
        levels, heads, channels: of the layer; heads share the channels.
        layers: ``typed`` (as in the companion) and ``joint`` (as published).
        threads: one process each; empty for 1 and, where there are two cores, 2.
        device: ``cpu`` or ``cuda``.
        dtype: ``float32`` or ``bfloat16``.
        engines: keys of :data:`ngat.benchmark.layers.LABELS`; empty for all that suit the device.
        compiled: sides at which torch.compile takes part, one picture at a time: it compiles for
            every size, pass and number of threads anew, a minute or two each.
        rounds, seconds: of a size: at most so many rounds, and none begun after so long (but 3).
        memory_side: side at which peak memory is measured; 0 leaves it out.
        first_side: side of the first call in a fresh process; 0 leaves it out.
        default_side: side that is measured with the system's allocator as it comes, too; 0 leaves
            it out.
    """

    sides: tuple[int, ...] = (64, 128, 256, 512)
    batches: tuple[int, ...] = (1, 4)
    most_pixels: int = 512 * 512
    levels: int = 4
    heads: int = 4
    channels: int = 32
    layers: tuple[str, ...] = ("typed", "joint")
    threads: tuple[int, ...] = ()
    device: str = "cpu"
    dtype: str = "float32"
    engines: tuple[str, ...] = ()
    compiled: tuple[int, ...] = (256,)
    rounds: int = 15
    seconds: float = 6.0
    memory_side: int = 256
    first_side: int = 256
    default_side: int = 256

    def __post_init__(self) -> None:
        check_device(self.device, self.dtype, self.threads)
        for engine in self.engines:
            if engine not in LABELS:
                raise InputError(f"Unknown engine {engine!r}; known: {', '.join(LABELS)}.")
        if not self.cases or self.rounds < 1:  # sizes that make no layer are refused by Case
            raise InputError("A benchmark needs a side, a batch and a round within most_pixels.")

    @property
    def cases(self) -> list[Case]:
        """All sizes, the small ones first."""
        sizes = [(side, batch) for side in self.sides for batch in self.batches]
        sizes = [(side, batch) for side, batch in sizes if side**2 * batch <= self.most_pixels]
        return [case for side, batch in sizes for case in self.at(side, batch)]

    def at(self, side: int, batch: int = 1) -> list[Case]:
        """Pictures of this side, for every layer."""
        shape = self.levels, self.heads, self.channels, self.dtype
        return [Case(side, batch, *shape, relations) for relations in self.layers]

    @property
    def of_engines(self) -> tuple[str, ...]:
        """Names of the layers."""
        return self.engines or ENGINES_ON[self.device.partition(":")[0]]

    def measure(self, jobs: Jobs) -> None:
        """First calls, times and peak memory of every layer."""
        # Compiled code of this run alone, so that seconds of compilation are those of compiling.
        with tempfile.TemporaryDirectory(prefix="ngat-benchmark-") as folder:
            names = ["TORCHINDUCTOR_CACHE_DIR"]
            if self.first_side:
                names += ["NUMBA_CACHE_DIR", "TRITON_CACHE_DIR"]
            jobs.environment = {name: str(Path(folder) / name.lower()) for name in names}
            self._first_calls(jobs)
            jobs.say("times …")
            for threads in threads_of(self.threads, self.device):
                self._times(jobs, self.cases, threads, "kept")
            if self.device == "cpu" and self.default_side:
                self._times(jobs, self.at(self.default_side), 1, "default")
            self._memory(jobs)

    def _first_calls(self, jobs: Jobs) -> None:
        """Twice in fresh processes: with an empty cache of compiled code, and with a full one."""
        for engine in self.of_engines:
            if self.first_side and engine in ("cpu", "cuda"):
                for quantity in ("first_call_cold_s", "first_call_warm_s"):
                    jobs.say(f"{LABELS[engine]}: {quantity} …")
                    case = asdict(self.at(self.first_side)[0])
                    jobs.do("first_call", case=case, engine=engine, quantity=quantity)

    def _times(self, jobs: Jobs, cases: list[Case], threads: int, allocator: str) -> None:
        jobs.do(
            "time",
            threads=threads,
            allocator=allocator,
            cases=[asdict(case) for case in cases],
            engines=self.of_engines,
            compiled=self.compiled if allocator == "kept" else (),
            rounds=self.rounds,
            seconds=self.seconds,
        )

    def _memory(self, jobs: Jobs) -> None:
        for engine in self.of_engines if self.memory_side else ():
            # What torch.compile compiled for the times is there; more would take minutes.
            if engine != "compile" or self.memory_side in self.compiled:
                jobs.say(f"{LABELS[engine]}: peak memory …")
                for which in PASSES:
                    for case in self.at(self.memory_side):
                        where: dict[str, Any] = {"case": asdict(case), "which": which}
                        jobs.do("memory", allocator="returned", engine=engine, **where)
        if "compile" in self.of_engines and self.first_side in self.compiled:
            jobs.say("torch.compile: first_call_warm_s …")
            first = asdict(self.at(self.first_side)[0])
            jobs.do("first_call", case=first, engine="compile", quantity="first_call_warm_s")
