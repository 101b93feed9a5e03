"""The bootstrap, permutation and Holm against plain loops, scipy and closed forms; landscapes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm, permutation_test

from benchmark import metrics as reference
from benchmark.metrics import combine
from benchmark.questions import Question
from benchmark.readouts import read, sample_terms
from protocols.availability import subsets
from protocols.conditions import LEVELS, Condition, at_joint, at_level
from protocols.expectation import availability_weights
from reports.figures.surface import landscape
from reports.statistics.resampling import (
    RESAMPLES,
    bootstrap,
    holm,
    interval,
    marks,
    permutation_p,
    resample_counts,
    seed_shares,
    simultaneous,
    supported,
)
from tests.report_records import JOINT, make_table


def labels(size: int, seed: int = 0) -> np.ndarray:
    draw = np.random.default_rng(seed)
    return np.clip(np.round(draw.normal(0, 1.5, size) * 5) / 5, -3, 3)


def noisy(seed: int):  # type: ignore[no-untyped-def]
    """Predictions that differ in every condition, and are worse the less is available."""

    def predict(condition: Condition, y: np.ndarray) -> np.ndarray:
        key = [seed, condition.draw, condition.mask, round(10 * abs(condition.intensity))]
        noise = np.random.default_rng(key).normal(size=len(y))
        share = condition.mask.bit_count() / 3 * (1 - abs(condition.intensity) / 2)
        return share * y + (1.2 - share) * noise

    return predict


def classes(seed: int, count: int = 4):  # type: ignore[no-untyped-def]
    def predict(condition: Condition, y: np.ndarray) -> np.ndarray:
        draw = np.random.default_rng([seed, condition.draw, condition.mask])
        return np.eye(count)[y.astype(int)] * condition.mask / 4 + draw.normal(size=(len(y), count))

    return predict


def test_every_resample_has_as_many_samples() -> None:
    counts = resample_counts(37)
    assert counts.shape == (RESAMPLES, 37)
    assert (counts.sum(axis=1) == 37).all()
    assert counts.mean() == pytest.approx(1.0)
    assert (resample_counts(37) == counts).all()


@pytest.mark.parametrize("metric", ["mae", "acc2_non0", "f1_non0", "corr"])
def test_bootstrap_equals_a_plain_loop(metric: str) -> None:
    """Expand every resample, evaluate each run and draw on it, average the drawn runs."""
    y = labels(60)
    tables = [make_table(y, noisy(seed), draws=2) for seed in (1, 2, 3)]
    question = Question("II", "seed_a1", intensity=0.4, available="tav")
    missing, got = bootstrap([[], tables], metric, question, (0, 1))
    assert missing is None
    assert got is not None
    shares = seed_shares(3, 1)
    for resample in range(0, RESAMPLES, 97):
        index = np.repeat(np.arange(60), resample_counts(60)[resample].astype(int))
        want = 0.0
        for share, table in zip(shares[resample], tables, strict=True):
            rows = [
                table.prediction[table.row(Condition("seed_a1", d, 0.4, "", 7))] for d in (0, 1)
            ]
            both = [reference.evaluate("regression", r[index], y[index])[metric] for r in rows]
            want += share * np.mean(both)
        assert got[resample] == pytest.approx(want, abs=1e-9)


@pytest.mark.parametrize("metric", ["mae", "f1_non0", "corr"])
def test_bootstrap_of_expectations_equals_a_plain_loop(metric: str) -> None:
    """Protocol III: every sample counts with its own weights on the eight subsets."""
    y = labels(40)
    table = make_table(y, noisy(3))
    (got,) = bootstrap([[table]], metric, Question("III", "seed_a1", "bernoulli", joint=JOINT), [0])
    assert got is not None
    masks = subsets(table.present)
    rows = table.prediction[[table.row(at_joint("seed_a1", 0, JOINT, m)) for m in masks]]
    rates = table.joint_levels[JOINT, 0][1]
    weights = availability_weights("bernoulli", rates, table.present)
    for resample in range(0, RESAMPLES, 113):
        index = np.repeat(np.arange(40), resample_counts(40)[resample].astype(int))
        flat = rows[:, index].reshape(-1)
        pairs = np.tile(y[index], 8), weights[index].T.reshape(-1)
        want = reference.evaluate("regression", flat, *pairs)[metric]
        assert got[resample] == pytest.approx(want, abs=1e-9)


def test_an_undefined_resample_does_not_hide_a_defined_value() -> None:
    samples = np.linspace(0, 1, 1000)
    some = np.where(np.arange(1000) % 50 == 0, np.nan, samples)  # one in fifty
    assert interval(some) == pytest.approx(interval(samples), abs=5e-3)
    many = np.where(np.arange(1000) % 10 == 0, np.nan, samples)
    assert np.isnan(interval(many)).all()


def test_bootstrap_of_classes_equals_a_plain_loop() -> None:
    y = np.random.default_rng(5).integers(0, 4, 50).astype(float)
    table = make_table(y, classes(1), task="classification")
    (got,) = bootstrap([[table]], "f1_macro", Question("clean", available="tav"), [0])
    assert got is not None
    row = table.prediction[table.row(Condition("none", 0, 0.0, "", 7))]
    for resample in range(0, RESAMPLES, 97):
        index = np.repeat(np.arange(50), resample_counts(50)[resample].astype(int))
        want = reference.evaluate("classification", row[index], y[index])["f1_macro"]
        assert got[resample] == pytest.approx(want, abs=1e-12)


def test_bootstrap_of_a_mean_meets_its_closed_form() -> None:
    """The standard error of a mean is s / √N; the interval is about ± 1.96 of it."""
    y = labels(400)
    table = make_table(y, noisy(7))
    (got,) = bootstrap([[table]], "mae", Question("clean", available="tav"), [0])
    assert got is not None
    errors = np.abs(table.prediction[table.row(Condition("none", 0, 0.0, "", 7))] - y)
    error_of_mean = errors.std() / 20
    assert got.std() == pytest.approx(error_of_mean, rel=0.1)
    low, high = interval(got)
    assert low == pytest.approx(errors.mean() - 1.96 * error_of_mean, abs=0.4 * error_of_mean)
    assert high == pytest.approx(errors.mean() + 1.96 * error_of_mean, abs=0.4 * error_of_mean)


def test_runs_with_different_numbers_of_draws_count_alike() -> None:
    y = labels(30)
    question = Question("II", "seed_a1", intensity=0.7, available="tav")
    tables = [make_table(y, noisy(1), draws=1), make_table(y, noisy(2), draws=3)]
    both, one, three = (
        bootstrap([ts], "corr", question, [0])[0] for ts in (tables, tables[:1], tables[1:])
    )
    assert one is not None
    assert three is not None
    first, second = seed_shares(2, 0).T
    assert both == pytest.approx(first * one + second * three)


def test_resampled_seeds_have_the_variance_of_a_mean() -> None:
    """s² / S with the unbiased s²; drawing S of S runs would give (S - 1) / S of it."""
    for count in (2, 3, 5):
        shares = seed_shares(count, 0, resamples=40_000)
        assert shares.sum(axis=1) == pytest.approx(1.0)
        values = np.random.default_rng(count).normal(size=count)
        assert (shares @ values).var() == pytest.approx(values.var(ddof=1) / count, rel=0.05)
    assert (seed_shares(1, 0) == 1).all()
    assert (seed_shares(3, 0) != seed_shares(3, 1)).any()  # every system draws on its own
    assert (seed_shares(3, 0) == seed_shares(3, 0)).all()


def test_the_interval_widens_with_the_spread_of_seeds() -> None:
    """Runs that are off by 0.2 and by 0.6 on every sample: samples add nothing, seeds do."""
    tables = [make_table(labels(50), lambda _, y, e=e: y + e) for e in (0.2, 0.6)]
    (got,) = bootstrap([tables], "mae", Question("clean", available="tav"), [0])
    assert got is not None
    assert np.unique(got.round(6)).tolist() == [0.2, 0.6]
    assert interval(got) == pytest.approx((0.2, 0.6), abs=1e-6)


def test_permutation_of_few_samples_is_exact() -> None:
    draw = np.random.default_rng(3)
    differences = draw.normal(0.4, 1, (10, 3))
    got = permutation_p(differences)
    for q in range(3):
        one, zero = differences[:, q], np.zeros(10)
        done = permutation_test(
            (one, zero),
            lambda a, b, axis: (a - b).sum(axis=axis),
            permutation_type="samples",
            n_resamples=2**10,
            vectorized=True,
        )
        assert got[q] == pytest.approx(done.pvalue, abs=1e-12)


def test_permutation_by_hand() -> None:
    """Of the 8 sign patterns of (1, 2, 4) only +++ and --- sum to 7 or more in absolute value;
    of (1, -2, 4), 3 or more: |±1±2±4| is 7, 5, 3, 1, each twice."""
    assert permutation_p(np.array([[1.0], [2.0], [4.0]])).item() == 2 / 8
    assert permutation_p(np.array([[1.0], [-2.0], [4.0]])).item() == 6 / 8
    assert permutation_p(np.zeros((3, 1))).item() == 1.0


def test_many_samples_are_permuted_at_random() -> None:
    differences = np.random.default_rng(5).normal(0.5, 1, (15, 2))
    exact = permutation_p(differences, permutations=2**15)
    drawn = permutation_p(differences, permutations=4999)
    assert drawn == pytest.approx(exact, abs=4 * 0.5 / 70)
    assert permutation_p(np.ones((200, 1))).item() == 1 / 10_000  # never 0


def test_holm_by_hand() -> None:
    """In order .005 .01 .03 .04 times 4, 3, 2, 1, never falling."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.4, 0.9]) == pytest.approx([0.8, 0.9])
    assert holm([0.7, 0.6]) == pytest.approx([1.0, 1.0])
    assert len(holm([])) == 0


def test_a_simultaneous_band_of_independent_values_meets_its_closed_form() -> None:
    """The largest of Q independent |z| is below c with probability 0.95."""
    for count in (1, 20):
        samples = np.random.default_rng(count).normal(2.0, 3.0, (20_000, count))
        low, high = simultaneous(samples, np.full(count, 2.0))
        c = norm.ppf((1 + 0.95 ** (1 / count)) / 2)
        assert high - 2.0 == pytest.approx(np.full(count, 3 * c), rel=0.05)
        assert 2.0 - low == pytest.approx(high - 2.0)
    same = simultaneous(np.ones((50, 2)), np.ones(2))
    assert np.array(same) == pytest.approx(1.0)


def test_pairing_finds_what_separate_intervals_hide() -> None:
    """B is worse by 0.1 on every sample: the intervals overlap, the paired one is a question."""
    errors = np.random.default_rng(1).exponential(size=80)
    counts = resample_counts(80)
    a, b = counts @ errors / 80, counts @ (errors + 0.1) / 80
    assert interval(a)[1] > interval(b)[0]
    assert supported(a, b, "mae")
    assert not supported(b, a, "mae")
    assert interval(b - a) == pytest.approx((0.1, 0.1))


def test_marks_only_what_is_supported() -> None:
    spread = np.linspace(-1, 1, RESAMPLES)
    near, far = 5 + spread, 9 + spread
    alone = [near, near + 0.5, far]  # paired differences are constants: all supported
    assert marks([5.0, 5.5, 9.0], alone, "mae") == ["best", "second", ""]
    assert marks([5.0, 5.5, 9.0], alone, "acc") == ["", "second", "best"]
    # Against a mirrored spread the difference 0.5 + 2 · spread is not supported.
    unclear = [near, 5.5 - spread, far]
    assert marks([5.0, 5.5, 9.0], unclear, "mae") == ["", "", ""]
    # The best is clear, second and third are not told apart.
    assert marks([1.0, 5.0, 5.5], [near - 4, near, 5.5 - spread], "mae") == ["best", "", ""]
    # Two systems have a best, never a second; a missing one is not compared.
    assert marks([5.0, None, 9.0], [near, None, far], "mae") == ["best", "", ""]
    assert marks([5.0], [near], "mae") == [""]


@pytest.mark.parametrize("metric", ["mae", "acc7", "f1_non0", "corr"])
def test_landscape_equals_the_metric_of_the_weighted_population(metric: str) -> None:
    """Every draw's (subset, sample) pairs laid out and weighed, at rates between the levels too."""
    table = make_table(labels(50), noisy(4), draws=2)
    got = landscape([table], metric, "seed_a1", steps=5)
    assert got is not None
    masks = subsets(table.present)
    for level, row in zip(LEVELS, got.values, strict=True):
        for rate, value in zip(got.rates.tolist(), row, strict=True):
            weights = availability_weights("bernoulli", rate, table.present)
            want = [
                reference.evaluate(
                    "regression",
                    table.prediction[
                        [table.row(at_level("seed_a1", d, level, m)) for m in masks]
                    ].ravel(),
                    np.tile(table.label, 8),
                    np.repeat(weights, 50),
                )[metric]
                for d in range(2)
            ]
            assert value == pytest.approx(np.mean(want), abs=1e-9)


def test_landscape_averages_seeds_and_keeps_the_levels_when_refined() -> None:
    tables = [make_table(labels(30), noisy(seed)) for seed in (1, 2)]
    whole = landscape(tables, "mae", "seed_a1")
    assert whole is not None
    single = [landscape([table], "mae", "seed_a1") for table in tables]
    assert whole.values == pytest.approx(sum(s.values for s in single if s) / 2)
    fine = whole.refined(71)  # every tenth of the new intensities is a level
    assert fine.values[::10] == pytest.approx(whole.values)
    want = np.mean(
        [read(table, Question("grid", "seed_a1", "bernoulli", 0.3, 0.2))["mae"] for table in tables]
    )
    assert whole.at(0.3, 0.2) == pytest.approx(want)


def test_no_landscape_without_the_grid() -> None:
    assert landscape([make_table(labels(10), noisy(1), protocols=["I"])], "mae", "seed_a1") is None


def test_terms_of_protocol_three_sum_to_the_read_out() -> None:
    table = make_table(labels(40), noisy(6), draws=2)
    question = Question("III", "seed_a1", "bernoulli", joint=JOINT)
    got = combine("f1_non0", sample_terms(table, "f1_non0", question).sum(axis=1)).mean()
    assert got == pytest.approx(read(table, question)["f1_non0"])
