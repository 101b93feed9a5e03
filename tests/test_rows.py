"""What a table's rows are: the same in every order, of known origin, and never a NaN."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmark import metrics_file
from benchmark.errors import BenchmarkError
from benchmark.interface import Output
from benchmark.predict import fill_table
from benchmark.questions import Question, overview
from benchmark.readouts import (
    answered_by,
    answers_in,
    headline_value,
    questions_in,
    read,
    spread,
    summarise,
)
from benchmark.records import RunStore
from benchmark.table import PredictionTable, load, merge, restrict, to_bytes, to_make
from benchmark.tracking.description import describe_plan
from benchmark.tracking.summary import summary
from benchmark.tracking.tracked import read as tracked
from protocols import rules
from protocols.conditions import (
    PROTOCOL_VERSIONS,
    Condition,
    at_level,
    conditions_of,
    in_every_draw,
    version_of,
)
from protocols.modalities import MODALITIES
from tests.batches import make_dataset
from tests.records import make_record
from tests.report_records import JOINT, make_table
from tests.test_readouts import Counting
from tests.test_statistics import labels, noisy

RULES = ("seed_a1", "gaussian_av")

ASKED = (
    conditions_of((), MODALITIES, RULES[:1], 1, "uniform_0.7"),
    conditions_of(("I",), MODALITIES, RULES[:1], 1, "uniform_0.7"),
    conditions_of(("II",), MODALITIES, RULES, 3, "uniform_0.7"),
    conditions_of(("III",), MODALITIES, RULES[:1], 2, "uniform_0.7"),
    conditions_of(("III",), MODALITIES, RULES[1:], 1, "uniform_1"),
    conditions_of(("grid",), MODALITIES, RULES[:1], 1, "uniform_0.7"),
)
"""The clean row, I, II of two rules, III of two joints and the grid, with other draws for each."""


def filled(conditions: tuple[Condition, ...]) -> PredictionTable:
    """What a checkpoint would answer: a function of the condition alone."""
    label = labels(12)
    rows = [noisy(1)(c, label) + len(c.noise_rule) + len(c.joint) for c in conditions]
    levels = {
        (c.joint, c.draw): np.random.default_rng([c.draw, len(c.joint)]).random((2, 12))
        for c in conditions
        if c.joint
    }
    return replace(
        make_table(label, noisy(1), protocols=[]),
        conditions=conditions,
        prediction=np.stack(rows).astype(np.float32),
        joint_levels={key: level.astype(np.float32) for key, level in levels.items()},
        versions=(),
        block=(),
    )


def asking(steps: list[tuple[Condition, ...]]) -> PredictionTable:
    table = None
    for asked in steps:
        todo = to_make(table, asked)
        if todo:
            table = merge(table, filled(todo)) if table else filled(todo)
        assert table is not None
        assert to_make(table, asked) == ()
    assert table is not None
    return table


def test_every_order_of_asking_ends_in_the_same_table() -> None:
    """A seventh of the orders: each question comes first, last, and right after each other."""
    once = asking([tuple(set().union(*ASKED))])
    want = to_bytes(once)
    read_off = summarise(once)
    assert set(read_off["protocol"]) == {"clean", "I", "II", "III", "grid"}
    assert read_off.notna().all().all()
    orders = itertools.islice(itertools.permutations(ASKED), 0, None, 7)
    for order in orders:
        assert to_bytes(asking(list(order))) == want


def test_a_grid_of_one_draw_has_the_draws_that_its_rule_has() -> None:
    """Protocol II with three draws, then the grid with one: cells of one rule are means alike."""
    table = asking([ASKED[2], ASKED[5]])
    assert table.index.draws["seed_a1", ""] == 3
    cell = read(table, Question("grid", "seed_a1", "bernoulli", 0.3, 0.0))
    two = read(table, Question("II", "seed_a1", intensity=0.3, available="tav"))
    assert cell == pytest.approx(two)
    assert in_every_draw(table.conditions) == table.conditions


def test_an_outdated_row_is_not_read_and_is_made_again(monkeypatch) -> None:
    table = asking([ASKED[5], ASKED[3]])
    noisy_rows = {c for c in table.conditions if c.noise_rule != "none"}
    monkeypatch.setitem(rules.RULE_VERSIONS, "draw", 7)
    old = replace(table)
    assert set(old.outdated) == noisy_rows
    assert {q.protocol for q in answered_by(old, ["bernoulli"])} == {"clean", "I"}
    assert to_make(old, ASKED[0]) == ()  # the clean row is as it was
    todo = to_make(old, ASKED[3])
    assert set(todo) == noisy_rows  # what is out of date is made with it
    new = merge(old, filled(todo))
    assert new.outdated == ()
    assert set(new.versions) == {version_of(c) for c in new.conditions}


def test_protocol_threes_version_is_of_its_rows_alone(monkeypatch) -> None:
    table = asking([ASKED[5], ASKED[3]])
    monkeypatch.setitem(PROTOCOL_VERSIONS, "III", 2)
    assert {c.joint for c in replace(table).outdated} == {JOINT}


def test_rows_keep_what_they_were_made_with(tmp_path) -> None:
    first, second = {"commit": "a", "date": "2026-01-01"}, {"commit": "b", "date": "2026-02-01"}
    clean = replace(filled(ASKED[1]), blocks=(first,))
    more = replace(filled(to_make(clean, ASKED[2])), blocks=(second,))
    table = merge(clean, more)
    path = tmp_path / "predictions.npz"
    path.write_bytes(to_bytes(table))
    again = load(path)
    for condition in again.conditions:
        made = again.blocks[again.block[again.row(condition)]]
        assert made == (first if condition.noise_rule == "none" else second)
    same = merge(clean, replace(more, blocks=(first,)))
    assert same.blocks == (first,)
    assert restrict(table, ASKED[0]).block == (0,)


class Broken(Counting):
    """Gives what it should not for a clean input without text."""

    def __init__(self, spec, spoil) -> None:
        super().__init__(spec)
        self.spoil = spoil

    def forward(self, batch):
        output = super().forward(batch)
        return output if batch.available[:, 0].any() else self.spoil(output)


def nan_in(name: str):
    def spoil(output: Output) -> Output:
        values = getattr(output, name).clone()
        values[:3] = torch.nan
        return replace(output, **{name: values})

    return spoil


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (nan_in("prediction"), r"prediction is not finite for 3 of 20 .*no noise, nothing avail"),
        (nan_in("log_variance"), r"log-variance is not finite for 3 of 20 .* 3 further conditions"),
        (nan_in("reliability"), r"reliability is not finite for 3 of 20 samples"),
        (
            lambda o: replace(o, prediction=o.prediction[:, None]),
            r"prediction has the shape \(20, 1\) where the contract has \(20,\)",
        ),
        (
            lambda o: replace(o, reliability=o.reliability[:, :2]),
            r"reliability has the shape \(20, 2\)",
        ),
        (lambda o: replace(o, log_variance=None), r"gives a log-variance under some conditions"),
    ],
)
def test_a_model_that_gives_no_number_under_some_condition_fails(spoil, message) -> None:
    data = make_dataset(sizes=(8, 8, 20))
    conditions = conditions_of(("I",), MODALITIES, RULES[:1], 1, "uniform_0.7")
    with pytest.raises(BenchmarkError, match=message):
        fill_table(
            Broken(data.spec, spoil),
            data.splits["test"],
            data.spec,
            data.sigma_ref,
            conditions,
        )


def test_an_undefined_draw_makes_the_mean_undefined() -> None:
    """A prediction that is constant in one draw of two: the mean correlation is not the other's."""

    def predict(condition: Condition, y: np.ndarray) -> np.ndarray:
        return np.zeros_like(y) if condition.draw == 1 else y + np.sin(np.arange(len(y)))

    table = make_table(labels(20), predict, draws=2, protocols=["II"])
    question = Question("II", "seed_a1", intensity=0.3, available="tav")
    found = read(table, question)
    assert np.isnan(found["corr"])
    assert np.isfinite(found["mae"])
    rows = [table.row(at_level("seed_a1", d, 0.3, 7)) for d in range(2)]
    assert found["mae"] == pytest.approx(np.abs(table.prediction[rows] - table.label).mean())


def test_every_rule_and_joint_has_a_number_of_its_own(store: RunStore) -> None:
    table = asking([*ASKED, conditions_of(("grid",), MODALITIES, RULES[1:], 1, "uniform_0.7")])
    found = overview(answered_by(table, ["bernoulli"]))
    titles = [headline.title for headline in found]
    assert len(set(titles)) == len(titles) == len({headline.name for headline in found})
    assert titles == [
        "Clean test",
        "Protocol I, fixed",
        "Protocol I, random",
        "Protocol II (gaussian_av)",
        "Protocol II (seed_a1)",
        "Protocol III (gaussian_av, bernoulli, uniform_1)",
        "Protocol III (seed_a1, bernoulli, uniform_0.7)",
        "Grid mean (gaussian_av, bernoulli)",
        "Grid mean (seed_a1, bernoulli)",
    ]
    assert [len(headline.questions) for headline in found] == [1, 7, 7, 7, 7, 1, 1, 64, 64]
    record = make_record(store, table=table)
    text = describe_plan([tracked(record)])
    assert all(f"{title}: MAE" in text for title in titles)
    (plain,) = [
        h for h in overview(questions_in(summarise(asking([ASKED[3]])))) if h.name != "clean"
    ]
    assert (plain.title, plain.name) == ("Protocol III", "protocol_III")


def test_nothing_is_replaced_before_everything_is_worked_out(store: RunStore, monkeypatch) -> None:
    record = make_record(store, table=asking([ASKED[1]]))
    before = {path.name: path.read_bytes() for path in record.files()}

    def fail(*_: object) -> bytes:
        raise RuntimeError("no metrics of this table")

    monkeypatch.setattr(metrics_file, "to_json", fail)
    grown = asking([ASKED[1], ASKED[2]])
    with pytest.raises(RuntimeError):
        store.extend(record.run_id, grown, validation=grown)
    assert {path.name: path.read_bytes() for path in record.files()} == before


def test_an_undefined_value_stays_undefined_in_the_record(store: RunStore) -> None:
    """Through metrics.json and into every word about it; a mean over seeds does not skip it."""
    flat = make_table(labels(20), lambda _, y: np.zeros_like(y), protocols=["I"])
    fine = make_table(labels(20), lambda _, y: y + np.arange(len(y)), protocols=["I"])
    records = [make_record(store, seed=seed, table=t) for seed, t in ((1, flat), (2, fine))]
    answers = [answers_in(record.metrics, "corr") for record in records]
    (clean,) = [h for h in overview(answers[0]) if h.name == "clean"]
    values = [headline_value(one, clean) for one in answers]
    assert np.isnan(values[0])
    assert np.isfinite(values[1])
    assert spread(values) == "–"
    assert "test/clean_corr" not in summary(records[0].metrics, "regression")
    assert "test/clean_corr" in summary(records[1].metrics, "regression")
