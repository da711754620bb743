"""The ring test bed: can a network fill in nuclei whose interior colour says nothing?

On the ring pictures (:mod:`ngat.data.synthetic`) only thin outlines tell nucleus from background,
so a network scores high only if messages travel from the outline to the inside. Both presets train
for the same number of steps on the same pictures and are compared by Dice on held-out ones.

    python -m ngat.training.rings_bed                    # every network: rings.json, weights
    python -m ngat.training.rings_bed companion paper    # some of them; others stay
"""

from __future__ import annotations

import csv
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ngat.baselines.networks import Network
from ngat.config import Preset, preset, to_dict
from ngat.data import Sample, fingerprint, load
from ngat.errors import InputError
from ngat.inference import predict
from ngat.metrics import pixel_dice
from ngat.system.files import locked, read_json, replacing, write_json
from ngat.system.process import track
from ngat.system.provenance import provenance
from ngat.thresholds import Thresholds
from ngat.training.trainer import train
from ngat.training.weights import load_weights

# By name: a preset and what differs from it.
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "companion": ("companion", {}),
    "paper": ("paper", {}),
    "centred": ("companion", {"plasticity_squash": "centred"}),
}
RESULT = "rings.json"


def configuration(name: str, steps: int = 400, seed: int = 0) -> Preset:
    """A network with the test bed's training: ``steps`` of four whole pictures, as they are.

    Raises:
        InputError: the name is none of :data:`NETWORKS`.
    """
    if name not in NETWORKS:
        raise InputError(f"Unknown network {name!r}; there are {', '.join(NETWORKS)}.")
    base, changes = NETWORKS[name]
    return preset(
        base,
        **changes,
        steps=steps,
        batch=4,
        patch=96,
        low_resolution=0.0,
        sized=False,
        nuclei=0.0,
        contact=0.0,
        norm="group",
        outputs=2,
        augment=False,
        strength=1.0,
        contrast="plain",
        seed=seed,
        validate_every=max(1, steps // 8),
        validate_images=0,
    )


def dice(model: Network, samples: Sequence[Sample], *, progress: bool = False) -> list[float]:
    """Pixel Dice (eq. 29) of every picture at the default threshold."""
    return [
        pixel_dice(
            predict(model, sample.image).probability > Thresholds().probability, sample.labels > 0
        )
        for sample in track(samples, "Score held-out pictures", progress=progress)
    ]


def measure(
    name: str, weights: Path, *, steps: int = 400, seed: int = 0, progress: bool = True
) -> dict[str, Any]:
    """Train one network on the test bed and score it on the 48 held-out pictures.

    Args:
        name: of :data:`NETWORKS`.
        weights: where the network with the best validation goes.

    Returns:
        parameters, steps, minutes, cpu_minutes, Dice (mean over pictures), its standard deviation,
        the validation's Dice by step, the configuration and the provenance.
    """
    chosen = configuration(name, steps, seed)
    held_out = load("rings", "test", seed=seed)
    began, cpu = time.monotonic(), time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        trained = train(
            chosen,
            load("rings", "train", seed=seed),
            load("rings", "val", seed=seed),
            out,
            device="cpu",
            progress=progress,
            command=command(name),
            data="rings",
        )
        cpu = time.process_time() - cpu
        with (out / "validation.csv").open(encoding="utf-8", newline="") as file:
            curve = {row["step"]: round(float(row["dice"]), 4) for row in csv.DictReader(file)}
        with replacing(weights) as beside:
            beside.write_bytes(trained.best.read_bytes())
    model, _, _ = load_weights(weights)
    scores = dice(model, held_out, progress=progress)
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "steps": trained.steps,
        "minutes": round(trained.minutes, 2),
        "cpu_minutes": round(cpu / 60, 2),
        "dice": round(float(np.mean(scores)), 4),
        "dice_deviation": round(float(np.std(scores)), 4),
        "dice_by_step": curve,
        "configuration": to_dict(chosen),
        "provenance": provenance(
            command(name),
            seed,
            fingerprint(held_out),
            (time.monotonic() - began) / 60,
            data="rings, test",
        ),
    }


def command(name: str) -> str:
    """The command that measures a network."""
    return f"python -m ngat.training.rings_bed {name}"


def read(data: Path) -> dict[str, dict[str, Any]]:
    """What is known, by network: see :func:`measure`; empty where nothing is."""
    return read_json(data / "results" / RESULT, "measure again", absent={})


def table(known: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """What :func:`read` gives, as a table: one row per network."""
    columns = ("parameters", "steps", "minutes", "cpu_minutes", "dice", "dice_deviation")
    rows = [
        {
            "network": name,
            **{column: known[name][column] for column in columns},
            "seed": known[name]["provenance"]["seed"],
            "hardware": known[name]["provenance"]["hardware"],
        }
        for name in NETWORKS
        if name in known
    ]
    return pd.DataFrame(rows)


def curves(known: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[int, float]]:
    """Validation Dice by step, by network."""
    return {
        name: {int(step): dice for step, dice in sorted(row.items(), key=lambda at: int(at[0]))}
        for name, row in ((n, known[n]["dice_by_step"]) for n in NETWORKS if n in known)
    }


def run(data: Path, names: Sequence[str], *, steps: int = 400, progress: bool = True) -> Path:
    """Measure networks; write ``results/rings.json`` and their weights below ``data``."""
    path = data / "results" / RESULT
    for name in names or NETWORKS:
        weights = data / "weights" / f"rings_{name}.safetensors"
        row = measure(name, weights, steps=steps, progress=progress)
        with locked(path):
            write_json(path, read(data) | {name: row})
    return path


if __name__ == "__main__":
    print(run(Path("data"), sys.argv[1:]))
