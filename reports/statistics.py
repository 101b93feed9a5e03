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


def bootstrap(
    systems: Sequence[Sequence[PredictionTable]], metric: str, point: Point
) -> list[Array | None]:
    """A metric at a point under every resample, for several systems at once.

    Args:
        systems: for each system a table for each seed; tables that do not cover the point are left
            out, as in the system's mean.
        metric: a metric's name.
        point: the condition.

    Returns:
        For each system (RESAMPLES,) values, or None where no table covers the point.
    """
    blocks = [_terms_of_system(tables, metric, point) for tables in systems]
    found = [block for block in blocks if block is not None]
    if not found:
        return [None] * len(systems)
    # One product for everything: (R, N) counts by (N, the columns of all systems).
    columns = np.concatenate([terms for terms, _ in found], axis=1)
    size, _, width = columns.shape
    sums = resample_counts(size) @ columns.reshape(size, -1)
    values = combine(metric, sums.reshape(len(sums), -1, width))
    ends = np.cumsum([len(shares) for _, shares in found])[:-1]
    parts = iter(np.split(values, ends, axis=1))
    return [None if block is None else next(parts) @ block[1] for block in blocks]


def _terms_of_system(
    tables: Sequence[PredictionTable], metric: str, point: Point
) -> tuple[Array, Array] | None:
    """(N, M, K) terms of every run and draw, and the (M,) shares of their M values in the mean."""
    found = []
    for table in tables:
        try:
            found.append(sample_terms(table, metric, point))
        except KeyError:
            continue
    if not found:
        return None
    if metric in MEANS:  # their terms may be averaged beforehand: one column instead of many
        return np.mean([draws.mean(axis=0) for draws in found], axis=0)[:, None], np.ones(1)
    shares = [np.full(len(draws), 1 / len(draws) / len(found)) for draws in found]
    return np.concatenate(found).swapaxes(0, 1), np.concatenate(shares)


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
