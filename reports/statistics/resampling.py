"""Which differences the data support: a bootstrap over test samples and seeds, permutation, Holm.

**Intervals.** A resample draws N of the N test samples with replacement, and for each system its
runs as well. All systems and conditions see the same samples, so what makes a sample hard for
everyone cancels in their differences; runs are drawn for each system on its own, since a seed says
nothing of another model's training (seeds are nested in systems). Of S runs S - 1 are drawn with
replacement: with that number the variance of a resampled mean is the unbiased s² / S, where drawing
S of them would make it too small by (S - 1) / S, a third for three seeds (Rao and Wu, 1988). So an
interval speaks of new samples and of new trainings. With one run there is nothing to draw, and it
speaks of this checkpoint only. A system's value under a resample is the mean over the drawn runs
(and over corruption draws) of the metric, exactly as in the tables.

**p-values.** What is permuted is the test sample: under the hypothesis that two systems answer
alike, all that they said of a sample (every run, draw and condition together, as those answers are
not independent) might as well have come from each other. The p-value is therefore about these
checkpoints on other samples. Runs are not permuted: with three against three there are 20 ways to
do it and no p below 0.1. What varies between trainings is in the interval, and a difference is
called one only where both agree.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from benchmark.metrics import MEANS, combine
from benchmark.questions import Question
from benchmark.readouts import expected_terms, sample_terms
from benchmark.table import PredictionTable
from reports.views import view

Array = NDArray[np.float64]

RESAMPLES = 1000
PERMUTATIONS = 9999
LEVEL = 0.95
GENERATOR_SEED = 20260101


@lru_cache(maxsize=2)
def resample_counts(size: int, resamples: int = RESAMPLES, seed: int = GENERATOR_SEED) -> Array:
    """How often each sample is in each resample: (resamples, size), rows summing to ``size``."""
    generator = np.random.default_rng(seed)
    return generator.multinomial(size, np.full(size, 1 / size), resamples).astype(np.float64)


@lru_cache(maxsize=512)
def seed_shares(
    count: int, stream: int, resamples: int = RESAMPLES, seed: int = GENERATOR_SEED
) -> Array:
    """The share of each run in a system's mean under each resample.

    Args:
        count: the system's runs, S.
        stream: the system's stream of random numbers; each draws on its own.
        resamples, seed: as for the samples.

    Returns:
        (resamples, S), rows summing to 1: S - 1 runs with replacement; all of one where S is 1.
    """
    if count == 1:
        return np.ones((resamples, 1))
    generator = np.random.default_rng([seed, stream, count])
    drawn = generator.multinomial(count - 1, np.full(count, 1 / count), resamples)
    return drawn / (count - 1)


def stream_of(label: str) -> int:
    """A system's stream of random numbers, by its name: the same in every table of a report."""
    return zlib.crc32(label.encode())


def bootstrap(
    systems: Sequence[Sequence[PredictionTable]],
    metric: str,
    question: Question,
    streams: Sequence[int],
) -> list[Array | None]:
    """A metric at a question under every resample, for several systems at once.

    Args:
        systems: for each system a table for each seed; tables that do not cover the question are
            left out, as in the system's mean.
        metric: a metric's name.
        question: the condition.
        streams: for each system its stream of random numbers (:func:`stream_of`).

    Returns:
        For each system (RESAMPLES,) values, or None where no table covers the question.
    """
    blocks = [_terms_of_runs(tables, metric, question) for tables in systems]
    found = list(chain.from_iterable(blocks))
    if not found:
        return [None] * len(systems)
    columns = np.concatenate(found, axis=1)
    values = combine(metric, _resampled_sums(columns, metric in MEANS))
    ends = np.cumsum([terms.shape[1] for terms in found])[:-1]
    by_run = iter(part.mean(axis=1) for part in np.split(values, ends, axis=1))
    return [
        over_seeds(np.stack([next(by_run) for _ in block], axis=1), stream) if block else None
        for stream, block in zip(streams, blocks, strict=True)
    ]


def _resampled_sums(columns: Array, one_denominator: bool) -> Array:
    """Sums over every resample: (N, M, K) terms to (RESAMPLES, M, K), in one matrix product.

    With one denominator for all columns (the last term) it is summed once, not M times.
    """
    size, _, width = columns.shape
    if not one_denominator:
        sums = resample_counts(size) @ columns.reshape(size, -1)
        return np.asarray(sums.reshape(len(sums), -1, width))
    both = np.concatenate([columns[..., 0], columns[:, :1, 1]], axis=1)
    sums = resample_counts(size) @ both
    return np.stack(np.broadcast_arrays(sums[:, :-1], sums[:, -1:]), axis=-1)


def over_seeds(by_seed: Array, stream: int) -> Array:
    """A system's values under every resample: (RESAMPLES, S) of its runs to (RESAMPLES,)."""
    return np.asarray((by_seed * seed_shares(by_seed.shape[1], stream)).sum(axis=1))


def _terms_of_runs(
    tables: Sequence[PredictionTable], metric: str, question: Question
) -> list[Array]:
    """(N, D, K) terms of each run that covers the question, a column for each draw."""
    found = []
    for table in tables:
        try:
            # The terms of means may be averaged beforehand: one column instead of many.
            if metric in MEANS:
                columns = expected_terms(table, metric, question)[:, None]
            else:
                columns = sample_terms(table, metric, question).swapaxes(0, 1)
        except KeyError:
            continue
        found.append(columns)
    return found


def interval(samples: Array, level: float = LEVEL) -> tuple[float, float]:
    """The percentile interval of bootstrap values: of the resamples in which they are defined.

    (NaN, NaN), which is none, where these are fewer than ``level`` of all.
    """
    defined = samples[np.isfinite(samples)]
    if len(defined) < level * len(samples):
        return float("nan"), float("nan")
    tail = (1 - level) / 2
    low, high = np.quantile(defined, [tail, 1 - tail])
    return float(low), float(high)


def simultaneous(samples: Array, estimate: Array, level: float = LEVEL) -> tuple[Array, Array]:
    """A band that holds all of several values at once: estimate ± c standard errors.

    c is the level's quantile of the largest studentised deviation over the values, so the values'
    dependence is used and the band is narrower than Bonferroni's.

    Args:
        samples: (RESAMPLES, Q) bootstrap values.
        estimate: (Q,) the values.
        level: the chance that the band holds all Q.
    """
    error = samples.std(axis=0, ddof=1)
    deviation = np.abs(samples - samples.mean(axis=0))
    scaled = np.divide(deviation, error, out=np.zeros_like(deviation), where=error > 0)
    width = np.quantile(scaled.max(axis=1), level) * error
    return np.asarray(estimate - width), np.asarray(estimate + width)


def permutation_p(differences: Array, permutations: int = PERMUTATIONS) -> Array:
    """Two-sided p-values of paired differences by swapping the two systems sample by sample.

    Swapping a sample turns the sign of its difference. Every one of the 2^N sign patterns is tried
    where there are no more of them than ``permutations``; else that many random ones, the observed
    one counted among them, so that p is never 0 (Phipson and Smyth, 2010).

    Args:
        differences: (N, Q) differences of the metric's per-sample terms, one column for each test,
            each already averaged over runs, draws and conditions. The metric must be a mean.
        permutations: the number of random patterns.

    Returns:
        (Q,) p-values.
    """
    size = len(differences)
    observed = np.abs(differences.sum(axis=0))
    enough = observed - 1e-12 * np.abs(differences).sum(axis=0)  # sums in another order are equal
    if size < 63 and 2**size <= permutations:
        patterns = (np.arange(2**size)[:, None] >> np.arange(size) & 1) * 2.0 - 1
        share: Array = (np.abs(patterns @ differences) >= enough).mean(axis=0, dtype=np.float64)
        return share
    signs = _signs(size, permutations)
    extreme = (np.abs(signs @ differences) >= enough).sum(axis=0)
    return np.asarray((1 + extreme) / (1 + permutations))


@lru_cache(maxsize=2)
def _signs(size: int, permutations: int) -> Array:
    generator = np.random.default_rng(GENERATOR_SEED)
    signs: Array = generator.integers(0, 2, (permutations, size)).astype(np.float64)
    return 2 * signs - 1


def holm(p_values: Sequence[float]) -> Array:
    """Holm's step-down correction over one family: p-values to adjusted p-values, same order."""
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted


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
