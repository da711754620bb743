"""Training of a peer for so many minutes of one core, with checkpoints."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ngat.errors import InputError
from ngat.metrics import average_f1
from ngat.system.files import earlier_json, read_json, write_json, write_text
from ngat.system.process import Interrupted, stop_requests
from peers.peer import Peer
from peers.pictures import Picture, draw, resized

BATCH = 8
CHECKPOINT_SECONDS = 60.0  # of the core
# Validations: so many at most, on so many pictures, and no more than this share of the time.
VALIDATIONS, WATCHED, VALIDATION_SHARE = 16, 24, 0.1
# Of the time: the rate rises, and then falls like a cosine.
WARMUP = 0.05

Clock = Callable[[], float]


@dataclass
class State:
    """How far a run is. Seconds are those of the process, on all its cores together."""

    step: int = 0
    seconds: float = 0.0
    validating: float = 0.0
    validated: int = 0
    best_f1: float = -1.0
    best_step: int = 0
    finished: bool = False


def rate_at(share: float) -> float:
    """The learning rate as a share of the highest, when this share of the time is over."""
    if share < WARMUP:
        return max(share / WARMUP, 0.02)
    return max(0.5 * (1 + math.cos(math.pi * min(1.0, (share - WARMUP) / (1 - WARMUP)))), 0.01)


def train(
    peer: Peer,
    train: list[Picture],
    val: list[Picture],
    out: Path,
    *,
    minutes: float,
    seed: int = 0,
    clock: Clock = time.process_time,
) -> State:
    """Train until the minutes are over; the best by validation is kept in ``out/best``.

    A run that was stopped goes on from its last checkpoint, and a finished one goes on where
    ``minutes`` are more than it has had.

    Raises:
        InputError: ``minutes`` that are none, or a folder with a run of other settings.
        Interrupted: after SIGINT or SIGTERM, with a checkpoint written.
    """
    if not 0 < minutes < math.inf:
        raise InputError(f"minutes must be a positive number; got {minutes}.")
    plan = {"peer": peer.name, "settings": peer.settings, "seed": seed, "batch": BATCH}
    state = resume(peer, out, plan)
    state.finished &= state.seconds >= 60 * minutes
    if state.finished:
        return state
    began = clock() - state.seconds
    saved = said = clock()
    with stop_requests() as asked:
        while True:
            state.seconds = clock() - began
            share = state.seconds / (60 * minutes)
            if asked.is_set():
                save(peer, out, plan, state)
                raise Interrupted(
                    f"Stopped after step {state.step}; the same command goes on.", asked.number
                )
            if share >= 1:
                break
            examples = [
                peer.example(index, train[index], scale, rng)
                for index, scale, rng in draw(train, state.step, BATCH, seed)
            ]
            loss = peer.step(examples, peer.rate * rate_at(share))
            if not math.isfinite(loss):
                raise InputError(f"{out}: the loss is no number at step {state.step}; start anew.")
            state.step += 1
            passed = int(share * VALIDATIONS)
            if passed > state.validated and state.validating <= VALIDATION_SHARE * state.seconds:
                _validate(peer, val, out, state, clock)
                state.validated = passed
            if clock() - saved > CHECKPOINT_SECONDS:
                save(peer, out, plan, state)
                saved = clock()
            if clock() - said > 5:
                say(f"{peer.label}: step {state.step}, loss {loss:.3f}, {share:.0%} of the time")
                said = clock()
    # The last validation comes on top, as in the training of this project's networks.
    _validate(peer, val, out, state, clock)
    state.finished = True
    save(peer, out, plan, state)
    return state


def f1_at_known_size(peer: Peer, pictures: list[Picture]) -> float:
    """Mean average F1 of pictures resized by their annotated size, at the peer's own thresholds.

    So the network is judged apart from how it finds the magnification.
    """
    total = 0.0
    for picture in pictures:
        assert picture.labels is not None
        outputs = peer.outputs(resized(peer.seen(picture.image), picture.known_factor))
        found = peer.nuclei(outputs, picture.labels.shape, peer.defaults)
        total += average_f1(found, picture.labels)
    return total / len(pictures)


def resume(peer: Peer, out: Path, plan: dict[str, Any]) -> State:
    """The state of the folder's last checkpoint, which the peer has loaded; a new one if none."""
    described = out / "state.json"
    if not described.exists():
        return State()
    held = read_json(described, "remove the folder")
    try:
        state = State(**held["state"])
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{described}: is no state of a run ({error}); remove the folder."
        ) from error
    if held["plan"] != json.loads(json.dumps(plan)):
        raise InputError(f"{out}: holds a run with other settings; choose another folder.")
    peer.load(out / held["checkpoint"])
    return state


def save(peer: Peer, out: Path, plan: dict[str, Any], state: State) -> None:
    """Write a checkpoint: into the folder that the last one does not use, then name it."""
    described = out / "state.json"
    used = earlier_json(described).get("checkpoint", "b")
    name = "a" if used == "b" else "b"
    (out / name).mkdir(parents=True, exist_ok=True)
    peer.save(out / name)
    write_json(described, {"plan": plan, "state": asdict(state), "checkpoint": name})


def _validate(peer: Peer, val: list[Picture], out: Path, state: State, clock: Clock) -> None:
    """Validate, keep what is best, write a line of the log."""
    before = clock()
    value = f1_at_known_size(peer, val[:WATCHED])
    if value > state.best_f1:
        state.best_f1, state.best_step = value, state.step
        (out / "best").mkdir(parents=True, exist_ok=True)
        peer.keep(out / "best")
    state.validating += clock() - before
    log = out / "validation.csv"
    lines = log.read_text() if log.exists() else "step,minutes,average_f1\n"
    write_text(log, f"{lines}{state.step},{state.seconds / 60:.2f},{value:.4f}\n")
    say(f"{peer.label}: step {state.step}, average F1 {value:.3f} on validation")


def say(text: str) -> None:
    """A line of progress on stderr."""
    print(text, file=sys.stderr, flush=True)
