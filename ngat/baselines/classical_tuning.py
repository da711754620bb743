"""Settings of the classical pipeline, sought on training pictures: one per type, and one for all.

What is maximised is the average F1 of the protocol: for a type its mean over pictures; for the one
setting the mean of these means, in which a type counts as often as it occurs among the training
pictures: what the mean over all of them would be.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ngat.baselines.classical import Settings, settings_from
from ngat.baselines.classical_search import STARTS, SearchObjective, SearchPlan, crc, rules, search
from ngat.data import TYPES, Sample, fingerprint
from ngat.errors import InputError
from ngat.system.files import read_json, write_json
from ngat.system.process import bar
from ngat.system.provenance import provenance

# The search that serves all types.
ONE = "one setting"
# Larger pictures are searched on a window of this side; scoring always sees whole pictures.
SIDE = 384


class Tuned(NamedTuple):
    """What a search found: settings by type, one for all, and how they came about."""

    per_type: dict[str, Settings]
    one: Settings
    average_f1: dict[str, float]
    history: dict[str, Any]

    def of(self, kind: str) -> Settings:
        """A type's settings. Raises InputError for a type that was not tuned."""
        if kind not in self.per_type:
            raise InputError(
                f"There are no classical settings for {kind!r}, only for "
                f"{', '.join(self.per_type)}; use those for all."
            )
        return self.per_type[kind]


def read_tuned(path: Path | str) -> Tuned:
    """Read what :func:`tune` wrote. Raises InputError where it is absent, damaged or unfinished."""
    stored = _read(Path(path))
    try:
        found = {name: settings_from(entry["settings"]) for name, entry in stored["found"].items()}
        reached = {name: float(entry["average_f1"]) for name, entry in stored["found"].items()}
        one = found.pop(ONE)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: holds no finished tuning; run `ngat tune-classical`.") from error
    history = {name: value for name, value in stored.items() if name not in ("found", "scores")}
    return Tuned(found, one, reached, history)


def tune(
    samples: Sequence[Sample],
    out: Path | str,
    plan: SearchPlan | None = None,
    *,
    data: str,
    command: str | Sequence[str] = "ngat.baselines.classical_tuning.tune",
    progress: bool = True,
) -> Tuned:
    """Search settings per type and one for all; write them, with provenance, to a JSON file.

    The file is whole after every trial; the same call goes on where the last one stopped.

    Args:
        samples: training pictures.
        out: the JSON file.
        plan: how much is searched.
        data: the data set's name, for the file.
        command, progress: as in :func:`ngat.training.trainer.train`.

    Raises:
        InputError: a picture is not for training, there is none, or the file holds another search.
    """
    plan, out = plan or SearchPlan(), Path(out)
    if not samples:
        raise InputError("there is no picture to tune on.")
    for sample in samples:
        if sample.split != "train":
            raise InputError(f"{sample.image_id} is of {sample.split}; tune on training pictures.")
    chosen = choose(samples, plan)
    marks: dict[str, Any] = {
        "data_fingerprint": fingerprint([s for group in chosen.values() for s in group]),
        "seed": plan.seed,
        "rules": rules(),
    }
    fresh: dict[str, Any] = {**marks, "minutes": 0.0, "scores": {}}
    stored = _read(out) if out.exists() else fresh
    if any(stored.get(name) != mark for name, mark in marks.items()):
        raise InputError(f"{out}: holds another search; give another file, or remove this one.")
    scores: dict[str, list[float | None]] = stored["scores"]
    found: dict[str, dict[str, Any]] = {}
    earlier = stored.get("found", {})
    before, began = float(stored["minutes"]), time.monotonic()

    def save() -> None:
        origin = provenance(
            command,
            plan.seed,
            marks["data_fingerprint"],
            before + (time.monotonic() - began) / 60,
            data=data,
            split="train",
            rules=marks["rules"],
            pictures={kind: len(group) for kind, group in chosen.items()},
            trials=plan.trials,
            objective="average F1; for the one setting, types weigh as in training",
        )
        write_json(out, {**origin, "found": found, "scores": scores})

    half = replace(plan, trials=max(plan.trials // 2, 1))
    often = {kind: float(sum(sample.type == kind for sample in samples)) for kind in chosen}
    with bar(progress=progress) as display:
        task = display.add_task("Tune", total=plan.trials * len(chosen) + half.trials)
        for name in (*chosen, ONE):
            display.update(task, description=f"Tune {name}")
            known = scores.setdefault(name, [])
            if name == ONE:
                # What serves a type may serve all: the search begins with what they found. Scores
                # of a search that began with something else are of other settings.
                if any(earlier.get(kind) != entry for kind, entry in found.items()):
                    known.clear()
                begin = (*STARTS, *(settings_from(entry["settings"]) for entry in found.values()))
                trials = search(
                    name, half, SearchObjective(chosen, often), known, begin, first=len(begin)
                )
            else:
                trials = search(name, plan, SearchObjective({name: chosen[name]}), known)
            for trial in trials:
                display.advance(task)
                if trial.number == len(known):
                    known.append(trial.score)
                    save()
            found[name] = {"settings": asdict(trial.best), "average_f1": trial.best_score}
        save()
    return read_tuned(out)


def choose(samples: Sequence[Sample], plan: SearchPlan) -> dict[str, list[Sample]]:
    """Pictures to search on, drawn by the seed: ``pictures`` of each type, large ones cut."""
    chosen: dict[str, list[Sample]] = {}
    for kind in TYPES:
        group = sorted((s for s in samples if s.type == kind), key=lambda s: s.image_id)
        rng = np.random.default_rng([plan.seed, crc(kind)])
        drawn = [group[i] for i in rng.permutation(len(group))[: plan.pictures]]
        if drawn:
            chosen[kind] = [cut(sample, rng) for sample in drawn]
    return chosen


def cut(sample: Sample, rng: np.random.Generator) -> Sample:
    """A window of at most :data:`SIDE` on a side, at a random place."""
    window = tuple(
        slice(start, start + SIDE)
        for start in (
            int(rng.integers(max(length - SIDE, 0) + 1)) for length in sample.labels.shape
        )
    )
    return replace(sample, image=sample.image[window], labels=sample.labels[window])


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(f"{path}: no such file; run `ngat tune-classical` first.")
    stored = read_json(path, "tune again")
    if not isinstance(stored.get("scores"), dict):
        raise InputError(f"{path}: holds no tuning of the classical pipeline; give another file.")
    return stored
