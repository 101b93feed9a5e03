"""Sensors that fail unevenly: exact weights, Shapley values, the equity index."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.errors import BenchmarkError
from benchmark.metrics import evaluate
from benchmark.questions import Question
from benchmark.readouts import values
from benchmark.records import RunStore
from protocols.availability import contains, mask_of, subsets
from protocols.conditions import at_level
from protocols.expectation import availability_weights, uneven_weights
from protocols.modalities import MODALITIES
from reports.command import rates_of
from reports.figures.triangle import rates_between, uneven_figure
from reports.frame import frame
from reports.results import Results, load
from reports.sources import Sources
from reports.tables.uneven import uneven_tables
from reports.uneven import at_rates, equity, means_at, named_failures, shapley_weights, worth
from tests.records import make_record, make_table

rate = st.floats(0, 1)


def results_of(store: RunStore, seeds: int = 3, **table: object) -> Results:
    for seed in range(seeds):
        made = make_table(n=40, **table)  # type: ignore[arg-type]
        made.prediction[:] += 0.1 * np.random.default_rng(seed).normal(size=made.prediction.shape)
        make_record(store, seed=seed, table=made, task=made.task)
    (results,) = load(store)
    return results


@given(rates=st.tuples(rate, rate, rate))
@settings(max_examples=50, deadline=None)
def test_weights_are_the_chances_of_independent_failures(rates) -> None:
    weights = uneven_weights(rates, MODALITIES)
    for here in product([False, True], repeat=3):
        chance = np.prod([1 - r if h else r for r, h in zip(rates, here, strict=True)])
        mask = mask_of(m for m, h in zip(MODALITIES, here, strict=True) if h)
        assert weights[mask] == pytest.approx(chance, abs=1e-12)
    assert weights.sum() == pytest.approx(1)


@pytest.mark.parametrize("present", [MODALITIES, ("text", "audio"), ("vision",)])
def test_equal_rates_are_bernoulli(present) -> None:
    for r in (0.0, 0.3, 1.0):
        expected = availability_weights("bernoulli", r, present)
        np.testing.assert_allclose(uneven_weights((r, r, r), present), expected)


@pytest.mark.parametrize("task", ["regression", "classification"])
def test_a_metric_is_that_of_the_weighted_samples(store: RunStore, task) -> None:
    """By brute force: every (sample, subset) pair with the chance of its subset as a weight."""
    results = results_of(store, seeds=1, task=task)
    (system,) = results.systems
    table = system.records[0].table
    rates = (0.6, 0.1, 0.35)
    weights = uneven_weights(rates, MODALITIES)
    rows = [table.prediction[table.row(at_level("seed_a1", 0, 0, m))] for m in subsets(MODALITIES)]
    every = evaluate(
        task,
        np.concatenate(rows),
        np.tile(table.label, 8),
        np.repeat(weights, len(table.label)),
    )
    for metric, expected in every.items():
        found = at_rates(system, metric, [rates])
        assert found is not None
        assert found.at(0).value == pytest.approx(expected), metric


def test_a_corner_is_the_modality_lost_and_even_failure_is_protocol_i(store: RunStore) -> None:
    results = results_of(store)
    (system,) = results.systems
    found = at_rates(system, "f1_non0", [(1, 0, 0), (0.3, 0.3, 0.3)])
    asked = [Question("I", available="av"), Question("I", missing_rule="bernoulli", rate=0.3)]
    expected = np.mean([values(r.table, "f1_non0", asked) for r in system.records], axis=0)
    assert found is not None
    np.testing.assert_allclose(found.values, expected)


def test_named_failures_lose_the_same_share_of_data() -> None:
    for present in (MODALITIES, ("text", "vision")):
        for rates in named_failures(present).values():
            own = [r for r, m in zip(rates, MODALITIES, strict=True) if m in present]
            assert np.mean(own) == pytest.approx(0.3)
            assert sum(rates) == pytest.approx(sum(own))


@pytest.mark.parametrize("present", [MODALITIES, ("text", "audio")])
def test_shapley_values_are_the_mean_over_the_orders_of_joining(present) -> None:
    worths = np.random.default_rng(0).normal(size=8)
    found = shapley_weights(present) @ worths
    for place, m in enumerate(present):
        gains = []
        for order in permutations(present):
            before = order[: order.index(m)]
            gains.append(worths[mask_of({*before, m})] - worths[mask_of(before)])
        assert found[place] == pytest.approx(np.mean(gains))
    assert found.sum() == pytest.approx(worths[mask_of(present)] - worths[0])  # efficiency


def test_the_index_says_how_even_contributions_are() -> None:
    assert equity(np.array([2.0, 2.0, 2.0])) == pytest.approx(1)
    assert equity(np.array([2.0, 0.0, -1.0])) == 0
    assert equity(np.array([2.0, 2.0, -1.0])) == pytest.approx(np.log(2) / np.log(3))
    assert np.isnan(equity(np.array([-1.0, 0.0])))
    assert equity(np.array([3.0, 1.0])) == pytest.approx(equity(np.array([30.0, 10.0])))


def test_what_each_modality_is_worth(store: RunStore) -> None:
    """A model that hears everything from text: the others are worth nothing to it."""

    def reads_text(table):
        has = np.array([contains(c.mask, "text") for c in table.conditions])
        table.prediction[:] = np.where(has[:, None], table.label + 0.5, table.label + 2.0)
        return table

    for seed in range(3):
        make_record(store, seed=seed, table=reads_text(make_table()))
    (results,) = load(store)
    found = worth(results.systems[0], "mae")
    assert found is not None
    assert found.worst == "text"
    assert found.present == MODALITIES
    assert found.shares.values == pytest.approx([1.5, 0, 0], abs=1e-6)
    assert found.losses.values == pytest.approx([1.5, 0, 0], abs=1e-6)
    assert found.equity.value == pytest.approx(0, abs=1e-6)


def test_of_two_modalities_each_is_worth_half_of_two_gains(store: RunStore) -> None:
    results = results_of(store, present=("text", "audio"))
    (system,) = results.systems
    table = system.records[0].table

    def gained(*there: str) -> float:
        row = table.prediction[table.row(at_level("seed_a1", 0, 0, mask_of(there)))]
        return -float(np.abs(row - table.label).mean())

    found = worth(replace(system, records=system.records[:1]), "mae")
    assert found is not None
    alone = {m: gained(m) for m in ("text", "audio")}
    nothing, both = gained(), gained("text", "audio")
    wanted = [
        (alone[m] - nothing + both - alone[other]) / 2
        for m, other in (("text", "audio"), ("audio", "text"))
    ]
    assert found.shares.values == pytest.approx(wanted, abs=1e-5)


def test_the_error_of_the_index_is_the_jackknifes(store: RunStore) -> None:
    """The delta method against leaving out one sample at a time."""
    results = results_of(store, seeds=1)
    (system,) = results.systems
    table = system.records[0].table
    error = np.stack(
        [
            np.abs(table.prediction[table.row(at_level("seed_a1", 0, 0, m))] - table.label)
            for m in range(8)
        ]
    )
    weights, n = shapley_weights(MODALITIES), len(table.label)
    left_out = [equity(weights @ -np.delete(error, i, axis=1).mean(axis=1)) for i in range(n)]
    jackknife = np.sqrt((n - 1) * np.var(left_out))
    found = worth(system, "mae")
    assert found is not None
    assert np.sqrt(found.equity.parts[0]) == pytest.approx(jackknife, rel=0.05)
    assert found.equity.value == pytest.approx(equity(weights @ -error.mean(axis=1)))


def test_without_protocol_i_there_is_nothing_to_say(store: RunStore) -> None:
    results = results_of(store, seeds=1, protocols=["II"])
    assert worth(results.systems[0], "mae") is None
    assert at_rates(results.systems[0], "mae", [(0, 0, 0)]) is None


def test_the_table_the_frame_and_the_triangle_say_the_same(store: RunStore) -> None:
    results = results_of(store)
    (system,) = results.systems
    asked = (0.5, 0.1, 0.0)
    sources = Sources.of(results, rates=[asked])
    (table,) = uneven_tables(sources)
    (row,) = [row for row in table.rows if row.section == "MAE ↓"]
    cells = dict(zip([column.title for column in table.columns], row.cells, strict=True))
    exact = at_rates(system, "mae", [asked])
    assert exact is not None
    assert cells["asked (0.5, 0.1, 0)"].value == pytest.approx(exact.at(0).value)
    assert cells["asked (0.5, 0.1, 0)"].interval == pytest.approx(exact.at(0).interval)
    kept = frame(sources)
    (line,) = kept[(kept["quantity"] == "At η = (0.5, 0.1, 0)") & (kept["metric"] == "mae")].index
    assert kept.loc[line, "value"] == pytest.approx(exact.at(0).value)
    rates = rates_between(MODALITIES, 6)
    assert len(rates) == 28
    assert all(sum(one) == pytest.approx(1) for one in rates)
    both = at_rates(system, "f1_non0", rates)
    assert both is not None
    np.testing.assert_allclose(means_at(system, "f1_non0", rates), both.values)


def test_two_modalities_have_a_line_and_one_has_nothing(store: RunStore) -> None:
    results = results_of(store, present=("text", "audio"))
    assert rates_between(("text", "audio"), 2) == [
        (0.0, 1.0, 0.0),
        (0.5, 0.5, 0.0),
        (1.0, 0.0, 0.0),
    ]
    assert uneven_figure(results, "mae") is not None
    assert len(uneven_tables(Sources.of(results))) == 1


def test_one_modality_has_nothing_to_lose_unevenly(store: RunStore) -> None:
    results = results_of(store, present=("text",))
    assert uneven_figure(results, "mae") is None
    assert uneven_tables(Sources.of(results)) == []


def test_rates_on_the_command_line() -> None:
    assert rates_of("0.5,0.1,0") == (0.5, 0.1, 0.0)
    for wrong in ("0.5", "0.5,2,0", "a,b,c", "0.1,0.2,0.3,0.4", "-1,0,0", "nan,0,0"):
        with pytest.raises(BenchmarkError, match="three rates between 0 and 1"):
            rates_of(wrong)
