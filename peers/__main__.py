"""``python -m peers stardist --pictures FOLDER --out FOLDER --minutes 84``, in its environment."""

from __future__ import annotations

import os

# One thread, unless asked otherwise: minutes are those of a core. Before numpy is loaded.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import argparse  # noqa: E402
import importlib  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402

from ngat.errors import InputError  # noqa: E402
from ngat.system.files import held, write_json  # noqa: E402
from ngat.system.process import Interrupted, terminable  # noqa: E402
from ngat.system.provenance import commit, hardware  # noqa: E402
from peers.peer import Peer  # noqa: E402
from peers.pictures import read  # noqa: E402
from peers.prediction import choose, predict  # noqa: E402
from peers.training import train  # noqa: E402

PEERS = ("stardist", "cellpose")


def build(name: str, seed: int) -> Peer:
    """The peer of this name.

    Raises:
        InputError: unknown, or its packages are not installed here.
    """
    if name not in PEERS:
        raise InputError(f"Unknown peer {name!r}; known: {', '.join(PEERS)}.")
    try:
        peer: Peer = importlib.import_module(f"peers.with_{name}").build(seed)
    except ModuleNotFoundError as error:
        raise InputError(
            f"The package {error.name} is not installed here; `make peers PEER={name}` makes the "
            "environment that has it."
        ) from error
    return peer


def run(
    peer: Peer,
    pictures: Path,
    out: Path,
    *,
    minutes: float,
    seed: int = 0,
    limit: int | None = None,
) -> Path:
    """Train, choose and predict, each where it is not done yet; the file that tells of it.

    Args:
        pictures: what ``ngat peers export`` wrote.
        out: the run's folder.
        minutes: of one core, for training and the validation that belongs to it.
        limit: only so many pictures of each split.

    Raises:
        InputError: pictures missing or damaged, or a folder with another run.
    """
    told = out / "told.json"
    with held(out, "a run"):
        training = read(pictures, "train", limit)
        val = read(pictures, "val", limit)
        before = time.process_time()
        state = train(peer, training, val, out, minutes=minutes, seed=seed)
        peer.recall(out / "best")
        began = time.process_time()
        chosen = choose(peer, training, val, out, state.step)
        way = peer.magnifications(training)[chosen["magnification"]]
        predict(peer, pictures, ("val", "test"), out, way, chosen["thresholds"], limit)
        if not told.exists():
            write_json(
                told,
                {
                    "peer": peer.name,
                    "label": peer.label,
                    "command": f"python -m peers {peer.name} --minutes {minutes:g}",
                    "commit": commit(),
                    "seed": seed,
                    "parameters": peer.parameters(),
                    "minutes": round(state.seconds / 60, 2),
                    "steps": state.step,
                    "best_step": state.best_step,
                    "hardware": hardware(),
                    "versions": peer.versions(),
                    "settings": peer.settings,
                    "validation": {"average_f1": round(state.best_f1, 4), "at": "annotated size"},
                    **{key: chosen[key] for key in ("thresholds", "magnification")},
                    "magnifications": chosen["average_f1"],
                    "minutes_of_choice_and_prediction": round(
                        (time.process_time() - began) / 60, 2
                    ),
                },
            )
    print(f"{told}: {state.step} steps, {(began - before) / 60:.1f} minutes of a core now")
    return told


def main(words: list[str] | None = None) -> int:
    """The command; its exit code."""
    parser = argparse.ArgumentParser(prog="python -m peers", description=__doc__)
    parser.add_argument("peer", help=" or ".join(PEERS))
    parser.add_argument("--pictures", type=Path, required=True, help="folder of the export")
    parser.add_argument("--out", type=Path, required=True, help="the run's folder")
    parser.add_argument("--minutes", type=float, default=84.0, help="of one core, for training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, help="only so many pictures of each split")
    given = parser.parse_args(words)
    try:
        with terminable():
            peer = build(given.peer, given.seed)
            run(
                peer,
                given.pictures,
                given.out,
                minutes=given.minutes,
                seed=given.seed,
                limit=given.limit,
            )
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt as error:
        print(str(error) or "Stopped; the same command goes on.", file=sys.stderr)
        return 128 + (error.number if isinstance(error, Interrupted) else int(signal.SIGINT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
