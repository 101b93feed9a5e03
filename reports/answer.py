"""One answer: a number of a system with its interval, seed by seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reports.statistics.inference import Array, Estimate


@dataclass(frozen=True)
class Answer:
    """What a system scores: in the metric's raw unit, but for what is published.

    Attributes:
        value: the mean over seeds; NaN where it is undefined.
        std: over seeds; None with fewer than two.
        low, high: the 95 % interval; NaN where it has none.
        seeds: those that were asked everything.
        per_seed: their values.
        published: as a paper prints it beside this system.
    """

    value: float
    std: float | None
    low: float
    high: float
    seeds: tuple[int, ...]
    per_seed: tuple[float, ...]
    published: float | None = None


def answer(
    values: Array,
    seeds: tuple[int, ...],
    ends: tuple[float, float],
    published: float | None = None,
) -> Answer:
    """An answer from each seed's value and both ends of its interval."""
    std = float(values.std(ddof=1)) if len(values) > 1 else None
    return Answer(float(values.mean()), std, *ends, seeds, tuple(values.tolist()), published)


def answer_of(found: Estimate, seeds: tuple[int, ...]) -> Answer:
    """An answer from one system's estimate of one number."""
    return answer(np.asarray(found.values + found.deviations[0]), seeds, found.interval)
