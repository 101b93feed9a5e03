"""What a system's log-variance is worth: risk–coverage, likelihood, calibration of s = log σ².

For regression the error is |ŷ - y|, and s is read as the variance of a Gaussian (Eq. 10). For
classification the error is 0 or 1 and s only ranks: the attenuated cross-entropy exp(-s) CE + s / 2
is the density of nothing, so there s has no likelihood and no intervals to calibrate.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from benchmark.questions import Question
from benchmark.readouts import weighted_rows
from benchmark.table import PredictionTable
from reports.reliability.scores import linearised
from reports.results import System
from reports.statistics.functionals import Estimate
from reports.statistics.ranks import aurc, spearman
from reports.statistics.resampling import stream_of

Array = NDArray[np.float64]

COVERED = 0.9
"""The nominal coverage of the intervals ŷ ± z σ whose true coverage is measured."""

_BINS = 10


@dataclass(frozen=True)
class Answered:
    """Everything that one run said under a condition: P answers, weighed by their probability.

    Attributes:
        risk: (P,) errors.
        log_variance: (P,) s.
        weight: (P,) summing to 1.
        sample: (P,) the test sample that each is about.
        regression: whether s is a Gaussian's log-variance.
    """

    risk: Array
    log_variance: Array
    weight: Array
    sample: NDArray[np.intp]
    regression: bool


@dataclass(frozen=True)
class Worth:
    """What the log-variance is worth under a condition.

    Attributes:
        aurc: the area under the risk–coverage curve.
        random: the same of a random ranking: the mean risk.
        oracle: the same of ranking by the error itself.
        gain: the share of the way from random to oracle.
        correlation: Spearman's of s with the error.
        nll: the Gaussian negative log-likelihood per sample; None for classification, as are the
            next three.
        nll_gain: how much lower it is than with the best constant variance.
        coverage: the share of answers within their 90 % interval.
        ence: expected normalised calibration error, in 10 bins of equal weight (Levi et al., 2022).
    """

    aurc: Estimate
    random: Estimate
    oracle: Estimate
    gain: Estimate
    correlation: Estimate
    nll: Estimate | None
    nll_gain: Estimate | None
    coverage: Estimate | None
    ence: Estimate | None


@lru_cache(maxsize=512)  # a verdict, a table and a figure ask for the same
def worth(system: System, question: Question) -> Worth | None:
    """What a system's log-variance is worth; None where no run has one under the condition."""
    found = [_of_run(said) for said in answered(system, question)]
    if not found:
        return None
    values = np.array([values for values, _ in found])
    influences = np.array([influences for _, influences in found])
    estimates = linearised(values, influences, stream_of(system.label))
    return Worth(*estimates, *([None] * (9 - len(estimates))))


def has_log_variance(system: System) -> bool:
    """Whether some run of a system gives one."""
    return any(record.table.log_variance is not None for record in system.records)


def answered(system: System, question: Question) -> list[Answered]:
    """What each run with a log-variance said under a condition that it was evaluated on."""
    found = []
    for record in system.records:
        if record.table.log_variance is None:
            continue
        try:
            found.append(_answers(record.table, question))
        except KeyError:
            continue
    return found


def _answers(table: PredictionTable, question: Question) -> Answered:
    assert table.log_variance is not None
    draws = weighted_rows(table, question)
    rows = np.concatenate([rows for rows, _ in draws])
    weights = np.concatenate([weights for _, weights in draws])
    predicted = table.prediction[rows].astype(np.float64)
    regression = table.task == "regression"
    error = (
        np.abs(predicted - table.label)
        if regression
        else (predicted.argmax(axis=-1) != table.label).astype(np.float64)
    )
    sample = np.broadcast_to(np.arange(len(table.label)), error.shape).ravel()
    log_variance = table.log_variance[rows].astype(np.float64).ravel()
    weight = weights.ravel() / weights.sum()
    used = weight > 0
    return Answered(error.ravel()[used], log_variance[used], weight[used], sample[used], regression)


def _of_run(said: Answered) -> tuple[list[float], list[Array]]:
    """Values and (N,) influences in the order of :class:`Worth`; four fewer for classes."""
    risk, s, weight = said.risk, said.log_variance, said.weight
    area, of_area = aurc(risk, s, weight)
    best, _ = aurc(risk, risk, weight)
    mean = float(weight @ risk)
    reach = mean - best if mean > best else 1.0
    gain = (mean - area) / reach
    still = np.zeros_like(risk)
    parts = [
        (area, of_area),
        (mean, risk - mean),
        (best, still),
        (gain, (risk - mean - of_area) / reach),
        (spearman(risk, s, weight), still),
    ]
    if said.regression:
        own, constant = _likelihoods(said)
        parts += [_mean(values, weight) for values in (own, constant - own, _inside(said))]
        parts.append((ence(risk, s, weight), still))
    size = int(said.sample.max()) + 1
    influences = [size * _by_sample(said.sample, weight * one, size) for _, one in parts]
    return [value for value, _ in parts], influences


def _by_sample(sample: NDArray[np.intp], values: Array, size: int) -> Array:
    return np.bincount(sample, weights=values, minlength=size).astype(np.float64)


def _mean(values: Array, weight: Array) -> tuple[float, Array]:
    mean = float(weight @ values)
    return mean, values - mean


def _likelihoods(said: Answered) -> tuple[Array, Array]:
    """Each answer's Gaussian NLL under its own s, and under the best constant variance."""
    squared = said.risk**2
    constant = np.log(max(float(said.weight @ squared), 1e-12))
    return nll(squared, said.log_variance), nll(squared, np.full_like(squared, constant))


def nll(squared: Array, log_variance: Array) -> Array:
    """-log N(y; ŷ, exp s) of squared errors."""
    return 0.5 * (np.log(2 * np.pi) + log_variance + squared * np.exp(-log_variance))


def _inside(said: Answered) -> Array:
    z = float(ndtri((1 + COVERED) / 2))
    return (said.risk <= z * np.exp(said.log_variance / 2)).astype(np.float64)


def calibration(risk: Array, s: Array, weight: Array) -> tuple[Array, Array]:
    """Predicted and observed error by bin: root mean variance and root mean squared error.

    The bins are of equal weight, in order of s.
    """
    order = np.argsort(s, kind="stable")
    middle = np.cumsum(weight[order]) - weight[order] / 2
    place = np.minimum((middle / weight.sum() * _BINS).astype(int), _BINS - 1)
    shares = np.bincount(place, weights=weight[order], minlength=_BINS)
    filled = shares > 0

    def root_mean(values: Array) -> Array:
        sums = np.bincount(place, weights=(weight * values)[order], minlength=_BINS)
        return np.sqrt(sums[filled] / shares[filled])

    return root_mean(np.exp(s)), root_mean(risk**2)


def ence(risk: Array, s: Array, weight: Array) -> float:
    """The mean over bins of |predicted - observed| / predicted error."""
    predicted, observed = calibration(risk, s, weight)
    return float(np.mean(np.abs(predicted - observed) / predicted))
