"""What each habit of selecting reports, against a loop over epochs and seeds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmark.diagnostics.kept import SelectionTrace, path_of, write
from benchmark.metrics import evaluate
from benchmark.records import RunStore
from reports.build import build
from reports.results import load
from reports.selection import HABITS, prices
from reports.sources import Sources
from reports.tables.selection import selection_tables
from reports.write import TABLE_MAKERS
from tests.records import make_record, make_table
from tests.report_records import cell

SEEDS, EPOCHS, N = 3, 5, 40
NAMES = list(HABITS)


@pytest.fixture(scope="module")
def traces() -> list[SelectionTrace]:
    generator = np.random.default_rng(0)
    label = generator.uniform(-3, 3, N).round(1)
    return [
        SelectionTrace(
            (
                label + generator.normal(size=(EPOCHS, N)) * generator.uniform(0.5, 2, (EPOCHS, 1))
            ).astype(np.float32),
            label,
            selected=seed + 1,
        )
        for seed in range(SEEDS)
    ]


def by_hand(traces: list[SelectionTrace]) -> list[list[dict[str, float]]]:
    return [[evaluate("regression", p, t.label) for p in t.prediction] for t in traces]


@pytest.mark.parametrize(("metric", "best"), [("mae", min), ("acc7", max), ("corr", max)])
def test_every_habit_reports_what_it_says(traces, metric: str, best) -> None:
    found, every = prices(traces, "regression"), by_hand(traces)

    def lowest_error(epochs: list[dict[str, float]]) -> dict[str, float]:
        return min(epochs, key=lambda one: one["mae"])

    selected = [epochs[t.selected] for epochs, t in zip(every, traces, strict=True)]
    expected = [
        [one[metric] for one in selected],
        [epochs[-1][metric] for epochs in every],
        [lowest_error(epochs)[metric] for epochs in every],
        [best(one[metric] for one in epochs) for epochs in every],
        [lowest_error(selected)[metric]],
        [best(one[metric] for epochs in every for one in epochs)],
    ]
    sign = -1 if metric == "mae" else 1
    for name, values in zip(NAMES, expected, strict=True):
        price = found[name, metric]
        np.testing.assert_allclose(price.values, values)
        gain = sign * (np.mean(values) - np.mean(expected[0]))
        assert price.gain == pytest.approx(gain, abs=1e-9)


def test_looking_at_the_test_split_never_looks_worse(traces) -> None:
    found = prices(traces, "regression")
    for metric in ("mae", "acc7", "acc2_non0", "corr"):
        assert found[NAMES[3], metric].gain >= max(0, found[NAMES[2], metric].gain - 1e-12)
        assert found[NAMES[5], metric].gain >= found[NAMES[3], metric].gain
    assert found[NAMES[2], "mae"].gain >= 0
    assert found[NAMES[4], "mae"].gain >= 0


def test_the_table_and_only_this_table(store: RunStore, traces, tmp_path) -> None:
    label = make_table().label
    for seed, trace in enumerate(traces):
        record = make_record(store, seed=seed, table=replace(make_table(seed=seed), label=label))
        arrays = {"prediction": trace.prediction, "label": trace.label}
        arrays["selected"] = np.array(trace.selected)
        write(path_of(store.root, record.run_id, "selection"), record.run_id, arrays)
    (results,) = load(store)
    sources = Sources.of(results)
    (table,) = selection_tables(sources)
    found = prices(traces, "regression")
    for name in NAMES:
        reported = cell(table, name, "reported", "MAE ↓")
        assert reported.value == pytest.approx(found[name, "mae"].values.mean())
        assert cell(table, name, "looks better by", "ACC7 ↑").value == pytest.approx(
            100 * found[name, "acc7"].gain
        )
    with_it = [t for make in TABLE_MAKERS for t in make(sources)]
    (path_of(store.root, results.records[0].run_id, "selection")).unlink()
    (again,) = load(store)
    assert selection_tables(Sources.of(again)) == []  # not of a part of the seeds
    assert [t for make in TABLE_MAKERS for t in make(Sources.of(again))] == with_it
    built = build(store, None, tmp_path / "report")
    assert not any("price" in p.name for p in built[0].tables)
