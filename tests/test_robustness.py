"""The robustness tables of hand-made records, against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from benchmark.questions import Question
from benchmark.records import RunStore
from protocols.modalities import MODALITIES
from protocols.regimes import Regime
from reports.published import published
from reports.results import load
from reports.tables.conditions import condition_tables, fixed_table, noise_table
from reports.tables.grid import grid_table, grid_tables
from reports.tables.robustness import clean_tables, main_table, main_tables
from reports.tables.table import Cell
from tests.records import make_table as make_run_table
from tests.report_records import (
    JOINT,
    LABEL,
    Predict,
    add,
    cell,
    labels_of,
    make_spec,
    make_table,
    off_by,
    one,
    sources,
)


def test_mean_and_spread_over_seeds(store: RunStore) -> None:
    """MAE 0.5 and 1.0: mean 0.75, std √(2 · 0.25²) = 0.35355."""
    for seed, error in ((1, 0.5), (2, 1.0)):
        add(store, make_spec(seed=seed), make_table(LABEL, off_by(error)))
    table = main_table(sources(one(store)), ("seed_a1", "bernoulli", JOINT))
    found = cell(table, "Alpha · clean", "MAE ↓", "Clean test")
    assert found.value == pytest.approx(0.75, abs=1e-6)
    assert found.std == pytest.approx(0.353553, abs=1e-6)
    assert found.n == 2
    # Rounded half to even and clipped to ±3: off by 0.5 four of six are right, off by 1 one is.
    accuracy = cell(table, "Alpha · clean", "ACC7 ↑", "Clean test").value
    assert accuracy == pytest.approx(100 * (4 / 6 + 1 / 6) / 2)
    assert cell(table, "Alpha · clean", "Corr ↑", "Clean test").value == pytest.approx(1.0)


def test_averages_of_protocol_one_are_means_of_six_and_seven_subsets(store: RunStore) -> None:
    """MAE is 0.5, 0.6 or 0.7 with three, two or one modality: 6 subsets 0.65, 7 subsets 4.4/7."""
    add(store, make_spec(), make_table(LABEL, off_by(0.5)))
    table = fixed_table(sources(one(store)))
    titles = [column.title for column in table.columns]
    assert titles == [
        *("{t}", "{a}", "{v}", "{t, a}", "{t, v}", "{a, v}", "{t, a, v}", "Avg-6", "Avg-7")
    ]
    values = {t: cell(table, "Alpha · clean", t, section="MAE").value for t in titles}
    assert values["{a}"] == pytest.approx(0.7, abs=1e-6)
    assert values["{a, v}"] == pytest.approx(0.6, abs=1e-6)
    assert values["Avg-6"] == pytest.approx(0.65, abs=1e-6)
    assert values["Avg-7"] == pytest.approx(4.4 / 7, abs=1e-6)


def test_grid_is_an_expectation_over_what_is_missing(store: RunStore) -> None:
    """Each of three modalities is missing with probability η: MAE 0.5 + 0.3 η."""
    add(store, make_spec(), make_table(LABEL, off_by(0.5)))
    results = one(store)
    table = grid_table(sources(results), results.systems[0], "mae", "seed_a1", "bernoulli")
    assert labels_of(table.rows)[:2] == ["λ = 0", "λ = 0.1"]
    assert cell(table, "λ = 0.4", "η = 0.2").value == pytest.approx(0.56, abs=1e-6)
    assert cell(table, "λ = 0", "η = 0.7").value == pytest.approx(0.71, abs=1e-6)


def test_published_value_and_difference_stand_beside_a_matching_cell(store: RunStore) -> None:
    """CMU-MOSI, QA-MoE: clean MAE .579 (Table 1), Protocol III .515 after spectrum (Table 5),
    ACC7 44.61 at λ .3 and η .2 (Table 8), ACC2 87.24 from text alone (Table 2)."""
    for regime in ("clean", "spectrum"):
        spec = make_spec("qamoe", regime, dataset="mosi", config={"topk": 3})
        add(store, spec, make_table(LABEL, off_by(0.5)))
    made = sources(one(store))
    table = main_table(made, ("seed_a1", "bernoulli", JOINT))
    clean = cell(table, "QA-MoE · clean", "MAE ↓", "Clean test")
    assert clean.published == 0.579
    assert clean.difference == pytest.approx(0.5 - 0.579, abs=1e-6)
    assert cell(table, "QA-MoE · spectrum", "MAE ↓", "Clean test").published is None
    assert cell(table, "QA-MoE · spectrum", "MAE ↓", "Protocol III").published == 0.515
    assert cell(table, "published: MMA · clean", "ACC7 ↑", "Clean test").published == 46.9
    assert "published: QA-MoE · clean" not in labels_of(table.rows)
    spectrum = made.results.systems[1]
    grid = grid_table(made, spectrum, "acc7", "seed_a1", "bernoulli")
    assert cell(grid, "λ = 0.3", "η = 0.2").published == 44.61
    fixed = fixed_table(made)
    assert cell(fixed, "QA-MoE · clean", "{t}", section="ACC2").published == 87.24
    assert cell(fixed, "QA-MoE · clean", "Avg-7", section="ACC2").published is None
    noise = noise_table(made, "seed_a1")
    assert cell(noise, "QA-MoE · clean", "λ = 0.7", section="MAE").published == 0.66
    assert any("Table 5" in note for note in table.notes)


def test_nothing_is_published_for_other_data_or_other_settings(store: RunStore) -> None:
    for dataset, topk in (("toy", 3), ("mosi", 4)):
        spec = make_spec("qamoe", dataset=dataset, config={"topk": topk}, sha=dataset * 10)
        add(store, spec, make_table(LABEL, off_by(0.5)))
    mosi, toy = load(store)
    for results, label in ((mosi, "QA-MoE · clean (topk=4)"), (toy, "QA-MoE · clean")):
        table = main_table(sources(results), ("seed_a1", "bernoulli", JOINT))
        assert cell(table, label, "MAE ↓", "Clean test").published is None
    assert not any(row.kind == "published" for row in table.rows)
    assert table.notes == ()


def test_every_published_number_can_be_looked_up() -> None:
    mosi = published("MOSI")
    assert mosi.dataset == "CMU-MOSI"
    assert mosi.value("table3", "SAM-LML", "0.7", "ACC7") == 26.4
    assert mosi.value("table4", "QA-MoE", "Avg", "MAE") == 0.642
    assert mosi.value("table1", "EMOE", "clean", "Corr") is None  # a dash in the paper
    assert mosi.value("table1", "nobody", "clean", "MAE") is None
    grid = [
        mosi.value("table8", "QA-MoE", f"eta={e / 10:.1f},lambda={x / 10:.1f}", "ACC7")
        for e in range(8)
        for x in range(8)
    ]
    assert np.mean([v for v in grid if v is not None]) == pytest.approx(38.57, abs=0.01)
    assert published("synthetic").tables == {}


def test_floors_are_constants_scored_on_the_test_labels(store: RunStore) -> None:
    """Labels −2 … 3, constant 1: MAE (3+2+1+0+1+2)/6 = 1.5; ACC7 1/6; 3 of 5 signs right."""
    environment = {"floors": {"mean": 0.4, "median": 1.0}}
    add(store, make_spec(), make_table(LABEL, off_by(0.5)), **environment)
    table = main_table(sources(one(store)), ("seed_a1", "bernoulli", JOINT))
    label = "floor: train median (+1.00)"
    assert cell(table, label, "MAE ↓", "Protocol III").value == pytest.approx(1.5)
    assert cell(table, label, "ACC7 ↑", "Clean test").value == pytest.approx(100 / 6)
    assert cell(table, label, "ACC2 ↑", "Clean test").value == pytest.approx(60.0)
    undefined = cell(table, label, "Corr ↑", "Clean test")
    assert (undefined.value, undefined.text, undefined.flag) == (None, "–", "†")
    assert any(note.startswith("†") for note in table.notes)


def test_majority_class_is_the_floor_of_classification(store: RunStore) -> None:
    y = [0, 1, 1, 2]
    table = make_table(y, lambda c, y: np.eye(3)[y.astype(int)], task="classification")
    add(store, make_spec(task="classification"), table, floors={"majority": 1})
    made = main_table(sources(one(store)), ("seed_a1", "bernoulli", JOINT))
    assert cell(made, "floor: majority class (1)", "ACC ↑", "Clean test").value == 50.0
    assert cell(made, "Alpha · clean", "ACC ↑", "Clean test").value == 100.0


def test_bold_only_where_samples_and_seeds_support_it(store: RunStore) -> None:
    """Beta beats Alpha on every sample; Gamma ties with Beta (errors swapped between samples)."""
    y = np.linspace(-3, 3, 60)

    def errors(even: float, odd: float) -> Predict:
        return lambda c, y: y + np.where(np.arange(60) % 2, odd, even)

    def three(model: str, even: float, odd: float) -> None:
        for seed in (1, 2, 3):
            add(store, make_spec(model, seed=seed), make_table(y, errors(even, odd)))

    three("alpha", 0.9, 0.9)
    add(store, make_spec("beta", seed=1), make_table(y, errors(0.2, 0.3)))
    add(store, make_spec("beta", seed=2), make_table(y, errors(0.2, 0.3)))
    table = main_table(sources(one(store)), ("seed_a1", "bernoulli", JOINT))
    assert all(cell.mark == "" for row in table.rows for cell in row.cells)  # two seeds of Beta
    add(store, make_spec("beta", seed=3), make_table(y, errors(0.2, 0.3)))
    table = main_table(sources(one(store)), ("seed_a1", "bernoulli", JOINT))
    beta = "Beta (reconstruction) · clean"
    assert cell(table, beta, "MAE ↓", "Clean test").mark == "best"
    assert cell(table, "Alpha · clean", "MAE ↓", "Clean test").mark == ""
    three("gamma", 0.301, 0.2)
    table = main_table(sources(one(store)), ("seed_a1", "bernoulli", JOINT))
    marks = {row.label: row.cells[3].mark for row in table.rows}
    assert marks == {"Alpha · clean": "", beta: "", "gamma · clean": ""}


def test_a_seed_that_was_not_evaluated_there_is_counted_out(store: RunStore) -> None:
    add(store, make_spec(seed=1), make_table(LABEL, off_by(0.5)))
    add(store, make_spec(seed=2), make_table(LABEL, off_by(1.0), protocols=["I"]))
    add(store, make_spec("beta"), make_table(LABEL, off_by(1.0), protocols=["I"]))
    results = one(store)
    table = main_table(sources(results), ("seed_a1", "bernoulli", JOINT))
    assert cell(table, "Alpha · clean", "MAE ↓", "Clean test").n == 2
    assert cell(table, "Alpha · clean", "MAE ↓", "Protocol III").n == 1
    missing = cell(table, "Beta (reconstruction) · clean", "MAE ↓", "Protocol III")
    assert missing == Cell(decimals=3)
    third = Question("III", "seed_a1", "bernoulli", joint=JOINT)
    assert sources(results).answers.get(results.systems[1], [third], "mae") is None


def test_a_correlation_that_one_seed_has_not_is_undefined_and_marks_nothing(
    store: RunStore,
) -> None:
    y = np.tile(LABEL, 5)
    for seed in (1, 2, 3):
        constant = lambda _, y, own=seed: 0 * y if own == 2 else y + 0.1  # noqa: E731
        add(store, make_spec("alpha", seed=seed), make_table(y, lambda _, y: y + 0.1))
        add(store, make_spec("beta", seed=seed), make_table(y, constant))
        add(store, make_spec("qamoe", seed=seed), make_table(y, lambda _, y: -y))
    (table,) = clean_tables(sources(one(store)))
    beta = cell(table, "Beta (reconstruction) · clean", "Corr ↑", "Clean test")
    assert (beta.value, beta.interval, beta.text, beta.flag) == (None, None, "–", "†")
    assert cell(table, "Alpha · clean", "Corr ↑", "Clean test").value == pytest.approx(1.0)
    assert {row.cells[4].mark for row in table.rows} == {""}
    assert any(note.startswith("†") for note in table.notes)


def test_without_protocol_three_the_clean_test_is_the_main_table(store: RunStore) -> None:
    add(store, make_spec(), make_table(LABEL, off_by(0.5), protocols=["I"]))
    made = sources(one(store))
    tables = [t for make in (main_tables, clean_tables, condition_tables) for t in make(made)]
    assert [t.name for t in tables] == [
        *("clean", "table1-clean", "table2-protocol-i-fixed", "table3-protocol-i-random")
    ]


def test_captions_say_what_the_numbers_are(store: RunStore) -> None:
    for name, seed in (("alpha", 1), ("beta", 2)):
        table = make_table(LABEL, off_by(0.5), draws=3)
        add(store, make_spec(name, seed=seed), table, synthetic=True)
    caption = " ".join(main_table(sources(one(store)), ("seed_a1", "bernoulli", JOINT)).caption)
    for part in (
        "toy (synthetic data), 6 test samples",
        "seeds (1, 2)",
        "the epoch with the lowest validation MAE",
        "Noise rule seed_a1, mean over 3 corruption draws",
        "Missing rule bernoulli",
        "Versions: missing 1, metrics 2, zeroing 1, degradation 2, draw 1, III 1.",
        "uniform on [0, 0.7]",
        "Reconstructed without the authors' source: Beta",
        "holds for new test samples and new trainings (p below 0.05",
        "with fewer than 3 seeds",
        "Floors are missing",
    ):
        assert part in caption


@pytest.mark.parametrize(("scale", "cautious"), [(1.0, False), (1 / 3, True)])
def test_acc7_of_labels_inside_one_is_no_acc7_of_seven(
    store: RunStore, scale: float, cautious: bool
) -> None:
    add(store, make_spec(), make_table(np.array(LABEL) * scale, off_by(0.1)))
    caption = " ".join(main_table(sources(one(store)), ("seed_a1", "bernoulli", JOINT)).caption)
    assert ("tells three classes apart" in caption) == cautious
    assert ("[−0.666667, 1]" in caption) == cautious


def test_a_caption_is_about_the_systems_that_its_table_shows(store: RunStore) -> None:
    for name, seed in (("alpha", 1), ("beta", 2)):
        add(store, make_spec(name, seed=seed), make_table(LABEL, off_by(0.5)))
    of_alpha, of_beta = (" ".join(t.caption) for t in grid_tables(sources(one(store)))[:2])
    assert "One seed (1)." in of_alpha
    assert "Reconstructed" not in of_alpha
    assert "One seed (2)." in of_beta
    assert "Reconstructed without the authors' source: Beta." in of_beta


@pytest.mark.parametrize(
    ("present", "said"), [(MODALITIES, "above η = 0.67"), (("text", "audio"), "above η = 0.5")]
)
def test_a_caption_says_where_at_least_one_saturates(store: RunStore, present, said) -> None:
    regime = Regime(kind="missing", rate=0.3, missing_rule="at_least_one")
    add(store, make_spec(regime=regime), make_table(LABEL, off_by(0.5), present=present))
    captions = {t.name: " ".join(t.caption) for t in condition_tables(sources(one(store)))}
    assert said in captions["table3-protocol-i-random-at-least-one"]
    assert said not in captions["table3-protocol-i-random"]


def test_fewer_modalities_give_fewer_subsets_and_a_warning(store: RunStore) -> None:
    table = make_table(LABEL, off_by(0.5), present=("text", "audio"))
    add(store, make_spec("qamoe", dataset="mosi", config={"topk": 3}), table)
    made = fixed_table(sources(one(store)))
    assert [c.title for c in made.columns] == ["{t}", "{a}", "{t, a}", "Avg-2", "Avg-3"]
    assert "text and audio only" in made.caption[0]
    assert "not like for like" in made.notes[0]


def test_of_several_rules_every_column_says_its_own(store: RunStore) -> None:
    run = make_run_table(noise_rules=["seed_a1", "gaussian_av"], protocols=["III"])
    add(store, make_spec(), run)
    groups = {c.group for t in main_tables(sources(one(store))) for c in t.columns}
    assert groups == {
        "Clean test",
        "Protocol III (gaussian_av, bernoulli, uniform_0.7)",
        "Protocol III (seed_a1, bernoulli, uniform_0.7)",
    }
