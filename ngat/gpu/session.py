"""Minutes on a GPU, as a list of steps: each with its own limit, resumed, going on after errors.

A step is one or more commands in processes of their own, so that one which crashes or hangs takes
nothing with it. What must survive goes to the output folder as soon as a step ends (logs, tables,
weights); what only serves to resume (checkpoints) stays in a work folder. ``report.json`` is
written anew after every step and tells which are done: the same call again skips them.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from ngat.errors import InputError
from ngat.system.files import earlier_json, write_json
from ngat.system.provenance import commit, hardware, versions

REPORT = "report.json"
Status = Literal["done", "failed", "skipped"]


@dataclass(frozen=True)
class Step:
    """One step.

    Attributes:
        name: for the report and the log, ``<name>.log``.
        commands: words of each, after the interpreter; run in this order, until one fails.
        minutes: the limit of all commands together.
        needs: packages without which the step is left out.
        after: a file of the work folder without which the step is left out.
        keeps: files of the work folder that go to the output folder, as patterns; they do so even
            when the step fails.
        environment: further variables.
        together: run the commands side by side; each then has all the minutes.
    """

    name: str
    commands: tuple[tuple[str, ...], ...]
    minutes: float
    needs: tuple[str, ...] = ()
    after: str = ""
    keeps: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    together: bool = False


@dataclass(frozen=True)
class StepOutcome:
    """How a step ended: its status, seconds, and one sentence where it is not done."""

    status: Status
    seconds: float = 0.0
    sentence: str = ""


def run(
    steps: Iterable[Step],
    out: Path | str,
    work: Path | str,
    minutes: float,
    *,
    device: str = "cuda",
    say: Callable[[str], None] = print,
) -> bool:
    """Do the steps that are not done yet, one after the other, until the minutes are over.

    Args:
        steps: in order; taken one by one, so that one may depend on what another found.
        out: folder of the results; made if absent.
        work: folder for what resuming needs, where commands write.
        minutes: of all steps together; a step ends when they do.
        device: for the report.
        say: called with a line for every step.

    Returns:
        whether no step failed.

    Raises:
        InputError: a folder cannot be written.
    """
    out, work = Path(out), Path(work)
    if not minutes > 0:
        raise InputError(f"minutes must be a positive number; got {minutes}.")
    began = time.monotonic()
    outcomes = {name: o for name, o in _before(work / REPORT).items() if o.status == "done"}
    for step in steps:
        if step.name not in outcomes:
            remaining = 60 * minutes - (time.monotonic() - began)
            outcomes[step.name] = _do(step, work, remaining)
        _keep(step, work, out)
        outcome = outcomes[step.name]
        say(f"{step.name}: {outcome.status} ({outcome.seconds:.0f} s) {outcome.sentence}".rstrip())
        report = {
            "device": hardware(device),
            "versions": versions(device),
            "commit": commit(),
            "minutes": minutes,
            "steps": {name: asdict(outcome) for name, outcome in outcomes.items()},
        }
        for folder in (work, out):
            write_json(folder / REPORT, report)
    return all(outcome.status != "failed" for outcome in outcomes.values())


def _before(path: Path) -> dict[str, StepOutcome]:
    """Outcomes of an earlier call; none where there is no report, or a damaged one."""
    try:
        steps = earlier_json(path).get("steps", {})
        return {name: StepOutcome(**outcome) for name, outcome in steps.items()}
    except (TypeError, AttributeError):
        return {}


def _do(step: Step, work: Path, remaining: float) -> StepOutcome:
    missing = [name for name in step.needs if importlib.util.find_spec(name) is None]
    if missing:
        return StepOutcome("skipped", 0.0, f"{missing[0]} is not installed here.")
    if step.after and not (work / step.after).exists():
        return StepOutcome("skipped", 0.0, f"It needs {step.after}, which no step has made.")
    limit = min(60 * step.minutes, remaining)
    if limit <= 1:
        return StepOutcome("skipped", 0.0, "No time is left; the same call again goes on here.")
    began = time.monotonic()
    work.mkdir(parents=True, exist_ok=True)
    groups = [step.commands] if step.together else [(words,) for words in step.commands]
    with (work / f"{step.name}.log").open("w", encoding="utf-8") as log:
        for group in groups:
            left = limit - (time.monotonic() - began)
            for words, code in zip(group, _call(group, log, step, left), strict=True):
                if not code:
                    continue
                log.flush()
                last = _last_line(work / f"{step.name}.log")
                if code == TIMED_OUT and limit < 60 * step.minutes:
                    sentence = "The minutes are over; the same call again goes on here."
                    return StepOutcome("skipped", time.monotonic() - began, sentence)
                what = f"ran past its {limit:.0f} s" if code == TIMED_OUT else f"ended with {code}"
                sentence = f"{' '.join(words[:4])} {what}: {last}"
                return StepOutcome("failed", time.monotonic() - began, sentence)
    return StepOutcome("done", time.monotonic() - began)


TIMED_OUT = -99


def _call(group: Sequence[Sequence[str]], log: Any, step: Step, seconds: float) -> list[int]:
    """Run commands side by side; after their time ask them to end, and training keeps its work."""
    processes = [
        subprocess.Popen(
            [sys.executable, *words],
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | dict(step.environment),
            start_new_session=True,
        )
        for words in group
    ]
    until = time.monotonic() + max(seconds, 1.0)
    codes = []
    try:
        for process in processes:
            try:
                codes.append(process.wait(timeout=max(until - time.monotonic(), 0.01)))
            except subprocess.TimeoutExpired:
                codes.append(TIMED_OUT)
    finally:
        _end([process for process in processes if process.poll() is None])
    return codes


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Ask, wait, then kill."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
        until = time.monotonic() + 8
        for process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=max(until - time.monotonic(), 0.01))
        processes = [process for process in processes if process.poll() is None]


def _last_line(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else "no output."


def _keep(step: Step, work: Path, out: Path) -> None:
    """Copy what must survive; the paths below the folder stay."""
    for pattern in (f"{step.name}.log", *step.keeps):
        for path in sorted(work.glob(pattern)):
            if path.is_file():
                target = out / path.relative_to(work)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
