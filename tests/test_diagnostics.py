"""What a diagnostic keeps of the test split, and that nothing is decided by it."""

from __future__ import annotations

import ast
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmark.config import TrainingConfig
from benchmark.data.dataset import Split
from benchmark.diagnostics import selection
from benchmark.diagnostics.kept import LABEL, path_of, read, selection_trace
from benchmark.diagnostics.selection import Watcher
from benchmark.errors import BenchmarkError
from benchmark.execution.attempt import attempt
from benchmark.execution.execute import Stopped, execute
from benchmark.interface import Output
from benchmark.plan import PlanConfig, Planned, plan_conditions, plan_runs
from benchmark.records import RunStore
from benchmark.registry import model_class
from benchmark.train import Callbacks, fit
from protocols.conditions import at_level
from protocols.regimes import Regime
from tests.small_models import small_model
from tests.test_house import ROOT, SOURCES, imports, module_name
from tests.tiny import QUICK, benchmark

EPOCHS = 4


@pytest.fixture(scope="module")
def planned(tiny) -> Planned:
    request = PlanConfig(
        dataset="tiny",
        models=("qamoe",),
        regimes=("spectrum",),
        protocol="I",
        model={"width": 16, "encoder_heads": 2},
        training={"epochs": EPOCHS},
    )
    spec = plan_runs(request, tiny)[0]
    return Planned(spec, plan_conditions(request, tiny), diagnose=("selection",))


def trained(planned: Planned, tiny, folder: Path) -> RunStore:
    store = RunStore(folder)
    assert attempt(planned, lambda: tiny, store, lambda event: None, False) == "done"
    return store


def record_of(store: RunStore, planned: Planned) -> dict[str, bytes]:
    """What the training decided, as it lies on disk."""
    folder = store.path(planned.spec.run_id)
    names = ("config.yaml", "history.csv", "checkpoint.safetensors")
    return {name: (folder / name).read_bytes() for name in names}


def with_other_test_labels(tiny):
    """The same data with the test split's labels and features turned round."""
    test = tiny.splits["test"]
    index = torch.arange(len(test)).flip(0)
    other = Split(test.sample_ids, replace(test.samples.select(index), label=-test.samples.label))
    return replace(tiny, splits={**tiny.splits, "test": other})


def test_a_diagnosed_run_is_the_same_run(tiny, planned, tmp_path: Path) -> None:
    """Bit for bit, and whatever the test split says: so no selection has read it."""
    plain = trained(replace(planned, diagnose=()), tiny, tmp_path / "plain")
    watched = trained(planned, tiny, tmp_path / "watched")
    turned = trained(planned, with_other_test_labels(tiny), tmp_path / "turned")
    assert record_of(plain, planned) == record_of(watched, planned) == record_of(turned, planned)
    run_id = planned.spec.run_id
    first, second = (plain.record(run_id).table, watched.record(run_id).table)
    assert np.array_equal(first.prediction, second.prediction)
    traces = [selection_trace(s.root, run_id) for s in (plain, watched, turned)]
    assert traces[0] is None
    assert traces[1].selected == traces[2].selected
    assert not np.array_equal(traces[1].prediction, traces[2].prediction)


def test_a_trace_is_the_clean_test_at_every_epoch(tiny, planned, tmp_path: Path) -> None:
    store = trained(planned, tiny, tmp_path)
    record = store.record(planned.spec.run_id)
    trace = selection_trace(store.root, planned.spec.run_id)
    assert trace.prediction.shape == (EPOCHS, len(tiny.splits["test"]))
    assert np.array_equal(trace.label, record.table.label)
    best = record.history["valid_mae"].to_numpy().argmin()
    assert trace.selected == best
    clean = record.table.prediction[record.table.row(at_level("seed_a1", 0, 0.0, 7))]
    np.testing.assert_allclose(trace.prediction[best], clean, atol=1e-6)
    assert not np.allclose(trace.prediction[0], trace.prediction[-1], atol=1e-6)


def test_a_finished_or_interrupted_run_is_traced_by_training_it_once_more(
    tiny, planned, tmp_path: Path
) -> None:
    straight = trained(planned, tiny, tmp_path / "straight")
    later = trained(replace(planned, diagnose=()), tiny, tmp_path / "later")
    before = record_of(later, planned)
    notes = []
    assert attempt(planned, lambda: tiny, later, lambda e: notes.append(e.message), False) == "done"
    assert any("once more" in note for note in notes)
    assert record_of(later, planned) == before
    cut = RunStore(tmp_path / "cut")

    def stop(event) -> None:
        if event.kind == "epoch" and event.done == 2:
            raise Stopped

    assert execute(planned.spec, tiny, planned.conditions, cut, stop) == "stopped"
    assert attempt(planned, lambda: tiny, cut, lambda event: None, False) == "done"
    run_id = planned.spec.run_id
    wanted = path_of(straight.root, run_id, "selection").read_bytes()
    for store in (later, cut):
        assert path_of(store.root, run_id, "selection").read_bytes() == wanted
    assert attempt(planned, lambda: tiny, cut, lambda event: None, False) == "kept"


def test_what_looks_at_the_model_cannot_change_it(tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not its weights, and not the random numbers that the training goes on with."""

    def weights(**watch):
        silent = Callbacks(lambda *_: None, lambda *_: None, lambda _: None, **watch)
        config = TrainingConfig(epochs=2, select_on="mae")
        regime = Regime(kind="spectrum")
        make = partial(small_model_for, tiny)
        return fit(make, tiny.training_data(), config, regime, 1, silent).model.state_dict()

    def wreck(model, samples, batch_size):
        for parameter in model.parameters():
            parameter.data.zero_()
        return Output(torch.rand(len(samples)))

    plain = weights()
    monkeypatch.setattr(selection, "predict", wreck)
    watched = weights(watch=Watcher(tiny.splits["test"]))
    assert all(torch.equal(plain[name], watched[name]) for name in plain)


def small_model_for(tiny):
    kind = model_class("qamoe")
    return kind(type(small_model("qamoe").config)(width=16, encoder_heads=2), tiny.spec)


def test_only_reports_and_what_makes_them_know_diagnostics() -> None:
    """The trainer, the search, the plan's products and the read-outs cannot read one."""
    users = {
        module_name(path)
        for path in SOURCES
        if any(name.startswith("benchmark.diagnostics") for name in imports(path))
    }
    outside = {name for name in users if not name.startswith(("benchmark.diagnostics", "reports."))}
    assert outside == {
        "benchmark.plan",  # which are asked for
        "benchmark.commands.run",
        "benchmark.execution.session",
        "benchmark.execution.diagnose",
    }
    plan = ast.parse((ROOT / "benchmark" / "plan.py").read_text())
    taken = [
        alias.name
        for node in ast.walk(plan)
        if isinstance(node, ast.ImportFrom) and node.module == "benchmark.diagnostics.kept"
        for alias in node.names
    ]
    assert taken == ["Diagnosis"]


def test_a_diagnostic_says_what_it_is_and_is_believed_only_whole(
    tiny, planned, tmp_path: Path
) -> None:
    store = trained(planned, tiny, tmp_path)
    run_id = planned.spec.run_id
    path = path_of(store.root, run_id, "selection")
    assert str(read(path)["about"]) == LABEL
    assert [r.run_id for r in store.records()] == [run_id]  # no record among records
    content = dict(np.load(path))
    content["selected"] = content["selected"] + 1
    np.savez(path, **content)
    with pytest.raises(BenchmarkError, match="edited or damaged"):
        selection_trace(store.root, run_id)
    assert attempt(planned, lambda: tiny, store, lambda event: None, False) == "done"  # made anew
    assert selection_trace(store.root, run_id) is not None


def test_the_command(tmp_path: Path, data_dir: Path) -> None:
    where = ("--data-dir", data_dir, "--runs-dir", tmp_path / "runs", "--tracking-uri", "none")
    asked = ("run", *QUICK, "--regime", "clean", "--protocol", "clean", "--epochs", "2", *where)
    assert benchmark(*asked, "--diagnose", "selection").returncode == 0
    assert len(list((tmp_path / "runs" / "diagnostics").glob("*/selection.npz"))) == 1
    again = benchmark(*asked, "--diagnose", "selection")
    assert "0 to do" in again.stdout
    wrong = benchmark(*asked, "--diagnose", "selektion")
    assert wrong.returncode == 2
    assert "selection" in wrong.stderr
