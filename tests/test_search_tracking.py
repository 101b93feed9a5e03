"""What tracking shows of a search, and of a run's checkpoint as a logged model."""

from __future__ import annotations

import pickle
from pathlib import Path

import mlflow.pyfunc
import numpy as np
import pytest
from mlflow.entities import Run

from benchmark.checkpoint import load_checkpoint
from benchmark.data.registry import load_dataset
from benchmark.execution.execute import execute
from benchmark.execution.executor import Execution
from benchmark.plan import PlanConfig, plan_conditions
from benchmark.records import CHECKPOINT, RunStore
from benchmark.search.objective import Objective
from benchmark.search.request import SearchRequest, plan_search
from benchmark.search.session import SearchSession
from benchmark.tracking.sync import sync
from benchmark.tracking.tracked import NOTE
from protocols.modalities import MODALITIES
from tests.tracked_store import client_of, found, prepared_store, uri_of

SPACE = {"training.learning_rate": [1e-3, 5e-4], "model.topk": [1, 2]}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> RunStore:
    return prepared_store(tmp_path_factory.mktemp("search") / "runs", tmp_path_factory)


@pytest.fixture(scope="module")
def plan(data_dir: Path, store: RunStore) -> SearchRequest:
    """A study of four trials, searched and tracked."""
    request = PlanConfig(
        dataset="tiny",
        models=("qamoe",),
        regimes=("spectrum",),
        model={"width": 16, "encoder_heads": 2},
        training={"epochs": 2},
    )
    how = Execution("tiny", data_dir, store.root, "cpu", 1)
    plan = plan_search(request, "grid", SPACE, how)
    assert SearchSession(plan, how, None, None, True, uri_of(store)).carry_out()
    return plan


def the_search(store: RunStore) -> Run:
    (parent,) = found(store, "search", "tiny")
    return parent


def test_a_study_is_a_parent_run_and_its_trials_are_children(store, plan) -> None:
    parent, children = the_search(store), found(store, experiment="tiny")
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["study"] == plan.name
    assert parent.data.params["space.model.topk"] == "[1, 2]"
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    assert len(children) == 4
    for run in children:
        record = store.trained(run.data.tags["run_id"])
        value = Objective("grid", "regression", MODALITIES).value(record.validation)
        assert run.data.metrics["valid/grid_mae"] == value
        assert run.data.tags["protocol"] == "validation"
        assert not [name for name in run.data.metrics if name.startswith("test/")]
        topk = run.data.params["model.topk"]
        rate = run.data.params["training.learning_rate"]
        point = f"learning_rate={rate}, topk={topk}"
        assert run.info.run_name == f"QA-MoE · spectrum ({point}) · seed 1111"
    best = min(run.data.metrics["valid/grid_mae"] for run in children)
    assert parent.data.metrics["valid/grid_mae_best"] == best
    history = client_of(store).get_metric_history(parent.info.run_id, "valid/grid_mae")
    values = {run.data.metrics["valid/grid_mae"] for run in children}
    assert {point.value for point in history} == values
    assert sorted(point.step for point in history) == [0, 1, 2, 3]


def test_the_parent_run_has_the_figures_and_the_best_settings(store, plan) -> None:
    parent = the_search(store)
    files = {a.path for a in client_of(store).list_artifacts(parent.info.run_id, "search")}
    figures = ("parallel_coordinates", "slices", "history", "importances")
    expected = {"best.yaml", "trials.csv", *(f"{name}.png" for name in figures)}
    assert files == {f"search/{name}" for name in expected}
    note = parent.data.tags[NOTE]
    assert note.count("| done |") == 4
    for name in figures:
        assert f"(get-artifact?run_uuid={parent.info.run_id}&path=search/{name}.png)" in note


def test_the_checkpoint_is_a_model_that_pyfunc_loads(store, plan, data_dir) -> None:
    run = found(store, experiment="tiny")[0]
    client = client_of(store)
    logged = client.get_logged_model(run.data.tags["model_id"])
    assert logged.source_run_id == run.info.run_id
    assert {m.key for m in logged.metrics} >= {"valid/grid_mae"}
    mlflow.set_tracking_uri(uri_of(store))
    model = mlflow.pyfunc.load_model(logged.model_uri)
    assert model.metadata.signature.inputs.input_names() == list(MODALITIES)
    package = pickle.loads((data_dir.parent / "tiny.pkl").read_bytes())["test"]
    batch = {m: package[m][:9].astype(np.float32) for m in MODALITIES}
    batch["audio"] = np.zeros_like(batch["audio"])
    record = store.trained(run.data.tags["run_id"])
    expected = load_checkpoint(record.path).predict({**batch, "audio": None})
    answer = model.predict(batch)
    assert answer.equals(expected)
    assert set(answer["available"]) == {"tv"}
    with pytest.raises(Exception, match="schema"):
        model.predict({"text": batch["text"]})
    copies = list(store.root.glob(f"mlartifacts/**/{CHECKPOINT}"))
    assert len(copies) == 4  # one for each run


def test_a_benchmark_of_a_trial_completes_its_child(store, plan, data_dir) -> None:
    (spec,) = plan.specs({"training.learning_rate": 1e-3, "model.topk": 2})
    tiny = load_dataset("tiny", data_dir)
    conditions = plan_conditions(PlanConfig(protocol="I"), tiny)
    execute(spec, tiny, conditions, store, lambda event: None)
    assert str(sync(store, uri_of(store))) == "0 runs made, 1 updated, 3 already there"
    children = {run.data.tags["run_id"]: run for run in found(store, experiment="tiny")}
    run = children[spec.run_id]
    assert run.data.tags["protocol"] == "I"
    assert run.data.metrics["test/clean_mae"] > 0
    assert len(children) == 4
    assert len(client_of(store).search_logged_models([run.info.experiment_id])) == 4


def test_a_lost_store_is_rebuilt_with_the_search(store, plan, tmp_path_factory) -> None:
    before = the_search(store)
    (store.root / "mlflow.db").unlink()
    prepared_store(store.root, tmp_path_factory)
    assert str(sync(store, uri_of(store))) == "4 runs made, 0 updated, 0 already there"
    after = the_search(store)
    assert after.data.params == before.data.params
    assert after.info.status == "FINISHED"
    own = before.info.run_id, after.info.run_id
    assert after.data.tags[NOTE] == before.data.tags[NOTE].replace(*own)
    assert len(client_of(store).list_artifacts(after.info.run_id, "search")) == 6
    assert str(sync(store, uri_of(store))) == "0 runs made, 0 updated, 4 already there"
