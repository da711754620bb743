"""Random search that turns local, over the settings of the classical pipeline.

Some trials change a good start at many places, the others change the best settings so far at a few.
What a trial proposes follows from the seed, its number and the scores before it, so that a search
that was stopped, or is asked for more trials, goes on as if it had never ended. Trials that lag
behind the best on their first pictures are given up.

Optuna would stand in for :func:`search` and :func:`vary` alone, 50 lines: the space, the starts,
the pictures in turn and the file of scores would stay. In exchange it asks for SQLAlchemy and
alembic; what its samplers propose changes with its version, where the settings in
``data/results/classical.json`` can be found again from a seed; and a search of it that was stopped
goes on the same only with the sampler's own state kept, where here a trial's number is enough.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple, get_args

import numpy as np

from ngat.baselines.classical import (
    Channel,
    Grey,
    Lines,
    Seeds,
    Settings,
    Threshold,
    channel_of,
    nuclei,
)
from ngat.data import Sample
from ngat.data.split import in_turns
from ngat.errors import InputError
from ngat.metrics import average_f1

# So many trials start from what users start from; later every fourth does.
FIRST = 24
# How far behind the best a trial may lie on n pictures, times √n, before it is given up.
LAG = 0.2
LOOK_AFTER = (4, 8, 12, 20, 28, 40, 60, 90)

# What is tried, in the order of size where there is one: 0 stands last where it means no bound.
# Polarity is no matter of choice: the automatic rule is right on the training pictures.
SPACE: dict[str, tuple[Any, ...]] = {
    "channel": ("luminance", "red", "green", "haematoxylin"),
    "rescale": (False, True),
    "flatten": (15.0, 25.0, 40.0, 60.0, 100.0, 0.0),
    "smoothing": (0.0, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0),
    "threshold": get_args(Threshold),
    "window": (25, 40, 60, 90, 130, 0),
    "correction": (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0, 1.05, 1.1, 1.15, 1.2, 1.3, 1.5),
    "lower": (0.0, 0.01, 0.02, 0.04, 0.07, 0.1, 0.15, 0.2, 0.3, 0.4),
    "opening": (0, 1, 2, 3, 4, 5, 7),
    "max_hole": (0, 20, 50, 100, 200, 500, 1000),
    "seeds": get_args(Seeds),
    "seed_smoothing": (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0, 9.0),
    "suppression": (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 9.0, 11.0, 14.0, 18.0, 24.0),
    "lines": get_args(Lines),
    "regularisation": (0.0, 0.01, 0.05, 0.2, 1.0),
    "min_area": (10, 16, 25, 40, 60, 90, 130, 200, 300, 450),
    "max_area": (500, 800, 1200, 2000, 3500, 6000, 10000, 0),
    "grow": (-1, 0, 1, 2, 3),
}
CATEGORIES = ("channel", "rescale", "threshold", "seeds", "lines")
# Where users begin: fluorescence, uneven fluorescence, a stain, a stain's brightness.
STARTS = (
    Settings(threshold="cross_entropy", smoothing=0.75, min_area=25),
    Settings(correction=0.9, max_hole=200, min_area=25),
    Settings(threshold="mct", seeds="intensity", seed_smoothing=2.0, min_area=25),
    Settings(threshold="otsu3_low", window=60, smoothing=1.5, lower=0.02),
    Settings(channel="red", smoothing=2.0, opening=2, seed_smoothing=2.0, min_area=60),
    Settings(channel="haematoxylin", smoothing=1.5, opening=2, threshold="mct", min_area=60),
    Settings(channel="red", flatten=40.0, smoothing=1.5, opening=2, seed_smoothing=2.0),
    # Of an earlier search on the same kinds of pictures: small nuclei, large ones, three tissues.
    Settings(
        channel="red", smoothing=0.75, window=60, lower=0.01, suppression=9.0, min_area=25,
        max_area=3500,
    ),
    Settings(
        channel="red", smoothing=0.5, threshold="otsu3_high", opening=2, max_hole=0,
        seed_smoothing=1.5, suppression=24.0, lines="intensity", min_area=25,
    ),
    Settings(
        smoothing=0.0, threshold="mct", window=90, correction=0.95, max_hole=100,
        seed_smoothing=3.0, suppression=11.0, min_area=25,
    ),
    Settings(
        channel="red", smoothing=2.0, threshold="mct", window=90, opening=5, max_hole=50,
        seeds="intensity", seed_smoothing=9.0, suppression=5.0, lines="intensity",
        regularisation=0.0, min_area=25, max_area=6000,
    ),
    Settings(
        flatten=15.0, smoothing=0.0, correction=1.3, opening=5, max_hole=20, suppression=7.0,
        lines="propagate", regularisation=0.0, min_area=60, max_area=3500,
    ),
)  # fmt: skip


@dataclass(frozen=True)
class SearchPlan:
    """How much is searched: trials of each type, pictures of each type, and the seed.

    The one setting gets half the trials, as each costs what one trial of every type costs.
    """

    trials: int = 200
    pictures: int = 40
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("trials", "pictures"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1; got {getattr(self, name)}.")
        if self.seed < 0:
            raise InputError(f"seed must be at least 0; got {self.seed}.")


class SearchTrial(NamedTuple):
    """One trial: its number, its score (None where it was given up), and the best so far."""

    number: int
    score: float | None
    best: Settings
    best_score: float


def search(
    name: str,
    plan: SearchPlan,
    objective: SearchObjective,
    known: Sequence[float | None],
    starts: Sequence[Settings] = STARTS,
    first: int = FIRST,
) -> Iterator[SearchTrial]:
    """The trials of one search; scores that are ``known`` already are not computed again.

    Args:
        name: of the search; with the plan's seed it decides what is drawn.
        plan: how many trials there are.
        objective: gives a trial's score.
        known: the scores of the first trials, from an earlier run.
        starts: what is tried first.
        first: so many trials begin at ``starts``, and later every fourth.
    """
    best, best_score = starts[0], -1.0
    for number in range(plan.trials):
        rng = np.random.default_rng([plan.seed, crc(name), number])
        from_start = number < first or number % 4 == 0
        settings = starts[number] if number < len(starts) else vary(rng, starts, best, from_start)
        score = known[number] if number < len(known) else objective(settings, best)
        if score is not None and score > best_score:
            best, best_score = settings, score
        yield SearchTrial(number, score, best, best_score)


def vary(
    rng: np.random.Generator, starts: Sequence[Settings], best: Settings, from_start: bool
) -> Settings:
    """What a trial tries: a start changed at many places, or the best changed at a few."""
    names = list(SPACE)
    changes: dict[str, Any] = {}
    if from_start:
        base = starts[int(rng.integers(len(starts)))]
        for name in names:
            if rng.random() < 0.25:
                changes[name] = SPACE[name][int(rng.integers(len(SPACE[name])))]
    else:
        base = best
        for name in rng.choice(names, size=int(rng.integers(1, 4)), replace=False).tolist():
            values = SPACE[name]
            at = values.index(getattr(best, name))
            if name in CATEGORIES:
                to = (at + int(rng.integers(1, len(values)))) % len(values)
            else:
                to = at + int(rng.choice([-2, -1, 1, 2]))
            changes[name] = values[min(max(to, 0), len(values) - 1)]
    return replace(base, **changes)


class SearchObjective:
    """Average F1 on annotated pictures, by type; remembers channels and the best's scores.

    Args:
        pictures: annotated pictures by type.
        weights: how much each type counts; all alike by default.
    """

    def __init__(
        self, pictures: Mapping[str, Sequence[Sample]], weights: Mapping[str, float] | None = None
    ) -> None:
        self.weights = weights or dict.fromkeys(pictures, 1.0)
        # Types in turn, so that the first pictures hold every type.
        listed = [(kind, sample) for kind, group in pictures.items() for sample in group]
        self.samples = [listed[place][1] for place in in_turns(kind for kind, _ in listed)]
        self.kinds = np.array([sample.type for sample in self.samples])
        self.channel = lru_cache(maxsize=600)(self._channel)
        self.scores = lru_cache(maxsize=2)(self._scores)

    def __call__(self, settings: Settings, best: Settings) -> float | None:
        """The weighted mean over types of means over pictures; None where it lags behind."""
        if settings == best:
            return self.mean(self.scores(settings))
        against = self.scores(best)
        scores: list[float] = []
        for index in range(len(self.samples)):
            scores.append(self.score(index, settings))
            n = len(scores)
            if n in LOOK_AFTER and self.mean(scores) < self.mean(against[:n]) - LAG / n**0.5:
                return None
        return self.mean(scores)

    def mean(self, scores: Sequence[float]) -> float:
        """Weighted mean over types of the means of the first pictures, six digits."""
        values, kinds = np.asarray(scores), self.kinds[: len(scores)]
        seen = np.unique(kinds).tolist()
        means = [values[kinds == kind].mean() for kind in seen]
        return round(float(np.average(means, weights=[self.weights[kind] for kind in seen])), 6)

    def score(self, index: int, settings: Settings) -> float:
        """Average F1 of one picture."""
        labels = nuclei(self.channel(index, settings.channel), settings)
        return average_f1(labels, self.samples[index].labels)

    def _scores(self, settings: Settings) -> tuple[float, ...]:
        return tuple(self.score(index, settings) for index in range(len(self.samples)))

    def _channel(self, index: int, channel: Channel) -> Grey:
        return channel_of(self.samples[index].image, channel)


def rules() -> int:
    """A number for what is searched and from where: scores of other rules are worth nothing."""
    return crc(repr((SPACE, STARTS, FIRST, LAG, LOOK_AFTER)))


def crc(text: str) -> int:
    """A number for a name, the same in every process."""
    return zlib.crc32(text.encode())
