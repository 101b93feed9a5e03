"""Weighted sums of a metric over conditions: grid means, with what their errors need.

Only for metrics that are means over samples (``metrics.MEANS``): a weighted sum over conditions is
one more mean over samples then, and a whole grid costs what one cell costs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from benchmark.metrics import MEANS, terms
from benchmark.questions import Question
from benchmark.readouts import row_weights, sample_terms
from benchmark.table import PredictionTable
from reports.results import System
from reports.statistics.inference import Array, Estimate, estimate

Functional = tuple[tuple[Question, float], ...]
"""Conditions, each with its weight in the sum."""


@dataclass(frozen=True)
class Answers:
    """A system's functionals, run by run.

    Attributes:
        terms: (S, Q, N) what each sample adds to each functional, scaled so that the functional is
            the mean over samples.
    """

    terms: Array

    @cached_property
    def per_seed(self) -> Array:
        """(S, Q) values."""
        return np.asarray(self.terms.mean(axis=-1))

    @cached_property
    def estimate(self) -> Estimate:
        """The Q means over runs."""
        return estimate(self.terms)


@lru_cache(maxsize=256)  # leaderboards, differences and summaries ask for the same
def answers(system: System, metric: str, *functionals: Functional) -> Answers | None:
    """A system's functionals; None where no run covers all of their conditions.

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
    return Answers(np.stack(found)) if found else None


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
    # A sample that does not count has no influence on the mean over those that do.
    scale = len(counted) / counted.sum()
    value = scale * mixed.mean(axis=-1, keepdims=True)
    return np.asarray(scale * mixed + (1 - scale * counted) * value)


def one(question: Question) -> Functional:
    """The value at one condition."""
    return ((question, 1.0),)


def mean(questions: Sequence[Question]) -> Functional:
    """The mean over conditions."""
    return tuple((question, 1 / len(questions)) for question in questions)
