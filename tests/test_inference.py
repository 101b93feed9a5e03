"""The model of both errors: against scipy, plain loops, closed forms, and its own simulation."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import product

import numpy as np
import pytest
from scipy import integrate, stats

from benchmark.metrics import combine, terms
from reports.answer import ends
from reports.statistics.inference import (
    Estimate,
    estimate,
    holm,
    marks,
    tail,
    variances,
)
from reports.statistics.simulate import setting, simulated
from reports.views import SHARE, view
from tests.test_statistics import labels


def linearised(function: Callable[[np.ndarray], np.ndarray], terms: np.ndarray) -> np.ndarray:
    """The function of the means of (..., N, K) terms plus each sample's influence, one by one."""
    means = terms.mean(axis=-2, keepdims=True)
    step = 1e-6 * (terms - means)
    influence = (function(means + step) - function(means - step)) / 2e-6
    centred = influence - influence.mean(axis=-1, keepdims=True)
    return np.asarray(function(means) + centred)


def drawn(seed: int, seeds: int = 3, size: int = 40, luck: float = 0.3) -> np.ndarray:
    """(S, N) terms with a part of the sample, of the seed, and of both."""
    draw = np.random.default_rng(seed)
    own = draw.normal(size=size) + luck * draw.normal(size=(seeds, 1))
    return np.asarray(own + 0.5 * draw.normal(size=(seeds, size)))


def by_loops(terms_of: np.ndarray) -> tuple[float, float]:
    """Variance of the mean that is the seeds' (with the interaction), and the interaction's."""
    seeds, size = terms_of.shape
    mean = terms_of.mean()
    between = sum((terms_of[s].mean() - mean) ** 2 for s in range(seeds)) / (seeds - 1)
    residual = sum(
        (terms_of[s, i] - terms_of[s].mean() - terms_of[:, i].mean() + mean) ** 2
        for s, i in product(range(seeds), range(size))
    )
    return between / seeds, residual / ((seeds - 1) * (size - 1)) / (seeds * size)


def test_the_parts_equal_plain_loops() -> None:
    one, other = drawn(1, 3), drawn(2, 5)
    of_samples, of_seeds, nu = (estimate(one) - estimate(other)).parts
    (b1, e1), (b2, e2) = by_loops(one), by_loops(other)
    paired = one.mean(axis=0) - other.mean(axis=0)
    assert of_samples == pytest.approx(paired.var(ddof=1) / 40 - e1 - e2)
    assert of_seeds == pytest.approx(b1 + b2)
    assert nu == pytest.approx(min((b1 + b2) ** 2 / (b1**2 / 4 + b2**2 / 6) - 2, 6))


def test_the_variance_is_neither_counted_twice_nor_missed() -> None:
    """Over many draws the mean of A + B is the variance of the numbers, whatever varies."""
    draw = np.random.default_rng(3)
    for luck, disagreement in ((0.0, 2.0), (0.5, 1.0), (0.5, 0.0)):
        shape = (4, 6000, 30)
        y = draw.normal(size=shape[1:]) + disagreement * draw.normal(size=shape)
        found = estimate(y + luck * draw.normal(size=(4, 6000, 1)))
        of_samples, of_seeds, _ = found.parts
        assert (of_samples + of_seeds).mean() == pytest.approx(found.values.var(), rel=0.06)


def test_one_seed_each_is_the_paired_t_test() -> None:
    one, other = drawn(4, 1), drawn(5, 1)
    difference = estimate(one) - estimate(other)
    low, high = stats.ttest_rel(one[0], other[0]).confidence_interval()
    assert difference.interval == pytest.approx((low, high))
    assert np.isnan(difference.p)
    assert not difference.decidable


def test_trainings_alone_are_the_t_test_of_two_groups() -> None:
    """Nothing varies over samples, and both systems' trainings vary alike."""
    luck = np.array([0.1, 0.4, 0.35, 0.2])
    one, other = (np.repeat(values[:, None], 4000, axis=1) for values in (luck, 0.4 - luck))
    want = stats.ttest_ind(luck, 0.4 - luck)
    got = estimate(one) - estimate(other)
    assert got.p == pytest.approx(want.pvalue, rel=1e-3)
    assert got.interval == pytest.approx(tuple(want.confidence_interval()), rel=1e-3)


@pytest.mark.parametrize("nu", [2.0, 2.7, 4.0, 18.0])
def test_the_tail_is_that_of_a_normal_and_a_t(nu: float) -> None:
    """Against adaptive integration over χ², and t where there are only trainings."""
    one = np.ones(1)
    for distance in (0.7, 2.0, 5.0):
        mixed = integrate.quad(
            lambda w, d=distance: (
                2 * stats.norm.sf(d / (1 + 2 * nu / w) ** 0.5) * stats.chi2.pdf(w, nu)
            ),
            0,
            np.inf,
        )[0]
        got = tail(np.array([distance]), variances(one, 2 * one, nu * one), 10**9)
        assert got == pytest.approx(mixed, rel=1e-3)
    for p in (0.05, 1e-3, 1e-5):
        far = np.array([stats.t.isf(p / 2, nu)])
        assert tail(far, variances(0 * one, one, nu * one), 10**9) == pytest.approx(p, rel=1e-3)


@pytest.mark.parametrize("seed", range(20))
def test_interval_and_p_say_the_same(seed: int) -> None:
    difference = estimate(drawn(seed, 3)) - estimate(drawn(seed + 100, 4))
    low, high = difference.interval
    assert (difference.p < 0.05) == (not low <= 0 <= high)
    assert difference.side_of() == (difference.p < 0.05) * np.sign(difference.value)
    at_the_end = difference.by_sample - low
    moved = Estimate(at_the_end, difference.deviations, difference.interaction)
    assert moved.p == pytest.approx(0.05, abs=1e-6)
    assert difference.times(-3.0).interval == pytest.approx((-3 * high, -3 * low))


def test_equal_answers_do_not_differ_and_no_spread_is_no_doubt() -> None:
    same = estimate(np.full((3, 10), 0.5))
    assert (same - same).p == 1.0
    assert same.interval == (0.5, 0.5)
    assert same.side_of(0.5) == 0
    assert same.side_of(0.4) == 1
    assert (same - estimate(np.full((3, 10), 0.7))).p < 1e-50


def test_two_seeds_decide_nothing() -> None:
    good, bad = np.full((3, 10), 0.1), np.full((2, 10), 9.0)
    assert np.isnan((estimate(good) - estimate(bad)).p)
    assert estimate(bad).side_of(0.0) == 0
    assert marks([estimate(good), estimate(bad)], higher_is_better=False) == ["", ""]


def test_what_is_undefined_for_a_seed_decides_nothing() -> None:
    good, bad = estimate(np.full((3, 10), 0.1)), estimate(np.full((3, 10), 9.0))
    undefined = np.full((3, 10), 5.0)
    undefined[1] = np.nan
    lost = estimate(undefined)
    assert np.isnan([lost.value, *lost.interval, lost.p, (good - lost).p, lost.std]).all()
    assert lost.side_of(0.0) == 0
    for order in ([good, bad, lost], [lost, good, bad], [bad, lost, good]):
        assert marks(order, higher_is_better=False) == ["", "", ""]


def test_numbers_together_are_as_each_alone() -> None:
    many = np.stack([drawn(6), drawn(7)], axis=1)
    together = estimate(many)
    for place in range(2):
        alone = estimate(many[:, place])
        assert together.at(place).interval == pytest.approx(alone.interval)
        assert together.p[place] == pytest.approx(alone.p)
        assert alone.std == pytest.approx(many[:, place].mean(axis=-1).std(ddof=1))


@pytest.mark.parametrize("metric", ["mae", "acc2_non0", "f1_non0", "corr"])
def test_linear_terms_have_the_value_and_the_spread_of_the_metric(metric: str) -> None:
    """Their mean is the metric; their variance is that of real resamples."""
    y = labels(300)
    p = 0.6 * y + np.random.default_rng(1).normal(size=300)
    of_samples = terms(metric, p, y)
    found = linearised(partial(combine, metric), of_samples)
    assert found.mean() == pytest.approx(combine(metric, of_samples.sum(axis=0)))
    counts = np.random.default_rng(2).multinomial(300, np.full(300, 1 / 300), 4000)
    real = combine(metric, counts @ of_samples)
    assert found.std() / 300**0.5 == pytest.approx(real.std(), rel=0.05)


def test_linear_terms_of_classes() -> None:
    y = np.random.default_rng(5).integers(0, 4, 200).astype(float)
    logits = np.eye(4)[y.astype(int)] + np.random.default_rng(6).normal(size=(200, 4))
    of_samples = terms("f1_macro", logits, y)
    found = linearised(partial(combine, "f1_macro"), of_samples)
    leave_out = combine("f1_macro", of_samples.sum(axis=0) - of_samples)
    jackknife = 199 * (found.mean() - leave_out)
    assert found - found.mean() == pytest.approx(jackknife - jackknife.mean(), abs=0.03)


def test_holm_by_hand() -> None:
    """In order .005 .01 .03 .04 times 4, 3, 2, 1, never falling."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.4, 0.9]) == pytest.approx([0.8, 0.9])
    assert holm([0.7, 0.6]) == pytest.approx([1.0, 1.0])
    assert len(holm([])) == 0
    unasked = holm([np.nan, 0.01, np.nan, 0.02])  # no tests, so not of the family
    assert unasked == pytest.approx([np.nan, 0.02, np.nan, 0.02], nan_ok=True)


def test_a_band_of_independent_numbers_meets_its_closed_form() -> None:
    """The largest of Q independent |z| is below c with probability 0.95."""
    for count in (1, 20):
        found = estimate(np.random.default_rng(count).normal(2.0, 3.0, (1, count, 2000)))
        low, high = found.band()
        c = stats.norm.ppf((1 + 0.95 ** (1 / count)) / 2)
        error = found.by_sample.std(axis=-1, ddof=1) / 2000**0.5
        assert high - found.values == pytest.approx(c * error, rel=0.06)
        assert found.values - low == pytest.approx(high - found.values)


def test_a_band_of_one_number_is_its_interval() -> None:
    found = estimate(drawn(8, 3, 400)[:, None]) - estimate(drawn(9, 4, 400)[:, None])
    low, _ = found.band()
    assert found.values - low == pytest.approx(found.half_width(), rel=0.12)


def test_marks_only_what_is_shown() -> None:
    near, far = drawn(10, 3, 200), drawn(10, 3, 200)
    near_by = near + 0.01 * np.random.default_rng(0).normal(size=near.shape)
    good, close, bad = (estimate(x) for x in (near, near_by, far + 5))
    best = estimate(near - 4)
    assert marks([best, good, bad], higher_is_better=False) == ["best", "second", ""]
    assert marks([best, good, bad], higher_is_better=True) == ["", "second", "best"]
    assert marks([good, close, bad], higher_is_better=False) == ["", "", ""]
    assert marks([best, good, close], higher_is_better=False) == ["best", "", ""]
    # Two systems have a best, never a second; a missing one is not compared.
    assert marks([good, None, bad], higher_is_better=False) == ["best", "", ""]
    assert marks([good], higher_is_better=False) == [""]


@pytest.mark.parametrize("ratio", [0.0, 1.0, 4.0])
@pytest.mark.parametrize("seeds", [3, 5])
def test_coverage_and_single_false_calls(seeds: int, ratio: float) -> None:
    """Nominal 95 % and 5 %; 1,000 pairs are known to about ± 1.4 points."""
    now, _ = simulated(setting("errors", seeds, ratio), 1000, 1)
    assert 93 - 1.4 < now.covered < 97 + 1.4
    assert now.called < 6 + 1.4
    assert now.covered + now.called == pytest.approx(100)
    assert now.power > 50


def test_families_have_no_more_false_calls_than_they_should() -> None:
    """Of 60 tables with 3 seeds; before, a table had one in a third and more."""
    now, before = simulated(setting("errors", 3, 1.0), 60, 36)
    assert now.families < 6 + 6
    assert before.families > 15


def test_two_seeds_call_nothing() -> None:
    now, before = simulated(setting("hits", 2, 2.0), 100, 1)
    assert (now.called, now.power) == (0.0, 0.0)
    assert before.power > 0


@pytest.mark.parametrize(("seeds", "size"), [(1, 24), (3, 60)])
def test_a_share_without_any_error_has_the_exact_interval(seeds: int, size: int) -> None:
    """t sees no spread among samples that are all right, or all wrong; the binomial does."""
    for hits in (0, size):
        found = estimate(np.full((seeds, size), float(hits > 0)))
        exact = stats.binomtest(hits, size).proportion_ci(method="exact")
        assert tuple(map(float, ends(found, SHARE))) == pytest.approx((exact.low, exact.high))


def test_an_interval_is_cut_to_what_the_metric_can_be() -> None:
    right = np.ones((3, 40))
    right[:, 0] = 0.0
    found = estimate(right)
    low, high = found.interval
    assert high > 1
    assert tuple(map(float, ends(found, view("acc7").bounds))) == (pytest.approx(low), 1.0)
    assert tuple(map(float, ends(found, view("acc7", "Difference").bounds))) == (low, high)
    assert float(ends(estimate(1 - right), view("mae").bounds)[0]) == 0.0
