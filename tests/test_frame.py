"""The frame of answers: against the read-outs, and every printed number is found in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmark.efficiency.kept import Efficiency
from benchmark.metrics import METRICS, combine
from benchmark.questions import KEYS, Question, grid_questions
from benchmark.readouts import linear_terms, read, sample_terms, values
from benchmark.records import RunStore
from protocols.regimes import Regime
from reports.build import build
from reports.frame import COLUMNS, frame, frame_of
from reports.sources import Sources
from reports.statistics.inference import estimate
from reports.tables.grid import grid_tables
from reports.tables.table import Cell, Row, Table
from reports.views import DROP, STEEPEST, view
from reports.web.leaderboard import leaderboard_tables
from reports.write import TABLE_MAKERS
from tests.report_records import JOINT, add, make_spec, make_table, one
from tests.test_inference import linearised
from tests.test_mechanism import with_log_variance, with_scores
from tests.test_statistics import labels, noisy

Y = labels(24)
SEEDS = (1, 2, 3)
MAKERS = (*TABLE_MAKERS, leaderboard_tables, grid_tables)
"""Of every table of a report."""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> RunStore:
    """A small study on a data set that papers print numbers of."""
    store = RunStore(tmp_path_factory.mktemp("study") / "runs")
    regimes = [Regime(kind="clean"), Regime(kind="spectrum")]
    regimes += [Regime(kind="missing", rate=rate / 10) for rate in range(1, 8)]
    specs = [("qamoe", regime, {}) for regime in regimes]
    specs += [("alpha", regimes[0], {}), ("qamoe", regimes[1], {"ablation": "no_gate"})]
    specs += [("qamoe", regimes[1], {"topk": 5}), ("beta", Regime(kind="noise", intensity=0.3), {})]
    for place, (model, regime, changes) in enumerate(specs):
        for seed in SEEDS[: 1 if model == "alpha" else 3]:
            spec = make_spec(model, regime, seed, dataset="mosi", config=changes)
            table = make_table(Y, noisy(10 * place + seed), draws=2)
            if model == "qamoe":
                table = with_log_variance(table if "ablation" in changes else with_scores(table, 1))
            add(store, spec, table, floors={"mean": 0.2, "median": 0.1})
    return store


@pytest.fixture(scope="module")
def everything(study: RunStore) -> Sources:
    measured = Efficiency(
        **{"title": "QA-MoE", "name": "QA-MoE · paper", "changes": {}, "identity": {}},
        **{"dataset": "mosi", "text_tokens": 50, "device": "a GPU", "threads": 1},
        **{"parameters": 2_000_000, "trainable": 1_900_000, "active": 700_000},
        **{"flops": 3e7, "sparse_flops": 2e7, "latency_ms": 4.0, "latency_p95_ms": 5.0},
        **{"throughput": 4000.0, "saturating_batch": 64, "saturated_throughput": 9000.0},
        **{"peak_memory_mb": 90.0, "passes": 20, "commit": None},
    )
    on_cpu = replace(measured, title="LMF", name="LMF · paper", device="a CPU", peak_memory_mb=None)
    return Sources.of(one(study), [measured, on_cpu])


@pytest.fixture(scope="module")
def answers(everything: Sources) -> pd.DataFrame:
    """With what each row's numbers are multiplied by where they are printed."""
    found = frame(everything)
    units = [view(*key).scale for key in zip(found["metric"], found["quantity"], strict=True)]
    costs = (found["kind"] == "cost") | (found["source"] == "Table 9")
    return found.assign(scale=pd.Series(units).mask(costs, 1.0))


@pytest.mark.parametrize("metric", METRICS["regression"])
def test_linear_terms_are_those_of_every_question_alone(metric: str) -> None:
    table = make_table(Y, noisy(1), draws=2)
    asked = [
        *grid_questions("seed_a1", "at_least_one"),
        *grid_questions("seed_a1", "bernoulli"),
        Question("III", "seed_a1", "bernoulli", joint=JOINT),
        Question("I", available="tv"),
        Question("II", "seed_a1", intensity=0.4, available="tav"),
    ]
    got = linear_terms(table, metric, asked)
    assert got.mean(axis=1) == pytest.approx(values(table, metric, asked))
    for question, line in zip(asked, got, strict=True):
        terms = sample_terms(table, metric, question)
        want = linearised(partial(combine, metric), terms).mean(axis=0)
        assert line == pytest.approx(want, abs=1e-6)


@pytest.mark.parametrize("metric", ["mae", "corr", "f1_non0"])
def test_a_row_is_the_read_out_of_its_condition(
    everything: Sources, answers: pd.DataFrame, metric: str
) -> None:
    system = next(s for s in everything.results.systems if s.label == "QA-MoE · spectrum")
    tables = [record.table for record in system.records]
    own = answers[(answers["system"] == system.key) & (answers["metric"] == metric)]
    own = own[own["quantity"] == "value"]
    assert len(own) == 89
    for row in own.sample(25, random_state=0).itertuples():
        question = Question(*(getattr(row, key) for key in KEYS))
        by_seed = [read(table, question)[metric] for table in tables]
        assert row.per_seed == pytest.approx(by_seed)
        assert (row.value, row.std) == pytest.approx((np.mean(by_seed), np.std(by_seed, ddof=1)))
        assert (row.n, row.seeds, row.undefined) == (3, list(SEEDS), "")
        terms = [sample_terms(table, metric, question) for table in tables]
        linear = [linearised(partial(combine, metric), one).mean(axis=0) for one in terms]
        least, most = {"mae": (0, np.inf), "corr": (-1, 1), "f1_non0": (0, 1)}[metric]
        ends = np.clip(estimate(np.stack(linear)).interval, least, most)
        assert (row.low, row.high) == pytest.approx(tuple(ends), abs=1e-6)


def test_a_mean_is_over_its_conditions_seed_by_seed(answers: pd.DataFrame) -> None:
    own = answers[(answers["label"] == "QA-MoE · clean") & (answers["metric"] == "corr")]
    (mean,) = own[own["quantity"] == "Grid mean"].itertuples()
    cells = own[(own["protocol"] == "grid") & (own["quantity"] == "value")]
    assert mean.per_seed == pytest.approx(np.mean(cells["per_seed"].tolist(), axis=0))
    assert (mean.noise_rule, mean.missing_rule, mean.protocol) == ("seed_a1", "bernoulli", "grid")
    assert np.isnan([mean.intensity, mean.rate]).all()


def test_specialists_answer_as_the_system_of_the_level(answers: pd.DataFrame) -> None:
    answers = answers[(answers["metric"] == "mae") & (answers["missing_rule"] == "bernoulli")]
    answers = answers[(answers["protocol"] == "I") & (answers["quantity"] == "value")]
    ours = answers[answers["label"] == "QA-MoE · one model per rate"].set_index("rate")
    assert ours.index.tolist() == [rate / 10 for rate in range(8)]
    for rate, row in ours.iterrows():
        name = f"QA-MoE · missing-{rate:g}" if rate else "QA-MoE · clean"
        (other,) = answers[(answers["label"] == name) & (answers["rate"] == rate)].itertuples()
        assert (row["value"], row["low"], row["high"]) == (other.value, other.low, other.high)


@pytest.mark.parametrize("make", MAKERS)
def test_every_printed_number_is_in_the_frame(
    everything: Sources, answers: pd.DataFrame, make: object
) -> None:
    tables: list[Table] = make(everything)  # type: ignore[operator]
    assert tables
    found, named = 0, dict(tuple(answers.groupby("label")))

    @cache
    def rows_of(name: str, kind: str, metric: str) -> pd.DataFrame:
        rows = named[name][named[name]["kind"].isin(KINDS[kind])]
        return rows[rows["metric"] == metric] if metric else rows

    for table in tables:
        for row, heading, cell in printed(table):
            metric = metric_of(table, row, heading)
            rows = rows_of(name_of(table, row), row.kind, metric)
            assert matches(rows, heading, cell).any(), (table.name, row.label, heading, cell)
            found += 1
    assert found > 10


KINDS = {
    "measured": ["system", "specialists", "cost"],
    "floor": ["floor"],
    "published": ["published"],
}
NOT_ANSWERED = ("Needed", "(λ, η)", "(λ, η) → (λ, η)", "Training", "Parameters")
"""Columns of thresholds, of conditions, which are keys of the frame, and of facts of a system."""


def printed(table: Table) -> Iterator[tuple[Row, str, Cell]]:
    """Every cell that says a number or a verdict, and its column."""
    for row in table.rows:
        for column, cell in zip(table.columns, row.cells, strict=True):
            says = cell.value is not None or cell.published is not None
            says |= cell.text not in ("", "–") and not cell.text.startswith("not tested")
            if says and column.title not in NOT_ANSWERED:
                yield row, column.title, cell


def name_of(table: Table, row: Row) -> str:
    """The system that a row is about; a grid and the verdicts say it elsewhere."""
    if table.name.startswith("table8") and row.kind == "measured":
        return table.title.removeprefix("Table 8: λ×η grid of ").rpartition(":")[0]
    if table.name.startswith("leaderboard") and row.kind == "measured":
        return f"{row.label} · {row.cells[0].text}"
    return row.section if table.name.startswith("reliability-verdicts") else row.label


def metric_of(table: Table, row: Row, heading: str) -> str:
    """The metric that a heading says; "" where it says none that the engine knows."""
    by_heading = {view(metric).heading: metric for metric in METRICS["regression"]}
    title = table.title.removesuffix(" (seed_a1)")
    said = (heading, row.section, title.rpartition(": ")[2], title.partition(" in ")[2])
    (metric,) = {by_heading[text] for text in said if text in by_heading} or {""}
    return metric


def matches(rows: pd.DataFrame, heading: str, cell: Cell) -> pd.Series:
    """The rows of the frame that have everything that a cell says."""
    if cell.value is None and cell.published is None:
        return rows["verdict"] == cell.text
    if heading in ("p", "Holm p"):
        return rows[{"p": "p", "Holm p": "holm"}[heading]] == cell.value
    said = {
        "value": cell.value,
        "std": cell.std,
        "published": cell.published,
        "difference": cell.difference,
        "low": cell.interval and cell.interval[0],
        "high": cell.interval and cell.interval[1],
    }
    same = pd.Series(True, index=rows.index)
    for name, number in said.items():
        if number is not None:
            same &= (rows[name] * rows["scale"] - number).abs() < 1e-9 * max(1, abs(number))
    return same & (rows["n"] == cell.n) if cell.n else same


def test_an_interval_is_about_its_value_and_within_the_range(answers: pd.DataFrame) -> None:
    known = answers[np.isfinite(answers["low"])]
    assert len(known) > 5000
    assert (known["low"] <= known["value"] + 1e-9).all()
    assert (known["value"] <= known["high"] + 1e-9).all()
    plain = known[known["reference"] == ""].set_index("metric")
    assert plain.loc["mae", "low"].min() >= 0
    assert plain.loc["corr", "high"].max() <= 1
    shares = plain.loc[["acc7", "acc2_non0", "f1_non0", "coverage"]]
    shares = shares[~shares["quantity"].isin([DROP, STEEPEST])]
    assert (shares["low"].min(), shares["high"].max()) == (0, 1)  # cut, or beyond without


def test_the_frame_lies_beside_the_report(store: RunStore, tmp_path: Path) -> None:
    for model, seed in (("qamoe", 1), ("qamoe", 2), ("alpha", 1)):
        table = make_table(Y, noisy(seed), draws=2)
        if model == "qamoe":
            table = with_log_variance(with_scores(table, 1))
        spec = make_spec(model, seed=seed, dataset="mosi")
        add(store, spec, table, floors={"mean": 0.2, "median": 0.1})
    (built,) = build(store, None, tmp_path / "out")
    assert built.answers == tmp_path / "out" / "mosi" / "answers.parquet"
    kept = pd.read_parquet(built.answers)
    assert tuple(kept.columns) == COLUMNS
    again = frame_of(store.records())
    pd.testing.assert_frame_equal(
        kept.drop(columns=["seeds", "per_seed"]), again.drop(columns=["seeds", "per_seed"])
    )
    assert [list(x) for x in kept["per_seed"]] == again["per_seed"].tolist()


def test_what_one_seed_has_not_says_so(store: RunStore) -> None:
    for seed in SEEDS:
        constant = lambda _, y, own=seed: 0 * y if own == 2 else y + 0.1  # noqa: E731
        add(store, make_spec(seed=seed), make_table(Y, constant))
    found = frame_of(store.records())
    (row,) = found[(found["protocol"] == "clean") & (found["metric"] == "corr")].itertuples()
    assert np.isnan([row.value, row.low, row.high]).all()
    assert row.undefined == "undefined for seed 2"
    assert np.isnan(row.per_seed[1])
    assert row.per_seed[0] == pytest.approx(1.0)
