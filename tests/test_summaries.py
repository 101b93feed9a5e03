"""Robustness summaries, paired differences and regret on records with known answers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from benchmark.records import RunStore
from protocols.conditions import LEVELS, Condition
from protocols.regimes import Regime
from reports.differences import sections, verdict_of
from reports.statistics.summaries import (
    cliff,
    drop_terms,
    non_monotone,
    relative_drop,
    steps_of,
    trapezoid,
    worst_cell,
)
from reports.tables.differences import difference_tables
from reports.tables.regret import regret_tables
from reports.tables.summary import summary_tables
from tests.report_records import (
    LABEL,
    Predict,
    add,
    cell,
    make_spec,
    make_table,
    sources,
)
from tests.report_records import one as results_of
from tests.test_inference import linearised


def plane(slope: float = 1.0, start: float = 1.0) -> np.ndarray:
    """A surface that rises by ``slope`` a step in both directions."""
    steps = np.arange(8.0)
    return start + slope * (steps[:, None] + steps)


def test_summaries_of_surfaces_by_hand() -> None:
    rising = plane()  # MAE: worst at (7, 7), every step costs 1
    assert worst_cell(rising, higher_is_better=False) == (7, 7)
    assert worst_cell(rising, higher_is_better=True) == (0, 0)
    assert steps_of(rising) == 112
    assert non_monotone(rising, higher_is_better=False) == 0
    assert non_monotone(rising, higher_is_better=True) == 112
    assert cliff(rising, higher_is_better=False).loss == 1.0
    dented = rising.copy()
    dented[3, 4] += 1.5  # two steps into it cost 2.5, the two out of it gain 0.5
    step = cliff(dented, higher_is_better=False)
    assert (step.loss, step.end) == (2.5, (3, 4))
    assert step.start in ((2, 4), (3, 3))
    assert non_monotone(dented, higher_is_better=False) == 2
    assert non_monotone(np.full((8, 8), 0.3), higher_is_better=True) == 0


def test_relative_drop_points_the_same_way_for_every_metric() -> None:
    accuracy = relative_drop(np.array([0.8]), np.array([0.6]), higher_is_better=True)
    error = relative_drop(np.array([0.8]), np.array([1.0]), higher_is_better=False)
    assert accuracy == pytest.approx([0.25])
    assert error == pytest.approx([0.25])


def test_the_terms_of_a_drop_are_its_value_and_its_slope() -> None:
    clean, corner = np.abs(np.random.default_rng(0).normal(size=(2, 2, 40)))
    for higher in (True, False):

        def drop(ends: np.ndarray, higher: bool = higher) -> np.ndarray:
            return relative_drop(ends[..., 0], ends[..., 1], higher)

        want = linearised(drop, np.stack([clean, corner], axis=-1))
        assert drop_terms(clean, corner, higher) == pytest.approx(want, abs=1e-6)


def test_areas_weigh_by_the_trapezoid_rule() -> None:
    weights = trapezoid(LEVELS)
    assert weights.sum() == pytest.approx(1.0)
    curve = np.random.default_rng(0).normal(size=8)
    assert weights @ curve == pytest.approx(np.trapezoid(curve, LEVELS) / 0.7)


def test_the_summary_of_known_errors(store: RunStore) -> None:
    """Off by 0.5 plus 0.1 for each missing modality: at rate η the mean error is 0.5 + 0.3 η."""
    add(
        store, make_spec(), make_table(LABEL, lambda c, y: y + 0.5 + 0.1 * (3 - c.mask.bit_count()))
    )
    (table,) = summary_tables(sources(results_of(store)))

    def value(title: str, group: str = "") -> object:
        found = cell(table, "Alpha · clean", title, group, "MAE")
        return found.text or found.value

    assert value("Grid mean") == pytest.approx(0.5 + 0.3 * 0.35, abs=1e-6)
    assert value("Area in λ") == pytest.approx(0.5, abs=1e-6)
    assert value("Area in η") == pytest.approx(0.5 + 0.3 * 0.35, abs=1e-6)
    assert value("Drop at (0.7, 0.7), %") == pytest.approx(100 * 0.21 / 0.5, abs=1e-4)
    assert value("value", "Worst cell") == pytest.approx(0.71, abs=1e-6)
    assert value("(λ, η)", "Worst cell") == "(0, 0.7)"  # noise costs nothing here
    assert value("loss", "Steepest step") == pytest.approx(0.03, abs=1e-6)
    # All samples are off alike and there is one run: nothing varies.
    assert cell(table, "Alpha · clean", "Grid mean", "", "MAE").interval == pytest.approx(
        (0.605, 0.605), abs=1e-6
    )


def test_the_intervals_of_the_worst_cell_and_the_steepest_step(store: RunStore) -> None:
    """A missing modality costs 0.2 in every third sample, nothing in the others: a step of 0.1 in
    η then costs those 0.06, whatever the noise, and the worst cells have 0.5 + 0.42 there."""
    y = np.tile(LABEL, 10)
    frail = np.arange(60) % 3 == 0
    table = make_table(y, lambda c, y: y + 0.5 + 0.2 * (3 - c.mask.bit_count()) * frail)
    add(store, make_spec(), table)
    (made,) = summary_tables(sources(results_of(store)))
    for group, title, frail_samples, others in (
        ("Worst cell", "value", 0.92, 0.5),
        ("Steepest step", "loss", 0.06, 0.0),
    ):
        found = cell(made, "Alpha · clean", title, group, "MAE")
        of_samples = np.where(frail, frail_samples, others)
        assert found.value == pytest.approx(of_samples.mean(), abs=1e-6)
        low, high = ttest_1samp(of_samples, 0).confidence_interval()
        assert found.interval == pytest.approx((low, high), abs=1e-6)
    # Where more is better the loss is still positive: the scores fall by what is lost.
    lost = cell(made, "Alpha · clean", "loss", "Steepest step", "ACC7 ↑")
    assert lost.value is not None
    assert lost.value > 0
    assert lost.interval is not None
    assert lost.interval[0] < lost.value < lost.interval[1]


def test_a_few_hits_have_a_drop_with_an_interval(store: RunStore) -> None:
    """4 of 60 clean answers are right: one resample in fifty has none, and there no drop."""
    y = np.tile(LABEL, 10)
    right = np.arange(60) < 4

    def predict(c: Condition, y: np.ndarray) -> np.ndarray:
        return np.where(right & (c.mask == 7), y, y + np.where(y > 0, -2.0, 2.0))

    add(store, make_spec(), make_table(y, predict))
    (made,) = summary_tables(sources(results_of(store)))
    drop = cell(made, "Alpha · clean", "Drop at (0.7, 0.7), %", "", "ACC7 ↑")
    assert drop.value == pytest.approx(100 * (1 - 0.3**3))
    assert drop.interval == pytest.approx((drop.value, drop.value))
    assert (drop.text, drop.flag) == ("", "")


def test_no_hit_at_all_has_no_drop_and_says_so(store: RunStore) -> None:
    add(store, make_spec(), make_table(np.tile(LABEL, 10), lambda _, y: y - 2 * np.sign(y - 0.5)))
    (made,) = summary_tables(sources(results_of(store)))
    drop = cell(made, "Alpha · clean", "Drop at (0.7, 0.7), %", "", "ACC7 ↑")
    assert (drop.value, drop.text, drop.flag) == (None, "–", "†")
    assert any(note.startswith("†") for note in made.notes)


def test_paired_differences_of_known_errors(store: RunStore) -> None:
    """QA-MoE is off by 0.5; Alpha by 0.2 more on every sample, Beta by 0.2 more on half of them
    and less on the other half."""
    y = np.tile(LABEL, 5)
    half = np.where(np.arange(30) % 2, 0.2, -0.2)
    for seed in (1, 2, 3):
        add(store, make_spec("qamoe", seed=seed, config={"topk": 3}), make_table(y, off(0.5)))
        add(store, make_spec("alpha", seed=seed), make_table(y, off(0.7)))
        add(store, make_spec("beta", seed=seed), make_table(y, off(0.5 + half)))
    results = results_of(store)
    (section,) = sections(results, "mae")
    assert section.reference.label == "QA-MoE · clean"
    table = next(t for t in difference_tables(sources(results)) if "mae" in t.name)
    for group in ("Clean test", "Protocol III", "Grid mean"):
        alpha = cell(table, "Alpha · clean", "difference", group)
        assert alpha.value == pytest.approx(0.2, abs=1e-6)
        assert alpha.interval == pytest.approx((0.2, 0.2), abs=1e-6)
        assert cell(table, "Alpha · clean", "p", group).value == pytest.approx(0, abs=1e-9)
        assert cell(table, "Alpha · clean", "Holm p", group).value == pytest.approx(0, abs=1e-9)
        assert cell(table, "Alpha · clean", "verdict", group).text == "worse"
        beta = "Beta (reconstruction) · clean"
        assert cell(table, beta, "difference", group).value == pytest.approx(0, abs=1e-6)
        assert cell(table, beta, "p", group).value == pytest.approx(1.0, abs=1e-4)
        assert cell(table, beta, "verdict", group).text == "undecided"
    assert any("6 tests" in sentence for sentence in table.caption)


def off(error: float | np.ndarray) -> Predict:
    return lambda _, y: y + error


def test_a_verdict_is_what_the_corrected_p_supports() -> None:
    assert verdict_of(0.2, 0.04, True) == "better"
    assert verdict_of(0.2, 0.04, False) == "worse"
    assert verdict_of(0.2, 0.06, True) == "undecided"
    assert verdict_of(0.2, float("nan"), True) == "undecided"


def test_two_seeds_of_a_side_leave_it_undecided(store: RunStore) -> None:
    """However large the difference; a side with three is compared, and alone in its family."""
    for seed in (1, 2, 3):
        add(store, make_spec("qamoe", seed=seed, config={"topk": 3}), make_table(LABEL, off(0.5)))
        add(store, make_spec("beta", seed=seed), make_table(LABEL, off(0.9)))
    for seed in (1, 2):
        add(store, make_spec("alpha", seed=seed), make_table(LABEL, off(2.7)))
    table = next(t for t in difference_tables(sources(results_of(store))) if "mae" in t.name)
    assert cell(table, "Alpha · clean", "verdict", "Clean test").text == "undecided"
    assert cell(table, "Alpha · clean", "p", "Clean test").text == "–"
    assert cell(table, "Alpha · clean", "difference", "Clean test").interval is not None
    assert cell(table, "Beta (reconstruction) · clean", "verdict", "Clean test").text == "worse"
    assert any("the 3 tests" in sentence for sentence in table.caption)
    assert any("fewer than 3 seeds" in sentence for sentence in table.caption)


def test_without_qamoe_the_best_is_the_reference_of_each_regime(store: RunStore) -> None:
    for regime, errors in (("clean", (0.5, 0.2)), ("spectrum", (0.1, 0.3))):
        for model, error in zip(("alpha", "beta"), errors, strict=True):
            add(store, make_spec(model, regime), make_table(LABEL, off(error)))
    found = [s.reference.label for s in sections(results_of(store), "mae")]
    assert found == ["Beta (reconstruction) · clean", "Alpha · spectrum"]


def test_one_system_is_compared_with_nobody(store: RunStore) -> None:
    add(store, make_spec(), make_table(LABEL, off(0.5)))
    assert difference_tables(sources(results_of(store))) == []


def test_regret_of_known_errors(store: RunStore) -> None:
    """The specialists are off by 0.4 at 0.3 and 0.9 at 0.6, the clean one by 0.2; the spectrum
    checkpoint by 0.5 everywhere."""
    add(store, make_spec("qamoe", "spectrum"), make_table(LABEL, off(0.5)))
    add(store, make_spec("qamoe"), make_table(LABEL, off(0.2)))
    for rate, error in ((0.3, 0.4), (0.6, 0.9)):
        add(
            store,
            make_spec("qamoe", Regime(kind="missing", rate=rate)),
            make_table(LABEL, off(error)),
        )
    other = Regime(kind="missing", rate=0.1, missing_rule="at_least_one")
    add(
        store, make_spec("qamoe", other), make_table(LABEL, off(0.1))
    )  # another rule: no specialist
    add(store, make_spec("alpha", "spectrum"), make_table(LABEL, off(0.5)))  # has no specialists
    table, _ = sorted(regret_tables(sources(results_of(store))), key=lambda t: len(t.name))
    assert {row.label for row in table.rows} == {"QA-MoE · spectrum"}
    got = [cell(table, "QA-MoE · spectrum", c.title, "", "MAE").value for c in table.columns]
    want = [0.3, None, None, 0.1, None, None, -0.4, None, -0.15]
    assert got == pytest.approx(want, abs=1e-6)


def test_no_specialists_no_regret(store: RunStore) -> None:
    add(store, make_spec("qamoe", "spectrum"), make_table(LABEL, off(0.5)))
    add(store, make_spec("qamoe"), make_table(LABEL, off(0.5)))
    assert regret_tables(sources(results_of(store))) == []


def test_noise_that_only_some_runs_met_leaves_their_cells_missing(store: RunStore) -> None:
    add(store, make_spec("alpha"), make_table(LABEL, off(0.5)))
    add(store, make_spec("beta"), make_table(LABEL, off(0.5), protocols=["I"]))
    (table,) = summary_tables(sources(results_of(store)))
    beta = cell(table, "Beta (reconstruction) · clean", "Grid mean", "", "MAE")
    assert (beta.value, beta.text) == (None, "")
