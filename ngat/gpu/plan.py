"""The steps of ``ngat gpu``: kernel tests, trainings, benchmarks, predictions on validation.

Stage 2 is not among them: it is scored afterwards, on a CPU, with what the output folder holds. A
rehearsal has generated images in the files that a real run reads, in a few kilobytes.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ngat.data import store
from ngat.data.pack import write_pack
from ngat.data.split import SPLIT_COLUMNS
from ngat.data.synthetic import load_synthetic
from ngat.errors import InputError
from ngat.gpu.session import Step
from ngat.system.tables import write_table
from ngat.training.device.prepared import FILE

COUNTS = {"train": 2, "val": 1}  # images of each split


def write_data(root: Path) -> None:
    """Write ``split.csv`` and ``dsb2018/pack.zip`` with a few generated images into ``root``."""
    lines, entries = [], []
    for part, count in COUNTS.items():
        for sample in load_synthetic(part, seed=0, limit=count):
            image, labels = sample.image[:64, :64], sample.labels[:64, :64]
            hashes = store.content_hash(image), store.content_hash(labels)
            # As if all had been corrected for training: here both masks are the same.
            entries.append(store.Entry(hashes[0], part, image, labels, labels))
            lines.append([part, hashes[0], part, sample.type, sample.group, *hashes])
    write_table(root / "split.csv", pd.DataFrame(lines, columns=SPLIT_COLUMNS))
    whole = store.write(root / "dsb2018", entries, {})
    write_pack(root, progress=False)
    whole.unlink()  # a pack is read where there is no store


# Presets that are trained, side by side: no GPU idles while Python asks for the next operation, and
# all have the same minutes of it.
TRAINED = ("companion", "maskrcnn", "unet", "fpn")
NEEDS = {"maskrcnn": ("torchvision",), "unet": ("monai",), "fpn": ("monai",)}
# Minutes that are reserved for what is no training: tests, each benchmark, each network's
# predictions; and for loading and preparing the images, and the last validation.
TESTS, BENCHMARK, PREDICTIONS, LOADING = 1.0, 0.5, 0.3, 1.2
# A step may take so many times what is reserved for it. Predictions come last and may take what is
# left: they can be made on a CPU as well.
SLACK, LEFT = 1.5, 8
# In a rehearsal no step is short of time, however busy the machine.
REHEARSAL = 10.0
# Patches a step, and peak learning rates that suit them.
BATCH = 64
BATCHES = {"maskrcnn": 32}  # whose losses are counted image by image
RATES = {"companion": 4e-3, "maskrcnn": 4e-4, "unet": 2e-3, "fpn": 2e-3}
RECORDED = ("companion",)  # whose steps are recorded as a CUDA graph, if that is right
MEASURED = "benchmark/step.json"
COMPACT = ("maskrcnn",)  # whose weights are too large to be carried as they are


@dataclass(frozen=True)
class GpuPlan:
    """What ``ngat gpu`` does.

    Attributes:
        minutes: of all steps together.
        work: folder where commands write.
        root: folder with ``split.csv`` and ``dsb2018/pack.zip`` or ``store.zip``.
        rehearse: everything in small, on the CPU: does each step run?
        start: weights from which the companion's training goes on; None for random ones.
        only: names of the steps to do; empty for all.
    """

    minutes: float
    work: Path
    root: Path = Path("data")
    rehearse: bool = False
    start: Path | None = None
    only: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        known = [step.name for step in self._all()]
        for name in self.only:
            if name not in known:
                raise InputError(f"There is no step {name!r}; there are: {', '.join(known)}.")

    @property
    def device(self) -> str:
        """Where it runs."""
        return "cpu" if self.rehearse else "cuda"

    @property
    def present(self) -> list[str]:
        """Presets that can be trained with what is installed; in a rehearsal one rival of two."""
        return [
            preset
            for preset in TRAINED
            if all(importlib.util.find_spec(name) for name in NEEDS.get(preset, ()))
            and not (self.rehearse and preset == "fpn")
        ]

    @property
    def training(self) -> float:
        """Minutes of the trainings, which all run at once: what the rest leaves."""
        reserved = {
            "kernels": TESTS,
            **dict.fromkeys(("step", "attention", "network"), BENCHMARK),
            **{f"predictions-{preset}": PREDICTIONS for preset in self.present},
        }
        rest = sum(taken for name, taken in reserved.items() if not self.only or name in self.only)
        return max(self.minutes - rest - LOADING, 0.1)

    @property
    def steps(self) -> Iterator[Step]:
        """All steps, the most valuable first."""
        return (step for step in self._all() if not self.only or step.name in self.only)

    def _all(self) -> Iterator[Step]:
        yield self.kernels()
        yield self.trainings()
        yield from (self.predictions(preset) for preset in TRAINED if preset in COMPACT)
        yield self.one_step()
        yield from self.benchmarks()
        yield from (self.predictions(preset) for preset in TRAINED if preset not in COMPACT)

    @property
    def _where(self) -> tuple[str, ...]:
        """Options of all commands that read the images."""
        root = ("--data", "dsb2018", "--root", str(self.root))
        return (*root, "--device", self.device, "--quiet")

    def _limit(self, minutes: float) -> float:
        return REHEARSAL if self.rehearse else minutes

    def kernels(self) -> Step:
        """The CUDA engine against the reference; interpreted, and little of it, in a rehearsal."""
        agreement: tuple[str, ...] = ("-m", "ngat.engines.agreement")
        if self.rehearse:
            agreement = (*agreement, "--device", "cpu", "--few")
            interpreted = (("TRITON_INTERPRET", "1"),)
            return Step("kernels", (agreement,), REHEARSAL, ("triton",), environment=interpreted)
        commands = [agreement]
        if importlib.util.find_spec("pytest") is not None:
            # Without the project's own settings, which need further packages of pytest.
            plain = ("-c", "/dev/null", "--rootdir", ".", "-q", "-p", "no:cacheprovider")
            tests = ("tests/engines/test_attention_cuda.py", "-m", "gpu and not slow")
            commands.append(("-m", "pytest", *plain, *tests, "--maxfail", "20"))
        return Step("kernels", tuple(commands), SLACK * TESTS, ("triton",))

    def one_step(self) -> Step:
        """A training step's floors, and whether a CUDA graph makes it faster."""
        words = ["-m", "ngat.benchmark.step", "--device", self.device]
        words += ["--out", str((self.work / MEASURED).parent)]
        if self.rehearse:
            words += ["--few", "--batch", "1", "--seconds", "0.1"]
        else:
            words += ["--batch", str(BATCH), "--seconds", "5"]
        return Step("step", (tuple(words),), self._limit(SLACK * BENCHMARK), keeps=(MEASURED,))

    def trainings(self) -> Step:
        """All trainings side by side; thresholds are chosen afterwards."""
        kept = ["log.csv", "validation.csv", "config.json", "provenance.json"]
        keeps = [f"{preset}/{name}" for preset in self.present for name in kept]
        keeps += [f"{preset}/best.safetensors" for preset in self.present if preset not in COMPACT]
        return Step(
            "training",
            tuple(self.train(preset) for preset in self.present),
            self._limit(self.training + SLACK * LOADING),
            keeps=tuple(keeps),
            environment=(("OMP_NUM_THREADS", "4"),),
            together=True,
        )

    def train(self, preset: str) -> tuple[str, ...]:
        """One training."""
        words = ["-m", "ngat", "train", *self._where, "--preset", preset]
        words += ["--out", str(self.work / preset), "--resume", "--no-thresholds"]
        words += ["--pipeline", "device"]
        words += ["--contrast", str(self.root / "dsb2018" / FILE)]
        if self.start is not None and preset == "companion":
            words += ["--start", str(self.start)]
        words += ["--captured"] * (preset in RECORDED)
        if self.rehearse:
            words += ["--set", "steps=2", "--set", "validate_every=2", "--set", "batch=2"]
            words += ["--set", "patch=48", "--set", "validate_images=1"]
            small = {"companion": ["channels=8", "depth=1", "engine=reference"]}
            for assignment in small.get(preset, ["width=8"]):
                words += ["--set", assignment]
        else:
            batch = BATCHES.get(preset, BATCH)
            words += ["--minutes", f"{self.training:.2f}", "--set", f"batch={batch}"]
            words += ["--set", f"learning_rate={RATES[preset]}", "--set", "validate_every=200"]
        return tuple(words)

    def benchmarks(self) -> list[Step]:
        """The layer and the network, against the device's own bandwidth and others."""
        attention, network = "--batches 1 --first-side 0 --default-side 0", ""
        if self.rehearse:
            few = "--threads 1 --engines reference --repeats 1"
            attention += f" --sides 16 --no-compile --memory-side 0 --seconds 0.1 {few}"
            network += f"--preset smoke --batch 1 --patch 32 --side 32 {few}"
        else:
            attention += f" --sides 256,512,1024 --most-pixels {1024**2} --seconds 2"
            attention += " --dtype bfloat16"
            network += f"--batch {BATCH} --dtype bfloat16 --seconds 10"
        made = []
        for name, options in (("attention", attention), ("network", network)):
            out = ("--device", self.device, "--out", str(self.work / f"benchmark/{name}.csv"))
            command = ("-m", "ngat", "benchmark", name, *options.split(), *out)
            keeps = (f"benchmark/{name}.csv", f"benchmark/{name}.json")
            made.append(Step(name, (command,), self._limit(SLACK * BENCHMARK), keeps=keeps))
        return made

    def predictions(self, preset: str) -> Step:
        """Nuclei in the validation images by one network, counted."""
        weights, results = self.work / preset / "best.safetensors", self.work / "results"
        commands: list[tuple[str, ...]] = []
        keeps = [f"results/dsb2018-val-{preset}*"]
        if preset in COMPACT:
            full, weights = weights, self.work / preset / "compact.safetensors"
            few = ("--limit", "40")  # images to choose its score on, of all types
            compact = ("-m", "ngat.training.weights", str(full), str(weights))
            # Once before anything can go wrong, so that the weights survive in any case.
            commands.append(compact)
            commands.append(("-m", "ngat", "choose", "--weights", str(full), *few, *self._where))
            commands.append(compact)
            keeps.append(f"{preset}/compact.safetensors")
        evaluate = ("-m", "ngat", "evaluate", "--split", "val", "--weights", str(weights))
        commands.append((*evaluate, "--out", str(results), *self._where))
        return Step(
            f"predictions-{preset}",
            tuple(commands),
            self._limit(LEFT * PREDICTIONS),
            NEEDS.get(preset, ()),
            after=f"{preset}/best.safetensors",
            keeps=tuple(keeps),
        )


def afterwards(out: Path) -> list[str]:
    """Commands that make results to commit of the output folder, where the whole store is."""
    lines = []
    for preset in TRAINED:
        name = "compact" if preset in COMPACT else "best"
        weights = out / preset / f"{name}.safetensors"
        if not weights.exists():
            continue
        if preset not in COMPACT:
            lines.append(f"ngat choose --data dsb2018 --weights {weights}")
        lines.append(
            f"ngat evaluate --data dsb2018 --out data/results --weights {weights} "
            f"--name dsb2018-test-{preset}-gpu"
        )
    return lines
