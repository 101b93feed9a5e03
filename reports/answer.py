"""One answer: what is asked of a system, and a number with its interval, seed by seed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from benchmark.questions import Question
from reports.statistics.inference import LEVEL, Array, Estimate
from reports.views import SHARE, UNBOUNDED, VALUE

Asked = tuple[Question, ...]
"""One condition, or those of a mean, in order."""


class Key(NamedTuple):
    """What an answer is about.

    Attributes:
        subject: the key of a system, or of several that answer for one level each.
        asked: the condition, or those of a mean.
        metric: its name.
        quantity: :data:`reports.views.VALUE`, or the name of what else is made of the metric.
    """

    subject: str
    asked: Asked
    metric: str
    quantity: str = VALUE


@dataclass(frozen=True)
class Answer:
    """What a system scores: in the metric's raw unit, but for what is published.

    Attributes:
        value: the mean over seeds; NaN where it is undefined.
        std: over seeds; None with fewer than two, and of what is made of several systems.
        low, high: the 95 % interval; NaN where it has none.
        seeds: those that were asked everything; none for what is made of several systems.
        per_seed: their values.
        published: as a paper prints it beside this system.
        reference: what the number is the difference to.
        p, holm: two-sided p of no difference, and after Holm's correction over its table; NaN where
            nothing is tested.
        verdict: what is said of it in a word.
        at: the condition that was found by the answer: a worst cell. None where it was asked.
    """

    value: float
    std: float | None
    low: float
    high: float
    seeds: tuple[int, ...]
    per_seed: tuple[float, ...]
    published: float | None = None
    reference: str = ""
    p: float = math.nan
    holm: float = math.nan
    verdict: str = ""
    at: Question | None = None


Found = dict[Key, Answer]


def ordered(asked: Iterable[Question]) -> Asked:
    """What is asked, in the order that answers are kept by."""
    return tuple(sorted(asked))


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


_ROUNDING = 1e-9


def answer_of(
    found: Estimate, seeds: tuple[int, ...], bounds: tuple[float, float] = UNBOUNDED
) -> Answer:
    """An answer from one system's estimate of one number."""
    low, high = (float(end) for end in ends(found, bounds))
    return answer((found.values + found.deviations[0]).tolist(), seeds, (low, high))


def answers_of(
    found: Estimate, seeds: tuple[int, ...], bounds: tuple[float, float] = UNBOUNDED
) -> list[Answer]:
    """Answers from one system's estimate of several numbers, in the time of one."""
    by_number = (found.values + found.deviations[0]).T.tolist()
    both = np.stack(ends(found, bounds), axis=-1).tolist()
    return [
        answer(values, seeds, (low, high))
        for values, (low, high) in zip(by_number, both, strict=True)
    ]


def between(found: Estimate, reference: str, verdict: str = "", holm: float = math.nan) -> Answer:
    """An answer from an estimate of one number that several systems make together."""
    p = float(found.p)
    return Answer(found.value, None, *found.interval, (), (), None, reference, p, holm, verdict)


def ends(found: Estimate, bounds: tuple[float, float]) -> tuple[Array, Array]:
    """(...) both ends of the intervals of numbers that have bounds.

    An interval by t knows no bounds and is cut to them. Where a share is 0 or 1 in every sample and
    every training, t sees no error at all: the inner end is then that of the exact binomial
    interval of as many samples (Clopper and Pearson, 1934).
    """
    low, high = (np.clip(end, *bounds) for end in found.intervals)
    if bounds == SHARE:
        beyond = 1 - ((1 - LEVEL) / 2) ** (1 / found.by_sample.shape[-1])
        low, high = (
            np.where(low > 1 - _ROUNDING, 1 - beyond, low),
            np.where(high < _ROUNDING, beyond, high),
        )
    return low, high
