"""What is said of a run: in the list while it is under way, and of one run alone."""

from __future__ import annotations

import numpy as np
import pytest

from benchmark.commands.list import runs
from benchmark.commands.show import show
from benchmark.data.registry import load_dataset
from benchmark.errors import BenchmarkError
from benchmark.execution.execute import Stopped, execute
from benchmark.plan import PlanConfig, plan_runs
from benchmark.records import ERROR
from benchmark.records.underway import RESUME, UnderWay, begin, first_line, under_way
from benchmark.table import load
from reports.results import load as load_results
from tests.records import make_record, make_run_spec


@pytest.fixture(autouse=True)
def _wide(monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


def listed(store, capsys) -> str:
    runs(store.root)
    return " ".join(capsys.readouterr().out.split())


def test_a_run_under_way_is_listed_with_all_that_is_known_of_it(store, capsys) -> None:
    tiny = load_dataset("synthetic-tiny", None)
    request = PlanConfig(models=("lmf",), regimes=("spectrum",), training={"epochs": 3})
    (spec,) = plan_runs(request, tiny)
    seen: list[str] = []

    def listen(event) -> None:
        if event.kind == "step" and event.done <= 1 and not seen:
            seen.append(listed(store, capsys))
        if event.kind == "epoch" and event.done == 3:
            seen.append(listed(store, capsys))
            raise Stopped

    execute(spec, tiny, (), store, listen)
    what = f"{spec.run_id} synthetic-tiny LMF spectrum 1111 –"
    assert f"{what} running, 0 of 3 epochs" in seen[0]
    assert f"{what} running, 2 of 3 epochs" in seen[1]  # the third is kept after it is told
    assert f"{what} interrupted, 2 of 3 epochs" in listed(store, capsys)
    with (store.partial(spec.run_id) / RESUME).open("rb") as stream:
        assert first_line(stream)[1]["run"] == spec.run_id


def test_what_is_no_spec_beside_a_run_is_passed_over(store, capsys) -> None:
    spec = make_run_spec("lmf")
    other = make_run_spec("lmf", seed=2)
    folder = begin(store, spec)
    (folder / ERROR).write_text("it diverged")
    (found,) = under_way(store).values()
    assert found.spec is not None
    assert (found.spec.run_id, found.state) == (spec.run_id, "failed: it diverged")
    for content in (b"", b"run_id: 1", (begin(store, other) / "config.yaml").read_bytes()):
        (folder / "config.yaml").write_bytes(content)
        assert under_way(store)[spec.run_id] == UnderWay(None, "failed: it diverged")
    assert f"{spec.run_id} failed: it diverged" in listed(store, capsys)


@pytest.mark.parametrize("state", [b"", b"[]", b"{}", b'{"epoch": "x"}', b"\xff\n"])
def test_a_damaged_state_has_no_epochs(store, state) -> None:
    spec = make_run_spec("lmf")
    (begin(store, spec) / RESUME).write_bytes(state)
    (found,) = under_way(store).values()
    assert found.state == f"interrupted, 0 of {spec.trainer.epochs} epochs"


def test_a_finished_run_that_is_given_more_rows_is_one_line(store, capsys) -> None:
    record = make_record(store, "lmf")
    begin(store, record.spec)
    with store.lock(record.run_id):
        shown = listed(store, capsys)
    assert shown.count(record.run_id) == 1
    assert "finished; more rows running" in shown


def test_a_run_is_shown_by_how_its_id_begins(store, capsys) -> None:
    record = make_record(store, "lmf")
    show(record.run_id[:6], runs_dir=store.root)
    said = " ".join(capsys.readouterr().out.split())
    table = load(record.path / "predictions.npz")
    (place,) = [k for k, c in enumerate(table.conditions) if c.intensity == 0 and c.mask == 7]
    whole = np.abs(table.prediction[place] - table.label).mean()
    assert record.spec.data_sha256[:12] in said
    assert str(record.path) in said
    assert f"Clean test {whole:.3f}" in said
    assert "Grid mean" in said
    assert "64 conditions, seed_a1, bernoulli" in said
    assert f"{len(table.block)} rows of the table" in said
    assert f"benchmark pack {record.run_id}" in said
    assert "model.topk=2" in said
    assert "regime.scope" not in said
    show(record.run_id, every=True, runs_dir=store.root)
    assert "regime.scope" in capsys.readouterr().out


def test_a_run_under_way_is_shown_too(store, capsys) -> None:
    spec = make_run_spec("lmf")
    folder = begin(store, spec)
    show(spec.run_id[:4], every=True, runs_dir=store.root)
    said = capsys.readouterr().out
    assert "interrupted, 0 of" in said
    assert str(folder) in said
    assert "model.topk" in said


def test_what_is_neither_a_model_nor_a_run_is_refused(store) -> None:
    with pytest.raises(BenchmarkError, match="no run begins with 'abc'"):
        show("abc", runs_dir=store.root)
    with pytest.raises(BenchmarkError, match="Did you mean lmf"):
        show("lmff", runs_dir=store.root)


def test_a_report_names_the_runs_under_way_on_its_own_data(store) -> None:
    make_record(store, "lmf")
    own = make_run_spec("lmf", seed=2)
    others = make_run_spec("lmf", dataset="another")
    for spec in (own, others):
        begin(store, spec)
    (results,) = load_results(store)
    assert dict(results.problems) == {
        own.run_id: "LMF · clean · seed 2: interrupted, 0 of 3 epochs"
    }
