"""Landscapes and the terms of samples, against metrics and read-outs."""

from __future__ import annotations

import numpy as np
import pytest

from benchmark import metrics as reference
from benchmark.metrics import combine
from benchmark.questions import Question
from benchmark.readouts import read, sample_terms
from protocols.availability import subsets
from protocols.conditions import LEVELS, Condition, at_level
from protocols.expectation import availability_weights
from reports.figures.landscapes import between_levels
from reports.surface import landscape
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
    between = between_levels(whole)
    assert between(whole.intensities) == pytest.approx(whole.values)
    inside = between(np.linspace(0, 0.7, 71))
    for low, high in zip(range(0, 70, 10), range(10, 71, 10), strict=True):  # no peak of its own
        ends = np.sort(inside[[low, high]], axis=0)
        assert np.all(inside[low:high] >= ends[0] - 1e-12)
        assert np.all(inside[low:high] <= ends[1] + 1e-12)
    want = np.mean(
        [read(table, Question("grid", "seed_a1", "bernoulli", 0.3, 0.2))["mae"] for table in tables]
    )
    assert between(0.3)[np.abs(whole.rates - 0.2).argmin()] == pytest.approx(want)


def test_no_landscape_without_the_grid() -> None:
    assert landscape([make_table(labels(10), noisy(1), protocols=["I"])], "mae", "seed_a1") is None


def test_terms_of_protocol_three_sum_to_the_read_out() -> None:
    table = make_table(labels(40), noisy(6), draws=2)
    question = Question("III", "seed_a1", "bernoulli", joint=JOINT)
    got = combine("f1_non0", sample_terms(table, "f1_non0", question).sum(axis=1)).mean()
    assert got == pytest.approx(read(table, question)["f1_non0"])
