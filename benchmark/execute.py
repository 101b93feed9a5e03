"""Do one run: train (or go on), fill the table, commit the record. Safe to kill at any moment."""

from __future__ import annotations

import io
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from filelock import Timeout
from safetensors.torch import load_file, save

from benchmark.config import TrainingConfig, build
from benchmark.data.dataset import Dataset
from benchmark.environment import describe
from benchmark.events import Event, Listener
from benchmark.interface import MultimodalModel
from benchmark.predict import fill_table
from benchmark.records import CHECKPOINT, ERROR, RunRecord, RunStore, replace_file
from benchmark.registry import model_class
from benchmark.spec import RunSpec
from benchmark.table import TABLE_VERSION, PredictionTable, merge
from benchmark.train import Callbacks, Fitted, State, fit
from protocols.conditions import Condition

RESUME = "resume.pt"

Outcome = Literal["done", "kept", "busy"]
"""done: something was computed; kept: all was there; busy: another process has the run."""


def make_model(spec: RunSpec, dataset: Dataset) -> MultimodalModel:
    """An untrained model of the run's class and settings, on the CPU."""
    kind = model_class(spec.model)
    return kind(build(kind.Config, spec.model_config, f"model {spec.model}"), dataset.spec)


def load_model(record: RunRecord, dataset: Dataset) -> MultimodalModel:
    """A record's checkpoint on the data set's device, in eval mode."""
    model = make_model(record.spec, dataset)
    model.load_state_dict(load_file(record.path / CHECKPOINT))
    device = dataset.splits["test"].device
    return model.to(device).eval()


def execute(
    spec: RunSpec,
    dataset: Dataset,
    conditions: Sequence[Condition],
    store: RunStore,
    listen: Listener,
    wait: bool = False,
) -> Outcome:
    """Bring a run's record to cover the conditions: nothing that exists is computed again.

    Args:
        spec: the run.
        dataset: resident on the device to use.
        conditions: the rows that its table must have.
        store: where records are.
        listen: told how it goes.
        wait: whether to wait for another process that works on the same run.
    """
    lock = store.lock(spec.run_id)
    try:
        lock.acquire(timeout=-1 if wait else 0)
    except Timeout:
        listen(Event(spec.run_id, "waiting", message="another process works on this run"))
        return "busy"
    with lock:
        if store.has(spec.run_id):
            return _extend(store.record(spec.run_id), dataset, conditions, store, listen)
        _train_and_commit(spec, dataset, conditions, store, listen)
        return "done"


def _extend(
    record: RunRecord,
    dataset: Dataset,
    conditions: Sequence[Condition],
    store: RunStore,
    listen: Listener,
) -> Outcome:
    """Add the rows that a finished run's table lacks; a table of an older version is made anew."""
    table = record.table
    old = table.version != TABLE_VERSION
    have = set() if old else set(table.conditions)
    missing = tuple(sorted({*conditions, *(table.conditions if old else ())} - have))
    if not missing:
        if not record.metrics_are_current():
            store.extend(record.run_id, table)
        return "kept"
    extra = _fill(record.spec, load_model(record, dataset), dataset, missing, listen)
    store.extend(record.run_id, extra if old else merge(table, extra))
    listen(Event(record.run_id, "finished"))
    return "done"


def _train_and_commit(
    spec: RunSpec,
    dataset: Dataset,
    conditions: Sequence[Condition],
    store: RunStore,
    listen: Listener,
) -> None:
    folder = store.partial(spec.run_id)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ERROR).unlink(missing_ok=True)
    started = time.perf_counter()
    fitted = _fit(spec, dataset, folder / RESUME, listen)
    trained = time.perf_counter()
    table = _fill(spec, fitted.model, dataset, conditions, listen)
    device = dataset.splits["test"].device
    environment = {
        **describe(device),
        **_data_facts(dataset),
        "parameters": sum(p.numel() for p in fitted.model.parameters()),
        "seconds_training": round(trained - started, 3),
        "seconds_table": round(time.perf_counter() - trained, 3),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    weights = {k: v.detach().cpu().contiguous() for k, v in fitted.model.state_dict().items()}
    store.commit(spec, environment, fitted.history, save(weights), table)
    listen(Event(spec.run_id, "finished"))


def _fit(spec: RunSpec, dataset: Dataset, resume_path: Path, listen: Listener) -> Fitted:
    training = build(TrainingConfig, spec.training, "training")
    total = float(training.epochs)
    resume: State | None = None
    device = dataset.splits["train"].device
    if resume_path.is_file():
        resume = torch.load(resume_path, map_location=device, weights_only=True)
    begun = float(resume["epoch"]) if resume else 0.0
    listen(Event(spec.run_id, "started", begun, total))
    callbacks = Callbacks(
        step=lambda done, loss: listen(
            Event(spec.run_id, "step", done, total, {"train_loss": loss})
        ),
        epoch=lambda done, row: listen(Event(spec.run_id, "epoch", done, total, row)),
        save=partial(_save_state, resume_path),
    )
    return fit(
        lambda: make_model(spec, dataset),
        dataset.training_data(),
        training,
        spec.regime,
        spec.seed,
        callbacks,
        resume,
    )


def _save_state(path: Path, state: State) -> None:
    """Replace the resume checkpoint in one step: a kill leaves the old one or the new one.

    It is made in memory first: a full disk is then an OSError that says so, not torch's own.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    replace_file(path, buffer.getvalue())


def _fill(
    spec: RunSpec,
    model: MultimodalModel,
    dataset: Dataset,
    conditions: Sequence[Condition],
    listen: Listener,
) -> PredictionTable:
    total = len(conditions)
    listen(Event(spec.run_id, "evaluating", 0, total))
    return fill_table(
        model,
        dataset.splits["test"],
        dataset.spec,
        dataset.sigma_ref,
        conditions,
        lambda rows: listen(Event(spec.run_id, "evaluating", rows, total)),
    )


def _data_facts(dataset: Dataset) -> dict[str, Any]:
    """What reports need of the data: its hash, whether it is synthetic, the constant floors."""
    label = dataset.splits["train"].samples.label
    assert label is not None
    values = label.cpu().numpy()
    floors: dict[str, float]
    if dataset.spec.task == "regression":
        floors = {"mean": float(values.mean()), "median": float(np.median(values))}
    else:
        floors = {"majority": int(np.bincount(values).argmax())}
    return {"data_sha256": dataset.sha256, "synthetic": dataset.synthetic, "floors": floors}
