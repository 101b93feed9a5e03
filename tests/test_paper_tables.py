"""The paper's tables from hand-made records with known answers: 1, 3, 4, 6, and who is compared."""

from __future__ import annotations

import pytest

from benchmark.questions import random_questions
from benchmark.records import RunStore
from protocols.regimes import Regime
from reports.results import load
from reports.specialists import specialists
from reports.tables.conditions import noise_table, random_table
from reports.tables.robustness import clean_tables
from reports.tables.variants import variant_tables
from tests.report_records import (
    LABEL,
    add,
    cell,
    labels_of,
    make_spec,
    make_table,
    one,
    sources,
)

RATES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
QAMOE = {"topk": 3, "ablation": "none"}


def off(error: float):
    """Off by the same under every condition."""
    return lambda condition, label: label + error


def missing(rate: float, rule: str = "bernoulli") -> Regime:
    return Regime(kind="missing", rate=rate, missing_rule=rule)  # type: ignore[arg-type]


def test_a_specialist_answers_at_its_own_rate_only(store: RunStore) -> None:
    """Off by 0.2 + η where trained for η, the clean one by 0.1, the single checkpoint by 0.5."""
    for seed, shift in ((1, 0.0), (2, 0.05), (3, 0.1)):
        add(store, make_spec(seed=seed), make_table(LABEL, off(0.1 + shift)))
        add(store, make_spec(regime="spectrum", seed=seed), make_table(LABEL, off(0.5)))
        for rate in RATES:
            spec = make_spec(regime=missing(rate), seed=seed)
            add(store, spec, make_table(LABEL, off(0.2 + rate + shift)))
    results = one(store)
    table = random_table(sources(results), "bernoulli")
    name = "Alpha · one model per rate"
    assert labels_of(table.rows)[:3] == ["Alpha · clean", "Alpha · spectrum", name]
    for rate in RATES:
        found = cell(table, name, f"η = {rate:g}", section="MAE")
        assert found.value == pytest.approx(0.25 + rate, abs=1e-6)
        assert found.std == pytest.approx(0.05, abs=1e-6)
        assert found.n == 3
    assert cell(table, name, "η = 0", section="MAE").value == pytest.approx(0.15, abs=1e-6)
    average = cell(table, name, "Avg η > 0", section="MAE").value
    assert average == pytest.approx(0.25 + 0.4, abs=1e-6)
    # Off by .15 against .35 and .5 for every sample, give or take .05 of the trainings.
    assert cell(table, "Alpha · clean", "η = 0.1", section="MAE").mark == "best"
    assert [s.key for s in results.compared.systems] == ["alpha-clean", "alpha-spectrum"]


def test_an_average_over_rates_knows_which_trainings_it_is_of(store: RunStore) -> None:
    """The specialists of seven rates are trained apart, so their luck averages out; the one
    checkpoint has the same luck at every rate."""
    luck = {1: 0.0, 2: 0.1, 3: 0.2}
    for seed, shift in luck.items():
        for regime in (Regime(kind="spectrum"), *map(missing, RATES)):
            spec = make_spec(regime=regime, seed=seed)
            add(store, spec, make_table(LABEL, off(0.5 + shift)))
    results = one(store)
    (apart,) = specialists(results, "missing", "bernoulli")
    (single,) = (s for s in results.systems if s.regime.kind == "spectrum")
    asked = random_questions("bernoulli")[1:]
    for subject, independent in ((single, 1), (apart, 7)):
        found = sources(results).answers.measured.estimate(subject, asked, "mae")
        assert found is not None
        of_samples, of_seeds, nu = found.parts
        assert found.value == pytest.approx(0.6, abs=1e-6)
        assert of_samples == pytest.approx(0, abs=1e-9)
        assert of_seeds == pytest.approx(0.1**2 / 3 / independent, rel=1e-4)
        assert nu == pytest.approx(2 * independent, rel=1e-4)


def test_a_rate_without_its_specialist_is_missing(store: RunStore) -> None:
    for regime in (Regime(kind="spectrum"), missing(0.2)):
        add(store, make_spec(regime=regime), make_table(LABEL, off(0.5)))
    table = random_table(sources(one(store)), "bernoulli")
    name = "Alpha · one model per rate"
    assert cell(table, name, "η = 0.2", section="MAE").value == pytest.approx(0.5, abs=1e-6)
    for title in ("η = 0", "η = 0.3", "Avg η > 0"):
        assert cell(table, name, title, section="MAE").value is None


def test_published_values_of_table_3_stand_beside_specialists_only(store: RunStore) -> None:
    """QA-MoE on CMU-MOSI: ACC7 53.3 at 10 %, average 42.0."""
    for regime in (Regime(kind="spectrum"), missing(0.1, "at_least_one")):
        spec = make_spec("qamoe", regime, dataset="mosi", config={"topk": 3})
        add(store, spec, make_table(LABEL, off(0.5)))
    results = one(store)
    table = random_table(sources(results), "at_least_one")
    name = "QA-MoE · one model per rate"
    assert cell(table, name, "η = 0.1", section="ACC7").published == 53.3
    assert cell(table, name, "Avg η > 0", section="ACC7").published == 42.0
    assert cell(table, "QA-MoE · spectrum", "η = 0.1", section="ACC7").published is None
    assert cell(table, "published: SAM-LML · one model per rate", "η = 0.7", section="ACC7")
    assert "published: QA-MoE · one model per rate" not in labels_of(table.rows)
    assert specialists(results, "missing", "bernoulli") == []


def test_a_specialist_for_an_intensity(store: RunStore) -> None:
    for rule, error in (("seed_a1", 0.3), ("gaussian_all", 0.6)):
        spec = make_spec(
            "qamoe", Regime(kind="noise", intensity=0.4, noise_rule=rule), dataset="mosi"
        )
        add(store, spec, make_table(LABEL, off(error)))
    table = noise_table(sources(one(store)), "seed_a1")
    name = "QA-MoE · one model per intensity"
    found = cell(table, name, "λ = 0.4", section="MAE")
    assert found.value == pytest.approx(0.3, abs=1e-6)
    assert found.published == 0.641
    assert cell(table, name, "λ = 0.3", section="MAE").value is None


def test_the_ablations_stand_beside_the_papers(store: RunStore) -> None:
    """Table 6: ACC7 54.5 with all parts, MAE .884 without the gate."""
    errors = {"none": 0.2, "no_gate": 0.3, "no_variance": 0.4, "no_prior": 0.5}
    for ablation, error in errors.items():
        config = {**QAMOE, "ablation": ablation}
        spec = make_spec("qamoe", "spectrum", dataset="mosi", config=config)
        add(store, spec, make_table(LABEL, off(error)))
    results = one(store)
    (table,) = variant_tables(sources(results))
    assert table.name == "table6-ablations-seed-a1"
    rows = {
        "none": "QA-MoE · spectrum",
        **{key: f"QA-MoE · spectrum (ablation={key})" for key in list(errors)[1:]},
    }
    for ablation, error in errors.items():
        found = cell(table, rows[ablation], "MAE ↓", "Protocol III")
        assert found.value == pytest.approx(error, abs=1e-6)
        assert cell(table, rows[ablation], "MAE ↓", "Clean test").published is None
    assert cell(table, rows["none"], "ACC7 ↑", "Protocol III").published == 54.5
    assert cell(table, rows["no_gate"], "MAE ↓", "Protocol III").published == 0.884
    assert cell(table, rows["no_prior"], "F1 ↑", "Protocol III").published == 45.9
    assert [s.label for s in results.compared.systems] == [rows["none"]]
    (chosen,) = load(store, only={record.run_id: "" for record in results.records}, one_plan=True)
    assert {s.label for s in chosen.compared.systems} == set(rows.values())


def test_the_number_of_active_experts_has_a_table_of_its_own(store: RunStore) -> None:
    for topk in (1, 3, 8):
        config = {**QAMOE, "topk": topk}
        spec = make_spec("qamoe", "spectrum", dataset="mosi", config=config)
        add(store, spec, make_table(LABEL, off(0.1 * topk)))
    (table,) = variant_tables(sources(one(store)))
    assert table.name == "figure4-active-experts-seed-a1"
    found = cell(table, "QA-MoE · spectrum (topk=8)", "MAE ↓", "Protocol III")
    assert found.value == pytest.approx(0.8, abs=1e-6)
    assert all(c.published is None for row in table.rows for c in row.cells)


@pytest.mark.parametrize(("aligned", "number", "acc7"), [(True, 1, 53.6), (False, 7, 53.3)])
def test_the_data_decide_between_tables_1_and_7(store, aligned, number, acc7) -> None:
    for regime in ("clean", "spectrum"):
        spec = make_spec("qamoe", regime, dataset="mosi", config={"topk": 3})
        add(store, spec, make_table(LABEL, off(0.5)), aligned=aligned)
    (table,) = clean_tables(sources(one(store)))
    assert table.name == f"table{number}-clean"
    assert cell(table, "QA-MoE · clean", "ACC7 ↑", "Clean test").published == acc7
    assert "QA-MoE · spectrum" not in labels_of(table.rows)
    assert "published: EMOE · clean" in labels_of(table.rows)


def test_without_clean_training_there_is_no_table_1(store: RunStore) -> None:
    add(store, make_spec(regime="spectrum"), make_table(LABEL, off(0.5)))
    assert clean_tables(sources(one(store))) == []
    assert variant_tables(sources(one(store))) == []
