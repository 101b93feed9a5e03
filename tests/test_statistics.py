"""Sums against the metrics, points and landscapes against the read-outs."""

from __future__ import annotations

import numpy as np
import pytest

from benchmark import metrics as reference
from benchmark.readouts import cell, protocol_three
from protocols.conditions import LEVELS, Condition
from reports.statistics.points import Point, sample_terms
from reports.statistics.sums import combine, terms
from reports.statistics.surface import landscape, surface
from tests.report_records import JOINT, make_table

REGRESSION = ("mae", "corr", "acc7", "acc5", "acc3", "acc2_has0", "f1_has0", "acc2_non0", "f1_non0")
CLASSIFICATION = ("acc", "f1_weighted", "f1_macro", "uar", "acc_ovr", "f1_ovr")


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


@pytest.mark.parametrize("metric", REGRESSION)
def test_sums_give_the_metric(metric: str) -> None:
    y = labels(200)
    p = y + np.random.default_rng(1).normal(size=200)
    got = combine(metric, terms(metric, p, y).sum(axis=0))
    assert got == pytest.approx(reference.evaluate("regression", p, y)[metric], abs=1e-12)


@pytest.mark.parametrize("metric", CLASSIFICATION)
def test_sums_give_the_metric_of_classes(metric: str) -> None:
    draw = np.random.default_rng(2)
    y, logits = draw.integers(0, 3, 150).astype(float), draw.normal(size=(150, 5))
    got = combine(metric, terms(metric, logits, y).sum(axis=0))
    assert got == pytest.approx(reference.evaluate("classification", logits, y)[metric], abs=1e-12)


@pytest.mark.parametrize("value", [0.0, 0.3, -2.7])
def test_a_constant_prediction_has_correlation_zero(value: float) -> None:
    y = labels(100)
    assert combine("corr", terms("corr", np.full(100, value), y).sum(axis=0)) == 0.0


@pytest.mark.parametrize("metric", ["mae", "acc7", "f1_non0", "corr"])
def test_landscape_equals_the_read_outs(metric: str) -> None:
    table = make_table(labels(50), noisy(4), draws=2)
    rates = np.array([0.0, 0.13, 0.35, 0.7])
    got = surface(table, metric, "seed_a1", "bernoulli", rates)
    assert got is not None
    want = [[cell(table, "seed_a1", level, r)[metric] for r in rates.tolist()] for level in LEVELS]
    assert got == pytest.approx(np.array(want), abs=1e-9)


def test_landscape_averages_seeds_and_keeps_the_levels_when_refined() -> None:
    tables = [make_table(labels(30), noisy(seed)) for seed in (1, 2)]
    whole = landscape(tables, "mae", "seed_a1")
    assert whole is not None
    single = [landscape([table], "mae", "seed_a1") for table in tables]
    assert whole.values == pytest.approx(sum(s.values for s in single if s) / 2)
    fine = whole.refined(71)  # every tenth of the new intensities is a level
    assert fine.values[::10] == pytest.approx(whole.values)
    want = np.mean([cell(table, "seed_a1", 0.3, 0.2)["mae"] for table in tables])
    assert whole.at(0.3, 0.2) == pytest.approx(want)


def test_no_landscape_without_the_grid() -> None:
    assert landscape([make_table(labels(10), noisy(1), protocols=["I"])], "mae", "seed_a1") is None


def test_terms_of_protocol_three_sum_to_the_read_out() -> None:
    table = make_table(labels(40), noisy(6), draws=2)
    point = Point("III", "seed_a1", "bernoulli", available=JOINT)
    got = combine("f1_non0", sample_terms(table, "f1_non0", point).sum(axis=1)).mean()
    assert got == pytest.approx(protocol_three(table, "seed_a1")["f1_non0"])
