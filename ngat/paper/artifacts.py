"""Weights and result files of a notebook: those of its own run, else the committed ones.

Committed are ``data/weights/<name>.safetensors`` and the result files in ``data/results/`` (of the
2018 Data Science Bowl) and ``data/results/<data>/`` (of generated pictures).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ngat import metrics
from ngat.config import PRESETS, ModelConfig
from ngat.errors import InputError
from ngat.evaluation.results import Run, runs_in
from ngat.paper.session import Session
from ngat.thresholds import Thresholds, thresholds_from
from ngat.training.weights import Weights

COMMITTED = {"dsb2018": "companion", "synthetic": "synthetic-smoke"}


def trained(session: Session) -> Path:
    """Where this run keeps the weights that its training notebook made."""
    return session.run / "weights" / f"{session.data}.safetensors"


def committed(session: Session) -> Path | None:
    """The committed weights of this session's data, if there are any."""
    name = COMMITTED.get(session.data)
    path = session.top / "data" / "weights" / f"{name}.safetensors"
    return path if path.is_file() else None


def weights(session: Session) -> Path:
    """The weights to use: those asked for, else the run's own, else the committed ones.

    A run has its own where its training was meant to be used
    (:func:`ngat.paper.study.training.budget`).

    Raises:
        InputError: there are none.
    """
    for path in (session.weights, trained(session), committed(session)):
        if path is not None and path.is_file():
            return path
    raise InputError(
        f"There are no weights for {session.data} yet; run notebook 06 in the same run, or give "
        "`weights`."
    )


def general_weights(session: Session) -> Path:
    """Weights for images of unknown origin: those asked for, else the best committed ones.

    Networks trained on real pictures come before those trained on generated ones.

    Raises:
        InputError: there are none.
    """
    real = session.top / "data" / "weights" / f"{COMMITTED['dsb2018']}.safetensors"
    return real if session.weights is None and real.is_file() else weights(session)


def thresholds(trained: Weights, method: str) -> Thresholds:
    """The thresholds that were chosen with a network for a method of finding nuclei.

    Raises:
        InputError: there is no such method.
    """
    found = {str(name): value for name, value in thresholds_from(trained.provenance).items()}
    if method not in found:
        raise InputError(f"method {method!r} is unknown; choose {' or '.join(found)}.")
    return found[method]


def tested(session: Session) -> Session:
    """The session whose test pictures are reported on: for generated ones that of the next seed.

    The difficulty of the generated pictures was tuned with Otsu's threshold on the test pictures of
    seed 0; nothing was tuned on those of another seed.
    """
    return session if session.data == "dsb2018" else replace(session, seed=session.seed + 1)


def results(session: Session) -> list[Run]:
    """The runs to tabulate: this run's own, then the committed runs that they do not replace.

    A committed run is replaced by one of the same method on the same data. Committed runs of real
    pictures are always shown, whatever this session's pictures are.

    Raises:
        InputError: there are none, or a file is damaged.
    """
    stored = session.top / "data" / "results"
    own = any_runs(session.results)
    generated = [] if own or session.data == "dsb2018" else any_runs(stored / session.data)
    found: list[Run] = []
    taken: set[tuple[str, ...]] = set()
    for run in (*own, *generated, *any_runs(stored)):
        names = set(run.counts[["method", "data", "split"]].itertuples(index=False, name=None))
        if not names & taken:
            found.append(run)
        taken |= names
    if not found:
        raise InputError(
            f"There are no results for {session.data} yet; run notebook 07 in the same run."
        )
    return found


def any_runs(folder: Path) -> list[Run]:
    """The runs in a folder, which may be absent."""
    return runs_in(folder) if any(folder.glob("*.counts.csv")) else []


def real(run: Run) -> bool:
    """Whether a run was measured on real pictures."""
    return bool(run.counts["data"].iloc[0] == "dsb2018")


def of_validation(run: Run) -> bool:
    """Whether a run was measured on validation pictures, by which choices are made."""
    return bool(run.counts["split"].iloc[0] == "val")


def family(run: Run) -> str:
    """What a run's method is: ``ngat``, ``untrained``, or another method's name."""
    name = run.method
    if name.startswith("untrained"):
        return "untrained"
    made = PRESETS.get(str(run.provenance.get("preset")))
    return "ngat" if made and isinstance(made.model, ModelConfig) else name


def flips(run: Run) -> bool:
    """Whether a run averages over flips (:func:`ngat.inference.predict`)."""
    return bool(run.provenance.get("tta"))


def without_flips(runs: Sequence[Run]) -> list[Run]:
    """The runs that do not average over flips; all of them where every one does."""
    return [run for run in runs if not flips(run)] or list(runs)


def validated(top: Path) -> list[Run]:
    """Committed runs on validation pictures, by which a figure's methods are chosen.

    Args:
        top: the top of the repository.
    """
    return any_runs(top / "data" / "results" / "validation")


def headline(runs: Sequence[Run], validated: Sequence[Run] = ()) -> list[str]:
    """Methods for a figure that cannot show them all: one of each sort, chosen by validation.

    Sorts are ours, which comes first, other networks, and what learns nothing. A method's score is
    its average F1 in its run on validation pictures; where it has none, the one that its weights
    file stores: test results never decide. Of equals, see :func:`best_validated`.
    Real pictures come before generated ones: where there are any, methods are compared on them
    alone. The untrained network is left out, and what averages over flips where the same without
    flips is there: figures show what `ngat segment` finds.
    """
    there = without_flips([run for run in runs if family(run) != "untrained"])
    sorts: dict[int, list[Run]] = {}
    for run in [run for run in there if real(run)] or there:
        learnt = str(run.provenance.get("preset")) in PRESETS or "peer" in run.provenance
        sorts.setdefault(0 if family(run) == "ngat" else 1 if learnt else 2, []).append(run)
    return [
        best_validated({run.method: by_validation(run, validated) for run in of_sort})
        for _, of_sort in sorted(sorts.items())
    ]


def best_validated(scores: Mapping[str, tuple[float, float]]) -> str:
    """The method whose score by validation is highest (:func:`by_validation`).

    Of equals the first by name, ``(split)`` before ``(components)``, whatever their order.
    """
    by_name = sorted(scores, key=lambda method: (method.endswith("(components)"), method.lower()))
    return max(by_name, key=lambda method: scores[method])


def by_validation(run: Run, validated: Sequence[Run]) -> tuple[float, float]:
    """A run's score for a choice: average F1 on validation pictures, and what its weights store.

    Each is -1 where it is unknown. Scores on test pictures have no part in it.
    """
    found = [_average_f1(other) for other in validated if other.method == run.method]
    return found[0] if found else -1.0, _stored_f1(run)


def _average_f1(run: Run) -> float:
    """Mean over pictures and thresholds, as in table 1."""
    counts = run.counts
    return float(metrics.f1(counts["tp"], counts["fp"], counts["fn"]).mean())


def _stored_f1(run: Run) -> float:
    """Average F1 that a weights file stores of this run's instance method; -1 if unknown."""
    scores = (run.provenance.get("training") or {}).get("validation") or {}
    key = "components_f1" if run.method.endswith("(components)") else "average_f1"
    return float(scores.get(key, -1.0))
