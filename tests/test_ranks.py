"""Rank statistics against scipy, scikit-learn and plain loops; influences against differences."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import norm, rankdata, spearmanr
from sklearn.metrics import roc_auc_score

from reports.reliability.uncertainty import calibration, ence, nll
from reports.statistics.ranks import (
    aurc,
    auroc,
    level_correlation,
    mid_cdf,
    risk_coverage,
    spearman,
)

EVEN = np.full(40, 1 / 40)
LACKS = np.array([False, True, False, True, True])


def rows(seed: int, count: int, ties: bool = False) -> np.ndarray:
    values = np.random.default_rng(seed).normal(size=(count, 40)) + 0.4 * np.arange(count)[:, None]
    return values.round(0 if ties else 9)


def test_mid_cdf_is_the_mid_rank() -> None:
    values = np.random.default_rng(1).integers(0, 5, 30).astype(float)
    (got,) = mid_cdf(values, np.ones((1, 30)))
    assert got == pytest.approx(rankdata(values) - 0.5)


@pytest.mark.parametrize("ties", [False, True])
def test_auroc_is_that_of_scikit_learn(ties: bool) -> None:
    score = rows(2, 5, ties)
    truth = np.repeat(LACKS, 40)
    assert auroc(score, LACKS, EVEN)[0] == pytest.approx(roc_auc_score(truth, score.ravel()))


@pytest.mark.parametrize("ties", [False, True])
def test_correlation_with_levels_is_that_of_scipy(ties: bool) -> None:
    values = rows(3, 8, ties)
    want = spearmanr(values.ravel(), np.repeat(np.arange(8), 40)).statistic
    assert level_correlation(values, EVEN)[0] == pytest.approx(want)


def test_a_constant_score_has_no_correlation() -> None:
    value, influence = level_correlation(np.ones((8, 40)), EVEN)
    assert (value, np.abs(influence).max()) == (0.0, 0.0)
    assert spearman(np.ones(40), np.arange(40.0), EVEN) == 0.0


def test_weighted_spearman_is_that_of_repeated_pairs() -> None:
    draw = np.random.default_rng(4)
    first, second = draw.integers(0, 6, 40).astype(float), draw.normal(size=40)
    times = draw.integers(0, 4, 40)
    want = spearmanr(np.repeat(first, times), np.repeat(second, times)).statistic
    assert spearman(first, second, times.astype(float)) == pytest.approx(want)


def test_risk_coverage_by_hand() -> None:
    risk, s = np.array([0.0, 1.0, 1.0, 0.0]), np.array([1.0, 2.0, 3.0, 4.0])
    coverage, kept = risk_coverage(risk, s, np.ones(4))
    assert coverage == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert kept == pytest.approx([0, 1 / 2, 2 / 3, 1 / 2])
    assert aurc(risk, s, np.ones(4))[0] == pytest.approx((1 / 2 + 2 / 3 + 1 / 2) / 4)
    assert aurc(risk, np.ones(4), np.ones(4))[0] == pytest.approx(0.5)  # says nothing: mean risk
    assert aurc(risk, risk, np.ones(4))[0] == pytest.approx((0 + 0 + 1 / 3 + 1 / 2) / 4)


def test_area_under_risk_coverage_is_a_plain_loop() -> None:
    draw = np.random.default_rng(6)
    risk, s = draw.exponential(size=40), draw.normal(size=40)
    order = np.argsort(s)
    want = np.mean([risk[order[: k + 1]].mean() for k in range(40)])
    assert aurc(risk, s, EVEN)[0] == pytest.approx(want)


def _of_auroc(weight: np.ndarray) -> tuple[float, np.ndarray]:
    return auroc(rows(7, 5), LACKS, weight)


def _of_levels(weight: np.ndarray) -> tuple[float, np.ndarray]:
    return level_correlation(-rows(8, 8), weight)


def _of_area(weight: np.ndarray) -> tuple[float, np.ndarray]:
    risk = np.abs(rows(9, 1)[0])
    return aurc(risk, risk + rows(10, 1)[0], weight)


STATISTICS = (_of_auroc, _of_levels, _of_area)


@pytest.mark.parametrize("statistic", STATISTICS)
def test_an_influence_is_a_derivative(statistic: Callable) -> None:
    """Move a little of the weight to one sample, and measure again."""
    _, influence = statistic(EVEN)
    assert influence @ EVEN == pytest.approx(0, abs=1e-9)
    step = 1e-5
    for sample in (0, 17, 39):
        moved = EVEN * (1 - step)
        moved[sample] += step
        back = EVEN * (1 + step)
        back[sample] -= step
        slope = (statistic(moved)[0] - statistic(back)[0]) / (2 * step)
        assert slope == pytest.approx(influence[sample], abs=0.03)


@pytest.mark.parametrize("statistic", STATISTICS)
def test_linearised_resamples_spread_like_real_ones(statistic: Callable) -> None:
    """Against the statistic computed anew under each resample's weights."""
    value, influence = statistic(EVEN)
    weights = np.random.default_rng(11).multinomial(40, EVEN, 600) / 40
    real = np.array([statistic(weight)[0] for weight in weights])
    linear = value + weights @ influence
    assert linear.std() == pytest.approx(real.std(), rel=0.15)
    assert np.corrcoef(real, linear)[0, 1] > 0.95


def test_likelihood_is_that_of_scipy() -> None:
    error, s = np.array([0.3, 2.0]), np.array([-1.0, 0.7])
    assert nll(error**2, s) == pytest.approx(-norm.logpdf(error, scale=np.exp(s / 2)))


def test_calibration_finds_what_was_put_in() -> None:
    draw = np.random.default_rng(12)
    sigma = np.exp(draw.uniform(-1, 1, 200_000))
    error = np.abs(draw.normal(size=sigma.size) * sigma)
    weight = np.full(sigma.size, 1 / sigma.size)
    predicted, observed = calibration(error, 2 * np.log(sigma), weight)
    assert observed == pytest.approx(predicted, rel=0.03)
    assert ence(error, 2 * np.log(sigma), weight) < 0.03
    assert ence(error, 2 * np.log(sigma / 2), weight) == pytest.approx(1.0, abs=0.05)
