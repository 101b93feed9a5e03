"""Fail at every call of MLflow's client, and be killed at every one: sync makes all equal again."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

from benchmark.data.inputs import InputForm
from benchmark.errors import BenchmarkError
from benchmark.interface import DataSpec
from benchmark.records import INPUTS, RunStore
from benchmark.spec import RunSpec
from benchmark.tracking.mirror import MODEL_ID, PARENT, REPORT_FOLDER
from benchmark.tracking.sync import attach, sync
from benchmark.tracking.tracked import RUN_ID
from protocols.modalities import MODALITIES
from tests.records import make_record, make_table
from tests.tracked_store import (
    client_of,
    curve,
    found,
    open_tracker,
    plan_of,
    prepared_store,
    settled,
    specs_of,
    train,
    uri_of,
)

WRITES = (
    *("create_experiment", "create_run", "log_batch", "log_inputs", "log_outputs", "delete_tag"),
    *("create_logged_model", "finalize_logged_model", "delete_logged_model"),
    *("log_artifact", "log_model_artifact", "update_run", "set_terminated"),
)
READS = ("get_experiment_by_name", "search_runs", "search_logged_models", "get_metric_history")


class Faults:
    """Counts the client's calls; fails the one with number ``at``, or all from there on."""

    def __init__(self) -> None:
        self.count, self.at, self.dead = 0, -1, False

    def set(self, at: int, dead: bool) -> None:
        self.count, self.at, self.dead = 0, at, dead

    def wrap(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(client: MlflowClient, *args: Any, **kwargs: Any) -> Any:
            number, self.count = self.count, self.count + 1
            if number == self.at or (self.dead and number > self.at >= 0):
                raise OSError("injected")
            return real(client, *args, **kwargs)

        return call


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Iterator[Faults]:
    made = Faults()
    for name in (*WRITES, *READS):
        monkeypatch.setattr(MlflowClient, name, made.wrap(getattr(MlflowClient, name)))
    yield made
    made.set(-1, dead=False)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> RunStore:
    """An empty database, and beside it one record that every case begins with."""
    store = prepared_store(tmp_path_factory.mktemp("every") / "runs", tmp_path_factory)
    spec = specs_of("qamoe")[0]
    record = make_record(
        store, spec.model, spec.regime, spec.seed, table=make_table(n=4, protocols=["I"])
    )
    sizes = dict.fromkeys(MODALITIES, 3)
    (record.path / INPUTS).write_text(InputForm(DataSpec(sizes, sizes, MODALITIES), {}).to_json())
    return store


def copy_of(prepared: RunStore, root: Path) -> RunStore:
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(prepared.root, root)
    return RunStore(root)


def contents(store: RunStore) -> dict[str, Any]:
    """All that there is in MLflow of one plan, without ids and times."""
    (parent,) = found(store, "plan")
    result: dict[str, Any] = {"plan": (parent.info.status, parent.data.metrics)}
    for run in found(store):
        hidden = (MODEL_ID, PARENT, "plan.plan-1")
        tied = [run.data.tags[name] == parent.info.run_id for name in hidden[1:]]
        tags = {k: v for k, v in run.data.tags.items() if k not in hidden}
        steps = [name for name in run.data.metrics if not name.startswith("test/")]
        shown = {**run.data.metrics, **{name: curve(store, run, name) for name in steps}}
        client = client_of(store)
        models = client.search_logged_models([run.info.experiment_id])
        files = {f.path: f.file_size for f in client.list_artifacts(run.info.run_id, "record")}
        made = [
            (
                str(model.status),
                model.params,
                {metric.key: metric.value for metric in model.metrics},
                sorted(f.path for f in client.list_logged_model_artifacts(model.model_id)),
                [output.model_id == model.model_id for output in run.outputs.model_outputs],
            )
            for model in models
            if model.source_run_id == run.info.run_id
        ]
        data = [one.dataset.name for one in run.inputs.dataset_inputs]
        values = (run.info.status, tied, tags, run.data.params, shown, files, made, data)
        assert run.data.tags[RUN_ID] not in result, "two children of one run"
        result[run.data.tags[RUN_ID]] = values
    return result


def a_run(store: RunStore, spec: RunSpec) -> None:
    tracker = open_tracker(store, [spec])
    settled(tracker)
    train(tracker, spec, last=1)
    train(tracker, spec, first=2)
    finish_again(tracker, spec)
    tracker.close()


def finish_again(tracker: Any, spec: RunSpec) -> None:
    """The record is there already: only tracking is on trial."""
    from benchmark.execution.events import Event

    tracker.handle(spec, Event(spec.run_id, "finished"))


def a_sync(store: RunStore, spec: RunSpec) -> None:
    plan_of([spec]).save(store)
    sync(store, uri_of(store))


def a_report(store: RunStore, spec: RunSpec) -> None:
    attach(store, uri_of(store), [plan_of([spec])], {REPORT_FOLDER: [store.root / "index.html"]})


def tried(what: Callable[[RunStore, RunSpec], None], store: RunStore, spec: RunSpec) -> None:
    with contextlib.suppress(BenchmarkError):
        what(store, spec)


@pytest.mark.parametrize(("what", "dead"), [(a_run, True), (a_sync, False)])
def test_after_a_failure_at_any_call_sync_makes_all_equal(
    prepared: RunStore,
    faults: Faults,
    tmp_path: Path,
    what: Callable[[RunStore, RunSpec], None],
    dead: bool,
) -> None:
    """A run is killed at every call; a sync meets a failure at every call and may go on."""
    spec = specs_of("qamoe")[0]
    store = copy_of(prepared, tmp_path / "runs")
    faults.set(-1, dead=False)
    what(store, spec)
    calls = faults.count
    assert calls > 15
    sync(store, uri_of(store))
    expected = contents(store)
    assert expected["plan"][0] == expected[spec.run_id][0] == "FINISHED"
    for at in range(calls):
        store = copy_of(prepared, tmp_path / "runs")
        faults.set(at, dead)
        tried(what, store, spec)
        faults.set(-1, dead=False)
        assert not sync(store, uri_of(store)).problems
        assert contents(store) == expected, at


def test_a_report_that_fails_at_any_call_breaks_nothing(
    prepared: RunStore, faults: Faults, tmp_path: Path
) -> None:
    spec = specs_of("qamoe")[0]
    store = copy_of(prepared, tmp_path / "runs")
    (store.root / "index.html").write_text("a report")
    a_sync(store, spec)
    expected = contents(store)
    faults.set(-1, dead=False)
    a_report(store, spec)
    for at in range(faults.count):
        faults.set(at, dead=True)
        tried(a_report, store, spec)
        faults.set(-1, dead=False)
        assert str(sync(store, uri_of(store))) == "0 runs made, 0 updated, 1 already there"
        assert contents(store) == expected
