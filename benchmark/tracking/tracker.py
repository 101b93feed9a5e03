"""Track a plan while it runs: live curves in MLflow, from the events of its runs.

The parent process of a plan tracks; its workers only send events.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark.execution.events import Event
from benchmark.records import RunStore
from benchmark.spec import RunSpec
from benchmark.tracking.mlflow_store import Connection, Say, Status, default_uri, tracking_errors
from benchmark.tracking.plan import NOTE, PLAN_ID, Plan, describe_plan
from benchmark.tracking.sync import (
    SyncReport,
    by_run_id,
    connect,
    note_of,
    now,
    open_child,
    open_parent,
    reason,
    silent,
    sync,
    write_plan,
    write_record,
)
from benchmark.tracking.tracked import LEARNING_RATE, curve_values, read

__all__ = ["SyncReport", "Tracker", "default_uri", "describe_plan", "sync"]

ERROR_CHARACTERS = 4000
FIRST_PAUSE, LONGEST_PAUSE = 60.0, 900.0
"""Seconds without contact after a failure; twice as long after each further one."""


@dataclass
class _Live:
    """A run under way: its child run, and the last epoch that the store has."""

    child: str
    last_step: int


class Tracker:
    """Tracks one plan as it runs.

    No method raises for a store that fails (``mlflow_store.tracking_errors``): the first failure is
    told in one line, then the store is left alone for a minute or more, and what it missed is
    filled in from the records when it answers again, at :meth:`close_plan` or by :func:`sync`.
    """

    def __init__(
        self,
        uri: str,
        experiment: str,
        store: RunStore,
        warn: Say = silent,
        say: Say = silent,
    ) -> None:
        """Nothing is contacted yet.

        Args:
            uri: the tracking store; :func:`benchmark.tracking.mlflow_store.default_uri` by default.
            experiment: the experiment's name; by convention that of the data set.
            store: where the records are.
            warn: told once when tracking falls behind.
            say: told when something takes long, and when tracking has caught up.
        """
        self.uri, self.experiment, self.store = uri, experiment, store
        self._warn, self._say = warn, say
        self._connection: Connection | None = None
        self._plan: Plan | None = None
        self._specs: dict[str, RunSpec] = {}
        self._titles: dict[str, str] = {}
        self._parent: str | None = None
        self._live: dict[str, _Live] = {}
        self._started: set[str] = set()
        self._tracked: set[str] = set()
        self._missed: set[str] = set()
        self._failed: set[str] = set()
        self._failures: dict[str, str] = {}  # those that are not in the store yet
        self._warned = False
        self._pause = FIRST_PAUSE
        self._quiet_until = 0.0

    @property
    def behind(self) -> bool:
        """Whether the store misses something that happened."""
        return bool(self._missed)

    def open_plan(
        self, plan_id: str, title: str, specs: Sequence[RunSpec], description: str = ""
    ) -> None:
        """Make or find the parent run of a plan, by its tag ``plan_id``.

        Args:
            plan_id: the plan's identity.
            title: the parent run's name.
            specs: the plan's runs.
            description: Markdown, put before the table of results.
        """
        self.open(Plan.of(plan_id, title, self.experiment, description, specs), specs)

    def open(self, plan: Plan, specs: Sequence[RunSpec]) -> None:
        """Make or find the parent run of a plan whose runs are ``specs``; others may be added."""
        self._specs = {spec.run_id: spec for spec in specs}
        self._titles = dict(plan.titles)
        self._plan, self._parent = plan, None

        def open_it() -> None:
            plan.save(self.store)
            self._connect()

        self._attempt(plan.plan_id, open_it)

    def add(self, spec: RunSpec, title: str) -> None:
        """One more run of the plan, and its name."""
        self._specs[spec.run_id] = spec
        self._titles[spec.run_id] = title

    def update(self, plan: Plan) -> None:
        """The plan as it is now: written to the store by :meth:`close_plan`."""
        self._plan = plan
        self._attempt(plan.plan_id, lambda: plan.save(self.store))

    def handle(self, spec: RunSpec, event: Event) -> None:
        """Track what a run says."""
        run_id = spec.run_id
        actions: dict[str, Callable[[], object]] = {
            "started": lambda: self._start(spec),
            "epoch": lambda: self._add_epoch(spec, event),
            "finished": lambda: self._finish(spec),
            "failed": lambda: self._fail(spec, event.message),
        }
        if event.kind not in actions:
            return
        if event.kind == "failed":
            self._failed.add(run_id)
            self._failures[run_id] = event.message
        if event.kind in ("started", "epoch") and run_id in self._missed:
            return  # its curves have a gap: they come from the record
        self._attempt(run_id, actions[event.kind])

    def attach(self, tag: str, value: str, paths: Sequence[Path], folder: str = "report") -> bool:
        """Add files (figures, tables, pages) to the run that has a tag.

        Args:
            tag: ``plan_id`` for a plan's parent run, ``run_id`` for a run.
            value: the tag's value.
            paths: the files.
            folder: where they go among the run's artifacts.

        Returns:
            Whether it was done: False where no run has the tag, or the store fails.
        """
        found = []

        def upload() -> None:
            connection = self._connect()
            run = connection.find(tag, value)
            if run is not None:
                connection.upload(run.id, paths, folder)
                found.append(run)

        return self._attempt(value, upload) and bool(found)

    def illustrate(self, plan: Plan, pictures: Sequence[str]) -> bool:
        """Show pictures in the description of a plan's parent run, until the plan changes.

        Args:
            plan: the plan.
            pictures: artifacts of the parent run.

        Returns:
            Whether it was done.
        """

        def describe() -> None:
            connection = self._connect()
            run = connection.find(PLAN_ID, plan.plan_id)
            if run is not None:
                connection.log(run.id, tags={NOTE: note_of(plan, self.store, run.id, pictures)})

        return self._attempt(plan.plan_id, describe)

    def close_plan(self, status: Status | None = None) -> None:
        """End the parent run, and bring everything of the plan that has a record into the store.

        A run of this plan that is still under way is marked KILLED.

        Args:
            status: how the plan ended; by default FINISHED where every run has its record,
                FAILED where one failed, and KILLED otherwise.
        """
        self._quiet_until = 0.0  # one last try
        missed = self.behind
        if self._attempt("", lambda: self._close(status or self._outcome())):
            self._missed.clear()
            if missed:
                self._say("tracking has caught up")

    def _attempt(self, what: str, action: Callable[[], object]) -> bool:
        """Do something with the store; False where it failed or is being left alone."""
        if time.monotonic() < self._quiet_until:
            self._missed.add(what)
            return False
        try:
            action()
        except tracking_errors() as error:
            self._missed.add(what)
            self._leave_alone(error)
            return False
        self._missed.discard(what)
        return True

    def _leave_alone(self, error: Exception) -> None:
        self._connection = self._parent = None
        self._live.clear()  # it may come back as another store
        self._tracked.clear()
        self._quiet_until = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, LONGEST_PAUSE)
        if not self._warned:
            self._warned = True
            self._warn(
                f"tracking is behind: {reason(self.uri, error)}. Runs go on and their records "
                "are kept; `benchmark sync` catches up."
            )

    def _connect(self) -> Connection:
        """The connection, with the plan's parent run made or found and under way."""
        if self._connection is None:
            self._connection = connect(self.uri, self.experiment, self.store, self._say)
        if self._plan is not None and self._parent is None:
            parent, _ = open_parent(self._connection, self._plan)
            self._connection.reopen(parent)
            self._parent = parent.id
            self._missed.discard(self._plan.plan_id)
        return self._connection

    def _start(self, spec: RunSpec) -> _Live:
        connection = self._connect()
        title = self._titles.get(spec.run_id)
        run = open_child(connection, spec, self._parent, now(), title)
        connection.reopen(run)
        live = _Live(run.id, max(connection.steps(run.id, LEARNING_RATE), default=0))
        self._live[spec.run_id] = live
        self._started.add(spec.run_id)
        return live

    def _add_epoch(self, spec: RunSpec, event: Event) -> None:
        live = self._live.get(spec.run_id) or self._start(spec)
        step, at = int(event.done), now()
        if step <= live.last_step:  # from before a kill, done again
            return
        values = curve_values(event.values)
        self._connect().log(live.child, points=[(k, v, at, step) for k, v in values.items()])
        live.last_step = step

    def _finish(self, spec: RunSpec) -> None:
        self._failures.pop(spec.run_id, None)
        tracked, title = read(self.store.trained(spec.run_id)), self._titles.get(spec.run_id)
        write_record(self._connect(), tracked, self._parent, title=title)
        self._started.discard(spec.run_id)
        self._tracked.add(spec.run_id)

    def _fail(self, spec: RunSpec, message: str) -> None:
        live = self._live.get(spec.run_id) or self._start(spec)
        connection = self._connect()
        connection.log(live.child, tags={"error": message[-ERROR_CHARACTERS:]})
        connection.end(live.child, "FAILED")
        self._started.discard(spec.run_id)
        self._failures.pop(spec.run_id, None)

    def _outcome(self) -> Status:
        if all(self.store.has(run_id) for run_id in self._specs):
            return "FINISHED"
        return "FAILED" if self._failed else "KILLED"

    def _close(self, status: Status) -> None:
        connection = self._connect()
        for run_id, message in list(self._failures.items()):
            self._fail(self._specs[run_id], message)
        known = by_run_id(connection)
        for run_id in self._specs:
            if run_id not in self._tracked and self.store.is_trained(run_id):
                tracked = read(self.store.trained(run_id))
                title = self._titles.get(run_id)
                write_record(connection, tracked, self._parent, known.get(run_id), title)
                self._started.discard(run_id)
        for run_id in self._started & known.keys():
            connection.end(known[run_id].id, "KILLED")
        self._started.clear()
        if self._plan is not None and self._parent is not None:
            write_plan(connection, self._parent, self._plan, self.store)
            connection.end(self._parent, status)
