"""Which differences the test samples support: a paired bootstrap over samples.

A resample draws N of the N test samples with replacement; all systems and conditions see the same
resamples, so what makes a sample hard for everyone cancels in their differences. A system's value
under a resample is the mean over its seeds (and corruption draws) of the metric, exactly as in the
tables. What is resampled are the test samples; the seeds are kept, so the interval speaks of these
trained checkpoints on new samples, and says nothing of new trainings.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from benchmark.table import PredictionTable
from reports.points import Point, sample_terms
from reports.sums import MEANS, combine
from reports.views import view

Array = NDArray[np.float64]

RESAMPLES = 1000
LEVEL = 0.95
GENERATOR_SEED = 20260101


@lru_cache(maxsize=2)
def resample_counts(size: int, resamples: int = RESAMPLES, seed: int = GENERATOR_SEED) -> Array:
    """How often each sample is in each resample: (resamples, size), rows summing to ``size``."""
    generator = np.random.default_rng(seed)
    return generator.multinomial(size, np.full(size, 1 / size), resamples).astype(np.float64)


def bootstrap(tables: Sequence[PredictionTable], metric: str, point: Point) -> Array | None:
    """A system's metric at a point under every resample.

    Args:
        tables: one for each seed; those that do not cover the point are left out, as in its mean.
        metric: a metric's name.
        point: the condition.

    Returns:
        (RESAMPLES,) values, or None where no table covers the point.
    """
    found = []
    for table in tables:
        try:
            found.append(sample_terms(table, metric, point))
        except KeyError:
            continue
    if not found:
        return None
    counts = resample_counts(len(tables[0].label))
    if metric in MEANS:
        averaged = np.mean([draws.mean(axis=0) for draws in found], axis=0)
        return combine(metric, counts @ averaged)
    return np.mean([_mean_over_draws(metric, counts, draws) for draws in found], axis=0)


def _mean_over_draws(metric: str, counts: Array, draws: Array) -> Array:
    """(D, N, K) terms -> (R,): one product for all draws, the metric of each, their mean."""
    number, size, width = draws.shape
    sums = counts @ draws.transpose(1, 0, 2).reshape(size, number * width)
    values = combine(metric, sums.reshape(-1, number, width))
    return np.asarray(values.mean(axis=1))


def interval(samples: Array, level: float = LEVEL) -> tuple[float, float]:
    """The percentile interval of bootstrap values."""
    tail = (1 - level) / 2
    low, high = np.quantile(samples, [tail, 1 - tail])
    return float(low), float(high)


def supported(better: Array, worse: Array, metric: str) -> bool:
    """Whether the paired interval of the difference lies on the better side of zero."""
    low, high = interval(better - worse)
    return low > 0 if view(metric).higher_is_better else high < 0


def marks(
    values: Sequence[float | None], samples: Sequence[Array | None], metric: str
) -> list[str]:
    """Which of several systems may be called best and second: "best", "second" or "".

    The best is marked where its difference to every other system is supported; the second where
    the best is marked and its own difference to every system below it is supported (so never with
    fewer than three). A missing system is compared with nobody.
    """
    sign = 1 if view(metric).higher_is_better else -1
    found = [i for i, value in enumerate(values) if value is not None and samples[i] is not None]
    ranked = sorted(found, key=lambda i: -sign * (values[i] or 0.0))
    result = [""] * len(values)
    for place, mark in enumerate(("best", "second")):
        below = ranked[place + 1 :]
        if not below or not all(
            supported(samples[ranked[place]], samples[other], metric)  # type: ignore[arg-type]
            for other in below
        ):
            break
        result[ranked[place]] = mark
    return result
