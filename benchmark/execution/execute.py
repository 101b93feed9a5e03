"""Do one run: train (or go on), fill the table, commit the record. Safe to kill at any moment."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, TypeVar

from filelock import Timeout
from safetensors.torch import load, save

from benchmark.data.dataset import Dataset
from benchmark.data.inputs import InputForm
from benchmark.environment import describe, made_with, now
from benchmark.errors import BenchmarkError
from benchmark.execution.events import Event, Listener
from benchmark.execution.resume import (
    UnusableError,
    load_state,
    origin_of,
    saving,
    set_aside,
)
from benchmark.hygiene import one_line
from benchmark.interface import MultimodalModel
from benchmark.predict import fill_table
from benchmark.records import CHECKPOINT, DamagedError, ForeignError, RunRecord, RunStore
from benchmark.records.underway import RESUME, begin
from benchmark.registry import model_class, model_facts
from benchmark.spec import RunSpec
from benchmark.strangers import strangers
from benchmark.table import PredictionTable, merge, to_make
from benchmark.train import Callbacks, Fitted, ResumeError, State, Watch, fit, unwatched
from protocols.conditions import Condition

Outcome = Literal["done", "kept", "busy", "stopped", "failed"]
"""done: something was computed; kept: all was there; busy: another process has the run; stopped:
the listener stopped it, and it can go on from its last complete epoch; failed: it raised."""

T = TypeVar("T")


class Stopped(Exception):  # noqa: N818 - no error
    """A listener raises it to stop the run that it hears of, at the end of an epoch."""


def make_model(spec: RunSpec, dataset: Dataset) -> MultimodalModel:
    """An untrained model of the run's class and settings, on the CPU.

    Raises:
        BenchmarkError: where the settings do not fit each other, or not the data.
    """
    said = f"{spec.model} cannot be built for {dataset.name} with these settings"
    with strangers(lambda why: BenchmarkError(f"{said}: {why}")):
        try:
            return model_class(spec.model)(spec.config, dataset.spec)
        except ValueError as error:
            raise BenchmarkError(f"{said}: {error}") from None


def load_model(record: RunRecord, spec: RunSpec, dataset: Dataset) -> MultimodalModel:
    """The checkpoint of a run's record on the data set's device, in eval mode."""
    model, weights = make_model(spec, dataset), load(record.checkpoint())
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise BenchmarkError(
            f"{record.path / CHECKPOINT} does not fit {spec.model} as it is now: give its card a "
            f"new version, which makes new runs, or delete {record.path} ({one_line(error, 200)})"
        ) from None
    return model.to(dataset.splits["train"].device).eval()


def execute(
    spec: RunSpec,
    dataset: Dataset,
    conditions: Sequence[Condition],
    store: RunStore,
    listen: Listener,
    wait: bool = False,
    validation: Sequence[Condition] = (),
    watch: Watch = unwatched,
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
        watch: as :attr:`benchmark.train.Callbacks.watch`, where it is trained.
    """
    try:
        held = store.lock(spec.run_id).acquire(timeout=-1 if wait else 0)
    except Timeout:
        listen(Event(spec.run_id, "waiting", message="another process works on this run"))
        return "busy"
    with held:
        store.tidy(spec.run_id)
        record = _sound(spec, store, listen, conditions, validation)
        try:
            if record is not None:
                outcome = _extend(record, spec, dataset, conditions, validation, store, listen)
                store.close(spec.run_id)
                return outcome
            _train_and_commit(spec, dataset, conditions, validation, store, listen, watch)
        except Stopped:
            listen(Event(spec.run_id, "stopped"))
            return "stopped"
        return "done"


def _sound(
    spec: RunSpec,
    store: RunStore,
    listen: Listener,
    conditions: Sequence[Condition],
    validation: Sequence[Condition],
) -> RunRecord | None:
    """The record where it can be believed; one that cannot be is told, and made anew.

    One whose checkpoint was deleted is made anew where rows are asked for that it lacks.

    Raises:
        BenchmarkError: where the directory has another run's record, which is not to be lost.
    """
    record = RunRecord(store.path(spec.run_id))
    if not record.path.exists():
        return None
    try:
        _ = record.spec, record.environment, record.history
        if record.has_checkpoint or validation or not record.covers(conditions):
            record.checkpoint()
    except ForeignError:
        raise
    except DamagedError as error:
        listen(Event(spec.run_id, "note", message=f"{error.brief}; it is trained again"))
        return None
    return record


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

    def read(part: Callable[[], T]) -> T | None:
        """A part of the record; None where it is absent or unsound, and so made anew."""
        try:
            return part()
        except DamagedError as error:
            if error.path.exists():
                listen(Event(spec.run_id, "note", message=f"{error.brief}; it is made anew"))
            return None

    known = {"test": read(lambda: record.table), "valid": read(lambda: record.validation)}
    asked = {"test": conditions, "valid": validation}
    todo = {split: to_make(known[split], rows) for split, rows in asked.items()}
    inputs = None if read(lambda: record.inputs) else InputForm.of(dataset)
    if any(todo.values()):
        _require_same_source(record, spec)
        model = load_model(record, spec, dataset)
        made = {
            split: _fill(spec, model, dataset, split, rows, listen)
            for split, rows in todo.items()
            if rows
        }
        whole = {s: merge(old, new) if (old := known[s]) else new for s, new in made.items()}
        store.extend(record.run_id, whole.get("test"), whole.get("valid"), inputs)
        listen(Event(record.run_id, "finished"))
        return "done"
    stale = known["test"] is not None and not read(record.metrics_are_current)
    store.extend(record.run_id, known["test"] if stale else None, inputs=inputs)
    listen(Event(record.run_id, "kept"))
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
    watch: Watch,
) -> None:
    folder = begin(store, spec)
    started = time.perf_counter()
    fitted = _fit(spec, dataset, folder / RESUME, listen, watch)
    trained = time.perf_counter()

    def table_of(split: str, rows: Sequence[Condition]) -> PredictionTable | None:
        todo = to_make(None, rows)
        return _fill(spec, fitted.model, dataset, split, todo, listen) if todo else None

    table, of_validation = table_of("test", conditions), table_of("valid", validation)
    environment = {
        **describe(dataset.splits["train"].device),
        **dataset.facts(),
        "model": model_facts(spec.model, spec.preset),
        "parameters": sum(p.numel() for p in fitted.model.parameters()),
        "seconds_training": round(trained - started, 3),
        "seconds_table": round(time.perf_counter() - trained, 3),
        "finished": now(),
    }
    weights = {k: v.detach().cpu().contiguous() for k, v in fitted.model.state_dict().items()}
    inputs = InputForm.of(dataset)
    store.commit(spec, environment, fitted.history, save(weights), table, of_validation, inputs)
    listen(Event(spec.run_id, "finished"))


def _fit(spec: RunSpec, dataset: Dataset, path: Path, listen: Listener, watch: Watch) -> Fitted:
    """Train, from the resume state where there is one to go on from."""
    device, total = dataset.splits["train"].device, float(spec.trainer.epochs)
    origin = origin_of(spec, device)

    def train(resume: State | None) -> Fitted:
        begun = float(resume["epoch"]) if resume else 0.0
        listen(Event(spec.run_id, "started", begun, total))
        with saving(path, origin) as save_state:
            callbacks = Callbacks(
                step=lambda done, loss: listen(
                    Event(spec.run_id, "step", done, total, {"train_loss": loss})
                ),
                epoch=lambda done, row: listen(Event(spec.run_id, "epoch", done, total, row)),
                save=save_state,
                watch=watch,
            )
            return fit(
                lambda: make_model(spec, dataset),
                dataset.training_data(),
                spec.trainer,
                spec.regime,
                spec.seed,
                callbacks,
                resume,
            )

    if path.exists():
        try:
            return train(load_state(path, origin, device))
        except (UnusableError, ResumeError) as error:
            listen(Event(spec.run_id, "note", message=set_aside(path, one_line(error, 200))))
    return train(None)


def _fill(
    spec: RunSpec,
    model: MultimodalModel,
    dataset: Dataset,
    split: str,
    conditions: Sequence[Condition],
    listen: Listener,
) -> PredictionTable:
    total = len(conditions)
    listen(Event(spec.run_id, "evaluating", 0, total))
    return fill_table(
        model,
        dataset.splits[split],
        dataset.spec,
        dataset.sigma_ref,
        conditions,
        lambda rows: listen(Event(spec.run_id, "evaluating", rows, total)),
        split_name=split,
        centre=dataset.centre_for(c.noise_rule for c in conditions),
        made_with=made_with(spec.run_id, dataset.splits[split].device),
    )
