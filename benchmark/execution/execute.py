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

from benchmark.data.dataset import Dataset
from benchmark.data.inputs import InputForm
from benchmark.environment import describe
from benchmark.errors import BenchmarkError
from benchmark.execution.events import Event, Listener
from benchmark.files import replace_file
from benchmark.interface import MultimodalModel
from benchmark.predict import fill_table
from benchmark.records import CHECKPOINT, ERROR, PREDICTIONS, RunRecord, RunStore
from benchmark.registry import model_class, model_facts
from benchmark.spec import RunSpec
from benchmark.table import PredictionTable, merge, to_make
from benchmark.train import Callbacks, Fitted, State, fit
from protocols.conditions import Condition

RESUME = "resume.pt"

Outcome = Literal["done", "kept", "busy", "stopped"]
"""done: something was computed; kept: all was there; busy: another process has the run; stopped:
the listener stopped it, and it can go on from its last complete epoch."""


class Stopped(Exception):  # noqa: N818 - no error
    """A listener raises it to stop the run that it hears of, at the end of an epoch."""


def make_model(spec: RunSpec, dataset: Dataset) -> MultimodalModel:
    """An untrained model of the run's class and settings, on the CPU.

    Raises:
        BenchmarkError: where the settings do not fit each other, or not the data.
    """
    try:
        return model_class(spec.model)(spec.config, dataset.spec)
    except ValueError as error:
        raise BenchmarkError(
            f"{spec.model} cannot be built for {dataset.name} with these settings: {error}"
        ) from None


def load_model(record: RunRecord, spec: RunSpec, dataset: Dataset) -> MultimodalModel:
    """The checkpoint of a run's record on the data set's device, in eval mode."""
    model = make_model(spec, dataset)
    model.load_state_dict(load_file(record.path / CHECKPOINT))
    return model.to(dataset.splits["train"].device).eval()


def execute(
    spec: RunSpec,
    dataset: Dataset,
    conditions: Sequence[Condition],
    store: RunStore,
    listen: Listener,
    wait: bool = False,
    validation: Sequence[Condition] = (),
) -> Outcome:
    """Bring a run's record to cover the conditions: nothing that exists is computed again.

    Args:
        spec: the run.
        dataset: resident on the device to use; it needs no test split without ``conditions``.
        conditions: the rows that its table must have; none for a search's trial.
        store: where records are.
        listen: told how it goes.
        wait: whether to wait for another process that works on the same run.
        validation: the rows that its table of the validation split must have.
    """
    lock = store.lock(spec.run_id)
    try:
        lock.acquire(timeout=-1 if wait else 0)
    except Timeout:
        listen(Event(spec.run_id, "waiting", message="another process works on this run"))
        return "busy"
    with lock:
        try:
            if store.is_trained(spec.run_id):
                record = store.trained(spec.run_id)
                return _extend(record, spec, dataset, conditions, validation, store, listen)
            _train_and_commit(spec, dataset, conditions, validation, store, listen)
        except Stopped:
            return "stopped"
        return "done"


def _extend(
    record: RunRecord,
    spec: RunSpec,
    dataset: Dataset,
    conditions: Sequence[Condition],
    validation: Sequence[Condition],
    store: RunStore,
    listen: Listener,
) -> Outcome:
    """Add the rows that a finished run's tables lack, and make anew those that are out of date."""
    known = {
        "test": record.table if (record.path / PREDICTIONS).is_file() else None,
        "valid": record.validation,
    }
    asked = {"test": conditions, "valid": validation}
    todo = {split: to_make(known[split], rows) for split, rows in asked.items()}
    store.add_inputs(record.run_id, InputForm.of(dataset))
    if any(todo.values()):
        _require_same_source(record, spec)
        model = load_model(record, spec, dataset)
        made = {
            split: _fill(spec, model, dataset, split, rows, listen)
            for split, rows in todo.items()
            if rows
        }
        whole = {s: merge(old, new) if (old := known[s]) else new for s, new in made.items()}
        store.extend(record.run_id, whole.get("test"), whole.get("valid"))
        listen(Event(record.run_id, "finished"))
        return "done"
    if known["test"] is not None and not record.metrics_are_current():
        store.extend(record.run_id, known["test"])
    return "kept"


def _require_same_source(record: RunRecord, spec: RunSpec) -> None:
    """A model without a version is the model of the record only while its source file is."""
    kept, now = record.environment["model"], model_facts(spec.model)
    if now["version"] is None and kept["source_sha256"] != now["source_sha256"]:
        raise BenchmarkError(
            f"run {record.run_id} was trained with another content of the file that defines "
            f"{spec.model}, whose card has no version: give the card version=2, which makes new "
            f"runs, or delete {record.path} to train it again"
        )


def _train_and_commit(
    spec: RunSpec,
    dataset: Dataset,
    conditions: Sequence[Condition],
    validation: Sequence[Condition],
    store: RunStore,
    listen: Listener,
) -> None:
    folder = store.partial(spec.run_id)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ERROR).unlink(missing_ok=True)
    started = time.perf_counter()
    fitted = _fit(spec, dataset, folder / RESUME, listen)
    trained = time.perf_counter()

    def table_of(split: str, rows: Sequence[Condition]) -> PredictionTable | None:
        todo = to_make(None, rows)
        return _fill(spec, fitted.model, dataset, split, todo, listen) if todo else None

    table, of_validation = table_of("test", conditions), table_of("valid", validation)
    environment = {
        **describe(dataset.splits["train"].device),
        **_data_facts(dataset),
        "model": model_facts(spec.model),
        "parameters": sum(p.numel() for p in fitted.model.parameters()),
        "seconds_training": round(trained - started, 3),
        "seconds_table": round(time.perf_counter() - trained, 3),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    weights = {k: v.detach().cpu().contiguous() for k, v in fitted.model.state_dict().items()}
    inputs = InputForm.of(dataset)
    store.commit(spec, environment, fitted.history, save(weights), table, of_validation, inputs)
    listen(Event(spec.run_id, "finished"))


def _fit(spec: RunSpec, dataset: Dataset, resume_path: Path, listen: Listener) -> Fitted:
    total = float(spec.training.epochs)
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
        spec.training,
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
    split: str,
    conditions: Sequence[Condition],
    listen: Listener,
) -> PredictionTable:
    total, here = len(conditions), describe(dataset.splits[split].device)
    listen(Event(spec.run_id, "evaluating", 0, total))
    return fill_table(
        model,
        dataset.splits[split],
        dataset.spec,
        dataset.sigma_ref,
        conditions,
        lambda rows: listen(Event(spec.run_id, "evaluating", rows, total)),
        split_name=split,
        made_with={
            "date": time.strftime("%Y-%m-%d", time.gmtime()),
            **{name: here[name] for name in _MADE_WITH},
        },
    )


_MADE_WITH = ("commit", "dirty", "device", "versions")
"""What a table keeps of where its rows were made, beside the day."""


def _data_facts(dataset: Dataset) -> dict[str, Any]:
    """What reports need of the data: its hash, whether it is synthetic or aligned, the floors."""
    label = dataset.splits["train"].samples.label
    assert label is not None
    values = label.cpu().numpy()
    floors: dict[str, float]
    if dataset.spec.task == "regression":
        floors = {"mean": float(values.mean()), "median": float(np.median(values))}
    else:
        floors = {"majority": int(np.bincount(values).argmax())}
    spec = dataset.spec
    return {
        "data_sha256": dataset.sha256,
        "synthetic": dataset.synthetic,
        "aligned": len({spec.lengths[m] for m in spec.present}) == 1,
        "floors": floors,
    }
