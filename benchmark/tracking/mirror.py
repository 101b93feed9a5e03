"""Make a tracking store equal to the records: the one writer, idempotent.

The records (:mod:`benchmark.records`) are what survives, MLflow is where people look. A run is one
child run of an experiment for ever, found by its tag ``run_id``; ``mlflow.parentRunId`` is the
first plan that asked for it, and a tag ``plan.<plan id>`` names the parent of each that did. The
same functions are called at a run's end, at a plan's end and by ``benchmark sync``: each looks at
what is there and writes what differs, the status last.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from benchmark.records import CHECKPOINT, RunStore
from benchmark.spec import RunSpec
from benchmark.systems import run_title
from benchmark.tracking.connection import Connection
from benchmark.tracking.description import summary_of_plan
from benchmark.tracking.model import TrackedModel, model_of
from benchmark.tracking.parents import PLAN, PLAN_ID, Plan, plans
from benchmark.tracking.stored import Point, StoredModel, StoredRun
from benchmark.tracking.tracked import (
    MAX_NOTE,
    NOTE,
    RUN_ID,
    Tracked,
    params_of,
    plain_name,
    source_tags,
    tags_of,
)

PARENT = "mlflow.parentRunId"
MODEL_ID = "model_id"
RECORD_FOLDER, REPORT_FOLDER, SHOWN_FOLDER = "record", "report", "description"
"""Where among the artifacts a run's record is, a plan's report, what a description shows of it."""
VERSION_TAGS = ("conditions", "table", "versions", "validation_conditions")
"""What a record's numbers were made from: the files of a run with other values are out of date."""
ERROR_CHARACTERS = 4000

Outcome = Literal["made", "updated", "present"]


class Mirror:
    """One experiment of a tracking store, and what of the records is to be in it.

    Every method raises :class:`benchmark.tracking.place.StoreError` where the store fails, and can
    be called again; :class:`benchmark.records.DamagedError` for a record that is not as it was.
    """

    def __init__(self, connection: Connection, store: RunStore, own: Plan | None = None) -> None:
        """Nothing is looked at yet: each run is looked up when it is needed.

        Args:
            connection: to the experiment.
            store: where the records and plans are.
            own: a plan that is known whether or not its file can be read.
        """
        self.connection, self.store = connection, store
        self._runs: dict[str, StoredRun] | None = None
        self._models: dict[str, list[StoredModel]] = {}
        self._parents: dict[str, StoredRun] = {}
        self._made: set[str] = set()
        self._plans: list[Plan] = []
        self._added: dict[str, dict[str, str]] = {}
        self.read_plans(own)

    def read_plans(self, own: Plan | None) -> None:
        """Know what has been planned since."""
        here = self.connection.experiment
        known = {plan.plan_id: plan for plan in plans(self.store) if plan.experiment == here}
        unread = [own] if own and own.plan_id not in known else []
        self._plans = [*known.values(), *unread]
        self._added = {plan.plan_id: {} for plan in self._plans}

    def add(self, plan: Plan, run_id: str, title: str) -> None:
        """Know of one more run of a search, without reading again what is known."""
        self._added.setdefault(plan.plan_id, {})[run_id] = title

    def look(self) -> None:
        """See everything that the store has at once, for a mirror of many runs."""
        runs = sorted(self.connection.runs(), key=lambda run: -run.started)  # the oldest counts
        self._runs = {run.tags[RUN_ID]: run for run in runs if RUN_ID in run.tags}
        self._parents = {run.tags[PLAN_ID]: run for run in runs if PLAN_ID in run.tags}
        self._models = {}
        for model in self.connection.models():
            self._models.setdefault(model.run, []).append(model)

    def find(self, run_id: str) -> StoredRun | None:
        """The run with a run id, as it was last seen."""
        if self._runs is not None:
            return self._runs.get(run_id)
        return self.connection.find(RUN_ID, run_id)

    def parent(self, plan: Plan) -> StoredRun:
        """The parent run of a plan, made where there is none."""
        if plan.plan_id not in self._parents:
            with self.connection.lock():
                found = self.connection.find(PLAN_ID, plan.plan_id)
                if found is None:
                    tags = {**plan.all_tags(), **source_tags(), NOTE: plan.description}
                    found = self.connection.create(plan.title, tags, int(1000 * plan.created))
                    self._made.add(found.id)
            self._parents[plan.plan_id] = found
        return self._parents[plan.plan_id]

    def child(self, spec: RunSpec, started: int) -> tuple[StoredRun, bool]:
        """The one run with this run id, and whether it was made just now."""
        found = self.find(spec.run_id)
        if found is not None:
            return found, False
        asked, links = self._links(spec.run_id)
        named = [known for p in asked for known in (self._added[p.plan_id], p.titles)]
        title = next((known[spec.run_id] for known in named if spec.run_id in known), None)
        with self.connection.lock():
            found = self.connection.find(RUN_ID, spec.run_id)
            if found is not None:
                return found, False
            tags = {**tags_of(spec), **source_tags(), **links}
            return self.connection.create(title or run_title(spec), tags, started), True

    def _links(self, run_id: str) -> tuple[list[Plan], dict[str, str]]:
        """The plans that asked for a run, and the tags that tie it to their parents."""
        asked = [p for p in self._plans if p.has(run_id) or run_id in self._added[p.plan_id]]
        links = {plain_name(f"plan.{plan.plan_id}"): self.parent(plan).id for plan in asked}
        return asked, links | ({PARENT: next(iter(links.values()))} if links else {})

    def record(self, tracked: Tracked) -> Outcome:
        """Bring a record into the store: whatever of it is not there, or not so."""
        spec, record, to = tracked.spec, tracked.record, self.connection
        run, made = self.child(spec, tracked.started)
        if run.status != "FINISHED":
            record.checkpoint()  # what was damaged since is not passed on
        links = self._links(spec.run_id)[1]
        if PARENT in links and self._is_elsewhere(run):
            del links[PARENT]
        stale = any(run.tags.get(tag) != tracked.tags.get(tag) for tag in VERSION_TAGS)
        changed = to.log(run, params=params_of(spec))
        changed |= to.add_dataset(run, spec.dataset, spec.data_sha256)
        form = model_of(record)
        model = self._model(run, tracked, form) if form else None
        if form and model:
            changed |= to.complete_model(model, form) | to.link_model(run, model, form.step)
        changed |= to.log(run, points=self._curve_points(run, tracked))
        points = _summary_points(run, tracked, model)
        dataset = spec.dataset, spec.data_sha256[:12]
        changed |= to.log(run, points=points, model=model.id if model else "", dataset=dataset)
        files = [f for f in record.files() if not (model and f.name == CHECKPOINT)]
        changed |= to.upload(run, files, RECORD_FOLDER, anew=stale)
        tags = {**tracked.tags, **links, **({MODEL_ID: model.id} if model else {})}
        changed |= to.log(run, tags=tags) | to.delete_tag(run, "error")
        changed |= to.end(run, "FINISHED", max(tracked.ended, run.started))
        return "made" if made else "updated" if changed else "present"

    def _is_elsewhere(self, run: StoredRun) -> bool:
        """Whether a run hangs under a plan that these records know nothing of: it stays there."""
        ours = {plan.plan_id for plan in self._plans}
        known = {parent.id: plan_id for plan_id, parent in self._parents.items()}
        return known.get(run.tags.get(PARENT, ""), next(iter(ours))) not in ours

    def _model(self, run: StoredRun, tracked: Tracked, form: TrackedModel) -> StoredModel:
        """The run's logged model, made where there is none; others are left from a kill."""
        seen = (
            self.connection.models(run.id) if self._runs is None else self._models.get(run.id, ())
        )
        found = sorted(seen, key=lambda model: model.id != run.tags.get(MODEL_ID))
        for other in found[1:]:
            self.connection.delete_model(other)
        if found:
            return found[0]
        tags = {name: tracked.tags[name] for name in ("model", "dataset", "regime", "seed", RUN_ID)}
        return self.connection.create_model(run, form.name, params_of(tracked.spec), tags)

    def _curve_points(self, run: StoredRun, tracked: Tracked) -> list[Point]:
        """What the store lacks of the curves; the status, written last, says they are whole."""
        last = {name: value for _, values in tracked.curves for name, value in values.items()}
        if run.status == "FINISHED" and all(run.metrics.get(k) == v for k, v in last.items()):
            return []
        known = {name: self.connection.steps(run, name) for name in last if name in run.metrics}
        return [
            (name, value, tracked.started + int(1000 * step * tracked.epoch_seconds), step)
            for step, values in tracked.curves
            for name, value in values.items()
            if step not in known.get(name, ())
        ]

    def unfinished(self, run_id: str, message: str = "") -> bool:
        """End a run without a record that nobody works on; whether that was news.

        Args:
            run_id: the run.
            message: why it failed, where that is known.
        """
        run = self.find(run_id)
        if run is None or self.store.is_running(run_id):
            return False
        message = message or self.store.failure(run_id)
        if message:
            told = self.connection.log(run, tags={"error": message[-ERROR_CHARACTERS:]})
            return self.connection.end(run, "FAILED") or told
        return run.status == "RUNNING" and self.connection.end(run, "KILLED")

    def plan(self, plan: Plan) -> int:
        """Bring what is known of a plan to its parent run, and end what is over of it.

        Returns:
            How many runs were left under way.
        """
        to, store = self.connection, self.store
        lacking = [run_id for run_id in plan.run_ids if not store.is_trained(run_id)]
        ended = sum(self.unfinished(run_id) for run_id in lacking)
        parent = self.parent(plan)
        done, at = plan.done(store), now()
        points: list[Point] = [
            (name, value, at, int(step))
            for name, series in plan.series.items()
            for step, value in _absent(series, to.steps(parent, name) if series else set())
        ]
        if plan.kind == PLAN:
            points += [
                (name, value, at, len(done))
                for name, value in summary_of_plan(done).items()
                if parent.metrics.get(name) != value
            ]
        to.upload(parent, plan.paths(store), plan.kind, anew=True)
        pictures = [name for name in to.files(parent, SHOWN_FOLDER) if name.endswith(".png")]
        tags = {**plan.all_tags(), NOTE: note_of(plan, done, parent.id, sorted(pictures))}
        to.log(parent, plan.params, tags, points)
        status = plan.status(store)
        seen = [run.status for run_id in lacking if (run := self.find(run_id))]
        if status == "KILLED" and "FAILED" in seen:
            status = "FAILED"
        if status == "RUNNING" or (parent.status != "RUNNING" and status != "FINISHED"):
            return ended
        return ended + (to.end(parent, status) and parent.id not in self._made)


def note_of(plan: Plan, done: Sequence[Tracked], parent: str, pictures: Iterable[str]) -> str:
    """The description of a plan's parent run, with pictures from among its artifacts."""
    place = f"get-artifact?run_uuid={parent}&path="
    shown = [f"![{name}]({place}{SHOWN_FOLDER}/{name})" for name in pictures]
    return "\n\n".join([plan.note(done, place), *shown])[:MAX_NOTE]


def _absent(series: Mapping[str, float], known: set[int]) -> list[tuple[str, float]]:
    return [(step, value) for step, value in series.items() if int(step) not in known]


def _summary_points(run: StoredRun, tracked: Tracked, model: StoredModel | None) -> list[Point]:
    # Of two values at one step the later one is shown, so a changed value needs a later time.
    return [
        (name, value, now() if run.metrics.get(name, value) != value else tracked.ended, 0)
        for name, value in tracked.summary.items()
        if run.metrics.get(name) != value or (model and model.metrics.get(name) != value)
    ]


def now() -> int:
    """Milliseconds since 1970."""
    return int(1000 * time.time())
