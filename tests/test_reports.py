"""Reports from hand-made records whose numbers are worked out by hand."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from benchmark.cli import app
from benchmark.errors import BenchmarkError
from benchmark.records import METRICS, PREDICTIONS, RunStore
from protocols.availability import mask_named
from protocols.conditions import Condition
from protocols.regimes import Regime
from reports.build import build
from reports.cards import Card, installed
from reports.floors import floors
from reports.grid import grid_table
from reports.measure import Measure, Question
from reports.points import Point
from reports.published import published
from reports.results import Results, load
from reports.robustness import Sources, fixed_table, main_table, noise_table, robustness_tables
from reports.tables import Cell, Row, Table
from tests.report_records import JOINT, Predict, add, make_spec, make_table

LABEL = [-2.0, -1.0, 0.0, 1.0, 2.0, 3.0]
CARDS = {
    "alpha": Card("Alpha"),
    "beta": Card("Beta", "reconstruction"),
    "qamoe": Card("QA-MoE", "paper read", {"paper": {"topk": 3}}),
}


def card(name: str) -> Card:
    return CARDS.get(name, Card(name))


def off_by(error: float) -> Predict:
    """Predictions off by a constant, and by 0.1 more for each missing modality."""
    return lambda c, y: y + error + 0.1 * (3 - c.mask.bit_count())


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    made = RunStore(tmp_path / "runs")
    made.prepare()
    return made


def one(store: RunStore, dataset: str | None = None) -> Results:
    (results,) = load(store, dataset, card)
    return results


def sources(results: Results) -> Sources:
    return Sources(Measure(results), floors(results), published(results.dataset))


def cell(table: Table, label: str, title: str, group: str = "", section: str = "") -> Cell:
    (row,) = [r for r in table.rows if r.label == label and section in r.section]
    (place,) = [i for i, c in enumerate(table.columns) if (c.title, c.group) == (title, group)]
    return row.cells[place]


def labels_of(rows: tuple[Row, ...]) -> list[str]:
    return [row.label for row in rows]


def test_mean_and_spread_over_seeds(store: RunStore) -> None:
    """MAE 0.5 and 1.0: mean 0.75, std √(2 · 0.25²) = 0.35355."""
    for seed, error in ((1, 0.5), (2, 1.0)):
        add(store, make_spec(seed=seed), make_table(LABEL, off_by(error)))
    table = main_table(sources(one(store)), ("seed_a1", "bernoulli", JOINT))
    found = cell(table, "Alpha · clean", "MAE ↓", "Clean test")
    assert found.value == pytest.approx(0.75, abs=1e-6)
    assert found.std == pytest.approx(0.353553, abs=1e-6)
    assert found.n == 2
    # + 0.5 leaves the rounded labels −2, 0, 2 (half to even) of 6; 3 is clipped to 3: also right.
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
    mosi, toy = load(store, None, card)
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
    assert (undefined.value, undefined.flag) == (0.0, "†")
    assert any(note.startswith("†") for note in table.notes)


def test_majority_class_is_the_floor_of_classification(store: RunStore) -> None:
    y = [0, 1, 1, 2]
    table = make_table(y, lambda c, y: np.eye(3)[y.astype(int)], task="classification")
    add(store, make_spec(task="classification"), table, floors={"majority": 1})
    made = main_table(sources(one(store)), ("seed_a1", "bernoulli", JOINT))
    assert cell(made, "floor: majority class (1)", "ACC ↑", "Clean test").value == 50.0
    assert cell(made, "Alpha · clean", "ACC ↑", "Clean test").value == 100.0


def test_bold_only_where_the_samples_support_it(store: RunStore) -> None:
    """Beta beats Alpha on every sample; Gamma ties with Beta (errors swapped between samples)."""
    y = np.linspace(-3, 3, 60)

    def errors(even: float, odd: float) -> Predict:
        return lambda c, y: y + np.where(np.arange(60) % 2, odd, even)

    add(store, make_spec("alpha"), make_table(y, errors(0.9, 0.9)))
    add(store, make_spec("beta"), make_table(y, errors(0.2, 0.3)))
    table = main_table(sources(one(store)), ("seed_a1", "bernoulli", JOINT))
    beta = "Beta (reconstruction) · clean"
    assert cell(table, beta, "MAE ↓", "Clean test").mark == "best"
    assert cell(table, "Alpha · clean", "MAE ↓", "Clean test").mark == ""
    add(store, make_spec("gamma"), make_table(y, errors(0.301, 0.2)))
    table = main_table(sources(one(store)), ("seed_a1", "bernoulli", JOINT))
    marks = {row.label: row.cells[3].mark for row in table.rows}
    assert marks == {"Alpha · clean": "", beta: "", "gamma · clean": ""}


def test_two_settings_of_a_model_never_share_a_cell(store: RunStore) -> None:
    specs = [
        make_spec("qamoe", config={"topk": 3}),
        make_spec("qamoe", config={"topk": 4}),
        make_spec("qamoe", config={"topk": 3}, training={"epochs": 9}),
        make_spec("qamoe", config={"topk": 3}, seed=2),
        make_spec("qamoe", Regime("missing", rate=0.3), config={"topk": 3}),
        make_spec("qamoe", Regime("spectrum", scope="sample"), config={"topk": 3}),
    ]
    for spec in specs:
        add(store, spec, make_table(LABEL, off_by(0.5)))
    systems = {system.label: system.seeds for system in one(store).systems}
    assert systems == {
        "QA-MoE · clean (epochs=3)": (1, 2),
        "QA-MoE · clean (epochs=9)": (1,),
        "QA-MoE · clean (topk=4)": (1,),
        "QA-MoE · spectrum (scope=sample)": (1,),
        "QA-MoE · missing-0.3": (1,),
    }
    assert len({system.key for system in one(store).systems}) == len(systems)


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
    question = Question("mae", (Point("III", "seed_a1", "bernoulli", available=JOINT),))
    assert Measure(results).samples(question)[1] is None


def test_without_protocol_three_the_clean_test_is_the_main_table(store: RunStore) -> None:
    add(store, make_spec(), make_table(LABEL, off_by(0.5), protocols=["I"]))
    tables = robustness_tables(sources(one(store)))
    assert [t.name for t in tables] == ["clean", "protocol-i-fixed", "protocol-i-random"]


def test_data_of_one_name_and_different_content_are_refused(store: RunStore) -> None:
    runs = [add(store, make_spec(sha=c * 64), make_table(LABEL, off_by(0.5))) for c in "ab"]
    with pytest.raises(BenchmarkError, match="2 different contents") as caught:
        load(store, "toy", card)
    assert all(run.run_id in str(caught.value) for run in runs)


def test_changed_test_samples_are_refused(store: RunStore) -> None:
    add(store, make_spec(seed=1), make_table(LABEL, off_by(0.5)))
    add(store, make_spec(seed=2), make_table(LABEL[::-1], off_by(0.5)))
    with pytest.raises(BenchmarkError, match="different test samples"):
        load(store, None, card)


def test_what_cannot_be_used_is_told(store: RunStore, tmp_path: Path) -> None:
    table = make_table(LABEL, off_by(0.5))
    runs = {name: add(store, make_spec(name), table) for name in ("alpha", "half", "bad", "json")}
    (runs["half"].path / METRICS).unlink()
    (runs["bad"].path / PREDICTIONS).write_bytes(b"not a table")
    (runs["json"].path / METRICS).write_text("{")
    failed = store.partial("f" * 12)
    failed.mkdir(parents=True)
    (failed / "error.txt").write_text("Traceback\nValueError: boom\n")
    store.partial("e" * 12).mkdir()
    results = one(store)
    assert [system.label for system in results.systems] == ["Alpha · clean"]
    assert results.problems[runs["half"].run_id] == "incomplete: metrics.json missing"
    assert results.problems[runs["bad"].run_id].startswith("unreadable: ")
    assert results.problems[runs["json"].run_id].startswith("unreadable: ")
    assert results.problems["f" * 12] == "failed: ValueError: boom"
    assert results.problems["e" * 12] == "interrupted"
    (built,) = build(store, None, tmp_path / "out", card)
    page = built.index.read_text()
    assert "## Runs that are not in this report" in page
    assert all(f"`{run_id}`" in page for run_id in results.problems)


def test_stale_metrics_are_made_again_from_the_table(store: RunStore) -> None:
    run = add(store, make_spec(), make_table(LABEL, off_by(0.5)))
    content = json.loads((run.path / METRICS).read_text())
    content["metric_version"] = -1
    content["rows"][0]["mae"] = 99.0
    (run.path / METRICS).write_text(json.dumps(content))
    table = main_table(sources(one(store)), ("seed_a1", "bernoulli", JOINT))
    assert cell(table, "Alpha · clean", "MAE ↓", "Clean test").value == pytest.approx(0.5, abs=1e-6)


def test_no_records_says_what_to_run(store: RunStore) -> None:
    with pytest.raises(BenchmarkError, match=r"no records in .*benchmark run --runs-dir"):
        load(store)
    add(store, make_spec(), make_table(LABEL, off_by(0.5)))
    with pytest.raises(BenchmarkError, match=r"'mosi'.*records of: toy.*run --dataset mosi"):
        load(store, "mosi", card)


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
        "III 1, degradation 1",
        "uniform on [0, 0.7]",
        "Reconstructed without the authors' source: Beta",
        "95 % interval",
        "Floors are missing",
    ):
        assert part in caption


def test_fewer_modalities_give_fewer_subsets_and_a_warning(store: RunStore) -> None:
    table = make_table(LABEL, off_by(0.5), present=("text", "audio"))
    add(store, make_spec("qamoe", dataset="mosi", config={"topk": 3}), table)
    made = fixed_table(sources(one(store)))
    assert [c.title for c in made.columns] == ["{t}", "{a}", "{t, a}", "Avg-2", "Avg-3"]
    assert "text and audio only" in made.caption[0]
    assert "not like for like" in made.notes[0]


def test_a_model_that_is_not_installed_keeps_its_plain_name() -> None:
    assert installed("nobody-has-this") == Card("nobody-has-this")
    assert installed("qamoe").title == "QA-MoE"
    assert "topk" in installed("qamoe").presets["paper"]


def test_the_report_is_complete_on_disk(store: RunStore, tmp_path: Path) -> None:
    def predict(condition: Condition, y: np.ndarray) -> np.ndarray:
        return y * (0.4 + condition.mask / 14) * (1 - abs(condition.intensity) / 2)

    for regime in ("clean", "spectrum"):
        table = make_table(LABEL, predict)
        add(store, make_spec(regime=regime), table, synthetic=True, floors={"mean": 0.5})
    (built,) = build(store, "toy", tmp_path, card)
    assert built.folder == tmp_path / "toy"
    stems = {path.stem for path in built.tables}
    assert {"protocol-iii-seed-a1", "protocol-i-fixed", "protocol-i-random"} <= stems
    assert {"protocol-ii-seed-a1", "grid-seed-a1-acc7-alpha-spectrum"} <= stems
    assert len(built.tables) == 4 * len(stems)
    magic = {".png": b"\x89PNG", ".pdf": b"%PDF"}
    assert {path.suffix for path in built.figures} == set(magic)
    for path in built.figures:
        assert path.read_bytes().startswith(magic[path.suffix])
        assert path.stat().st_size > 5000
    assert built.headline == tmp_path / "toy/figures/landscapes-seed-a1-acc7.png"
    page = built.index.read_text()
    assert "Synthetic data" in page
    for path in built.figures:
        assert f"figures/{path.name}" in page
    for record in built.results.records:
        assert record.run_id in page
    assert built.results.data_sha256 in page
    with (tmp_path / "toy/tables/protocol-iii-seed-a1.csv").open() as file:
        rows = list(csv.DictReader(file))
    measured = built.results.frame
    clean = measured[(measured["protocol"] == "clean") & (measured["regime"] == "clean")]
    found = [r for r in rows if (r["row"], r["column"]) == ("Alpha · clean", "MAE ↓")]
    assert float(found[0]["value"]) == pytest.approx(clean["mae"].item())


def test_the_same_records_give_the_same_files(store: RunStore, tmp_path: Path) -> None:
    add(store, make_spec(), make_table(LABEL, off_by(0.5)))
    first, second = (build(store, None, tmp_path / name, card)[0] for name in "ab")
    for one_file, other in zip(first.figures, second.figures, strict=True):
        assert one_file.read_bytes() == other.read_bytes()
    assert first.index.read_text() == second.index.read_text()


def test_a_folder_that_cannot_be_written_is_an_error_of_the_user(
    store: RunStore, tmp_path: Path
) -> None:
    add(store, make_spec(), make_table(LABEL, off_by(0.5), protocols=["I"]))
    (tmp_path / "file").write_text("")
    with pytest.raises(BenchmarkError, match="cannot write the report"):
        build(store, None, tmp_path / "file", card)


def test_the_command_prints_the_main_numbers(store: RunStore, tmp_path: Path) -> None:
    add(store, make_spec(), make_table(LABEL, off_by(0.5), protocols=["I", "III"]))
    options = [
        "--runs-dir",
        str(store.root),
        "--out",
        str(tmp_path / "r"),
        "--tracking-uri",
        "none",
    ]
    done = CliRunner().invoke(app, ["report", *options], env={"COLUMNS": "120"})
    assert done.exit_code == 0, done.output
    assert "alpha · clean" in done.output
    assert "0.500" in done.output
    assert (tmp_path / "r/toy/report.md").is_file()


def test_masks_have_the_names_of_the_columns() -> None:
    assert [mask_named(n) for n in ("t", "a", "v", "tav")] == [1, 2, 4, 7]
