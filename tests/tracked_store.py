"""A tracking store for tests, what a tracked plan sends to it, and what is found in it."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from benchmark.execution.events import Event
from benchmark.records import RunStore
from benchmark.spec import RunSpec
from benchmark.tracking.connection import Connection
from benchmark.tracking.live import Tracker
from benchmark.tracking.parents import Plan
from benchmark.tracking.place import default_uri
from tests.records import make_history, make_record, make_run_spec

EPOCHS = 3


def prepared_store(root: Path, factory: pytest.TempPathFactory) -> RunStore:
    """An empty tracking database in ``root``: making one costs seconds, so it is copied."""
    folder = factory.getbasetemp() / "empty-store"
    if not folder.is_dir():
        folder.mkdir()
        Connection(default_uri(folder), "unused", folder, print)
    root.mkdir(exist_ok=True)
    shutil.copy(folder / "mlflow.db", root / "mlflow.db")
    return RunStore(root)


def uri_of(store: RunStore) -> str:
    return default_uri(store.root)


def specs_of(*models: str) -> list[RunSpec]:
    return [make_run_spec(model, "spectrum", seed) for model in models for seed in (1, 2)]


def plan_of(specs: list[RunSpec], plan_id: str = "plan-1") -> Plan:
    return Plan.of(plan_id, "two models", "synthetic", "All protocols.", specs)


def open_tracker(store: RunStore, specs: list[RunSpec], **kwargs: Any) -> Tracker:
    tracker = Tracker(uri_of(store), "synthetic", store, **kwargs)
    tracker.open(plan_of(specs))
    return tracker


def settled(tracker: Tracker) -> None:
    """Wait until the store has what it was told."""
    assert tracker._background is not None
    done = threading.Event()
    tracker._background.do(lambda watch: done.set())
    assert done.wait(60)


def train(tracker: Tracker, spec: RunSpec, first: int = 1, last: int = EPOCHS) -> None:
    """The events of training, as the trainer sends them."""
    tracker.handle(spec, Event(spec.run_id, "started", first - 1, EPOCHS))
    rows = make_history(EPOCHS, spec.task, spec.seed).to_dict("records")
    for epoch in range(first, last + 1):
        values = {str(name): value for name, value in rows[epoch - 1].items()}
        tracker.handle(spec, Event(spec.run_id, "step", epoch - 0.5, EPOCHS))
        tracker.handle(spec, Event(spec.run_id, "epoch", epoch, EPOCHS, values))


def finish(tracker: Tracker, store: RunStore, spec: RunSpec) -> None:
    make_record(store, spec.model, spec.regime, spec.seed)
    tracker.handle(spec, Event(spec.run_id, "finished"))


def track(store: RunStore, specs: list[RunSpec]) -> None:
    tracker = open_tracker(store, specs)
    for spec in specs:
        train(tracker, spec)
        finish(tracker, store, spec)
    tracker.close()


def client_of(store: RunStore) -> MlflowClient:
    return MlflowClient(tracking_uri=uri_of(store))


def found(store: RunStore, kind: str = "run", experiment: str = "synthetic") -> list[Run]:
    client = client_of(store)
    place = client.get_experiment_by_name(experiment)
    assert place is not None
    return list(client.search_runs([place.experiment_id], f"tags.kind = '{kind}'"))


def curve(store: RunStore, run: Run, name: str) -> list[tuple[int, float]]:
    history = client_of(store).get_metric_history(run.info.run_id, name)
    return sorted((point.step, point.value) for point in history)
