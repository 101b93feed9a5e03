"""What a system's log-variance is worth: risk–coverage, likelihood, calibration of s = log σ².

For regression the error is |ŷ - y|, and s is read as the variance of a Gaussian (Eq. 10). For
classification the error is 0 or 1 and s only ranks: the attenuated cross-entropy exp(-s) CE + s / 2
is the density of nothing, so there s has no likelihood and no intervals to calibrate.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from benchmark.mixtures import weighted_rows
from benchmark.questions import Question
from benchmark.table import PredictionTable
from reports.answer import Found, Key, answer_of
from reports.reliability.claims import verdict_of
from reports.reliability.scores import Parts, estimates
from reports.results import Results, System
from reports.statistics.inference import Array
from reports.statistics.ranks import aurc, spearman
from reports.views import view

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


def worths(results: Results) -> Found:
    """What each system's log-variance is worth, on clean input and on each mixture of Protocol III:

    ============================  ================================================================
    aurc, aurc_random,            area under the risk–coverage curve; that of a random ranking, the
    aurc_oracle                   mean risk; and of ranking by the error itself
    way_to_oracle                 the share of the way from random to oracle
    s_correlation                 Spearman's of s with the error
    nll, nll_gain                 Gaussian negative log-likelihood per sample, and how much lower
                                  that is than with the best constant variance
    coverage                      the share of answers within their 90 % interval
    ence                          expected normalised calibration error, in 10 bins of equal weight
                                  (Levi et al., 2022)
    ============================  ================================================================

    The last four of a Gaussian, so of regression, only.
    """
    found: Found = {}
    for system, question in product(results.systems, answered_questions(results).values()):
        by_seed = {seed: _of_run(said) for seed, said in answered(system, question).items()}
        for metric, one in estimates(by_seed).items():
            verdict = verdict_of(one, 0.0, above=True) if metric == "way_to_oracle" else ""
            found[Key(system.key, (question,), metric)] = replace(
                answer_of(one, tuple(by_seed), view(metric).bounds), verdict=verdict
            )
    return found


def answered_questions(results: Results) -> dict[str, Question]:
    """Where the log-variance is judged: on clean input and on each mixture of Protocol III."""
    chosen = [h for h in results.overview if h.questions[0].protocol in ("clean", "III")]
    return {headline.title: headline.questions[0] for headline in chosen}


def answered(system: System, question: Question) -> dict[int, Answered]:
    """What each seed's run with a log-variance said under a condition, where it was evaluated."""
    found = {}
    for record in system.records:
        if record.table.log_variance is None:
            continue
        try:
            found[record.spec.seed] = _answers(record.table, question)
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


def _of_run(said: Answered) -> Parts:
    """The numbers of :func:`worths`; ranks and bins are taken as fixed, without influences."""
    risk, s, weight = said.risk, said.log_variance, said.weight
    area, of_area = aurc(risk, s, weight)
    best, _ = aurc(risk, risk, weight)
    mean = float(weight @ risk)
    reach = mean - best if mean > best else 1.0
    still = np.zeros_like(risk)
    parts = {
        "aurc": (area, of_area),
        "aurc_random": (mean, risk - mean),
        "aurc_oracle": (best, still),
        "way_to_oracle": ((mean - area) / reach, (risk - mean - of_area) / reach),
        "s_correlation": (spearman(risk, s, weight), still),
    }
    if said.regression:
        own, constant = _likelihoods(said)
        parts["nll"], parts["nll_gain"] = _mean(own, weight), _mean(constant - own, weight)
        parts["coverage"] = _mean(_inside(said), weight)
        parts["ence"] = ence(risk, s, weight), still
    size = int(said.sample.max()) + 1
    return {
        name: (value, size * _by_sample(said.sample, weight * one, size))
        for name, (value, one) in parts.items()
    }


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
