"""Weighted sums of a metric over conditions: grid means, areas, and their values under resampling.

Only for metrics that are means over samples (``metrics.MEANS``): a weighted sum over conditions is
one more mean over samples then, and a whole area costs what one cell costs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from benchmark.metrics import MEANS, terms
from benchmark.questions import Question
from benchmark.readouts import row_weights, sample_terms
from benchmark.table import PredictionTable
from protocols.conditions import LEVELS
from reports.results import System
from reports.statistics.resampling import interval, over_seeds, resample_counts, stream_of

Array = NDArray[np.float64]

Functional = tuple[tuple[Question, float], ...]
"""Conditions, each with its weight in the sum."""


@dataclass(frozen=True)
class Estimate:
    """One number of a system: of each of its runs, and under every resample.

    Attributes:
        per_seed: (S,) a value for each run.
        samples: (RESAMPLES,) values of the mean over runs.
    """

    per_seed: Array
    samples: Array

    @property
    def value(self) -> float:
        """The mean over runs."""
        return float(self.per_seed.mean())

    @property
    def std(self) -> float | None:
        """The standard deviation over runs; None with fewer than two."""
        return float(self.per_seed.std(ddof=1)) if len(self.per_seed) > 1 else None

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval, over samples and runs."""
        return interval(self.samples)


@dataclass(frozen=True)
class Answers:
    """A system's functionals, run by run.

    Attributes:
        stream: the system's stream of random numbers, for its draws of runs.
        terms: (S, Q, N) what each sample adds to each functional, scaled so that the functional is
            the mean over samples.
    """

    stream: int
    terms: Array

    @cached_property
    def per_seed(self) -> Array:
        """(S, Q) values."""
        return np.asarray(self.terms.mean(axis=-1))

    @cached_property
    def resampled(self) -> Array:
        """(RESAMPLES, S, Q) values of each run; the draw of runs is not applied yet."""
        runs, count, size = self.terms.shape
        values = resample_counts(size) @ self.terms.reshape(-1, size).T / size
        return np.asarray(values.reshape(-1, runs, count))

    @cached_property
    def samples(self) -> Array:
        """(RESAMPLES, Q) values of the mean over runs."""
        values = self.resampled
        by_functional = [over_seeds(values[:, :, q], self.stream) for q in range(values.shape[2])]
        return np.stack(by_functional, axis=1)

    @property
    def of_samples(self) -> Array:
        """(N, Q) what each sample adds, averaged over runs: what a permutation swaps."""
        return np.asarray(self.terms.mean(axis=0).T)


@lru_cache(maxsize=256)  # leaderboards, differences and summaries ask for the same
def answers(system: System, metric: str, *functionals: Functional) -> Answers | None:
    """A system's functionals; None where no run covers all of their conditions.

    How many samples count (those not labelled 0, for ``acc2_non0``) is held fixed in resamples.

    Raises:
        ValueError: for a metric that is no mean over samples.
    """
    if metric not in MEANS:
        raise ValueError(f"'{metric}' is no mean over samples: it has no sum over conditions")
    found = []
    for record in system.records:
        try:
            found.append(_terms(record.table, metric, functionals))
        except KeyError:
            continue
    return Answers(stream_of(system.label), np.stack(found)) if found else None


def _terms(table: PredictionTable, metric: str, functionals: Sequence[Functional]) -> Array:
    """(Q, N); raises KeyError where the table lacks a condition."""
    weights = np.zeros((len(functionals), len(table.conditions)))
    mixed = np.zeros((len(functionals), len(table.label)))
    for q, functional in enumerate(functionals):
        for question, weight in functional:
            if question.joint:  # each sample has its own weights on the subsets
                mixed[q] += weight * sample_terms(table, metric, question)[..., 0].mean(axis=0)
            else:
                rows, shares = row_weights(table.index, table.present, question)
                np.add.at(weights[q], rows, weight * shares)
    used = weights.any(axis=0)
    if used.any():
        mixed += weights[:, used] @ terms(metric, table.prediction[used], table.label)[..., 0]
    # Which samples count depends on the labels only, so it is the same under every condition.
    counted = terms(metric, table.prediction[0], table.label)[..., 1]
    return np.asarray(mixed * (len(counted) / counted.sum()))


def one(question: Question) -> Functional:
    """The value at one condition."""
    return ((question, 1.0),)


def mean(questions: Sequence[Question]) -> Functional:
    """The mean over conditions."""
    return tuple((question, 1 / len(questions)) for question in questions)


def area(questions: Sequence[Question], levels: Sequence[float] = LEVELS) -> Functional:
    """The area under the curve through conditions at ascending levels, by the trapezoid rule.

    Divided by the width, so it is the curve's mean height, in the metric's own unit.
    """
    x = np.asarray(levels)
    widths = np.diff(x) / 2 / (x[-1] - x[0])
    weights = np.zeros(len(x))
    weights[:-1] += widths
    weights[1:] += widths
    return tuple(zip(questions, weights.tolist(), strict=True))
