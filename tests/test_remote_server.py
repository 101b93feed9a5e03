"""A tracking server on a port: runs, searches and sync over HTTP; and what its death costs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import mlflow.pyfunc
import numpy as np
import pytest
from mlflow.tracking import MlflowClient

from benchmark.data.registry import load_dataset
from benchmark.execution.executor import Execution
from benchmark.execution.session import Session
from benchmark.plan import PlanConfig
from benchmark.records import RunStore
from benchmark.search.request import plan_search
from benchmark.search.session import SearchSession
from benchmark.tracking.place import default_uri
from benchmark.tracking.sync import sync
from reports.choice import from_mlflow
from tests.mlflow_server import MlflowServer
from tests.tracked_store import prepared_store

SMALL = {"width": 16, "encoder_heads": 2}


def tracked(server: MlflowServer, kind: str) -> list[mlflow.entities.Run]:
    client = MlflowClient(tracking_uri=server.uri)
    experiment = client.get_experiment_by_name("tiny")
    return list(client.search_runs([experiment.experiment_id], f"tags.kind = '{kind}'"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    folder = tmp_path_factory.mktemp("server")
    prepared_store(folder, tmp_path_factory)
    found = MlflowServer(default_uri(folder), folder)
    found.start()
    yield found
    found.kill()


def request(**changes) -> PlanConfig:
    values = {
        "dataset": "tiny",
        "models": ("qamoe",),
        "regimes": ("clean",),
        "protocol": "I",
        "model": SMALL,
        "training": {"epochs": 2},
    }
    return PlanConfig(**{**values, **changes})


def execution(data_dir: Path, runs: Path) -> Execution:
    return Execution("tiny", data_dir, runs, "cpu", 1)


def test_runs_and_searches_are_tracked_over_http(server, data_dir, tmp_path) -> None:
    how = execution(data_dir, tmp_path)
    assert Session(request(), how).carry_out(server.uri, None)
    plan = plan_search(request(), "clean", {"model.topk": [1, 2]}, how)
    assert SearchSession(plan, how, None, None, True, server.uri).carry_out()
    assert not (tmp_path / "mlflow.db").exists()
    (parent,) = tracked(server, "search")
    client = MlflowClient(tracking_uri=server.uri)
    files = [a.path for a in client.list_artifacts(parent.info.run_id, "search")]
    assert "search/best.yaml" in files
    runs = tracked(server, "run")
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert len(runs) == 3
    assert str(sync(RunStore(tmp_path), server.uri)) == "0 runs made, 0 updated, 3 already there"
    fetched = RunStore(tmp_path / "fetched")
    only, _ = from_mlflow(server.uri, None, fetched, lambda text: None)
    (run_id,) = (record.run_id for record in fetched.records())  # the trials have no test table
    assert set(only) == {run_id}
    for file in RunStore(tmp_path).record(run_id).files():
        assert (fetched.path(run_id) / file.name).read_bytes() == file.read_bytes()
    mlflow.set_tracking_uri(server.uri)
    model = mlflow.pyfunc.load_model(f"models:/{runs[0].data.tags['model_id']}")
    spec = load_dataset("tiny", data_dir).spec
    batch = {m: np.ones((2, 3, d), dtype=np.float32) for m, d in spec.widths.items()}
    assert len(model.predict(batch)) == 2


def test_a_server_that_dies_half_way_loses_nothing(
    server, data_dir, tmp_path, capsys, monkeypatch
) -> None:
    how = execution(data_dir, tmp_path)
    session = Session(request(regimes=("spectrum",), seeds=(1, 2)), how)
    before = len(tracked(server, "run"))
    from benchmark.execution import session as session_module

    real = session_module.run_plan

    def dying(plan, how, listen):
        def hear(event):
            listen(event)
            if event.kind == "epoch" and event.run_id == plan[0].spec.run_id and event.done == 1:
                server.kill()

        return real(plan, how, hear)

    monkeypatch.setattr(session_module, "run_plan", dying)
    begun = time.monotonic()
    assert session.carry_out(server.uri, None)  # it finishes
    assert time.monotonic() - begun < 60
    said = capsys.readouterr().out
    assert "tracking is behind" in said
    assert "benchmark sync" in said
    assert len(RunStore(tmp_path).records()) == 2
    server.start()
    report = sync(RunStore(tmp_path), server.uri)
    assert (report.made + report.updated, report.present, report.problems) == (2, 0, [])
    runs = tracked(server, "run")
    assert len(runs) == before + 2
    new = [run for run in runs if run.data.tags["regime"] == "spectrum"]
    assert {run.info.status for run in new} == {"FINISHED"}
    client = MlflowClient(tracking_uri=server.uri)
    for run in new:  # no gap in the curve
        history = client.get_metric_history(run.info.run_id, "train/loss")
        assert sorted(point.step for point in history) == [1, 2]
