"""One answer: a number of a system with its interval, seed by seed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from reports.statistics.inference import Estimate


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
    values: Sequence[float],
    seeds: tuple[int, ...],
    ends: tuple[float, float],
    published: float | None = None,
) -> Answer:
    """An answer from each seed's value and both ends of its interval."""
    count = len(values)
    mean = math.fsum(values) / count
    squares = math.fsum((value - mean) ** 2 for value in values)
    std = math.sqrt(squares / (count - 1)) if count > 1 else None
    return Answer(mean, std, *ends, seeds, tuple(values), published)


def answer_of(found: Estimate, seeds: tuple[int, ...]) -> Answer:
    """An answer from one system's estimate of one number."""
    return answer((found.values + found.deviations[0]).tolist(), seeds, found.interval)
