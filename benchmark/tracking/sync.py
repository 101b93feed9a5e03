"""Rebuild the tracking store from records; and how a plan, a run and a record are written to it.

The records (:mod:`benchmark.records`) are what survives, MLflow is where people look. A run is one
child run for ever, found by its tag ``run_id``. Live tracking ends a run with the same
:func:`write_record`, so both give the same runs.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from benchmark.errors import BenchmarkError
from benchmark.files import is_inside
from benchmark.records import CHECKPOINT, RunStore
from benchmark.spec import RunSpec
from benchmark.systems import run_title
from benchmark.tracking.mlflow_store import Connection, Point, Say, StoredRun, tracking_errors
from benchmark.tracking.model import model_of
from benchmark.tracking.plan import NOTE, PLAN, PLAN_ID, Plan, plans
from benchmark.tracking.tracked import (
    LEARNING_RATE,
    RUN_ID,
    VERSION_TAGS,
    Tracked,
    params_of,
    read,
    tags_of,
)

PARENT = "mlflow.parentRunId"
MODEL_ID = "model_id"
RECORD_FOLDER = "record"
"""Where the record's files are among a run's artifacts."""

Outcome = Literal["made", "updated", "present"]
_Item = tuple[Tracked, Plan | None]


def silent(_: str) -> None:
    """Say nothing."""


@dataclass
class SyncReport:
    """What :func:`sync` did, in numbers of runs.

    Attributes:
        made: new in the store.
        updated: were incomplete, or of a record that has grown since.
        present: were there already.
        unreadable: why records could not be read.
    """

    made: int = 0
    updated: int = 0
    present: int = 0
    unreadable: list[str] = field(default_factory=list)

    def count(self, outcome: Outcome) -> None:
        """One more run."""
        setattr(self, outcome, getattr(self, outcome) + 1)

    def __str__(self) -> str:
        text = f"{self.made} runs made, {self.updated} updated, {self.present} already there"
        return text + (f", {len(self.unreadable)} unreadable" if self.unreadable else "")


def sync(
    store: RunStore,
    uri: str,
    experiment_of: Callable[[RunSpec], str] = lambda spec: spec.dataset,
    say: Say = silent,
) -> SyncReport:
    """Bring every record into a tracking store, whatever it has already. Idempotent.

    Args:
        store: where the records are.
        uri: the tracking store; it may be empty or deleted.
        experiment_of: the experiment of a run that belongs to no tracked plan.
        say: told when a database is made.

    Raises:
        BenchmarkError: where the store cannot be reached or written to.
    """
    report = SyncReport()
    by_experiment: dict[str, list[_Item]] = {}
    plan_of = {run_id: plan for plan in reversed(plans(store)) for run_id in plan.run_ids}
    for record in store.trained_records():
        try:
            tracked = read(record)
        except BenchmarkError as error:
            report.unreadable.append(str(error))
            continue
        plan = plan_of.get(record.run_id)
        experiment = plan.experiment if plan else experiment_of(tracked.spec)
        by_experiment.setdefault(experiment, []).append((tracked, plan))
    try:
        for experiment, items in by_experiment.items():
            _sync_experiment(connect(uri, experiment, store, say), items, store, report)
    except tracking_errors() as error:
        raise BenchmarkError(reason(uri, error)) from error
    return report


def _sync_experiment(
    connection: Connection, items: Sequence[_Item], store: RunStore, report: SyncReport
) -> None:
    known = by_run_id(connection)
    parents: dict[str, tuple[StoredRun, bool]] = {}
    changed: dict[str, Plan] = {}
    for tracked, plan in items:
        parent = None
        if plan is not None:
            if plan.plan_id not in parents:
                parents[plan.plan_id] = open_parent(connection, plan)
            parent = parents[plan.plan_id][0].id
        run_id = tracked.spec.run_id
        title = plan.titles.get(run_id) if plan else None
        outcome = write_record(connection, tracked, parent, known.get(run_id), title)
        report.count(outcome)
        if plan is not None and (outcome != "present" or parents[plan.plan_id][1]):
            changed[plan.plan_id] = plan
    for plan_id, plan in changed.items():
        parent_run, made = parents[plan_id]
        write_plan(connection, parent_run.id, plan, store)
        if made:
            whole = plan.kind != PLAN or all(store.has(run_id) for run_id in plan.run_ids)
            connection.end(parent_run.id, "FINISHED" if whole else "FAILED")


def connect(uri: str, experiment: str, store: RunStore, say: Say) -> Connection:
    """A connection whose lock is beside the store's file, or else beside the records."""
    return Connection(uri, experiment, store.root / ".locks", say)


def open_parent(connection: Connection, plan: Plan) -> tuple[StoredRun, bool]:
    """The parent run of a plan, and whether it was made just now."""
    with connection.lock:
        found = connection.find(PLAN_ID, plan.plan_id)
        if found is not None:
            return found, False
        tags = {**plan.all_tags(), NOTE: plan.description}
        return connection.create(plan.title, tags, int(1000 * plan.created)), True


def write_plan(connection: Connection, parent: str, plan: Plan, store: RunStore) -> None:
    """Bring what is known of a plan to its parent run: description, values, files."""
    at = now()
    points: list[Point] = []
    for name, series in plan.series.items():
        known = connection.steps(parent, name)
        points += [(name, x, at, int(step)) for step, x in series.items() if int(step) not in known]
    note = note_of(plan, store, parent)
    connection.log(parent, params=plan.params, tags={NOTE: note}, points=points)
    files = [store.root / name for name in plan.files]
    ours = [path for path in files if path.is_file() and is_inside(path, store.root)]
    connection.upload(parent, ours, plan.kind)


def note_of(plan: Plan, store: RunStore, parent: str, pictures: Sequence[str] = ()) -> str:
    """The description of a plan's parent run, with pictures from among its artifacts."""
    place = f"get-artifact?run_uuid={parent}&path="
    shown = [f"![{path}]({place}{path})" for path in pictures]
    return "\n\n".join([plan.note(store, place), *shown])


def open_child(
    connection: Connection,
    spec: RunSpec,
    parent: str | None,
    started: int,
    title: str | None = None,
) -> StoredRun:
    """The one run with this run id, with its params; made under ``parent`` where there is none.

    ``title`` is its name, where that is not :func:`benchmark.systems.run_title`.
    """
    with connection.lock:
        run = connection.find(RUN_ID, spec.run_id)
        if run is None:
            tags = {**tags_of(spec), **({PARENT: parent} if parent else {})}
            run = connection.create(title or run_title(spec), tags, started)
    # A label (the preset, say) may differ from the first plan's; a param is never changed.
    absent = {k: v for k, v in params_of(spec).items() if k not in run.params}
    connection.log(run.id, params=absent)
    return run


def write_record(
    connection: Connection,
    tracked: Tracked,
    parent: str | None,
    known: StoredRun | None = None,
    title: str | None = None,
) -> Outcome:
    """Bring a record into the store: whatever of it is not there yet.

    Args:
        connection: to the experiment.
        tracked: the record.
        parent: the parent run, for a run that is made.
        known: the run as it was last seen; looked up again unless it was complete.
        title: the name of a run that is made, where it is not its own.
    """
    if known is not None and _is_complete(known, tracked):
        return "present"
    with connection.lock:
        found = connection.find(RUN_ID, tracked.spec.run_id)
        if found is not None and _is_complete(found, tracked):
            return "present"
        run = open_child(connection, tracked.spec, parent, tracked.started, title)
        connection.reopen(run)
        last = max(connection.steps(run.id, LEARNING_RATE), default=0) if found is not None else 0
        model = _add_model(connection, run, tracked)
        points = [*_curve_points(tracked, last), *_summary(tracked, run)]
        connection.log(run.id, points=points, model=model)
        connection.add_dataset(run.id, tracked.spec.dataset, tracked.spec.data_sha256)
        files = [f for f in tracked.record.files() if not (model and f.name == CHECKPOINT)]
        connection.upload(run.id, files, RECORD_FOLDER)
        connection.log(run.id, tags=tracked.tags)  # last: they say that all of it is there
        connection.end(run.id, "FINISHED", max(tracked.ended, run.started))
    return "made" if found is None else "updated"


def _add_model(connection: Connection, run: StoredRun, tracked: Tracked) -> str | None:
    """The run's logged model, made where there is none: its id."""
    if MODEL_ID in run.tags:
        return run.tags[MODEL_ID]
    model = model_of(tracked.record)
    if model is None:
        return None
    labels = ("model", "dataset", "regime", "seed", RUN_ID)
    tags = {name: tracked.tags[name] for name in labels}
    model_id = connection.add_model(run.id, model, tags)
    connection.log(run.id, tags={MODEL_ID: model_id})
    return model_id


def _is_complete(run: StoredRun, tracked: Tracked) -> bool:
    same = all(run.tags.get(tag) == tracked.tags.get(tag) for tag in VERSION_TAGS)
    return same and run.status == "FINISHED"


def _curve_points(tracked: Tracked, last: int) -> list[Point]:
    return [
        (name, value, tracked.started + int(1000 * step * tracked.epoch_seconds), step)
        for step, values in tracked.curves
        for name, value in values.items()
        if step > last
    ]


def _summary(tracked: Tracked, run: StoredRun) -> list[Point]:
    # Of two values at one step the later one is shown, so a changed value needs a later time.
    at = now() if run.metrics else tracked.ended
    return [
        (name, value, at, 0)
        for name, value in tracked.summary.items()
        if run.metrics.get(name) != value
    ]


def by_run_id(connection: Connection) -> dict[str, StoredRun]:
    """The experiment's runs."""
    return {run.tags[RUN_ID]: run for run in connection.runs()}


def reason(uri: str, error: Exception) -> str:
    """What is wrong with a store, in one line and without passwords."""
    said = str(error)
    system = re.search(r"\[Errno -?\d+\] ([^'\")\n]+)", said)  # all that matters of a long story
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    text = system[1] if system else (lines[0] if lines else type(error).__name__)
    line = f"the tracking store {uri} failed ({text[:200].rstrip('. ')})"
    return re.sub(r"//([^/@:\s]*):[^/@\s]*@", r"//\1:***@", line)


def now() -> int:
    """Milliseconds since 1970."""
    return int(1000 * time.time())
